"""What an operator is: one record of plain functions and data, whole in the file of its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..graph import Node, Value
from .builder import Builder
from .inference import Arrays, Attrs, Infer, OperatorError

__all__ = ["Arrays", "Attrs", "Case", "OnnxMapping", "Op", "OperatorError", "Scalar"]

_NONE: Mapping[str, Any] = MappingProxyType({})


class Scalar(NamedTuple):
    """How an elementwise operator computes one element: a function of ``kernels/scalars.py``.

    It is called with one element of each input, then the named attributes as float32 constants; with ``indexed`` set,
    the element's position (see the operator) as uint32 comes after the inputs. ``operations`` are those of the
    function with all that it calls, as many as its source has: what a compiler has to do with it grows with them.
    """

    function: str
    attrs: tuple[str, ...] = ()
    indexed: bool = False
    operations: int = 1


class OnnxMapping(NamedTuple):
    """The ONNX operator that means the same in every opset, where names alone differ.

    ``attributes`` maps our attribute names to ONNX's; ``defaults`` are ONNX's values where a file leaves them out.
    What needs more than names (axes as tensors, another form in another opset) has a converter in the ``onnx`` layer
    instead, never both.
    """

    op_type: str
    attributes: Mapping[str, str] = _NONE
    defaults: Mapping[str, Any] = _NONE


class Case(NamedTuple):
    """One input that every generic test of an operator tries.

    ``shapes`` are drawn from the standard normal distribution as float32 unless ``draw`` makes the arrays itself.
    ``differentiable`` is False where finite differences mean nothing (integer results, random draws at a kink).
    """

    shapes: tuple[tuple[int, ...], ...] = ()
    attrs: Attrs = _NONE
    draw: Callable[[np.random.Generator], Sequence[np.ndarray]] | None = None
    differentiable: bool = True

    def arrays(self, rng: np.random.Generator) -> list[np.ndarray]:
        if self.draw is not None:
            return list(self.draw(rng))
        return [rng.standard_normal(shape).astype(np.float32) for shape in self.shapes]


class Op(NamedTuple):
    """One operator.

    ``infer(specs, attrs)`` gives the outputs' specs or raises :class:`OperatorError`. ``reference(arrays, attrs)``
    computes in float64 and returns a tuple of arrays. ``gradient(builder, node, grads)`` gets one value (or None
    where nothing flows) for each output and returns one (or None) for each input. ``scalar`` marks elementwise
    operators, whose inputs broadcast as in NumPy. ``decompose(builder, node)`` rewrites a composite operator with
    simpler ones and returns the values of its outputs. ``tolerance`` bounds ``|kernel - reference|`` relative to the
    largest magnitude of the reference (at least 1).
    """

    name: str
    infer: Infer
    reference: Callable[[Arrays, Attrs], tuple[np.ndarray, ...]]
    gradient: Callable[[Builder, Node, Sequence[Value | None]], Sequence[Value | None]] | None = None
    scalar: Scalar | None = None
    decompose: Callable[[Builder, Node], Sequence[Value]] | None = None
    onnx: OnnxMapping | None = None
    cases: tuple[Case, ...] = ()
    tolerance: float = 1e-5
