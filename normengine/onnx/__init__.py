"""ONNX files: writing a model, and reading a network. The ``onnx`` package is imported when the first of them is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exporter import export
    from .node import OnnxError
    from .report import Report

__all__ = ["OnnxError", "Report", "export"]

_HOMES = {"export": "exporter", "Report": "report", "OnnxError": "node"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
