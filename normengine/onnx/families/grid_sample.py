"""``GridSample``, and ``AffineGrid``, which makes its grids. Before opset 20 modes have other names, and there are no
volumes."""

from __future__ import annotations

import math

import numpy as np

from ...graph import Node, Value
from ...ops.grid_sample import affine_points
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes

_OF_IMAGES = {"bilinear": "linear", "bicubic": "cubic"}
"""The modes that go by another name before opset 20."""
_OLDEST = 16
_OLDEST_OF_VOLUMES = 20


@reads("GridSample")
def read_grid_sample(call: ImportedNode) -> Value:
    x, grid = call.values(2)
    mode = call.node.text("mode", "linear")
    padding, corners = call.node.text("padding_mode", "zeros"), bool(call.node.integer("align_corners", 0))
    mode = _OF_IMAGES.get(mode, mode)
    if (mode, padding) == ("cubic", "border"):
        grid = _inside(call, x, grid, corners)
    return call.add("grid_sample", x, grid, mode=mode, padding_mode=padding, align_corners=corners)


def _inside(call: ImportedNode, x: Value, grid: Value, corners: bool) -> Value:
    """The grid with what lies outside the image moved to the centers of the outermost pixels, as ONNX does before it
    takes the weights of a border, in cubic mode too."""
    sizes = np.array(x.shape[:1:-1], np.float32)
    far = np.ones(sizes.shape, np.float32) if corners else 1 - 1 / sizes
    end, first, last = (call.constant(a) for a in (np.ones((), np.float32), -far, far))
    before = call.add("greater", call.constant(-np.ones((), np.float32)), grid)
    behind = call.add("greater", grid, end)
    return call.add("where", before, first, call.add("where", behind, last, grid))


@reads("AffineGrid")
def read_affine_grid(call: ImportedNode) -> Value:
    theta, size = call.value(0), call.integers(1, "the size")
    dims = len(size) - 2
    if dims not in (2, 3) or min(size) < 1 or theta.shape != (size[0], dims, dims + 1):
        raise OnnxError(
            f"the size must be (N, C, H, W) with theta (N, 2, 3), or (N, C, D, H, W) with theta (N, 3, 4), "
            f"got size {size} and theta {theta.shape}"
        )
    call.room((dims + 1, math.prod(size[2:])))
    points = call.constant(affine_points(size[2:], bool(call.node.integer("align_corners", 0))))
    rows = call.add("reshape", theta, shape=(size[0] * dims, dims + 1))
    flat = call.add("matmul", rows, points, transpose_a=False, transpose_b=False)
    grid = call.add("permute", call.add("reshape", flat, shape=(size[0], dims, points.shape[1])), axes=(0, 2, 1))
    return call.add("reshape", grid, shape=(size[0], *size[2:], dims))


@writes("grid_sample")
def write_grid_sample(writing: ExportContext, node: Node) -> None:
    attrs, opset = node.attrs, writing.opset
    volumes = node.inputs[0].spec.rank == 5
    if opset < (_OLDEST_OF_VOLUMES if volumes else _OLDEST):
        least = _OLDEST_OF_VOLUMES if volumes else _OLDEST
        raise OnnxError(f"'{writing.label(node)}': GridSample needs opset {least}, got {opset}; choose a newer one")
    if (attrs["mode"], attrs["padding_mode"]) == ("cubic", "border"):
        raise OnnxError(
            f"'{writing.label(node)}': cubic sampling with a border has no form in ONNX, which moves the coordinates "
            "to the image first; choose padding mode 'zeros' or 'reflection'"
        )
    names = {ours: theirs for theirs, ours in _OF_IMAGES.items()} if opset < _OLDEST_OF_VOLUMES else {}
    writing.make(
        node,
        "GridSample",
        *node.inputs,
        mode=names.get(attrs["mode"], attrs["mode"]),
        padding_mode=attrs["padding_mode"],
        align_corners=int(attrs["align_corners"]),
    )
