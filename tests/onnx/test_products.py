"""Products of matrices of any rank and Einstein's sums, read from files, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_nodes import draw, ints, node

import normengine as ne
from normengine.onnx import OnnxError
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model

FACTORS = [
    ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 6)), ((4,), (4, 5)),
    ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)), ((2, 1, 3, 3, 4), (1, 5, 1, 4, 2)),
    ((1, 1, 1), (1, 1, 1)), ((2, 3, 17, 33), (2, 3, 33, 19)),
]  # fmt: skip


def close(found, wanted):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 2e-6 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("known", [None, 0, 1])
@pytest.mark.parametrize("a, b", FACTORS)
def test_products_of_any_rank(a, b, known, model, imported):
    factors = {"a": draw(*a), "b": draw(*b)}
    weights = {name: factors[name] for name in [[], ["a"], ["b"]][0 if known is None else known + 1]}
    feeds = {name: x for name, x in factors.items() if name not in weights}
    content = model([node("MatMul", ["a", "b"], ["y"])], {n: x.shape for n, x in feeds.items()}, ["y"], weights)
    close(imported(content, feeds)[0], factors["a"].astype(np.float64) @ factors["b"])


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 2, 1, 3), (0, 1, 3, 2), (3, 1, 2, 0)])
def test_a_transposition_of_the_last_axes_becomes_part_of_a_product(perm, model, imported):
    """That which leaves the elements of a row beside each other, or none."""
    q, k = draw(2, 3, 5, 4), draw(*np.empty((2, 3, 4, 6)).transpose(np.argsort(perm)).shape)
    nodes = [node("Transpose", ["k"], ["t"], perm=perm), node("MatMul", ["q", "t"], ["y"])]
    content = model(nodes, {"q": q.shape, "k": k.shape}, ["y"])
    close(imported(content, {"q": q, "k": k})[0], q.astype(np.float64) @ k.transpose(perm))
    graph = import_graph(read_model(content), {"q": q.shape, "k": k.shape})
    (product,) = (n for n in graph.nodes if n.op == "matmul")
    assert product.attrs["transpose_b"] == (perm[-2] == 3)
    assert all(n.attrs["axes"][-1] == 3 for n in graph.nodes if n.op == "permute" and perm[-2] == 3)


def attention(heads, size):
    """As exporters write it out."""
    split, merge = ints(0, 0, heads, -1), ints(0, 0, heads * size)
    names = ("q", "k", "v")
    nodes = [node("MatMul", ["x", f"w{n}"], [f"p{n}"]) for n in names]
    nodes += [node("Reshape", [f"p{n}", "split"], [f"r{n}"]) for n in names]
    nodes += [node("Transpose", [f"r{n}"], [n], perm=[0, 2, 3, 1] if n == "k" else [0, 2, 1, 3]) for n in names]
    nodes += [
        node("MatMul", ["q", "k"], ["s"]),
        node("Mul", ["s", "scale"], ["t"]),
        node("Softmax", ["t"], ["a"], axis=-1),
        node("MatMul", ["a", "v"], ["h"]),
        node("Transpose", ["h"], ["g"], perm=[0, 2, 1, 3]),
        node("Reshape", ["g", "merge"], ["f"]),
        node("Add", ["x", "f"], ["y"]),
    ]
    matrices = {f"w{n}": draw(heads * size, heads * size) / np.float32(heads * size) ** 0.5 for n in names}
    return nodes, {**matrices, "split": split, "merge": merge, "scale": np.float32(size**-0.5)}


def test_attention_as_exporters_write_it_out_runs_at_any_batch(model):
    heads, size, length = 3, 8, 10
    nodes, weights = attention(heads, size)
    session = ne.InferenceSession(model(nodes, {"x": ("n", length, heads * size)}, ["y"], weights))
    for batch in (1, 3):
        x = draw(batch, length, heads * size)
        q, k, v = (
            (x.astype(np.float64) @ weights[f"w{n}"]).reshape(batch, length, heads, size).swapaxes(1, 2) for n in "qkv"
        )
        scores = np.exp(q @ k.swapaxes(2, 3) * size**-0.5)
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(x.shape)
        close(session(x), x + mixed)


EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)), ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)), ("...ii->...i", (2, 3, 3)),
    ("bhij,bhjd->bihd", (2, 3, 4, 6), (2, 3, 6, 5)), ("ij->ji", (3, 4)), ("ij->", (3, 4)), ("ij", (3, 4)),
    ("ba", (3, 4)), ("i,j->ij", (3,), (4,)), ("i,i", (3,), (3,)), ("...ij,...jk", (2, 3, 3, 4), (3, 4, 5)),
    ("nchw,c->nchw", (2, 3, 4, 5), (3,)), ("ji , jk -> ik", (4, 3), (4, 5)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("iij,jk->ik", (3, 3, 4), (4, 2)), ("iji->j", (3, 2, 3)), ("bqd,bkd->bqk", (1, 3, 4), (5, 2, 4)),
    ("ab,cd->acbd", (3, 1), (2, 2)), ("i...->...i", (2, 3, 4)), ("bc,bc->b", (4, 3), (4, 3)),
    ("ijk,k->", (2, 3, 4), (4,)),
]  # fmt: skip


@pytest.mark.parametrize("equation, shapes", [(equation, shapes) for equation, *shapes in EQUATIONS])
def test_sums_that_an_equation_describes(equation, shapes, model, imported):
    feeds = {f"x{i}": draw(*shape) for i, shape in enumerate(shapes)}
    content = model([node("Einsum", list(feeds), ["y"], equation=equation)], dict(zip(feeds, shapes)), ["y"])
    arrays = [x.astype(np.float64) for x in feeds.values()]
    if equation.startswith("bqd"):  # which NumPy does not broadcast
        arrays[0] = np.broadcast_to(arrays[0], (5, 3, 4))
    close(imported(content, feeds)[0], np.einsum(equation, *arrays))


@pytest.mark.parametrize(
    "equation, text",
    [
        ("ij,jk->i1", "must be letters and ellipses"),
        ("ij,jk->ik->", "must be letters and ellipses"),
        ("ij..jk", "must be letters and ellipses"),
        ("ij", "is for 1 operands, got 2"),
        ("ijk,jk", "'ijk' does not name the axes of an operand of rank 2"),
        ("ij,jk->ii", "letters of the result occur once there"),
        ("ij,jk->il", "letters of the result occur once there, and in an operand"),
        ("ij,ik->jk", "axis 'i' has extents 3 and 4"),
    ],
)
def test_equations_that_make_no_sense(equation, text, model):
    content = model([node("Einsum", ["a", "b"], ["y"], "e", equation=equation)], {"a": (3, 4), "b": (4, 5)}, ["y"])
    with pytest.raises(OnnxError, match=text):
        import_graph(read_model(content), {"a": (3, 4), "b": (4, 5)})


def test_einsum_is_written_as_what_it_becomes(tmp_path):
    class Scores(ne.nn.Module):
        def forward(self, x):
            return ne.einsum("bchw,bdhw->bcd", x, x)

    x = draw(2, 3, 4, 5)
    ne.onnx.export(Scores(), tmp_path / "scores.onnx", (3, 4, 5))
    assert {n.op_type for n in onnx.load(tmp_path / "scores.onnx").graph.node} == {"Reshape", "Transpose", "MatMul"}
    close(ne.InferenceSession(tmp_path / "scores.onnx")(x), np.einsum("bchw,bdhw->bcd", x.astype(np.float64), x))
