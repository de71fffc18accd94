"""Operators whose inputs are all known: computed while the file is read, as ONNX's reference evaluator does."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from normengine.onnx import OnnxError

RNG = np.random.default_rng(0)
node = helper.make_node


def ints(*numbers):
    return np.array(numbers, np.int64)


A, B = ints(7, -7, 7, -7, 6, 0), ints(3, 3, -3, -3, -2, 5)
GRID = np.arange(24).reshape(2, 3, 4)
F = RNG.standard_normal((3, 4)).astype(np.float32)


def row(op_type, *weights, opset=18, outputs=1, **attributes):
    """One node that reads the arrays; None is an input that is left out."""
    return op_type, weights, opset, outputs, attributes


ROWS = {
    "mod": row("Mod", A, B),
    "mod fmod": row("Mod", A, B, fmod=1),
    "mod of 32 bits": row("Mod", A.astype(np.int32), B.astype(np.int32), fmod=1),
    "mod of floats": row("Mod", np.float32([5.5, -5.5, 5.5, -0.5]), np.float32([2, 2, -2, 3]), fmod=1),
    "div": row("Div", A, B),
    "div of bytes": row("Div", np.uint8([7, 255]), np.uint8([2, 16])),
    "split": row("Split", GRID, ints(1, 2), outputs=2, axis=1),
    "split in equal parts": row("Split", GRID, outputs=2, axis=-1, num_outputs=2),
    "split 11": row("Split", GRID, opset=11, outputs=3, axis=2, split=[1, 1, 2]),
    "split of strides": row("Split", np.broadcast_to(ints(4), (6,)), outputs=2, num_outputs=2),
    "clip": row("Clip", A, np.int64(-2), np.int64(6)),
    "clip low": row("Clip", A, np.int64(1)),
    "clip high": row("Clip", A, None, np.int64(2)),
    "clip floats": row("Clip", F, np.float32(-0.5), np.float32(0.5)),
    "clip 10": row("Clip", F, opset=10, min=-0.5, max=0.25),
    "sum": row("Sum", F, F[:1], np.float32(2)),
    "pad": row("Pad", GRID, ints(0, 1, 2, 1, 0, 0)),
    "pad with a number": row("Pad", GRID, ints(0, 1, 2, 1, 0, 0), np.int64(2**60 + 1)),
    "pad two axes": row("Pad", GRID, ints(1, 0, 0, 2), np.int64(9), ints(-1, 0)),
    "pad 10": row("Pad", F, opset=10, pads=[1, 0, 0, 2], value=1.5),
    "tile": row("Tile", GRID, ints(2, 1, 3)),
    "mean": row("ReduceMean", GRID * 7 - 60, ints(1)),
    "mean of all": row("ReduceMean", F, keepdims=0),
    "mean 13": row("ReduceMean", F, opset=13, axes=[-1], keepdims=0),
    "sum of 32 bits": row("ReduceSum", GRID.astype(np.int32), ints(0, 2)),
    "scatter": row("ScatterND", ints(1, 2, 3, 4, 5), ints(3, 0, -1)[:, None], ints(7, 8, 9)),
    "scatter rows": row("ScatterND", GRID, ints(1)[:, None], -GRID[:1]),
    "scatter elements": row("ScatterND", GRID, np.array([[0, 1, 2], [1, 2, 3]]), ints(-5, -6)),
    **{
        f"scatter {how}": row("ScatterND", ints(1, 2, 3), ints(0, 2, 0)[:, None], ints(5, 6, 7), reduction=how)
        for how in ("add", "mul", "max", "min")
    },
}


def content_of(name_or_row):
    op_type, weights, opset, outputs, attributes = ROWS[name_or_row] if isinstance(name_or_row, str) else name_or_row
    names = ["" if w is None else f"w{i}" for i, w in enumerate(weights)]
    made = [f"y{i}" for i in range(outputs)]
    arrays = {name: w for name, w in zip(names, weights, strict=True) if name}
    kind = next(w for w in weights if w is not None).dtype
    found = helper.make_graph(
        [node(op_type, names, made, "it", **attributes)], "g", [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(kind), None) for n in made],
        [numpy_helper.from_array(w, name) for name, w in arrays.items()],
    )  # fmt: skip
    return helper.make_model(found, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


@pytest.mark.parametrize("name", ROWS)
def test_what_is_known_is_computed_as_the_reference_computes_it(name, imported, reference):
    content, feeds = content_of(name), {"x": np.ones(1, np.float32)}
    for want, got in zip(reference(content, feeds), imported(content, feeds), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-6 if want.dtype.kind == "f" else 0)


def test_the_least_integer_is_divided_right(imported):
    content = content_of(row("Div", ints(-(2**63), -(2**63) + 1), ints(2, 2)))
    assert imported(content, {"x": np.ones(1, np.float32)})[0].tolist() == [-(2**62), -(2**62) + 1]


def test_a_shape_is_made_of_all_of_them(model, imported):
    """Split, Tile, Pad, Clip, ReduceMean, Mod and ScatterND between an input's extents and a reshape to (3N, 2, 2)."""
    nodes = [
        node("Shape", ["x"], ["s"]),  # N, 3, 4
        node("Split", ["s", "one_two"], ["n", "rest"]),
        node("ReduceMean", ["rest"], ["three"]),  # (3 + 4) / 2
        node("Tile", ["three", "two"], ["threes"]),  # 3, 3
        node("Pad", ["threes", "front"], ["padded"]),  # 0, 3, 3
        node("Mod", ["minus_seven", "padded_by"], ["minus_one"], fmod=1),
        node("ScatterND", ["padded", "places", "minus_one"], ["target"]),  # -1, 3, 3
        node("Clip", ["target", "", "most"], ["clipped"]),  # -1, 2, 2
        node("Reshape", ["x", "clipped"], ["y"]),
    ]
    weights = {
        "one_two": ints(1, 2), "two": ints(2), "front": ints(1, 0), "minus_seven": ints(-7), "padded_by": ints(2),
        "places": ints(0)[:, None], "most": np.int64(2),
    }  # fmt: skip
    (got,) = imported(model(nodes, {"x": ("N", 3, 4)}, ["y"], weights), {"x": RNG.random((5, 3, 4), np.float32)})
    assert got.shape == (15, 2, 2)


BAD = [
    (row("Mod", A, ints(0)), "divides an integer by zero"),
    (row("Mod", F, np.float32(2)), "attribute 'fmod' must be 1 for numbers that are no integers"),
    (row("Div", np.int32([1]), np.int32([0])), "divides an integer by zero"),
    (row("ScatterND", GRID, ints(0), ints(5)), r"indices of shape \(1,\) and updates of \(1,\) do not fit shape"),
    (row("ScatterND", A, ints(6)[:, None], ints(5)), "cannot be computed: index 6 is out of bounds"),
    (row("ScatterND", A, ints(0)[:, None], ints(5), reduction="mean"), "attribute 'reduction' must be none, add"),
    (row("Tile", GRID, ints(2)), r"repeats \(2,\) must be one number for each axis of shape \(2, 3, 4\)"),
    (row("Tile", A, ints(2**40)), "cannot be made"),
    (row("Tile", A, ints(2**24)), "the arrays that are computed while the network is read come to"),
    (row("Pad", A, ints(-4, -4)), "cannot be made"),
    (row("Pad", A, ints(2**40, 0)), "cannot be made"),
    (row("Pad", A, ints(1, 1), mode="mirror"), "attribute 'mode' must be constant, reflect, edge, wrap, got 'mirror'"),
    (row("ReduceMean", np.zeros((0, 2), np.float32), ints(0)), r"a mean needs an element, got shape \(0, 2\)"),
    (row("ReduceMean", A, ints(3)), "cannot be computed"),
    (row("Clip", A, ints(1, 2)), "min must be one number"),
    (row("Split", A, ints(1, 2), outputs=2), r"cannot split axis 0 of shape \(6,\) into 2 parts of \(1, 2\)"),
    (row("Sum", A, A), "input 0 is int64, which the operator does not read at opset 18"),
]


@pytest.mark.parametrize("given, text", BAD, ids=[text[:30] for _, text in BAD])
def test_what_cannot_be_computed(given, text, imported):
    with pytest.raises(OnnxError, match=f"{given[0]} 'it': .*{text}"):
        imported(content_of(given), {"x": np.ones(1, np.float32)})
