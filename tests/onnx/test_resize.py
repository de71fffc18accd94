"""Resize and Upsample of every opset, against ONNX's reference evaluator and by hand, and what is written."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx_nodes import draw, ints, node

import normengine as ne
from normengine.graph import Spec
from normengine.onnx import OnnxError
from normengine.onnx.serialize import model_bytes
from normengine.ops import OPS, Builder
from normengine.ops.resize import settings

X = (1, 2, 5, 6)
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
SCALES, SIZES = {"s": np.array([1, 1, 1.7, 0.6], np.float32)}, {"n": ints(1, 2, 3, 11)}
FORMS = {"scales": (["x", "", "s"], SCALES), "sizes": (["x", "", "", "n"], SIZES)}
ROWS = [
    *(
        {"mode": "nearest", "coordinate_transformation_mode": c, "nearest_mode": r}
        for c in COORDINATES
        for r in ROUNDINGS
    ),
    *({"mode": m, "coordinate_transformation_mode": c} for m in ("linear", "cubic") for c in COORDINATES),
    *({"mode": m, "antialias": 1, "exclude_outside": e} for m in ("linear", "cubic") for e in (0, 1)),
    {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
    {},
]


def close(got, want):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 2e-6 * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attributes", ROWS, ids=lambda a: "-".join(map(str, a.values())))
def test_every_mode(form, attributes, model, imported, reference):
    names, weights = FORMS[form]
    content = model([node("Resize", names, ["y"], **attributes)], {"x": X}, ["y"], weights, 19)
    feeds = {"x": draw(*X)}
    close(imported(content, feeds)[0], reference(content, feeds)[0])


@pytest.mark.parametrize(
    ("shape", "names", "weights", "attributes"),
    [
        ((2, 3, 7), ["x", "", "s"], {"s": np.array([1, 1, 2.5], np.float32)}, {"mode": "linear"}),
        ((1, 2, 3, 4, 2), ["x", "", "", "n"], {"n": ints(1, 2, 5, 2, 3)}, {"mode": "linear"}),
        ((4, 5), ["x", "", "", "n"], {"n": ints(7, 3)}, {"mode": "cubic"}),
        ((2, 3, 4, 5), ["x", "", "", "n"], {"n": ints(3, 6, 4, 5)}, {"mode": "linear"}),
        (X, ["x", "", "s"], {"s": np.array([2.5, 0.5], np.float32)}, {"axes": [3, 2], "mode": "linear"}),
        (X, ["x", "", "", "n"], {"n": ints(3, 11)}, {"axes": [-1, 2]}),
        (X, ["x", "", "", "n"], {"n": ints(9, 9)}, {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}),
        (X, ["x", "", "", "n"], {"n": ints(9, 9)}, {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}),
        (X, ["x", "", "", "n"], {"n": ints(2, 4)}, {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}),
        (X, ["x", "", "s"], {"s": np.ones(4, np.float32)}, {"mode": "cubic"}),
    ],
)  # fmt: skip
def test_axes_ranks_and_policies(shape, names, weights, attributes, model, imported, reference):
    if "axes" in attributes:
        attributes = {**attributes, "axes": [a % len(shape) for a in attributes["axes"]]}
    content = model([node("Resize", names, ["y"], **attributes)], {"x": shape}, ["y"], weights, 18)
    feeds = {"x": draw(*shape)}
    close(imported(content, feeds)[0], reference(content, feeds)[0])


@pytest.mark.parametrize("value", [0.0, 3.5])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_crops(value, mode, model, imported, reference):
    weights = {"r": np.array([0, 0, 0.4, -0.3, 1, 1, 1.2, 0.7], np.float32), "n": ints(1, 2, 4, 7)}
    attributes = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": value}
    content = model([node("Resize", ["x", "r", "", "n"], ["y"], **attributes)], {"x": X}, ["y"], weights, 13)
    feeds = {"x": draw(*X)}
    close(imported(content, feeds)[0], reference(content, feeds)[0])


def test_before_opset_11_nearest_rounds_down_where_axes_grow_and_up_where_they_shrink(model, imported):
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4)
    for scales, want in (([1, 1, 1, 1.5], x[..., [0, 0, 1, 2, 2, 3]]), ([1, 1, 0.6, 0.6], x[:, :, :1, [0, 2]])):
        content = model(
            [node("Resize", ["x", "s"], ["y"])], {"x": x.shape}, ["y"], {"s": np.array(scales, np.float32)}, 10
        )
        np.testing.assert_array_equal(imported(content, {"x": x})[0], want)


def test_upsample_in_both_forms(model, imported):
    x = draw(1, 2, 3, 4)
    nearest = x.repeat(2, 2).repeat(3, 3)
    scales = [1.0, 1.0, 2.0, 3.0]
    old = model([node("Upsample", ["x"], ["y"], scales=scales)], {"x": x.shape}, ["y"], opset=7)
    new = model([node("Upsample", ["x", "s"], ["y"])], {"x": x.shape}, ["y"], {"s": np.array(scales, np.float32)}, 9)
    for content in (old, new):
        np.testing.assert_array_equal(imported(content, {"x": x})[0], nearest)
    linear = node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 1.0, 2.0], mode="linear")
    (got,) = imported(model([linear], {"x": x.shape}, ["y"], opset=8), {"x": x})
    np.testing.assert_allclose(got[..., 1::2][..., :3], (x[..., 1:] + x[..., :-1]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(got[..., ::2], x)


def test_sizes_are_computed_in_float32(model, imported):
    """0.7 in float32 is less than 0.7, and ten times that rounds to 7 there."""
    content = model(
        [node("Resize", ["x", "", "s"], ["y"])], {"x": (1, 10)}, ["y"], {"s": np.array([1, 0.7], np.float32)}, 13
    )
    assert imported(content, {"x": draw(1, 10)})[0].shape == (1, 7)


@pytest.mark.parametrize(
    ("names", "weights", "attributes", "text"),
    [
        (["x", "", "s"], {"s": np.ones(3, np.float32)}, {}, "the scales must be 4 positive numbers, one for each axis"),
        (["x", "", "s"], {"s": -np.ones(4, np.float32)}, {}, "the scales must be 4 positive numbers"),
        (["x", "", "s"], {"s": np.full(4, np.nan, np.float32)}, {}, "the scales must be 4 positive numbers"),
        (["x", "", "s"], {"s": np.full(4, 3e38, np.float32)}, {}, "the scales .* are too large for an input of shape"),
        (["x", "", "s"], {"s": np.full(4, 1e-3, np.float32)}, {}, "sizes and scales must be positive, got size 0"),
        (["x", "", "s"], {"s": np.ones(65, np.float32)}, {}, "the scales must be at most 64 real numbers"),
        (["x"], {}, {}, "the scales must be 4 positive numbers, one for each axis, got \\(\\)"),
        (["x", "", "", "n"], {"n": ints(1, 2, 3)}, {}, "the sizes must be 4 positive integers, one for each axis"),
        (["x", "", "", "n"], {"n": ints(1, 2, 0, 3)}, {}, "the sizes must be 4 positive integers"),
        (["x", "", "", "n"], {"n": ints(1, 2, 10**8, 3)}, {}, "the arrays that are computed while the network is read"),
        (["x", "", "s", "n"], {**SCALES, **SIZES}, {}, "scales and sizes are both given"),
        (["x", "", "s"], SCALES, {"mode": "lanczos"}, "mode must be one of nearest, linear, cubic, got 'lanczos'"),
        (["x", "", "s"], SCALES, {"nearest_mode": "up"}, "rounding must be one of"),
        (["x", "", "s"], SCALES, {"coordinate_transformation_mode": "half"}, "transformation must be one of"),
        (["x", "", "s"], SCALES, {"coordinate_transformation_mode": "tf_crop_and_resize"}, "the region must be 8 num"),
        (["x", "", "s"], SCALES, {"antialias": 1}, "antialias needs mode linear or cubic"),
        (["x", "", "s"], SCALES, {"axes": [2, 4]}, "axis 4 is not one of the 4 axes"),
        (["x", "", "", "n"], {"n": ints(9, 9)}, {"axes": [2, 2]}, "name an axis twice"),
        (["x", "", "", "n"], SIZES, {"keep_aspect_ratio_policy": "wide"}, "'keep_aspect_ratio_policy' must be stretc"),
    ],
)  # fmt: skip
def test_what_is_refused(names, weights, attributes, text, model, imported):
    content = model([node("Resize", names, ["y"], "up", **attributes)], {"x": X}, ["y"], weights, 18)
    with pytest.raises(OnnxError, match=f"(Resize|resize) 'up': .*{text}"):
        imported(content, {"x": draw(*X)})


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"scales": [1.0, 2.0]}, "the scales must be 4 positive numbers"),
        ({"scales": [1.0] * 65}, "attribute 'scales' must be a list of at most 64 numbers"),
    ],
)
def test_upsample_without_good_scales_is_refused(attributes, text, model, imported):
    content = model([node("Upsample", ["x"], ["y"], "up", **attributes)], {"x": X}, ["y"], opset=7)
    with pytest.raises(OnnxError, match=f"Upsample 'up': {text}"):
        imported(content, {"x": draw(*X)})


def test_the_first_upsample_scales_height_and_width(model, imported, monkeypatch):
    monkeypatch.setattr("normengine.onnx.parse.OLDEST_OPSET", 1)
    x = draw(1, 2, 3, 4)
    for mode, width in (("nearest", 3.0), ("bilinear", 1.0)):
        up = node("Upsample", ["x"], ["y"], "up", height_scale=2.0, width_scale=width, mode=mode)
        (got,) = imported(model([up], {"x": x.shape}, ["y"], opset=1), {"x": x})
        np.testing.assert_array_equal(got[:, :, ::2], x.repeat(int(width), 3))
    content = model([node("Upsample", ["x"], ["y"], "up", width_scale=2.0)], {"x": X}, ["y"], opset=1)
    with pytest.raises(OnnxError, match="Upsample 'up': attribute 'height_scale' is missing"):
        imported(content, {"x": draw(*X)})


def test_a_session_takes_any_batch_and_any_size(model):
    """Sizes that a file computes from the shape of its input, as exporters write them."""
    nodes = [
        node("Shape", ["x"], ["a"]),
        node("Slice", ["a", "two", "four"], ["b"]),
        node("Mul", ["b", "two"], ["c"]),
        node("Slice", ["a", "zero", "two"], ["d"]),
        node("Concat", ["d", "c"], ["e"], axis=0),
        node("Resize", ["x", "", "", "e"], ["y"], mode="linear"),
    ]
    weights = {"zero": ints(0), "two": ints(2), "four": ints(4)}
    session = ne.InferenceSession(model(nodes, {"x": ("N", 3, "H", "W")}, ["y"], weights))
    for shape in ((1, 3, 4, 5), (3, 3, 7, 6), (2, 3, 4, 5)):
        x = draw(*shape)
        attrs = settings(shape, (2, 3), (2 * shape[2], 2 * shape[3]), mode="linear")
        close(session(x), OPS["resize"].reference([x], attrs)[0])


def written(shape, attrs, opset):
    builder = Builder()
    x = builder.input("x", Spec(shape))
    graph = builder.graph([builder.add("resize", x, **attrs)])
    (y,) = graph.outputs
    return model_bytes(graph, [("N", *shape[1:])], {"y": ("N", *y.shape[1:])}, opset)


def kinds(content):
    return [n.op_type for n in onnx.load_model_from_string(content).graph.node]


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 19])
def test_the_batch_stays_open(opset, imported):
    x = draw(3, 2, 5, 6)
    for sizes, mode in itertools.product(((10, 12), (7, 9)), ("nearest", "linear")):
        attrs = settings((2, *X[1:]), (2, 3), sizes, mode=mode)
        content = written((2, *X[1:]), attrs, opset)
        by_shape = sizes == (7, 9) and opset < 18
        assert kinds(content) == (["Shape", "Slice", "Concat", "Resize"] if by_shape else ["Resize"])
        close(imported(content, {"x": x})[0], OPS["resize"].reference([x], attrs)[0])


@pytest.mark.parametrize(
    ("how", "opset", "wanted"),
    [
        ({"mode": "linear", "antialias": True}, 17, ["MatMul", "MatMul"]),
        ({"mode": "linear", "antialias": True}, 18, ["Resize"]),
        ({"mode": "nearest", "transformation": "tf_half_pixel_for_nn"}, 17, ["Gather", "Gather"]),
        ({"mode": "nearest", "transformation": "tf_half_pixel_for_nn"}, 11, ["Shape", "Slice", "Concat", "Resize"]),
    ],
)
def test_what_an_opset_cannot_say_is_written_axis_by_axis(how, opset, wanted, imported):
    attrs = settings(X, (2, 3), (3, 4), **how)
    content, x = written(X, attrs, opset), draw(*X)
    assert kinds(content) == wanted
    close(imported(content, {"x": x})[0], OPS["resize"].reference([x], attrs)[0])


def test_a_scale_that_rounding_would_move_to_another_pixel_is_written_as_picks(imported):
    """41 times 2 / 82, rounded to float32, is less than 1."""
    kept, moved = (
        settings((1, 1, 1, 2), (3,), (m,), transformation="asymmetric", rounding="floor", single=True) for m in (80, 82)
    )
    assert kinds(written((1, 1, 1, 2), kept, 18)) == ["Resize"]
    content = written((1, 1, 1, 2), moved, 18)
    assert kinds(content) == ["Gather"]
    (got,) = imported(content, {"x": np.array([[[[0, 1]]]], np.float32)})
    assert got.sum() == 40


def test_what_has_no_form_is_refused():
    volume = (1, 1, 4, 4, 4)
    attrs = settings(volume, (2, 3, 4), (2, 2, 2), mode="linear", antialias=True)
    with pytest.raises(OnnxError, match="resize': mode 'linear' .* has no form at opset 17; choose a newer one"):
        written(volume, attrs, 17)
    assert kinds(written(volume, attrs, 18)) == ["Resize"]
