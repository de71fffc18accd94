"""Which algorithm the user wants for an operator, whatever the cost model says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

VARIABLE = "NORMENGINE_KERNELS"


def preferences(algorithms: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """What ``NORMENGINE_KERNELS`` asks for: an algorithm by operator, of those that the operators have.

    Raises:
        ValueError: it is not a list such as ``conv2d=direct,conv2d_weight_grad=winograd4``, or names what there is not.
    """
    wanted: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        op, _, algorithm = item.partition("=")
        known = sorted(set(filter(None, algorithms.get(op, ()))))
        if algorithm not in known:
            ops = ", ".join(sorted(name for name, of in algorithms.items() if any(of)))
            choice = f"{op} has {', '.join(known)}" if known else f"the operators that have a choice are {ops}"
            raise ValueError(
                f"{VARIABLE} must be a list such as conv2d=direct,conv2d_weight_grad=winograd4, got '{item}': {choice}"
            )
        wanted[op] = algorithm
    return wanted
