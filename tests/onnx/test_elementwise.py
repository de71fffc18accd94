"""Elementwise operators of ONNX: read as its reference evaluator has them, and run on the kernels."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnx_nodes import RNG, declared, draw, ints, node

import normengine as ne
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model

WHOLE, TRUTH = ((3, 5), "int64"), ((3, 5), "bool")
ANGLES = ("Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh")
SPECIAL = np.array([-np.inf, -3.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, np.inf, np.nan], np.float32)


def one(op_type, shapes=None, weights=None, opset=17, cast=False, **attributes):
    """A row: one node that reads the inputs, then the weights; ``cast`` where its result is bool."""
    shapes, weights = shapes or {"x": (3, 4, 5)}, weights or {}
    nodes = [node(op_type, [*shapes, *weights], ["m" if cast else "y"], "it", **attributes)]
    return nodes + [node("Cast", ["m"], ["y"], to=TensorProto.FLOAT)] * cast, shapes, weights, opset


def two(op_type, **more):
    return one(op_type, {"x": (3, 5), "z": (5,)}, **more)


def whole(op_type, **more):
    return one(op_type, {"x": WHOLE, "z": ((5,), "int64")}, **more)


ROWS = {
    **{name: one(name) for name in (*ANGLES, "Sign", "Ceil", "Round", "Floor", "Softsign")},
    "Elu default": one("Elu"),
    "Celu": one("Celu", alpha=1.7),
    "HardSigmoid default": one("HardSigmoid"),
    "ThresholdedRelu": one("ThresholdedRelu", alpha=0.4),
    "ThresholdedRelu default": one("ThresholdedRelu"),
    "Shrink": one("Shrink", lambd=0.3, bias=0.1),
    "Shrink default": one("Shrink"),
    "PRelu of channels": one("PRelu", weights={"s": draw(4, 1)}),
    "PRelu of all": one("PRelu", weights={"s": draw(1)}),
    "PRelu computed": one("PRelu", {"x": (3, 5), "s": (5,)}),
    **{name: two(name, cast=True) for name in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal")},
    **{f"{name} int64": whole(name, cast=True) for name in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual")},
    "Equal int64": whole("Equal", cast=True),
    "Equal bool": one("Equal", {"x": TRUTH, "z": TRUTH}, cast=True),
    **{name: one(name, {"x": TRUTH, "z": TRUTH}, cast=True) for name in ("And", "Or", "Xor")},
    "Not": one("Not", {"x": TRUTH}, cast=True),
    "Where int64": one("Where", {"c": TRUTH, "x": WHOLE, "z": ((5,), "int64")}),
    "Where bool": one("Where", {"c": TRUTH, "x": TRUTH, "z": TRUTH}, cast=True),
    "Max int64": one("Max", {"x": WHOLE, "z": ((5,), "int64")}, {"c": ints(2)}),
    "Min int64": whole("Min"),
    "Mean": one("Mean", {"x": (3, 5), "z": (5,)}, {"c": draw(3, 1)}),
    "Mean of one": one("Mean"),
    "Sum of one": one("Sum"),
    "Mod": whole("Mod"),
    "Mod fmod": two("Mod", fmod=1),
    "Mod fmod int64": whole("Mod", fmod=1),
    "Div int64": whole("Div"),
    "Pow computed": two("Pow"),
    "Pow 0": one("Pow", weights={"p": np.float32(0)}),
    "Pow 11": one("Pow", weights={"p": np.float32(11)}),
    "Pow of int64": one("Pow", {"x": WHOLE}, {"p": np.array(2)}),
    "Pow by int64": one("Pow", weights={"p": ints(1, 2, 0, -1, 3)}),
    "Clip computed": one("Clip", {"x": (3, 5), "low": ((), "float32"), "high": ((), "float32")}),
    "Clip int64": one("Clip", {"x": WHOLE}, {"low": np.array(-2), "high": np.array(3)}),
}


def feeds_for(shapes):
    made = {}
    for name, given in shapes.items():
        shape, dtype = given if given and isinstance(given[0], tuple) else (given, "float32")
        made[name] = RNG.integers(-9, 9, shape).astype(dtype) if dtype != "float32" else draw(*shape)
    for name, array in made.items():
        if array.dtype == np.int64 and name == "z":
            array[array == 0] = 4  # a divisor
        elif array.dtype == bool:
            made[name] = RNG.random(array.shape) < 0.5
    return made


@pytest.mark.parametrize("name", ROWS)
def test_an_operator_gives_what_the_reference_gives(name, model, imported, reference):
    nodes, shapes, weights, opset = ROWS[name]
    feeds = feeds_for(shapes)
    if name == "Pow computed":
        feeds["x"] = abs(feeds["x"])
    elif name == "Clip computed":
        feeds |= {"low": np.array(-0.3, np.float32), "high": np.array(0.8, np.float32)}
    content = model(nodes, shapes, ["y"], weights, opset)
    (want,) = reference(content, feeds)
    content = declared(content, [want.dtype])
    for (got,) in (imported(content, feeds), ne.InferenceSession(content).run(None, feeds)):
        assert got.shape == want.shape
        if want.dtype == np.int64:
            assert np.array_equal(got, want)
        else:
            assert np.abs(got - want).max() <= 3e-6 * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("op_type", ["Asin", "Acos", "Atanh", "Acosh"])
def test_inverses_have_their_limits(op_type, model):
    x = np.array([-1.5, -1, -0.7, 0, 0.3, 1, 1.5, 40, np.nan], np.float32)
    content = model([node(op_type, ["x"], ["y"])], {"x": x.shape}, ["y"])
    (got,) = ne.InferenceSession(content).run(None, {"x": x})
    names = {"Asin": np.arcsin, "Acos": np.arccos, "Atanh": np.arctanh, "Acosh": np.arccosh}
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got, names[op_type](x.astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize("power", [1 / 3, -1 / 3, 1.7, 0.0, 3.0, np.nan, np.inf, -np.inf])
def test_powers_are_those_of_c(power, model):
    """Negative bases give NaN where the exponent is no integer."""
    content = model([node("Pow", ["x", "p"], ["y"])], {"x": SPECIAL.shape}, ["y"], {"p": np.float32(power)})
    (got,) = ne.InferenceSession(content).run(None, {"x": SPECIAL})
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got, np.power(SPECIAL, np.float32(power)), rtol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "attributes", "function"),
    [
        ("IsNaN", {}, np.isnan),
        ("IsInf", {}, np.isinf),
        ("IsInf", {"detect_negative": 0}, np.isposinf),
        ("IsInf", {"detect_positive": 0}, np.isneginf),
        ("IsInf", {"detect_positive": 0, "detect_negative": 0}, np.zeros_like),
    ],
)
def test_what_is_no_number_is_found(op_type, attributes, function, model):
    nodes = [node(op_type, ["x"], ["m"], **attributes), node("Cast", ["m"], ["y"], to=TensorProto.FLOAT)]
    (got,) = ne.InferenceSession(model(nodes, {"x": SPECIAL.shape}, ["y"])).run(None, {"x": SPECIAL})
    assert np.array_equal(got, function(SPECIAL).astype(np.float32))


def test_comparing_with_nan_is_false(model):
    names = ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal")
    nodes = [node(name, ["x", "z"], [name]) for name in names]
    nodes += [node("Cast", [name], [f"{name} y"], to=TensorProto.FLOAT) for name in names]
    feeds = {"x": np.full(3, np.nan, np.float32), "z": np.array([1, np.inf, np.nan], np.float32)}
    content = model(nodes, {"x": (3,), "z": (3,)}, [f"{name} y" for name in names])
    assert not np.any(ne.InferenceSession(content).run(None, feeds))


def test_the_remainder_of_floats_may_have_the_divisors_sign(model):
    """Which ONNX allows for floats from opset 28 on."""
    x, z = (9 * draw(4, 7)), draw(7)
    content = model([node("Mod", ["x", "z"], ["y"])], {"x": x.shape, "z": z.shape}, ["y"])
    (got,) = ne.InferenceSession(content).run(None, {"x": x, "z": z})
    assert np.allclose(got, np.mod(x.astype(np.float64), z), atol=1e-5)


def test_integers_beyond_53_bits_stay_exact(model):
    a = np.array([2**62 + 1, -(2**62) - 1, 2**53 + 1])
    nodes = [node("Max", ["x", "c"], ["m"]), node("Div", ["m", "d"], ["q"]), node("Mod", ["m", "d"], ["r"])]
    content = model(nodes, {"x": (a.shape, "int64")}, ["m", "q", "r"], {"c": ints(-(2**62)), "d": ints(3)})
    content = declared(content, ["int64"] * 3)
    most, quotient, rest = ne.InferenceSession(content).run(None, {"x": a})
    assert np.array_equal(most, np.maximum(a, -(2**62)))
    assert [int(n) for n in quotient] == [int(n) // 3 + (n < 0 and n % 3 != 0) for n in most]
    assert np.array_equal(rest, most % 3)


def test_an_exponent_that_products_make_is_one(model):
    def operators(power):
        content = model([node("Pow", ["x", "p"], ["y"])], {"x": (3,)}, ["y"], {"p": np.float32(power)})
        return [n.op for n in import_graph(read_model(content), {"x": (3,)}).nodes]

    assert operators(3.0) == ["mul", "mul"]
    assert operators(0.5) == ["add", "sqrt"]
    assert operators(1 / 3) == ["pow"]


def test_known_arrays_are_compared_while_reading(model, imported):
    """Where a shape depends on it."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("GreaterOrEqual", ["s", "three"], ["m"]),
        node("Where", ["m", "minus", "s"], ["t"]),
        node("Reshape", ["x", "t"], ["y"]),
    ]
    content = model(nodes, {"x": (2, 4)}, ["y"], {"three": ints(3), "minus": ints(-1)})
    assert imported(content, {"x": draw(2, 4)})[0].shape == (2, 4)
