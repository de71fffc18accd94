"""What operators refuse, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from normengine.graph import Spec
from normengine.ops import Builder, OperatorError

WINDOW = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
POOL = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0), "ceil_mode": False, "dilation": (1, 1)}
LOSS = {"label_smoothing": 0.0, "ignore_index": -100, "reduction": "mean"}
INT = "int64"


@pytest.mark.parametrize(
    ("op", "specs", "attrs", "message"),
    [
        (
            "reduce_mean",
            [Spec((0, 3))],
            {"axes": (0,), "keepdims": False},
            "a mean needs an element, got axes (0,) of shape (0, 3)",
        ),
        (
            "conv2d",
            [Spec((1, 24, 8, 8)), Spec((64, 32, 3, 3))],
            WINDOW,
            "input has 24 channels, weight expects 32 (weight shape (64, 32, 3, 3))",
        ),
        (
            "conv2d",
            [Spec((1, 24, 8, 8)), Spec((64, 16, 3, 3))],
            {**WINDOW, "groups": 2},
            "input has 24 channels, weight expects 16 in each of 2 groups (weight shape (64, 16, 3, 3))",
        ),
        (
            "conv2d",
            [Spec((1, 3, 8, 8)), Spec((64, 1, 3, 3))],
            {**WINDOW, "groups": 3},
            "groups must divide the output channels, got 3 groups for 64 (weight shape (64, 1, 3, 3))",
        ),
        (
            "conv2d",
            [Spec((3, 32, 32)), Spec((64, 3, 3, 3))],
            WINDOW,
            "input must be (N, C, H, W), got shape (3, 32, 32)",
        ),
        (
            "conv2d",
            [Spec((1, 3, 32, 32), INT), Spec((64, 3, 3, 3))],
            WINDOW,
            "input must be float32, got int64; convert with x.astype(np.float32)",
        ),
        (
            "conv2d",
            [Spec((1, 3, 4, 32)), Spec((64, 3, 3, 3))],
            {**WINDOW, "dilation": (2, 2)},
            "kernel (3, 3) with dilation (2, 2) covers 5 rows, the input has 4 (H, W = (4, 32)) and padding "
            "(0, 0, 0, 0) (top, left, bottom, right)",
        ),
        (
            "conv2d",
            [Spec((1, 3, 8, 8)), Spec((4, 3, 3, 3)), Spec((3,))],
            WINDOW,
            "bias must have shape (4,), got (3,)",
        ),
        ("conv2d", [Spec((1, 3, 8, 8)), Spec((4, 3, 3, 3))], {**WINDOW, "stride": (0, 1)},
         "stride must be positive, got (0, 1)"),
        ("conv2d", [Spec((1, 3, 8, 8)), Spec((4, 3, 3, 3))], {**WINDOW, "padding": (1, -1, 0, 0)},
         "padding must be four numbers (top, left, bottom, right) >= 0, got (1, -1, 0, 0)"),
        ("conv2d_input_grad", [Spec((1, 4, 5, 6)), Spec((4, 3, 3, 3))], {**WINDOW, "input_size": (8, 8)},
         "output gradient must have shape (1, 4, 6, 6), got (1, 4, 5, 6)"),
        ("linear", [Spec((2, 100)), Spec((10, 128))], {},
         "input has 100 features, weight expects 128 (weight shape (10, 128))"),
        ("linear", [Spec((2, 4, 4, 8)), Spec((10, 128))], {}, "input must be (N, features), got shape (2, 4, 4, 8)"),
        ("matmul", [Spec((2, 3)), Spec((2, 3))], {"transpose_a": False, "transpose_b": False},
         "matrices (2, 3) and (2, 3) (transpose_a=False, transpose_b=False) differ in the summed extent: 3, 2"),
        ("batch_norm_train", [Spec((2, 8, 4, 4)), Spec((4,)), Spec((4,))], {"eps": 1e-5},
         "input has 8 channels, weight expects 4 (weight shape (4,))"),
        ("batch_norm", [Spec((8,)), *[Spec((8,))] * 4], {"eps": 1e-5},
         "input must be (N, C) or (N, C, ...), got shape (8,)"),
        ("max_pool2d", [Spec((1, 3, 1, 8))], POOL,
         "kernel (2, 2) with dilation (1, 1) covers 2 rows, the input has 1 (H, W = (1, 8)) and padding "
         "(0, 0, 0, 0) (top, left, bottom, right)"),
        ("max_pool2d", [Spec((1, 3, 8, 8))], {**POOL, "padding": (2, 0, 2, 0)},
         "padding (2, 0, 2, 0) (top, left, bottom, right) must be smaller than the kernel (2, 2)"),
        ("adaptive_avg_pool2d", [Spec((1, 3, 8, 8))], {"output_size": (0, 1)},
         "output size must be positive, got (0, 1)"),
        ("add", [Spec((2, 3)), Spec((4,))], {},
         "shapes (2, 3) and (4,) do not broadcast: aligned at the last axis, extents must be equal or 1"),
        ("mul", [Spec((2,)), Spec((2,), INT)], {},
         "right operand must be float32, got int64; convert with x.astype(np.float32)"),
        ("expand", [Spec((2, 3))], {"shape": (2, 4)},
         "cannot expand shape (2, 3) to (2, 4): only extents of 1 can be repeated"),
        ("expand", [Spec((2, 3))], {"shape": (3,)}, "cannot expand shape (2, 3) to the fewer axes of (3,)"),
        ("expand", [Spec((3,))], {"shape": (-1, 3)},
         "cannot expand shape (3,) to (-1, 3): -1 stands where the input has no axis"),
        ("expand", [Spec((3,))], {"shape": (-2, 3)}, "cannot expand shape (3,) to (-2, 3): extents are -1, 0 or more"),
        ("cast", [Spec((3,))], {"dtype": "float16"},
         "cannot convert to float16; the dtypes are float32, float64, int64, uint32, uint8, bool"),
        ("reshape", [Spec((2, 3))], {"shape": (4, -1)},
         "cannot reshape (2, 3) to (4, -1): 6 elements are no multiple of 4"),
        ("reshape", [Spec((2, 3))], {"shape": (2, 4)},
         "cannot reshape (2, 3) to (2, 4): 6 elements against 8; use -1 for one extent"),
        ("reshape", [Spec((2, 3))], {"shape": (-1, -1)},
         "cannot reshape (2, 3) to (-1, -1): one extent may be -1, the others are 0 or more"),
        ("reshape", [Spec((6,))], {"shape": (6, 0)},
         "cannot reshape (6,) to (6, 0): 0 copies an input extent, but the input has no such"),
        ("reshape", [Spec((6,))], {"shape": (1,) * 32 + (6,)},
         "the result has 33 axes, at most 32 are supported; merge some of them"),
        ("permute", [Spec((2, 3))], {"axes": (0, 0)},
         "permute of shape (2, 3) needs each axis 0..1 once, got (0, 0)"),
        ("slice", [Spec((4, 5))], {"starts": (0, 5), "stops": (4, 9), "steps": (1, 1)},
         "slice 5:9:1 of axis 1 with extent 5 selects nothing"),
        ("slice", [Spec((4,))], {"starts": (3,), "stops": (0,), "steps": (-1,)},
         "slice of axis 0 has step -1; steps must be positive"),
        ("unslice", [Spec((4, 5))], {"starts": (0, 0), "steps": (-1, 1), "shape": (4, 5)},
         "unslice of shape (4, 5) has steps (-1, 1); steps must be positive"),
        ("concat", [Spec((2, 3, 4)), Spec((2, 3, 5))], {"axis": 1},
         "inputs must agree except along axis 1: input 1 has shape (2, 3, 5), input 0 has shape (2, 3, 4)"),
        ("concat", [Spec((2, 3)), Spec((2, 3), INT)], {"axis": 1},
         "input 1 is int64, input 0 is float32; convert one of them"),
        ("concat", [Spec((2, 3))], {"axis": 2}, "concatenation axis 2 is not one of the 2 axes of shape (2, 3)"),
        ("reduce_sum", [Spec((2, 3))], {"axes": (1, 0), "keepdims": False},
         "axes must be in ascending order, each once, got (1, 0)"),
        ("reduce_mean", [Spec((2, 3), "uint8")], {"axes": (0,), "keepdims": False},
         "input must be float32, got uint8; convert with x.astype(np.float32)"),
        ("softmax", [Spec((2, 3))], {"axis": -1}, "softmax axis -1 is not one of the 2 axes of shape (2, 3)"),
        ("cross_entropy", [Spec((8, 10)), Spec((8, 10), INT)], LOSS,
         "target must have shape (8,) for logits (8, 10) (N, C, ...), got (8, 10); "
         "it holds class indices, not one-hot rows"),
        ("cross_entropy", [Spec((8, 10)), Spec((8,))], LOSS,
         "target must be int64, got float32; convert with x.astype(np.int64)"),
        ("cross_entropy", [Spec((8, 10)), Spec((8,), INT), Spec((9,))], LOSS,
         "weight must have shape (10,), got (9,)"),
        ("cross_entropy", [Spec((8, 10)), Spec((8,), INT)], {**LOSS, "reduction": "average"},
         'reduction must be "none", "mean" or "sum", got \'average\''),
        ("cross_entropy", [Spec((8, 10)), Spec((8,), INT)], {**LOSS, "label_smoothing": 1.2},
         "label_smoothing must be between 0 and 1, got 1.2"),
        ("cross_entropy", [Spec((8, 10)), Spec((8,), INT)], {**LOSS, "ignore_index": 2**63},
         "ignore_index must be a 64-bit integer, as labels are, got 9223372036854775808"),
        ("cross_entropy_with_grad", [Spec((8, 10)), Spec((8,), INT)], {**LOSS, "reduction": "none"},
         'reduction must be "mean" or "sum", got \'none\''),
        ("dropout", [Spec((4,)), Spec((), "uint32"), Spec((), INT)], {"p": 0.5, "layer": 0, "per_channel": False},
         "step must be a uint32 scalar, got int64[]"),
        ("dropout", [Spec((4,)), Spec((), "uint32"), Spec((), "uint32")],
         {"p": 0.5, "layer": 0, "per_channel": True},
         "dropout of whole channels needs an input (N, C, ...), got shape (4,)"),
    ],
)  # fmt: skip
def test_message(op: str, specs: list[Spec], attrs: dict[str, Any], message: str) -> None:
    builder = Builder()
    inputs = [builder.input(f"x{i}", spec) for i, spec in enumerate(specs)]
    with builder.at("features.3", "Layer"), pytest.raises(OperatorError) as caught:
        builder.add_multi(op, *inputs, **attrs)
    assert str(caught.value) == f"Layer 'features.3': {message}"
    assert builder.nodes == []


@pytest.mark.parametrize(
    ("op", "shapes", "attrs"),
    [
        ("expand", ((1,),), {"shape": (2**62, 2**62)}),
        ("add", ((2**22, 1), (2**22,)), {}),
        ("matmul", ((2**22, 1), (1, 2**22)), {"transpose_a": False, "transpose_b": False}),
        ("unslice", ((4,),), {"starts": (2**60,), "steps": (1,), "shape": (2**61,)}),
    ],
)
def test_results_that_no_machine_holds_are_refused(op: str, shapes: Any, attrs: dict[str, Any]) -> None:
    builder = Builder()
    inputs = [builder.input(f"x{i}", Spec(shape)) for i, shape in enumerate(shapes)]
    with pytest.raises(
        OperatorError, match=rf"^{op}: the result of shape \(.*\) takes \d+ bytes, more than this machine"
    ):
        builder.add(op, *inputs, **attrs)


def test_inputs_that_no_array_can_be_are_refused() -> None:
    with pytest.raises(OperatorError, match="input 'x' has 70 axes, at most 32 are supported"):
        Builder().input("x", Spec((1,) * 70))
    with pytest.raises(OperatorError, match=r"input 'x' of shape \(4294967296, 4294967296\) takes"):
        Builder().input("x", Spec((2**32, 2**32)))


def test_operator_name_stands_for_a_missing_layer() -> None:
    builder = Builder()
    x = builder.input("x", Spec((2, 3)))
    with pytest.raises(OperatorError, match=r"^permute: permute of shape"):
        builder.add("permute", x, axes=(1,))
