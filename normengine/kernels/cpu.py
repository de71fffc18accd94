"""What this machine's CPU and operating system offer, and which sets of kernels dispatch may therefore use."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

NEEDS = {
    "baseline": (),
    "avx2": ("avx2", "fma"),
    "avx512": ("avx2", "fma", "avx512f", "avx512vl", "avx512dq", "avx512bw"),
    "neon": (),
}
"""The CPU features that each instruction set's kernels were compiled for."""

_FAMILIES = {
    "x86_64": ("baseline", "avx2", "avx512"),
    "amd64": ("baseline", "avx2", "avx512"),
    "aarch64": ("baseline", "neon"),
    "arm64": ("baseline", "neon"),
}


class Choice(NamedTuple):
    """The instruction sets in use, worst first, and the reason in words for the best of them."""

    isas: tuple[str, ...]
    reason: str


def isas() -> tuple[str, ...]:
    """Instruction sets whose kernels dispatch may use, worst first; the first is always ``"numba"``."""
    return choice().isas


def choice() -> Choice:
    """The instruction sets in use and why.

    They are those that the CPU and the operating system offer and that were built, up to the one that the environment
    variable ``NORMENGINE_ISA`` names. Raises ``ValueError`` when it names one that is unknown, that the CPU does not
    offer or that was not built, or when ``NORMENGINE_BACKEND`` is not as :func:`backend` wants it.
    """
    asked = _variable("NORMENGINE_ISA")
    if asked not in ("", "numba", *NEEDS):
        raise ValueError(f"NORMENGINE_ISA must be one of numba, {', '.join(NEEDS)}, got {asked!r}")
    if backend() == "numba":
        chosen = _variable("NORMENGINE_BACKEND") == "numba"
        why = "NORMENGINE_BACKEND=numba" if chosen else "no compiled executor was built"
        if asked not in ("", "numba"):
            raise ValueError(f"NORMENGINE_ISA={asked}: {why}, choose numba")
        return Choice(("numba",), f"numba: {why}")
    offered = detect()
    usable = ("numba", *(isa for isa in offered if _built("kernels", f"_{isa}")))
    if not asked:
        missing = [isa for isa in offered if isa not in usable]
        note = f" (offered too, but not built: {', '.join(missing)})" if missing else ""
        return Choice(usable, f"{usable[-1]}: the best that was built of what the CPU offers{note}")
    if asked not in usable:
        why = "its kernels were not built" if asked in offered else "this CPU or operating system does not offer it"
        raise ValueError(f"NORMENGINE_ISA={asked}: {why}, choose one of {', '.join(usable)}")
    return Choice(usable[: usable.index(asked) + 1], f"{asked}: NORMENGINE_ISA={asked}")


@cache
def detect() -> tuple[str, ...]:
    """Instruction sets that the CPU and the operating system offer, best last, ``("baseline", "avx2")`` for example.

    LLVM asks both: it counts AVX and AVX-512 only where the operating system saves their registers.
    """
    family = _FAMILIES.get(platform.machine().lower(), ("baseline",))
    features = _features()
    return tuple(isa for isa in family if all(features.get(feature, False) for feature in NEEDS[isa]))


def backend() -> str:
    """``"compiled"`` where the extensions were built, else ``"numba"``; ``NORMENGINE_BACKEND`` overrides.

    Raises ``ValueError`` when the variable is neither of the two, or asks for extensions that were not built.
    """
    asked = _variable("NORMENGINE_BACKEND")
    if asked not in ("", "numba", "compiled"):
        raise ValueError(f"NORMENGINE_BACKEND must be 'numba' or 'compiled', got {asked!r}")
    if asked == "numba":
        return "numba"
    if _built("runtime", "_executor"):
        return "compiled"
    if asked:
        raise ValueError(
            "NORMENGINE_BACKEND=compiled: the extensions were not built, install normengine where there is a C "
            "compiler or use NORMENGINE_BACKEND=numba"
        )
    return "numba"


def cpu_name() -> str:
    """The processor's name as its maker and the operating system give it, or its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == "model name" and value.strip():
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip().lower()


def _features() -> dict[str, bool]:
    try:
        from llvmlite import binding

        if find_spec("numba") is None:
            raise ImportError("no module named 'numba'")
    except ImportError as error:
        raise ImportError(
            f"normengine compiles its elementwise kernels with Numba, which is not installed here ({error}): "
            "run `python -m pip install numba`"
        ) from error

    try:
        return dict(binding.get_host_cpu_features())
    except RuntimeError:  # LLVM does not know how to ask on this system
        return {}


@cache
def _built(folder: str, module: str) -> bool:
    """Whether the extension module is there; nothing is imported."""
    return PathFinder.find_spec(module, [str(Path(__file__).parents[1] / folder)]) is not None
