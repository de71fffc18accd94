"""What an operator is like stands in its record: no pass and no part of planning knows operators by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import normengine
from normengine.ops import OPS

PACKAGE = Path(normengine.__file__).parent
SOURCES = sorted(path for folder in ("passes", "plan") for path in (PACKAGE / folder).rglob("*.py"))
MAKERS = ("add", "add_multi", "Node", "Problem")
"""Calls that make a node, or ask a kernel to do the work of one: their first argument is its name."""


def named(tree: ast.AST) -> Iterator[str]:
    """Operators whose names stand in a module, but for documentation and the nodes that it makes."""
    allowed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in MAKERS:
                allowed.add(id(node.args[0]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in OPS and id(node) not in allowed:
            yield f"line {node.lineno}: {node.value}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_operator_is_known_by_name(path: Path) -> None:
    assert list(named(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_names_are_found() -> None:
    text = 'builder.add("relu", x)\nif node.op == "relu": pass\nKINDS = {"conv2d": 1}\n"""conv2d"""'
    assert list(named(ast.parse(text))) == ["line 2: relu", "line 3: conv2d"]


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_facts_agree(op) -> None:
    assert op.samples is not None or not op.sums_samples
    assert op.view is not None or op.taken is None
    assert (op.weight is None) or op.products is not None
    assert op.joint is None or all(name in OPS for name in op.joint)
    assert op.affine is None or op.normalizes


def test_samples_are_kept_apart() -> None:
    """Of each operator that says so, by its reference: a changed sample changes that sample of the outputs alone."""
    import numpy as np

    from normengine.graph import Node, Spec, Value

    tried = set()
    for op in OPS.values():
        if op.samples is None or op.sums_samples:
            continue
        for case in op.cases():
            arrays = case.arrays(np.random.default_rng(5))
            specs = op.infer([Spec.of(a) for a in arrays], case.attrs)
            inputs = tuple(Value("x", Spec.of(a)) for a in arrays)
            positions = op.samples(Node(op.name, inputs, tuple(Value("y", s) for s in specs), case.attrs))
            extents = {arrays[i].shape[:1] for i in positions} | {s.shape[:1] for s in specs}
            if not positions or len(extents) != 1 or extents == {(1,)} or () in extents:
                continue
            before = op.reference(arrays, case.attrs)
            for i in positions:
                arrays[i][1:] = arrays[i][1:] * 2 + 1
            for was, now in zip(before, op.reference(arrays, case.attrs), strict=True):
                np.testing.assert_array_equal(was[0], now[0], err_msg=op.name)
            tried.add(op.name)
    expected = {"conv2d", "linear", "matmul", "softmax", "max_pool2d_grad", "reshape", "concat", "slice", "unslice"}
    assert tried >= expected
