"""Resource limits: what a file may cost while it is read, checked before the work is done and the memory taken."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..graph import MAX_RANK
from .node import OnnxError

MAX_MODEL_BYTES = 2**31 - 1
"""Of a file: what the format allows."""


@dataclass(frozen=True)
class FileLimits:
    """The most that reading one ONNX file may take; ``InferenceSession(..., limits=FileLimits(nodes=10**6))``.

    ``model_bytes`` is the size of the file, also with its functions put in place, and ``external_bytes`` of all that
    is read from the files beside it. ``nodes`` counts the nodes of the file with its functions in place, and again
    those of the graph that is made of them; ``function_depth`` is how deep functions may call functions. ``rank`` is
    that of an array, 32 at most, ``list_length`` of an attribute that is a list, ``pieces`` the arrays into which one
    node may cut its input or that it may put together. ``constant_bytes`` are the bytes of all arrays that are
    computed while a network is read, beyond twice its weights.
    """

    model_bytes: int = MAX_MODEL_BYTES
    external_bytes: int = 2**34
    nodes: int = 100_000
    function_depth: int = 32
    rank: int = MAX_RANK
    list_length: int = 2**20
    pieces: int = 1024
    constant_bytes: int = 2**28

    def __post_init__(self) -> None:
        for field in fields(self):
            number = getattr(self, field.name)
            most = _MOST.get(field.name)
            if isinstance(number, bool) or not isinstance(number, int) or number < 0 or (most and number > most):
                words = f"an integer from 0 to {most}" if most else "an integer that is not negative"
                raise ValueError(f"FileLimits: {field.name} must be {words}, got {number!r}")

    def check(self, name: str, asked: int, what: str) -> None:
        """Raise :class:`OnnxError` where ``asked`` is more than the limit of that name; ``what`` has it in words."""
        limit = getattr(self, name)
        if asked > limit:
            advice = f"; if the file is trusted, open it with limits=normengine.onnx.FileLimits({name}=...)"
            raise OnnxError(f"{what}, more than the {limit} that are read{'' if limit == _MOST.get(name) else advice}")


_MOST = {"rank": MAX_RANK, "model_bytes": MAX_MODEL_BYTES}
"""What no trust raises."""
