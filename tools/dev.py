"""Sets everything up and runs the demo or the checks.

    python3 tools/dev.py demo [--venv DIR] [options of `normengine demo`]
    python3 tools/dev.py test [--venv DIR] [options of pytest]

Makes a virtual environment (``.venv`` unless ``--venv`` says otherwise), installs the package from this folder into
it with all that the command needs, and runs the command. Wants Python 3.10 or later, the network for the packages
that it depends on, and a C compiler; without one the package works too, slower.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {"demo": "plot,onnxruntime", "test": "dev"}
REPORT = "from normengine.kernels.cpu import choice; print('Kernels:', choice().reason)"


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Set everything up in a virtual environment, then run the demo or the checks.",
        epilog="Other options go to `normengine demo` or to pytest.",
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=EXTRAS, help="demo: train, export and run a network; test: all checks")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the environment's folder (default: .venv)")
    arguments, rest = parser.parse_known_args()
    if sys.version_info < (3, 10):
        return fail(f"normengine needs Python 3.10 or later, this is {sys.version.split()[0]}: run it with a newer one")
    if not may_be_made(arguments.venv):
        return fail(f"{arguments.venv} is not empty and no virtual environment: give --venv another folder")
    python = environment(arguments.venv)
    if python is None:
        return fail(
            f"could not make a virtual environment in {arguments.venv}; its message is above "
            "(on Debian and Ubuntu: apt install python3-venv)"
        )
    print(f"Installing normengine into {arguments.venv} ...", flush=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable"]
    if run([*install, f"{ROOT}[{EXTRAS[arguments.command]}]"]):
        return fail("the installation failed; pip's message is above")
    run([python, "-c", REPORT])
    if arguments.command == "demo":
        return run([python, "-m", "normengine", "demo", *rest])
    return run([python, str(ROOT / "tools" / "check.py"), *rest])


def may_be_made(folder: Path) -> bool:
    """Whether ``folder`` can become a virtual environment, or is one, without a file of something else being lost."""
    if not folder.exists():
        return True
    return folder.is_dir() and ((folder / "pyvenv.cfg").exists() or not any(folder.iterdir()))


def environment(folder: Path) -> str | None:
    """The Python of the virtual environment in ``folder``, which is made if it is not there; None if that fails."""
    folder = folder.absolute()
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    works = python.exists() and run([str(python), "-c", "import pip"], quiet=True) == 0
    if not works and run([sys.executable, "-m", "venv", "--clear", str(folder)]):
        return None
    return str(python)


def run(command: list[str], *, quiet: bool = False) -> int:
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode


def fail(message: str) -> int:
    print(f"dev.py: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
