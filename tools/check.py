"""All checks, with the Python that runs this file: lint, format, types, clones, then the tests (the layering test among
them).

    python tools/check.py [options of pytest]

Every check runs even if one before it failed. The exit code is 0 if all of them passed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "clones": ["tools.clones"],
    "tests": ["pytest", "-q"],
}


def main() -> int:
    failed = []
    for name, command in CHECKS.items():
        print(f"== {name}: {' '.join(command)}", flush=True)
        start = time.monotonic()
        options = sys.argv[1:] if name == "tests" else []
        if subprocess.run([sys.executable, "-m", *command, *options], cwd=ROOT, check=False).returncode:
            failed.append(name)
        print(f"== {name}: {'FAILED' if name in failed else 'passed'} in {time.monotonic() - start:.0f} s", flush=True)
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
