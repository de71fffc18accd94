"""The registry of ONNX operators: how each is read, and how an operator of the graph is written. The families fill
it when they are imported; who reads or writes files imports the families first, and hands the tables on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .export_context import Writer
from .import_context import Evaluator, Reader

READERS: dict[str, Reader] = {}
"""By ONNX operator: adds nodes that mean the same and returns what the outputs stand for, in order."""

EVALUATORS: dict[str, Evaluator] = {}
"""By ONNX operator: the outputs' arrays where all inputs are known arrays; tried before the reader."""

WRITERS: dict[str, Writer] = {}
"""By the graph's operator: adds ONNX nodes that make the node's outputs."""

_Function = TypeVar("_Function", bound=Callable[..., object])


def _entering(table: dict[str, _Function], names: tuple[str, ...]) -> Callable[[_Function], _Function]:
    def enter(function: _Function) -> _Function:
        for name in names:
            if name in table:
                raise KeyError(f"{name} has two entries in the table")
            table[name] = function
        return function

    return enter


def reads(*op_types: str) -> Callable[[Reader], Reader]:
    return _entering(READERS, op_types)


def evaluates(*op_types: str) -> Callable[[Evaluator], Evaluator]:
    return _entering(EVALUATORS, op_types)


def writes(*ops: str) -> Callable[[Writer], Writer]:
    return _entering(WRITERS, ops)
