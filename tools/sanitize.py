"""Tries the kernels of one instruction set under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tools/sanitize.py [--isa avx2] [--seconds 120] [--onnx] [options of the fuzzer]

Builds them with ``-fsanitize=address,undefined`` in a temporary folder, from a copy of the sources, and runs
``tools/fuzz_kernels.py`` on the copy, with every array an allocation of its exact size; with ``--onnx``, it is
``tools/fuzz_onnx.py`` and the executor is built so too. Whatever is read or written outside its array, and whatever C
does not define, ends the run with the sanitizer's report. Wants GCC or Clang with their sanitizers, on Linux.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from normengine.kernels.cpu import detect

ROOT = Path(__file__).resolve().parents[1]
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
MEMORY = "allocator_may_return_null=1:quarantine_size_mb=32:soft_rss_limit_mb=8192"
"""The sanitizer reserves more addresses than a limit of them could allow; it counts the memory in use instead."""
COPIED = ("normengine", "src_cy", "tools", "setup.py", "pyproject.toml", "README.md", "LICENSE")
LEFT_OUT = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")


def copy(folder: Path, isa: str, kept: tuple[str, ...] = ()) -> None:
    """The sources of the package, with no extension but the kernels of ``isa`` and those that are ``kept``."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, folder / name)
    for source in (folder / "src_cy").glob("*.pyx"):
        if source.stem not in (f"kernels_{isa}", *kept):
            source.unlink()


def build(folder: Path) -> None:
    """Raises ``CalledProcessError`` where that fails."""
    environment = {**os.environ, "CFLAGS": SANITIZE, "LDFLAGS": SANITIZE, "NORMENGINE_REQUIRE_EXTENSIONS": "1"}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, env=environment, check=True)


def runtime() -> str:
    """The libraries that have to be loaded before all others: the sanitizer's, and that of C++, whose exceptions it
    watches, which packages throw."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    name = "libclang_rt.asan-x86_64.so" if "clang" in compiler else "libasan.so"
    ask = [[compiler, f"-print-file-name={library}"] for library in (name, "libstdc++.so.6")]
    found = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for command in ask]
    return ":".join(str(Path(path).resolve()) for path in found)


def fuzz(folder: Path, tool: str, options: list[str]) -> int:
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "LD_PRELOAD": runtime(),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99:" + MEMORY,
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [sys.executable, str(folder / "tools" / tool), *options]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    isas = detect()
    parser.add_argument("--isa", choices=isas, default=isas[-1], help="instruction set (default: the best)")
    parser.add_argument("--seconds", type=float, default=120.0, help="time for the problems (default: 120)")
    parser.add_argument("--onnx", action="store_true", help="try ONNX files (default: the kernels by themselves)")
    options, rest = parser.parse_known_args()
    kernels = ["--heap", "--isa", options.isa]
    # a sanitizer wants terabytes of addresses and more time
    tool, given = (
        ("fuzz_onnx.py", ["--memory", "0", "--limit", "120"]) if options.onnx else ("fuzz_kernels.py", kernels)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder, options.isa, ("executor",) if options.onnx else ())
        try:
            build(folder)
        except subprocess.CalledProcessError:
            print("sanitize.py: the kernels could not be built; the compiler's message is above", file=sys.stderr)
            return 1
        code = fuzz(folder, tool, [*given, "--seconds", str(options.seconds), *rest])
    print(f"{options.isa}: {'nothing found' if code == 0 else f'FAILED with exit code {code}'}")
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
