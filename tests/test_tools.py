"""What tools/dev.py refuses, that tools/check.py loses no check that fails, and what the benchmarks write."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.mark.parametrize("command", ["demo", "test"])
def test_a_folder_of_something_else_is_not_made_an_environment(command, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    arguments = [sys.executable, TOOLS / "dev.py", command, "--venv", tmp_path]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not empty and no virtual environment: give --venv another folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("failing", ["lint", "tests", None])
def test_one_check_that_fails_fails_them_all(failing, monkeypatch, capsys):
    monkeypatch.syspath_prepend(TOOLS)
    import check

    ran = []

    def run(command, **_):
        ran.append(command)
        failed = failing is not None and command[2 : 2 + len(check.CHECKS[failing])] == check.CHECKS[failing]
        return subprocess.CompletedProcess(command, int(failed))

    monkeypatch.setattr(check.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["check.py", "-x"])
    assert check.main() == (0 if failing is None else 1)
    assert [command[2] for command in ran] == ["ruff", "ruff", "mypy", "tools.clones", "pytest"]
    assert ran[-1][-1] == "-x" and "-x" not in ran[0]
    assert capsys.readouterr().out.splitlines()[-1] == (f"FAILED: {failing}" if failing else "All checks passed.")


@pytest.fixture
def bench(monkeypatch):
    """tools/bench_kernels.py with one small layer."""
    import bench_kernels
    from shapes import Convolution

    monkeypatch.setattr(bench_kernels, "LAYERS", (Convolution(3, 5, (6, 7), 3, stride=2),))
    return bench_kernels


def test_the_benchmark_writes_a_row_for_each_direction(bench, tmp_path, capsys):
    file = tmp_path / "rows.json"
    arguments = ["--threads", "1", "--batch", "2", "--seconds", "0.001", "--json", str(file)]
    assert bench.main(arguments) == 0
    rows = json.loads(file.read_text())
    assert [row["direction"] for row in rows] == ["forward", "input_grad", "weight_grad"]
    for row in rows:
        assert list(row) == [
            "shape", "direction", "batch", "threads", "kernel", "milliseconds", "gflops", "share_of_peak",
            "share_of_memory_rate", "fastest", "error", "torch_milliseconds",
        ]  # fmt: skip
        assert (row["shape"], row["batch"], row["threads"]) == ("3->5@6x7 3x3 s2", 2, 1)
        flops = 2 * 2 * 5 * 3 * 4 * 27
        assert row["gflops"] == pytest.approx(flops / row["milliseconds"] / 1e6)
        assert row["error"] < 1e-6 and row["fastest"] in (True, False) and row["torch_milliseconds"] is None
    out = capsys.readouterr().out.splitlines()
    assert "peak" in out[0] and "GB/s" in out[0]
    assert [line.split()[3] for line in out[2:]] == ["forward", "input_grad", "weight_grad"]


def test_the_benchmark_can_be_held_to_a_kernel(bench, tmp_path):
    file = tmp_path / "rows.json"
    arguments = ["--threads", "1", "--batch", "2", "--seconds", "0.001", "--json", str(file), "--direction", "forward"]
    assert bench.main([*arguments, "--kernel", "conv2d_first"]) == 0
    (row,) = json.loads(file.read_text())
    assert row["kernel"].startswith("conv2d_first") and row["fastest"]
    assert bench.main([*arguments, "--all"]) == 0
    assert len({row["kernel"] for row in json.loads(file.read_text())}) > 1
    assert bench.main([*arguments, "--only", "no such layer"]) == 1


def test_the_benchmark_compares_numbers_of_threads(bench):
    def row(direction, threads, milliseconds, share):
        key = {"shape": "a", "batch": 8, "kernel": "k", "direction": direction, "threads": threads}
        return {**key, "milliseconds": milliseconds, "share_of_peak": share, "share_of_memory_rate": 0.4}

    bound = [row("forward", 1, 2.0, 0.9), row("forward", 2, 1.0, 0.8)]
    bound += [row("input_grad", 1, 3.0, 0.7), row("input_grad", 2, 2.0, 0.5)]
    rows = [*bound, row("weight_grad", 1, 1.0, 0.3), row("weight_grad", 2, 1.0, 0.2)]
    assert bench.gain(rows, 1, 2) == (
        "2 threads beside 1, 2 rows bound by arithmetic: median 1.75 times as fast, 1 rows 1.90 times or more, "
        "least 1.50 (a input_grad, batch 8)"
    )
    assert bench.gain(rows[len(bound) :], 1, 2) == "2 threads beside 1: no row is bound by arithmetic"


def test_the_benchmark_says_that_there_is_no_torch(bench, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert bench.main(["--against", "torch"]) == 1
    message = "bench_kernels.py: --against torch needs PyTorch; install torch or leave the option out\n"
    assert capsys.readouterr().err == message


@pytest.mark.slow
def test_building_a_network_is_timed_at_two_sizes():
    done = subprocess.run(
        [sys.executable, TOOLS / "bench_build.py", "mul-by-x", "--size", "8"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [["mul-by-x", "4:"], ["mul-by-x", "8:"], ["mul-by-x", "twice"]]
    assert all("building" in row for row in rows[:2])


def test_what_is_said_twice_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(TOOLS)
    import clones

    lines = [f"a{i} = {i}" for i in range(11)]
    (tmp_path / "one.py").write_text("import os\n" + "\n".join(lines) + "\nb = 1\n")
    (tmp_path / "two.py").write_text(
        "c = 2\n\n" + "\n\n".join(f"    {line}" for line in ["if c:", *lines]).replace("    if", "if")
    )
    monkeypatch.setattr(sys, "argv", ["clones.py", str(tmp_path)])
    assert clones.main() == 1
    assert capsys.readouterr().out.startswith(f"11 lines: {tmp_path / 'one.py'}:2 and {tmp_path / 'two.py'}:5\n")
    monkeypatch.setattr(sys, "argv", ["clones.py", "--lines", "11", str(tmp_path)])
    assert clones.main() == 0
