"""One model of the machine: caches, latencies and fitted costs stand in ``kernels/machine.py`` and nowhere else."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import normengine
from normengine.kernels.machine import MACHINE, l1, l2, l3

PACKAGE = Path(normengine.__file__).parent
FILES = [path for folder in ("kernels", "plan", "runtime") for path in (PACKAGE / folder).rglob("*.py")]
OF_THE_MACHINE = re.compile(r"^A_|^L[123]_|LATENCY|LINE|CACHE|PAGE|ALIGNMENT|_BYTES$")


def constants(path: Path) -> Iterator[tuple[str, ast.expr]]:
    """The names in capitals that a module binds, and what to."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            pairs = [(target, statement.value)]
            if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                pairs = list(zip(target.elts, statement.value.elts, strict=True))
            yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name) and name.id.isupper())


def is_number(value: ast.expr) -> bool:
    """Whether an expression is made of literal numbers alone."""
    kinds = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    constants = [node.value for node in ast.walk(value) if isinstance(node, ast.Constant)]
    return all(isinstance(node, kinds) for node in ast.walk(value)) and all(
        isinstance(c, int | float) for c in constants
    )


def test_what_caches_and_latencies_are_is_said_once() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in FILES
        if path.name != "machine.py"
        for name, value in constants(path)
        if OF_THE_MACHINE.search(name) and is_number(value)
    ]
    assert found == []


def test_a_name_stands_for_one_number() -> None:
    values: dict[str, dict[str, str]] = defaultdict(dict)
    for path in FILES:
        for name, value in constants(path):
            if is_number(value) or (isinstance(value, ast.Call) and ast.unparse(value.func) in ("l1", "l2", "l3")):
                values[name].setdefault(ast.unparse(value), path.name)
    assert {name: given for name, given in values.items() if len(given) > 1} == {}


def test_shares_are_of_the_caches() -> None:
    assert (l1(1), l2(1), l3(1)) == (MACHINE.l1_bytes, MACHINE.l2_bytes, MACHINE.l3_bytes)
    assert l1(3 / 4) == 24 << 10 and l2(3 / 8) == 384 << 10 and l3(1 / 4) == 8 << 20
