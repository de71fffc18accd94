"""Which calls one thread does alone."""

from __future__ import annotations

from typing import Any

import pytest

from normengine.kernels import REGISTRY, Problem
from normengine.plan.small_calls import flops, is_small, kind

WINDOW: dict[str, Any] = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}


@pytest.mark.parametrize(
    "op, inputs, output, attrs, small",
    [
        ("conv2d", ((1, 8, 8, 8), (8, 8, 3, 3), None), (1, 8, 8, 8), WINDOW, True),
        ("conv2d", ((4, 8, 8, 8), (8, 8, 3, 3), None), (4, 8, 8, 8), WINDOW, False),
        ("conv2d_input_grad", ((4, 8, 8, 8), (8, 8, 3, 3)), (4, 8, 8, 8), WINDOW, False),
        ("conv2d_weight_grad", ((4, 8, 8, 8), (4, 8, 8, 8)), (8, 8, 3, 3), WINDOW, False),
        ("linear", ((1, 64), (10, 64), (10,)), (1, 10), {}, True),
        ("linear", ((128, 64), (100, 64), (100,)), (128, 100), {}, False),
        ("matmul", ((500, 2), (500, 100)), (2, 100), {"transpose_a": True, "transpose_b": False}, True),
        ("matmul", ((500, 2), (2, 500)), (500, 500), {"transpose_a": False, "transpose_b": False}, False),
        ("softmax", ((32, 10),), (32, 10), {"axis": 1}, True),
        ("reduce_sum", ((32, 16, 32, 32),), (32, 16), {"axes": (2, 3), "keepdims": False}, False),
        ("max_pool2d", ((1, 8, 16, 16),), (1, 8, 8, 8), {"kernel_size": (2, 2)}, True),
        ("max_pool2d", ((1, 8, 16, 16),), (1, 8, 16, 16), {"kernel_size": (7, 7)}, False),
    ],
)
def test_small(op: str, inputs: Any, output: tuple[int, ...], attrs: dict[str, Any], small: bool) -> None:
    assert is_small(Problem(op, inputs, (output,), attrs)) is small


@pytest.mark.parametrize(
    "op, inputs, output, attrs, operations",
    [
        ("conv2d", ((2, 4, 8, 8), (6, 2, 3, 3), (6,)), (2, 6, 8, 8), {**WINDOW, "groups": 2}, 2 * 2 * 6 * 64 * 2 * 9),
        ("conv2d_input_grad", ((2, 6, 4, 4), (6, 2, 3, 3)), (2, 4, 8, 8), WINDOW, 2 * 2 * 6 * 16 * 2 * 9),
        ("conv2d_weight_grad", ((2, 6, 4, 4), (2, 4, 8, 8)), (6, 2, 3, 3), WINDOW, 2 * 2 * 6 * 16 * 2 * 9),
        ("linear", ((5, 7), (3, 7), (3,)), (5, 3), {}, 2 * 5 * 7 * 3),
        ("matmul", ((7, 5), (7, 3)), (5, 3), {"transpose_a": True, "transpose_b": False}, 2 * 5 * 7 * 3),
        ("max_pool2d", ((1, 8, 16, 16),), (1, 8, 8, 8), {"kernel_size": (2, 3)}, 8 * 64 * 6),
        ("max_pool2d_grad", ((1, 8, 8, 8), (1, 8, 16, 16)), (1, 8, 16, 16), {"kernel_size": (2, 3)}, 8 * 64 * 6),
        ("adaptive_avg_pool2d", ((1, 8, 16, 16),), (1, 8, 1, 1), {}, 8 * 256),
        ("batch_stats", ((4, 3, 5, 5),), (3,), {}, 4 * 300),
        ("reduce_sum", ((4, 3, 5, 5),), (3,), {"axes": (0, 2, 3)}, 300),
        ("to_blocked", ((4, 3, 5, 5),), (4, 3, 5, 5), {}, 0),
    ],
)
def test_flops(op: str, inputs: Any, output: tuple[int, ...], attrs: dict[str, Any], operations: int) -> None:
    assert flops(Problem(op, inputs, (output,), attrs)) == operations


def test_every_operator_with_a_kernel_is_of_a_kind() -> None:
    assert "others" not in {kind(op) for op in REGISTRY.signatures}
