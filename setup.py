"""Builds the Cython extensions; everything else about the package is in pyproject.toml.

No extension has to be built: where no C compiler is found, or where it does not know an instruction set, what cannot
be built is left out with one warning, and the package runs on its Numba kernels.
``NORMENGINE_SKIP_EXTENSIONS=1`` builds none; with ``NORMENGINE_REQUIRE_EXTENSIONS=1`` the first that cannot be built is
an error.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

ROOT = Path(__file__).parent
FAILURES = (BaseError, CCompilerError, OSError)
SOURCES = ROOT / "src_cy"
COMMON = ["-O3", "-g0", "-std=gnu11", "-fno-math-errno", "-ffp-contract=fast", "-fvisibility=hidden"]
X86 = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"],
}
ARM = {"baseline": [], "neon": []}
FLAGS = {"x86_64": X86, "amd64": X86, "aarch64": ARM, "arm64": ARM}


def extensions() -> list[Extension]:
    """The executor, and the kernels for each instruction set of this machine's architecture."""
    flags = FLAGS.get(platform.machine().lower(), {"baseline": []})
    sources = {"runtime._executor": ("executor.pyx", [])}
    sources |= {f"kernels._{isa}": (f"kernels_{isa}.pyx", isa_flags) for isa, isa_flags in flags.items()}
    shared = [str(path.relative_to(ROOT)) for pattern in ("*.h", "*.pxi") for path in sorted(SOURCES.glob(pattern))]
    return [
        Extension(
            f"normengine.{name}",
            [str(Path("src_cy", source))],
            include_dirs=["src_cy"],
            depends=shared,
            extra_compile_args=isa_flags,
        )
        for name, (source, isa_flags) in sources.items()
        if (SOURCES / source).exists()
    ]


class BuildExtensions(build_ext):
    """Compiles in parallel and sums up what could not be built in one warning."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        self.left_out: dict[str, Exception] = {}

    def build_extensions(self) -> None:
        if self.compiler.compiler_type == "msvc":
            # The kernels are written with vector types of GCC and Clang, which MSVC does not have.
            self.extensions = [e for e in self.extensions if "kernels" not in e.name]
        try:
            self._try_compiler()
        except FAILURES as error:
            self.left_out = {extension.name: error for extension in self.extensions}
        else:
            super().build_extensions()
        self.extensions = [e for e in self.extensions if e.name not in self.left_out]
        if self.left_out:
            names = ", ".join(self.left_out)
            reason = next(iter(self.left_out.values()))
            if switched_on("NORMENGINE_REQUIRE_EXTENSIONS"):
                raise reason
            self.warn(
                f"not built: {names} ({reason}); normengine will work without, slower: install a C compiler "
                "(GCC or Clang) and install again to have them"
            )

    def build_extension(self, ext: Extension) -> None:
        if self.compiler.compiler_type == "msvc":
            ext.extra_compile_args = ["/O2", "/std:c11"]
        else:
            ext.extra_compile_args = COMMON + ext.extra_compile_args
            if sys.platform != "win32":
                ext.extra_compile_args.append("-pthread")
                ext.extra_link_args = [*ext.extra_link_args, "-pthread"]
        try:
            super().build_extension(ext)
        except FAILURES as error:
            self.left_out[ext.name] = error

    def _try_compiler(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "empty.c")
            source.write_text("#include <Python.h>\n")
            self.compiler.compile([str(source)], output_dir=folder, include_dirs=self.include_dirs)


def switched_on(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def cythonized() -> list[Extension]:
    if switched_on("NORMENGINE_SKIP_EXTENSIONS"):
        return []
    from Cython.Build import cythonize

    return cythonize(
        extensions(),
        build_dir="build/cython",
        language_level=3,
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    )


if sys.platform == "darwin":
    # A universal Python asks for every architecture at once, which the flags of one instruction set cannot serve.
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")

setup(ext_modules=cythonized(), cmdclass={"build_ext": BuildExtensions})
