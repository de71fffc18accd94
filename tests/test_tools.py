"""tools/dev.py and tools/check.py: what they refuse, and that a check that fails is not lost among others that pass."""

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
    assert [command[2] for command in ran] == ["ruff", "ruff", "mypy", "pytest"]
    assert ran[-1][-1] == "-x" and "-x" not in ran[0]
    assert capsys.readouterr().out.splitlines()[-1] == (f"FAILED: {failing}" if failing else "All checks passed.")
