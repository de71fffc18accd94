"""The ONNX codec, from the bytes of a file to a graph and from a graph to bytes. The ``onnx`` package is imported when
one of them is first used.

:func:`export` is the door to it for models, as ``InferenceSession`` is for files, and :func:`fold` goes from file to
file. They are defined in :mod:`normengine.export` and :mod:`normengine.folding`, since they run what they write; these
are the names that users know.
"""

from __future__ import annotations

from typing import Any

from ..locks import load_module

__all__ = ["FileLimits", "FoldReport", "OnnxError", "Report", "export", "fold", "inspect"]

_HOMES = {
    "export": "normengine.export",
    "Report": "normengine.export",
    "fold": "normengine.folding",
    "FoldReport": "normengine.folding",
    "inspect": "normengine.inspection",
    "OnnxError": "normengine.onnx.node",
    "FileLimits": "normengine.onnx.limits",
}


def __getattr__(name: str) -> Any:
    if name == "backend":
        return load_module("normengine.onnx.backend")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(load_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
