"""How many threads are used, and what the control groups of sample file systems grant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normengine.runtime import threads
from normengine.runtime.threads import cgroup_quota, get_num_threads, set_num_threads, usable_cpus


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.delenv("NORMENGINE_NUM_THREADS", raising=False)


def test_the_default_is_the_usable_cpus() -> None:
    assert get_num_threads() == usable_cpus() >= 1


def test_the_environment_comes_before_the_default_and_the_call_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMENGINE_NUM_THREADS", " 3 ")
    assert get_num_threads() == 3
    set_num_threads(5)
    assert get_num_threads() == 5
    set_num_threads(np.int64(2))  # type: ignore[arg-type]
    assert get_num_threads() == 2


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1025", "²"])
def test_a_bad_environment_variable_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NORMENGINE_NUM_THREADS", text)
    with pytest.raises(ValueError, match=f"NORMENGINE_NUM_THREADS must be a whole number from 1 to 1024, got '{text}'"):
        get_num_threads()


@pytest.mark.parametrize("count", [0, -2, 1025])
def test_a_count_out_of_range_is_an_error_and_changes_nothing(count: int) -> None:
    set_num_threads(2)
    with pytest.raises(ValueError, match=f"set_num_threads: count must be from 1 to 1024, got {count}"):
        set_num_threads(count)
    assert get_num_threads() == 2


@pytest.mark.parametrize("count", [1.0, "2", None, True])
def test_a_count_of_another_type_is_an_error(count: Any) -> None:
    with pytest.raises(TypeError, match="set_num_threads: count must be an integer, got"):
        set_num_threads(count)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind processes to CPUs")
@pytest.mark.parametrize(("quota", "expected"), [(None, 6), (2.5, 2), (0.5, 1), (64.0, 6)])
def test_usable_cpus_are_those_of_the_affinity_that_the_quota_pays_for(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 5, 8, 9})
    monkeypatch.setattr(threads, "cgroup_quota", lambda: quota)
    assert usable_cpus.__wrapped__() == expected


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MOUNT_V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNT_V1 = (
    "33 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    "34 32 0:31 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
)
OTHER_MOUNTS = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw - proc proc rw\n"


def test_version_2_takes_the_smallest_limit_up_to_the_root(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/job.scope\n",
            "proc/self/mountinfo": OTHER_MOUNTS + MOUNT_V2,
            "sys/fs/cgroup/user.slice/job.scope/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
        },
    )
    assert cgroup_quota(root) == 1.5


def test_version_2_in_a_container_of_its_own_namespace(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": MOUNT_V2,
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
        },
    )
    assert cgroup_quota(root) == 2.0


def test_version_1_as_a_container_sees_it(tmp_path: Path) -> None:
    """The group is named as on the host, and mounted as the root of what the container sees."""
    mount = MOUNT_V1.replace("0:30 / ", "0:30 /docker/1f2e ").replace("0:31 / ", "0:31 /docker/1f2e ")
    root = files(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/docker/1f2e\n4:cpu,cpuacct:/docker/1f2e\n1:name=systemd:/docker/1f2e\n",
            "proc/self/mountinfo": OTHER_MOUNTS + mount,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "350000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroup_quota(root) == 3.5


def test_a_mount_point_with_a_blank_in_its_name(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a\n",
            "proc/self/mountinfo": MOUNT_V2.replace("/sys/fs/cgroup", "/my\\040groups"),
            "my groups/a/cpu.max": "300000 100000\n",
        },
    )
    assert cgroup_quota(root) == 3.0


@pytest.mark.parametrize(
    "contents",
    [
        {},
        {"proc/self/cgroup": "0::/\n"},
        {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": MOUNT_V2},
        {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": MOUNT_V2, "sys/fs/cgroup/cpu.max": "max 100000\n"},
        {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": MOUNT_V2, "sys/fs/cgroup/cpu.max": "100000 0\n"},
        {"proc/self/cgroup": "nonsense\n\n", "proc/self/mountinfo": "also nonsense\n - \n"},
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/\n",
            "proc/self/mountinfo": MOUNT_V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["no files", "no mounts", "no limit file", "max", "period 0", "nonsense", "version 1 without limit"],
)
def test_where_nothing_limits_there_is_no_quota(tmp_path: Path, contents: dict[str, str]) -> None:
    assert cgroup_quota(files(tmp_path, contents)) is None
