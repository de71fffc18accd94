"""The command line: version, info, usage errors, exit codes."""

import os
import subprocess
import sys

import pytest

import normengine as ne
from normengine.cli import main


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"normengine {ne.__version__}\n"


def test_without_a_command_prints_help(capsys):
    assert main([]) == 2
    text = capsys.readouterr().out
    assert "demo" in text and "info" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demos"], "invalid choice: 'demos'"),
        (["demo", "--epochs", "0"], "argument --epochs: must be a whole number of at least 1, got '0'"),
        (["demo", "--seed", "x"], "argument --seed: must be a whole number of at least 0, got 'x'"),
        (["demo", "--threads", "1.5"], "argument --threads: must be a whole number of at least 1, got '1.5'"),
    ],
)
def test_usage_errors(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    text = capsys.readouterr().err
    assert message in text and "usage: normengine" in text


def test_info(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NORMENGINE_CACHE", str(tmp_path))
    assert main(["info"]) == 0
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["normengine"].strip() == ne.__version__
    assert lines["cache folder"].strip() == str(tmp_path)
    assert lines["threads"].strip().startswith(f"{ne.get_num_threads()}: ")
    assert {"Python", "packages", "CPU", "instruction set", "kernels", "backend"} <= lines.keys()


def test_info_says_where_the_threads_come_from(capsys, monkeypatch):
    monkeypatch.setenv("NORMENGINE_NUM_THREADS", "3")
    assert main(["info"]) == 0
    assert "3: NORMENGINE_NUM_THREADS" in capsys.readouterr().out


def test_an_error_is_one_line_and_exit_code_1(capsys, monkeypatch):
    monkeypatch.setenv("NORMENGINE_ISA", "mmx")
    assert main(["info"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("normengine: error: NORMENGINE_ISA must be one of") and captured.err.count("\n") == 1


def test_interrupted(capsys, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("normengine.info.describe", interrupt)
    assert main(["info"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_run_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "normengine", "--version"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"normengine {ne.__version__}\n", "")
