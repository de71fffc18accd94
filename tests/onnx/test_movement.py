"""What moves elements: read as ONNX's reference evaluator has it, run on the kernels, and written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_nodes import RNG, declared, draw, ints, node

import normengine as ne
from normengine.graph import Spec
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model
from normengine.onnx.serialize import model_bytes
from normengine.ops import OPS, Builder, is_same_at
from normengine.passes import decompose
from normengine.passes.samples import samples_apart

X = {"x": (2, 4, 7, 6)}
WHOLE = {"x": ((3, 4), "int64")}


def one(op_type, shapes=None, weights=None, opset=19, **attributes):
    shapes, weights = shapes or X, weights or {}
    names = ["" if n.startswith("_") else n for n in (*shapes, *weights)]
    kept = {k: v for k, v in weights.items() if not k.startswith("_")}
    return [node(op_type, names, ["y"], "it", **attributes)], shapes, kept, opset


def backwards(starts, ends, axes, steps):
    return one("Slice", weights={"s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "t": ints(*steps)})


ROWS = {
    **{
        f"pad {mode}": one("Pad", weights={"p": ints(0, 1, 2, 0, 0, 3, 1, 5)}, mode=mode)
        for mode in ("reflect", "edge", "wrap")
    },
    "pad reflect far": one("Pad", {"x": (2, 3)}, {"p": ints(0, 7, 0, 5)}, mode="reflect"),
    "pad wrap far": one("Pad", {"x": (2, 3)}, {"p": ints(0, 7, 0, 5)}, mode="wrap"),
    "pad edge of some": one("Pad", weights={"p": ints(1, 2), "_": 0, "a": ints(-2)}, mode="edge"),
    "pad 10": one("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 1], mode="reflect", opset=10),
    "pad value 10": one("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 1], value=1.5, opset=10),
    "pad value computed": (
        [node("Pad", ["x", "p", "v"], ["y"], "it")], {**X, "v": (1,)}, {"p": ints(0, 0, 1, 2, 0, 0, 0, 1)}, 17),
    "pad int64": one("Pad", WHOLE, {"p": ints(1, 0, 0, 2), "v": np.array(7)}),
    "pad int64 with 0": one("Pad", WHOLE, {"p": ints(1, 0, 0, 2)}),
    "slice backwards": backwards([-1], [-9], [1], [-1]),
    "slice backwards in steps": backwards([5, -1], [-(2**63), 0], [-1, 2], [-2, -3]),
    "slice backwards to one": backwards([3], [2], [1], [-1]),
    "slice backwards and on": backwards([2, 0], [-5, 9], [1, 2], [-1, 3]),
    "gather backwards": one("Gather", weights={"i": ints(3, 2, 1, 0, 0, 0, 2)}, axis=1),
    "depth to space": one("DepthToSpace", blocksize=2),
    "depth to space CRD": one("DepthToSpace", {"x": (1, 18, 2, 3)}, blocksize=3, mode="CRD"),
    "space to depth": one("SpaceToDepth", {"x": (2, 3, 6, 4)}, blocksize=2),
    "tile": one("Tile", {"x": (2, 1, 3)}, {"r": ints(2, 3, 2)}),
    "tile of one axis": one("Tile", {"x": (2, 3)}, {"r": ints(1, 4)}),
    "tile nothing": one("Tile", {"x": (2, 3)}, {"r": ints(1, 1)}),
    "tile int64": one("Tile", WHOLE, {"r": ints(2, 2)}),
    "upper": one("Trilu"),
    "lower": one("Trilu", weights={"k": np.array(-1)}, upper=0),
    "upper far": one("Trilu", weights={"k": np.array(2**62)}),
    "upper int64": one("Trilu", WHOLE, {"k": np.array(1)}),
    **{
        f"sums {axis} {exclusive}{reverse}": one(
            "CumSum", weights={"a": np.array(axis)}, exclusive=exclusive, reverse=reverse
        )
        for axis, exclusive, reverse in [(0, 0, 0), (-1, 1, 0), (2, 0, 1), (1, 1, 1)]
    },
    "sums int64": one("CumSum", WHOLE, {"a": np.array(1)}),
    "one of many": one("OneHot", WHOLE, {"d": np.array(5), "v": draw(2)}),
    "one of many first": one("OneHot", WHOLE, {"d": np.array(4), "v": np.array([-1, 7])}, axis=0),
    "one of many of floats": one("OneHot", {"x": (4,)}, {"d": np.float32(3), "v": draw(2)}, axis=-2),
    "expand by what was computed of shapes": (
        [node("Shape", ["z"], ["s"]), node("Concat", ["two", "s"], ["t"], axis=0), node("Expand", ["x", "t"], ["y"])],
        {"x": (4, 1), "z": (4, 6)}, {"two": ints(2)}, 17),
    "size": (
        [node("Size", ["x"], ["s"]), node("Cast", ["s"], ["f"], to=1), node("Div", ["x", "f"], ["y"])], X, {}, 17),
}  # fmt: skip


def feeds_for(shapes):
    return {
        name: RNG.integers(-4, 4, given[0]) if given[-1] == "int64" else draw(*given) for name, given in shapes.items()
    }


@pytest.mark.parametrize("name", ROWS)
def test_an_operator_gives_what_the_reference_gives(name, model, imported, reference):
    nodes, shapes, weights, opset = ROWS[name]
    content, feeds = model(nodes, shapes, ["y"], weights, opset), feeds_for(shapes)
    if name == "one of many of floats":
        feeds["x"] = np.array([1, -2, 0, 5], np.float32)
    (want,) = reference(content, feeds)
    content = declared(content, [want.dtype])
    for (got,) in (imported(content, feeds), ne.InferenceSession(content).run(None, feeds)):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 2e-6 * max(1.0, np.abs(want).max())


MOVES = ("flip", "pad", "depth_to_space", "space_to_depth", "interleave", "cumsum")


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name in MOVES for i, case in enumerate(OPS[name].cases()) if case.shapes]
)
def test_what_is_written_runs_on_the_kernels(name, number):
    op, case = OPS[name], OPS[name].cases()[number]
    arrays = case.arrays(np.random.default_rng(number))
    builder = Builder()
    values = [builder.input(f"i{i}", Spec.of(a)) for i, a in enumerate(arrays)]
    made = builder.add(name, *values, **case.attrs)
    content = model_bytes(builder.graph([made]), [a.shape for a in arrays], {"y": made.shape}, 19)
    (got,) = ne.InferenceSession(content).run(None, {v.name: a for v, a in zip(values, arrays, strict=True)})
    assert np.abs(got - op.reference(arrays, case.attrs)[0]).max() <= 1e-6 * max(1, np.abs(got).max())


@pytest.mark.parametrize("opset", [17, 19])
def test_padding_is_written_as_one_node_where_onnx_has_it(opset):
    builder = Builder()
    x = builder.input("x", Spec((2, 3, 4, 5)))
    y = builder.add("pad", x, before=(0, 0, 1, 0), after=(0, 0, 2, 3), mode="wrap", value=0.0)
    content = model_bytes(builder.graph([y]), [x.shape], {"y": y.shape}, opset)
    kinds = [n.op_type for n in onnx.load_model_from_string(content).graph.node]
    assert kinds == (["Pad"] if opset == 19 else ["Slice", "Slice", "Concat", "Slice", "Concat", "Identity"])


def test_slices_backwards_of_what_a_convolution_makes(model, reference):
    """Whose values lie in blocks of channels."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Slice", ["c", "s", "e", "a", "t"], ["f"]),
        node("Pad", ["f", "p"], ["q"], mode="reflect"),
        node("DepthToSpace", ["q"], ["d"], blocksize=2, mode="CRD"),
        node("Add", ["d", "d"], ["y"]),
    ]
    weights = {"w": draw(20, 4, 3, 3), "s": ints(-1, -1), "e": ints(-99, -99), "a": ints(1, 3), "t": ints(-1, -1)}
    content = model(nodes, X, ["y"], {**weights, "p": ints(0, 0, 1, 2, 0, 0, 2, 1)})
    feeds = {"x": draw(2, 4, 7, 6)}
    (want,), (got,) = reference(content, feeds), ne.InferenceSession(content).run(None, feeds)
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_a_batch_of_padded_images_may_run_in_parts(model):
    """Whatever they are padded with: no number depends on the size of the batch."""
    nodes = [
        node("Pad", ["x", "p", "v"], ["a"]),
        node("Pad", ["a", "p"], ["b"], mode="edge"),
        node("Pad", ["b", "p"], ["c"], mode="reflect"),
        node("Tile", ["c", "r"], ["d"]),
        node("Slice", ["d", "p", "e", "s", "t"], ["y"]),
    ]
    weights = {"p": ints(0, 0, 1, 2, 0, 0, 2, 1), "v": np.float32(0.5), "r": ints(1, 1, 2, 1)}
    weights |= {"e": ints(-9), "s": ints(3), "t": ints(-1)}
    nodes[-1].input[1] = "t"
    content = model(nodes, {"x": ("N", 4, 5, 6)}, ["y"], weights)
    two, three = (decompose(import_graph(read_model(content), {"x": (n, 4, 5, 6)})) for n in (2, 3))
    assert samples_apart(two) and is_same_at(two, three)
