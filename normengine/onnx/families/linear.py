"""Matrix products: ``Gemm`` and ``MatMul`` with a known matrix become ``linear``, whose weight is (O, I); what
``Einsum`` describes is written out."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph import Node, Value
from ...ops.einsum import einsum
from ...ops.matmul import parts_of_batch, product
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes


@reads("Gemm")
def read_gemm(call: ImportedNode) -> Value:
    alpha, beta = call.node.number("alpha", 1.0), call.node.number("beta", 1.0)
    trans_a, trans_b = bool(call.node.integer("transA", 0)), bool(call.node.integer("transB", 0))
    a = call.value(0)
    known = call.known(1)
    shape = call.shape(1)
    if a.spec.rank != 2 or len(shape) != 2:
        raise OnnxError(f"both factors must be matrices, got shapes {a.shape} and {shape}")
    bias = call.known(2) if call.given(2) else None
    if known is not None:
        x = call.add("permute", a, axes=(1, 0)) if trans_a else a
        weight = call.constant(scaled(call, known if trans_b else known.T, alpha), call.name(1))
        if bias is not None and is_row(bias, weight.shape[0]):
            call.room((weight.shape[0],), bias.itemsize)
            row = np.broadcast_to(scaled(call, bias.reshape(-1), beta), (weight.shape[0],))
            return call.add("linear", x, weight, call.constant(np.ascontiguousarray(row), call.name(2)))
        y = call.add("linear", x, weight)
    else:
        y = call.add("matmul", a, call.value(1), transpose_a=trans_a, transpose_b=trans_b)
        y = y if alpha == 1 else call.add("mul", y, call.constant(alpha))
    if not call.given(2):
        return y
    c = call.value(2)
    return call.add("add", y, c if beta == 1 else call.add("mul", c, call.constant(beta)))


def scaled(call: ImportedNode, array: np.ndarray, factor: float) -> np.ndarray:
    """``array`` times ``factor``, computed in float64; the array itself where the factor is 1."""
    if factor == 1:
        return array
    call.room(array.shape, array.itemsize)
    scaled: np.ndarray = np.multiply(array, factor, dtype=np.float64, order="C").astype(array.dtype)
    return scaled


def is_row(bias: np.ndarray, width: int) -> bool:
    """Whether ``bias`` adds the same ``width`` numbers to each row."""
    return bias.ndim == 0 or (bias.shape[-1] in (1, width) and bias.size == bias.shape[-1])


@reads("MatMul")
def read_matmul(call: ImportedNode) -> Value:
    """A transposition of the last two axes before it becomes part of it."""
    right = call.known(1)
    if right is not None and right.ndim == 2:
        return _times_matrix(call, call.value(0), right, call.name(1))
    left = call.known(0)
    if left is not None and left.ndim == 2 and len(call.shape(1)) > 1:  # a layer too, which takes a batch norm
        columns = call.value(1)
        swap = (*range(columns.spec.rank - 2), columns.spec.rank - 1, columns.spec.rank - 2)
        turned = _times_matrix(call, call.add("permute", columns, axes=swap), left.T, call.name(0))
        return call.add("permute", turned, axes=swap)
    a, b = call.value(0), call.value(1)
    if a.spec.rank < 2 or b.spec.rank < 2 or parts_of_batch(a.shape[:-2], b.shape[:-2]) > 2:
        return product(call.add, a, b)
    (a, flip_a), (b, flip_b) = _as_stored(call, a), _as_stored(call, b)
    return call.add("matmul", a, b, transpose_a=flip_a, transpose_b=flip_b)


def _as_stored(call: ImportedNode, x: Value) -> tuple[Value, bool]:
    """The matrices of ``x`` and whether they are transposed, which they are where that leaves elements beside each
    other that are stored so."""
    maker = call.producer(x)
    if maker is None or maker.op != "permute" or maker.attrs["axes"][-2] != x.spec.rank - 1:
        return x, False
    *leading, rows, columns = maker.attrs["axes"]
    axes, (source,) = (*leading, columns, rows), maker.inputs
    return source if axes == tuple(range(len(axes))) else call.add("permute", source, axes=axes), True


@reads("Einsum")
def read_einsum(call: ImportedNode) -> Value:
    values = call.values()
    return einsum(call.add, call.node.text("equation"), values)


def _times_matrix(call: ImportedNode, x: Value, matrix: np.ndarray, name: str) -> Value:
    """``x @ matrix`` for a matrix (I, O), all axes of ``x`` but the last taken as rows."""
    if not x.shape or x.shape[-1] != matrix.shape[0]:
        raise OnnxError(f"the product of shapes {x.shape} and {matrix.shape} does not exist: inner extents differ")
    rows = x if x.spec.rank == 2 else call.add("reshape", x, shape=(-1, matrix.shape[0]))
    y = call.add("linear", rows, call.constant(matrix.T, name))
    return y if x.spec.rank == 2 else call.add("reshape", y, shape=(*x.shape[:-1], matrix.shape[1]))


def with_bias(call: ImportedNode) -> Value | None:
    """``Add`` of a known channel vector to a product or convolution without bias, as that layer with bias."""
    for x, other in ((0, 1), (1, 0)):
        array = call.known(other)
        if array is None or call.known(x) is not None or not call.alone(x):
            continue
        value = call.value(x)
        layer = call.producer(value)
        if layer is None or layer.op not in ("linear", "conv2d") or len(layer.inputs) != 2:
            continue
        rank, channels = value.spec.rank, value.shape[1]
        if array.ndim <= rank and (1,) * (rank - array.ndim) + array.shape == (1, channels, *[1] * (rank - 2)):
            return call.add(layer.op, *layer.inputs, call.constant(array.reshape(-1), call.name(other)), **layer.attrs)
    return None


@writes("linear")
def write_linear(writing: ExportContext, node: Node) -> None:
    _write_gemm(writing, node, {"transB": 1})


@writes("matmul")
def write_matmul(writing: ExportContext, node: Node) -> None:
    if len(node.outputs[0].shape) > 2:
        factors = zip(node.inputs, (node.attrs["transpose_a"], node.attrs["transpose_b"]), strict=True)
        writing.make(node, "MatMul", *(_turned(writing, node, x) if flip else x for x, flip in factors))
        return
    turned: dict[str, Any] = {"transA": int(node.attrs["transpose_a"]), "transB": int(node.attrs["transpose_b"])}
    _write_gemm(writing, node, {k: v for k, v in turned.items() if v})


def _write_gemm(writing: ExportContext, node: Node, attributes: dict[str, Any]) -> None:
    """Before opset 11 the bias has to be there."""
    zero = [writing.constant(np.zeros(1, np.float32), "zero")] if writing.opset < 11 and len(node.inputs) == 2 else []
    writing.make(node, "Gemm", *node.inputs, *zero, **attributes)


def _turned(writing: ExportContext, node: Node, x: Value) -> str:
    """The matrices of ``x`` transposed."""
    rank = x.spec.rank
    return writing.step(node, "Transpose", x, perm=(*range(rank - 2), rank - 1, rank - 2))
