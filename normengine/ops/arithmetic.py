"""Elementwise arithmetic, broadcasting (``expand``) and conversion (``cast``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import DTYPES, Node, Spec, Value
from .base import Arrays, Attrs, Case, OnnxMapping, Op, OperatorError, Scalar
from .builder import Builder
from .carries import MULTIPLIED, SUMMED
from .reduce import sum_to
from .rules import binary, elementwise_infer, elementwise_reference, exact, extents_depend_on_batch, only, real
from .table import register

Grads = Sequence["Value | None"]


def _add_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    a, b = node.inputs
    g = only(grads)
    return [sum_to(builder, g, a.shape), sum_to(builder, g, b.shape)]


def _sub_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    a, b = node.inputs
    g = only(grads)
    return [sum_to(builder, g, a.shape), builder.add("neg", sum_to(builder, g, b.shape))]


def _mul_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    a, b = node.inputs
    g = only(grads)
    return [
        sum_to(builder, builder.add("mul", g, b), a.shape),
        sum_to(builder, builder.add("mul", g, a), b.shape),
    ]


def _div_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    a, b = node.inputs
    (y,) = node.outputs
    quotient = builder.add("div", only(grads), b)
    return [
        sum_to(builder, quotient, a.shape),
        builder.add("neg", sum_to(builder, builder.add("mul", quotient, y), b.shape)),
    ]


def _neg_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add("neg", only(grads))]


def _abs_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    """The gradient with the input's sign, and nothing at 0."""
    (x,), g, zero = node.inputs, only(grads), builder.constant(0.0)
    falling = builder.add("where", builder.add("greater", zero, x), builder.add("neg", g), zero)
    return [builder.add("where", builder.add("greater", x, zero), g, falling)]


def _sqrt_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add("mul", builder.add("div", only(grads), node.outputs[0]), builder.constant(0.5))]


def _rsqrt_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    (y,) = node.outputs
    cube = builder.add("mul", builder.add("mul", y, y), y)
    return [builder.add("mul", builder.add("mul", only(grads), cube), builder.constant(-0.5))]


def _exp_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add("mul", only(grads), node.outputs[0])]


def _log_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add("div", only(grads), node.inputs[0])]


def expanded_shape(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """``target`` with -1 (keep the input's extent) replaced, aligned at the last axis."""
    if len(target) < len(shape):
        raise OperatorError(f"cannot expand shape {shape} to the fewer axes of {target}")
    extra = len(target) - len(shape)
    result = []
    for axis, extent in enumerate(target):
        own = shape[axis - extra] if axis >= extra else 1
        if extent < -1:
            raise OperatorError(f"cannot expand shape {shape} to {target}: extents are -1, 0 or more")
        if extent == -1 and axis < extra:
            raise OperatorError(f"cannot expand shape {shape} to {target}: -1 stands where the input has no axis")
        if extent != -1 and own not in (1, extent):
            raise OperatorError(f"cannot expand shape {shape} to {target}: only extents of 1 can be repeated")
        result.append(own if extent == -1 else extent)
    return tuple(result)


def _expand_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    return (Spec(expanded_shape(x.shape, attrs["shape"]), x.dtype),)


def _expand_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    x = real(x) if x.dtype.kind == "f" else x
    return (np.broadcast_to(x, expanded_shape(x.shape, attrs["shape"])).copy(),)


def _expand_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    (x,) = node.inputs
    return [sum_to(builder, only(grads), x.shape)]


def _cast_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    if attrs["dtype"] not in DTYPES:
        raise OperatorError(f"cannot convert to {attrs['dtype']}; the dtypes are {', '.join(DTYPES)}")
    return (Spec(specs[0].shape, attrs["dtype"]),)


def _cast_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    return (real(x) if attrs["dtype"].startswith("float") else x.astype(attrs["dtype"]),)


def _cast_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    (x,) = node.inputs
    g = only(grads)
    if not (x.dtype.startswith("float") and g.dtype.startswith("float")):
        return [None]
    return [g if x.dtype == g.dtype else builder.add("cast", g, dtype=x.dtype)]


def _draw_positive(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.uniform(0.1, 4.0, (3, 17)).astype(np.float32)]


def _draw_quotient(rng: np.random.Generator) -> Sequence[np.ndarray]:
    sign = rng.choice([-1.0, 1.0], (2, 1, 5))
    return [
        rng.standard_normal((3, 5)).astype(np.float32),
        (sign * rng.uniform(0.5, 2.0, (2, 1, 5))).astype(np.float32),
    ]


def _draw_counts(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(-5, 300, (4, 9))]


_UNARY = (Case(((),)), Case(((1,),)), Case(((3, 17),)), Case(((2, 3, 5, 7),)))
_POSITIVE = (Case(draw=_draw_positive),)
_BINARY = (
    Case(((), ())),
    Case(((5,), (5,))),
    Case(((2, 3, 4, 5), (2, 3, 4, 5))),
    Case(((2, 3, 4, 5), ())),
    Case(((2, 3, 4, 5), (3, 1, 1))),
    Case(((3, 1), (1, 7))),
    Case(((4, 1, 6), (5, 1))),
    Case(((7,), (2, 3, 7))),
)


def _expand_at_every_batch(a: Node, b: Node) -> Attrs:
    source2, source3 = a.inputs[0].shape, b.inputs[0].shape
    target2, target3 = a.outputs[0].shape, b.outputs[0].shape
    extra = len(target2) - len(source2)
    shape = []
    for axis, (n2, n3) in enumerate(zip(target2, target3, strict=True)):
        if n2 != n3 and (axis < extra or (source2[axis - extra], source3[axis - extra]) != (n2, n3)):
            raise extents_depend_on_batch(a, b, "shape")
        shape.append(n2 if n2 == n3 else -1)
    return {"shape": tuple(shape)}


_quotient = elementwise_infer("left operand", "right operand")


def _draw_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(-(2**40), 2**40, (3, 1, 5)), rng.integers(-(2**20), 2**20, (4, 1))]


_EXACT = (*_BINARY, Case(draw=_draw_integers, differentiable=False))
_unary = elementwise_infer("input")


def _no_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    return [None] * len(node.inputs)


def _draw_near_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    whole = np.array([-3, -0.0, 0, 7, 2**22, 2**23, -(2.0**30)], np.float32)
    return [np.concatenate([whole, np.nextafter(whole, 0), rng.standard_normal(40).astype(np.float32) * 9])]


def _plus(position: int, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ones_like(constant), constant


def _minus(position: int, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ones = np.ones_like(constant)
    return (ones, -constant) if position else (-ones, constant)


def _times(position: int, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return constant, np.zeros_like(constant)


def _over(position: int, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    return (1 / constant, np.zeros_like(constant)) if position else None


register(
    Op(
        "floor",
        _unary,
        elementwise_reference(np.floor),
        _no_gradient,
        Scalar("floor", operations=17),
        onnx=OnnxMapping("Floor"),
        cases=lambda: (*_UNARY, Case(draw=_draw_near_integers, differentiable=False)),
    ),
    Op(
        "add",
        binary,
        exact(np.add),
        _add_gradient,
        Scalar("add", cheap=True),
        integers="all",
        onnx=OnnxMapping("Add", inputs=0),
        cases=lambda: _EXACT,
        becomes=("residual", True),
        carries=SUMMED,
        affine_with=_plus,
    ),
    Op(
        "sub",
        binary,
        exact(np.subtract),
        _sub_gradient,
        Scalar("sub", cheap=True),
        integers="all",
        onnx=OnnxMapping("Sub", inputs=2),
        cases=lambda: _EXACT,
        affine_with=_minus,
    ),
    Op(
        "mul",
        binary,
        exact(np.multiply),
        _mul_gradient,
        Scalar("mul", cheap=True),
        integers="all",
        onnx=OnnxMapping("Mul", inputs=0),
        cases=lambda: _EXACT,
        carries=MULTIPLIED,
        affine_with=_times,
    ),
    Op(
        "div",
        _quotient,
        elementwise_reference(np.divide),
        _div_gradient,
        Scalar("div"),
        onnx=OnnxMapping("Div", inputs=0),
        cases=lambda: (Case(draw=_draw_quotient),),
        affine_with=_over,
    ),
    Op(
        "neg",
        _unary,
        elementwise_reference(np.negative),
        _neg_gradient,
        Scalar("neg", cheap=True),
        onnx=OnnxMapping("Neg"),
        cases=lambda: _UNARY,
    ),
    Op(
        "abs",
        _unary,
        elementwise_reference(np.abs),
        _abs_gradient,
        Scalar("magnitude"),
        onnx=OnnxMapping("Abs"),
        cases=lambda: _UNARY,
    ),
    Op(
        "sqrt",
        _unary,
        elementwise_reference(np.sqrt),
        _sqrt_gradient,
        Scalar("sqrt"),
        onnx=OnnxMapping("Sqrt"),
        cases=lambda: _POSITIVE,
    ),
    Op(
        "rsqrt",
        _unary,
        elementwise_reference(lambda x: 1.0 / np.sqrt(x)),
        _rsqrt_gradient,
        Scalar("rsqrt", operations=2),
        cases=lambda: _POSITIVE,
    ),
    Op(
        "exp",
        _unary,
        elementwise_reference(np.exp),
        _exp_gradient,
        Scalar("exp", operations=32),
        onnx=OnnxMapping("Exp"),
        cases=lambda: _UNARY,
    ),
    Op(
        "log",
        _unary,
        elementwise_reference(np.log),
        _log_gradient,
        Scalar("log", operations=44),
        onnx=OnnxMapping("Log"),
        cases=lambda: _POSITIVE,
    ),
    Op(
        "expand",
        _expand_infer,
        _expand_reference,
        _expand_gradient,
        Scalar("expand", operations=0),
        cases=lambda: (
            Case(((),), {"shape": (3, 4)}),
            Case(((3, 1, 1),), {"shape": (2, 3, 4, 5)}),
            Case(((2, 1, 5),), {"shape": (-1, 3, -1)}),
            Case(((6,),), {"shape": (6,)}),
            Case(draw=_draw_counts, attrs={"shape": (2, 4, 9)}, differentiable=False),
        ),
        at_every_batch=_expand_at_every_batch,
        integers="any",
    ),
    Op(
        "cast",
        _cast_infer,
        _cast_reference,
        _cast_gradient,
        Scalar("cast", operations=0),
        cases=lambda: (
            Case(((3, 5),), {"dtype": "float32"}),
            Case(((3, 5),), {"dtype": "float64"}),
            Case(draw=_draw_counts, attrs={"dtype": "float32"}),
            Case(((3, 5),), {"dtype": "int64"}, differentiable=False),
        ),
        integers="any",
    ),
)
