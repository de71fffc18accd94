"""The table of operators: every family's records by name."""

from __future__ import annotations

from .base import Op
from .inference import RULES

OPS: dict[str, Op] = {}


def register(*ops: Op) -> None:
    """Add records to the table; a name can be taken once."""
    for op in ops:
        if op.name in OPS:
            raise KeyError(f"operator {op.name} is already in the table")
        OPS[op.name] = op
        RULES[op.name] = op.infer
