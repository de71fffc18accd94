"""Which algorithm the user wants for an operator, whatever the cost model says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ..compiling import KERNELS

EXAMPLE = {"conv2d": "direct", "conv2d_weight_grad": "winograd4"}


def preferences(algorithms: Mapping[str, Iterable[str]], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """An algorithm by operator, of those that the operators have: what ``NORMENGINE_KERNELS`` asks for, and before it
    what is ``given``.

    Raises:
        ValueError: the variable is not a list such as ``conv2d=direct,conv2d_weight_grad=winograd4`` or what is given
            no such dict, or one of them names what there is not.
    """
    listed = [part.strip() for part in os.environ.get(KERNELS, "").split(",") if part.strip()]
    example = ",".join(f"{op}={algorithm}" for op, algorithm in EXAMPLE.items())
    wanted: dict[str, str] = {}
    for item in listed:
        op, _, algorithm = item.partition("=")
        _check(algorithms, op, algorithm, f"{KERNELS} must be a list such as {example}, got '{item}'")
        wanted[op] = algorithm
    rule = f"kernels must be a dict such as {EXAMPLE}"
    if not isinstance(given, Mapping | None):
        raise ValueError(f"{rule}, got {given!r}")
    for op, algorithm in (given or {}).items():
        _check(algorithms, op, algorithm, f"{rule}, got {op!r}: {algorithm!r}")
        wanted[op] = algorithm
    return wanted


def _check(algorithms: Mapping[str, Iterable[str]], op: str, algorithm: str, rule: str) -> None:
    """Raise ValueError unless the operator has the algorithm."""
    known = sorted(set(filter(None, algorithms.get(op, ()))))
    if algorithm not in known:
        ops = ", ".join(sorted(name for name, of in algorithms.items() if any(of)))
        choice = f"{op} has {', '.join(known)}" if known else f"the operators that have a choice are {ops}"
        raise ValueError(f"{rule}: {choice}")
