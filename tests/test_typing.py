"""Annotations say what they can: few are ``Any``, and none of them where a name would do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "normengine"
MOST = 150
"""Annotations that are ``Any``: results that are arrays or tensors as their arguments are, options that are handed on,
and the like."""


def annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns is not None:
            yield node.returns


def test_few_annotations_are_any() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{annotation.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for annotation in annotations(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(annotation, ast.Name) and annotation.id == "Any"
    ]
    assert len(found) < MOST, found
