"""The size of the thread team: what the user asked for, else the CPUs that the process may really use."""

from __future__ import annotations

import operator
import os
from functools import cache
from pathlib import Path

MOST_THREADS = 1024

_chosen: int | None = None


def get_num_threads() -> int:
    """The number of threads that programs run on.

    What :func:`set_num_threads` set; else the environment variable ``NORMENGINE_NUM_THREADS``; else
    :func:`usable_cpus`. Raises ``ValueError`` when the variable is not a whole number from 1 to 1024.
    """
    if _chosen is not None:
        return _chosen
    text = os.environ.get("NORMENGINE_NUM_THREADS", "").strip()
    if not text:
        return usable_cpus()
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_THREADS:
        raise ValueError(f"NORMENGINE_NUM_THREADS must be a whole number from 1 to {MOST_THREADS}, got {text!r}")
    return int(text)


def set_num_threads(count: int) -> None:
    """Make programs run on ``count`` threads from their next run on; their results stay the same, bit for bit.

    Raises ``TypeError`` unless ``count`` is an integer, ``ValueError`` unless it is from 1 to 1024.
    """
    global _chosen
    if isinstance(count, bool):
        raise TypeError(f"set_num_threads: count must be an integer, got {count!r}")
    try:
        number = operator.index(count)
    except TypeError:
        message = f"set_num_threads: count must be an integer, got {count!r} of type {type(count).__name__}"
        raise TypeError(message) from None
    if not 1 <= number <= MOST_THREADS:
        raise ValueError(f"set_num_threads: count must be from 1 to {MOST_THREADS}, got {number}")
    _chosen = number


@cache
def usable_cpus() -> int:
    """CPUs that this process may use: those it may be scheduled on, at most what its cgroup's quota pays for."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    if quota is not None:
        count = min(count, max(1, int(quota)))
    return min(count, MOST_THREADS)


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """CPUs that the control groups of this process (version 1 or 2) grant it; None where there is no limit.

    The smallest limit on the way from the process's own group up to the mounted root counts. ``root`` stands for the
    file system's root. Follows the kernel's ``cgroup-v2.rst`` (``cpu.max``) and ``sched-bwc.rst`` (``cpu.cfs_*``).
    """
    quotas = []
    for mount, group, version in _cgroups(root):
        folder = mount / group.lstrip("/")
        while True:
            quota = _quota_v2(folder) if version == 2 else _quota_v1(folder)
            if quota is not None:
                quotas.append(quota)
            if folder == mount:
                break
            folder = folder.parent
    return min(quotas, default=None)


def _cgroups(root: Path) -> list[tuple[Path, str, int]]:
    """(mount point, group below it, version) of each hierarchy that can limit this process's CPU time."""
    groups: dict[int, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, group = (line.split(":", 2) + ["", ""])[:3]
        if number == "0" and not controllers:
            groups[2] = group
        elif "cpu" in controllers.split(","):
            groups[1] = group
    found = []
    for line in _lines(root / "proc/self/mountinfo"):
        fields = line.split()
        if "-" not in fields[6:] or len(fields) < 10:
            continue
        kind, options = fields[fields.index("-", 6) + 1], fields[-1].split(",")
        version = 2 if kind == "cgroup2" else 1 if kind == "cgroup" and "cpu" in options else 0
        if version in groups:
            mount, top, group = root / _unescape(fields[4]).lstrip("/"), _unescape(fields[3]), groups[version]
            below = group[len(top.rstrip("/")) :] if (group + "/").startswith(top.rstrip("/") + "/") else "/"
            found.append((mount, "/" if ".." in below.split("/") else below, version))
    return found


def _quota_v2(folder: Path) -> float | None:
    fields = " ".join(_lines(folder / "cpu.max")).split()
    if len(fields) != 2 or not fields[0].isdigit() or not fields[1].isdigit() or int(fields[1]) == 0:
        return None
    return int(fields[0]) / int(fields[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = (" ".join(_lines(folder / f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period"))
    if not quota.isdigit() or not period.isdigit() or int(quota) == 0 or int(period) == 0:
        return None
    return int(quota) / int(period)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _unescape(text: str) -> str:
    """A path as ``/proc/self/mountinfo`` writes it: blanks, tabs, newlines and backslashes are octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
