"""ONNX files with batch norms, and what folding made of them, against ONNX's reference evaluator."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_nodes import RNG, draw, node

from normengine.onnx.folded_file import fold_model
from normengine.passes.fold_batchnorm import Folding

IMAGE = {"x": (2, 3, 8, 8)}
ROWS = {"x": (3, 6)}
STRANGE = helper.make_opsetid("some.where", 3)


def norm(x, y, channels=4, name="bn", positive=False, shift=True, **attributes):
    """A batch norm and its weights by name."""
    scale = np.abs(draw(channels)) + np.float32(0.1) if positive else draw(channels)
    moved = draw(channels), draw(channels)
    weights = [scale, *(moved if shift else np.zeros((2, channels), np.float32)), 0.5 + np.abs(draw(channels))]
    names = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    return node("BatchNormalization", [x, *names], [y], name, **attributes), dict(zip(names, weights))


def conv(x, y, name="conv", shape=(4, 3, 3, 3), bias=False, op="Conv", **attributes):
    weights = {f"{name}.weight": draw(*shape)}
    if bias:
        weights[f"{name}.bias"] = draw(shape[0] if op == "Conv" else shape[1] * attributes.get("group", 1))
    return node(op, [x, *weights], [y], name, **attributes), weights


def model(*parts, shapes=None, outputs=("y",), weights=None, opset=17, **options):
    """A file of nodes, some of which come with their weights."""
    nodes, stored = [], dict(weights or {})
    for part in parts:
        made, own = part if isinstance(part, tuple) else (part, {})
        nodes.append(made)
        stored.update(own)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (shapes or IMAGE).items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in stored.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), STRANGE], **options)
    inferred = onnx.shape_inference.infer_shapes(made, data_prop=True)
    for port, found in zip(made.graph.output, inferred.graph.output, strict=True):
        rank = len(found.type.tensor_type.shape.dim) or 4
        port.CopyFrom(helper.make_tensor_value_info(port.name, TensorProto.FLOAT, [None] * rank))
    return made


def extents(shapes):
    return {name: tuple(n if isinstance(n, int) else 2 for n in shape) for name, shape in shapes.items()}


def folded(given, shapes=None, tolerance=2e-6):
    """The folded file, after it gave what the file gave, and the rows of its report."""
    shapes = extents(shapes or IMAGE)
    before = given.SerializeToString()
    found = fold_model(given, shapes)
    assert given.SerializeToString() == before
    onnx.checker.check_model(found.model, full_check=True)
    feeds = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    wanted, got = (ReferenceEvaluator(m).run(None, feeds) for m in (given, found.model))
    for a, b in zip(wanted, got, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max(initial=0) <= tolerance * max(1.0, np.abs(a).max(initial=0))
    return found.model, found.foldings


def operators(found):
    return [n.op_type for n in found.graph.node]


def goes(given, *left, into=("conv",), shapes=None):
    found, rows = folded(given, shapes)
    assert rows == (Folding("bn", into),)
    assert operators(found) == list(left)
    names = {name for n in found.graph.node for name in n.input}
    assert {t.name for t in found.graph.initializer} <= names, "weights that nobody reads"
    return found


def stays(given, reason, shapes=None):
    found, rows = folded(given, shapes)
    assert rows[-1] == Folding("bn", reason=reason)
    assert operators(found) == operators(given)
    return found


def network(seed):
    """A random network with batch norms nearly everywhere, as a file."""
    rng = np.random.default_rng(seed)
    parts, count, at, channels, size = [], 0, "x", 3, 8
    skip = []

    def named(kind):
        nonlocal count
        count += 1
        return f"{kind}{count}"

    for _ in range(9):
        kind = rng.integers(7)
        name = named("n")
        if kind < 3:
            out, pads = int(rng.integers(2, 5)), 1 if size < 4 or rng.random() < 0.5 else 0
            parts.append(conv(at, name, name, (out, channels, 3, 3), bool(rng.integers(2)), pads=[pads] * 4))
            channels, size = out, size - 2 + 2 * pads
        elif kind == 3:
            parts.append(node("Relu", [at], [name], name))
        elif kind == 4 and size > 3:
            op = ["MaxPool", "AveragePool"][rng.integers(2)]
            parts.append(node(op, [at], [name], name, kernel_shape=[2, 2]))
            size -= 1
        elif kind == 5 and (alike := [s for s in skip if s[2] == size]):
            other = alike[rng.integers(len(alike))]
            parts.append(node("Concat", [at, other[0]], [name], name, axis=1))
            channels += other[1]
        else:
            parts.append((node("Add", [at, f"{name}.c"], [name], name), {f"{name}.c": draw(channels, 1, 1)}))
        at = name
        if rng.random() < 0.7:
            bn = named("bn")
            parts.append(norm(at, bn, channels, bn, positive=rng.random() < 0.5))
            at = bn
        skip.append((at, channels, size))
    flat = named("flat")
    parts.append(node("Flatten", [at], [flat], flat))
    width = channels * size * size
    parts.append(norm(flat, "bnf", width, "bnf"))
    parts.append((node("Gemm", ["bnf", "w"], ["g"], "gemm", alpha=0.1, transB=1), {"w": draw(4, width)}))
    parts.append(norm("g", "y", 4, "last"))
    return model(*parts)
