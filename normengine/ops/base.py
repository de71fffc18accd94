"""What an operator is: one record of plain functions and data, whole in the file of its family."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..graph import Node, Value
from .builder import Builder
from .carries import Carries
from .inference import Arrays, Attrs, Infer, OperatorError, Shapes, Strides

__all__ = ["Arrays", "Attrs", "Case", "OnnxMapping", "Op", "OperatorError", "Part", "Scalar", "Shapes", "Strides"]

_NONE: Mapping[str, Any] = MappingProxyType({})


class Scalar(NamedTuple):
    """How an elementwise operator computes one element: a function of ``kernels/chains/scalars.py`` or its neighbours.

    It is called with one element of each input, then the named attributes as float32 constants; with ``indexed`` set,
    the element's position (see the operator) as uint32 comes after the inputs. ``operations`` are those of the
    function with all that it calls, as many as its source has: what a compiler has to do with it grows with them.
    One that is ``cheap`` takes a few instructions: a loop over memory has time for it, so that its results are made
    again rather than read.
    """

    function: str
    attrs: tuple[str, ...] = ()
    indexed: bool = False
    operations: int = 1
    cheap: bool = False


class OnnxMapping(NamedTuple):
    """The ONNX operator that means the same in every opset, where names alone differ.

    ``attributes`` maps our attribute names to ONNX's; ``defaults`` are ONNX's values where a file leaves them out.
    What needs more than names (axes as tensors, another form in another opset) has a converter in the ``onnx`` layer
    instead, never both. ``inputs`` is the number of inputs; 0 where ONNX's may be any number and ours are two, which
    takes a converter to read.
    """

    op_type: str
    attributes: Mapping[str, str] = _NONE
    defaults: Mapping[str, Any] = _NONE
    inputs: int = 1


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


class Part(NamedTuple):
    """The elements of an array at ``starts``, ``starts + steps``, ... along each axis."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]


def elements_of_input(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    """One operation for each element of the first input."""
    return math.prod(inputs[0])


class Op(NamedTuple):
    """One operator: what it computes, and the facts that passes and planning go by.

    ``cases()`` are what its generic tests try.

    ``infer(specs, attrs)`` gives the outputs' specs or raises :class:`OperatorError`. ``reference(arrays, attrs)``
    computes in float64 and returns a tuple of arrays. ``gradient(builder, node, grads)`` gets one value (or None
    where nothing flows) for each output and returns one (or None) for each input. ``scalar`` marks elementwise
    operators, whose inputs broadcast as in NumPy. ``decompose(builder, node)`` rewrites a composite operator with
    simpler ones and returns the values of its outputs. ``tolerance`` bounds ``|kernel - reference|`` relative to the
    largest magnitude of the reference (at least 1).

    Work, from the shapes of inputs and outputs and the attributes:

    - ``kind`` is what its time counts for in a profile;
    - ``products`` are the multiply-adds of an operator that is sums of products, computed the direct way;
    - ``operations`` are those of any other, one for each element of the first input if nothing else is said.

    Batches, whose samples lie along axis 0:

    - ``samples(node)`` gives the positions of the inputs that go with the samples, the others being the same for all:
      a sample of each output depends on the same sample of these alone. None at all where samples are mixed. With
      ``sums_samples``, outputs are sums over the samples instead;
    - ``together(node)`` is how many neighbouring samples are mixed with each other alone, where not all are: those of
      the first input;
    - ``at_every_batch(a, b)`` gives the attributes, for any batch size, of a node that differs in ``a``, of a batch of
      2, and ``b``, of a batch of 3; it raises :class:`OperatorError` where there are none.

    Elements that are only moved:

    - ``view(node, offset, strides)`` tells where the output lies in the memory of the input, or gives None where it
      does not;
    - ``taken(node)`` is the part of the input that the output is, which is a view too;
    - ``placed(node)`` are the parts of the output that the inputs become; what no part covers is 0;
    - ``sums_axes`` says that the output is the sum over the axes ``attrs["axes"]``;
    - ``passes_on`` says that the input is handed on, which matters to differentiation alone.

    Fusion and folding:

    - ``weight`` is the position of the weights among inputs and outputs;
    - ``weight_outputs`` is the axis of the weights along which the output's channels lie, those of one group after the
      other where it is not the first: ``(C, O / groups, ...)`` there, ``(O, C / groups, ...)`` else;
    - ``epilogue`` names the attributes by which what follows may become part of it: ``clamp``, ``residual``;
    - ``becomes`` is such an attribute and its value: what the operator is as a part of the one before it;
    - ``expand(builder, node)`` is as ``decompose``, for where an elementwise operator makes the first input, whose loop
      then takes the sums;
    - ``joint`` names the operator of the gradient at which differentiation starts, and the one that is both;
    - ``normalizes`` says that it is a batch normalization; ``affine(arrays, attrs)``, where it is one with known
      statistics, gives scale and shift of each channel in float64 from the arrays behind the first input;
    - ``affine_with(position, constant)`` gives scale and shift of what an elementwise operator of two inputs makes of
      the other one, where the input at ``position`` is that constant in float64, or None where it makes something else;
    - ``folds_norms`` says that it is a layer that can take a batch normalization before or after it into ``weight`` and
      the bias behind it;
    - ``carries`` tells how an affine map of each channel goes through it, where it computes none of its own.

    ``integers`` says which inputs may be other than float32 in a network that is traced: "any", or "all" together.
    ``evaluator_is_exact`` is False where ONNX's reference evaluator may give a number that is not finite for one that
    is, or computes something else than ONNX says.
    """

    name: str
    infer: Infer
    reference: Callable[[Arrays, Attrs], tuple[np.ndarray, ...]]
    gradient: Callable[[Builder, Node, Sequence[Value | None]], Sequence[Value | None]] | None = None
    scalar: Scalar | None = None
    decompose: Callable[[Builder, Node], Sequence[Value]] | None = None
    onnx: OnnxMapping | None = None
    cases: Callable[[], tuple[Case, ...]] = tuple
    tolerance: float = 1e-5
    kind: str = "others"
    products: Callable[[Shapes, Shapes, Attrs], int] | None = None
    operations: Callable[[Shapes, Shapes, Attrs], int] = elements_of_input
    samples: Callable[[Node], tuple[int, ...]] | None = None
    sums_samples: bool = False
    together: Callable[[Node], int] | None = None
    at_every_batch: Callable[[Node, Node], Attrs] | None = None
    view: Callable[[Node, int, Strides], tuple[int, Strides] | None] | None = None
    taken: Callable[[Node], Part] | None = None
    placed: Callable[[Node], tuple[Part, ...]] | None = None
    sums_axes: bool = False
    passes_on: bool = False
    weight: int | None = None
    weight_outputs: int = 0
    epilogue: tuple[str, ...] = ()
    becomes: tuple[str, object] | None = None
    expand: Callable[[Builder, Node], Sequence[Value]] | None = None
    joint: tuple[str, str] | None = None
    normalizes: bool = False
    affine: Callable[[Arrays, Attrs], tuple[np.ndarray, np.ndarray]] | None = None
    affine_with: Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray] | None] | None = None
    folds_norms: bool = False
    carries: Carries | None = None
    integers: str = ""
    evaluator_is_exact: bool = True
