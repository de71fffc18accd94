"""Copies the scalar functions into generated code: one straight line of statements, constants by name.

Numba then types and compiles one plain function a chain instead of a tree of calls, which is several times faster.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from . import activations, circular, integral, scalars

MODULES = (scalars, circular, integral, activations)
"""Where the scalar functions stand."""
PRIMITIVES = ("bits_of", "float_of", "select", "sqrt", "fabs")
TYPES = ("float32", "float64", "int32", "int64", "uint8", "uint32", "uint64")


@cache
def definitions() -> dict[str, ast.FunctionDef]:
    """The scalar functions by name."""
    trees = [ast.parse(inspect.getsource(module)) for module in MODULES]
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


class Inliner:
    """Collects statements: ``lines`` for the loop body, ``constants`` (expression by name) for the module."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._calls = 0

    def call(self, function: str, arguments: Sequence[str]) -> str:
        """Append what ``function`` does to the variables ``arguments``; returns its result as an expression."""
        if function in PRIMITIVES:
            return f"{function}({', '.join(arguments)})"
        definition = definitions()[function]
        parameters = [a.arg for a in definition.args.args]
        if len(parameters) != len(arguments):
            raise TypeError(f"scalar function {function} takes {parameters}, got {len(arguments)} arguments")
        self._calls += 1
        scope = _Scope(self, f"{function}_{self._calls}_", dict(zip(parameters, arguments, strict=True)))
        scope.statements(definition.body, "")
        return scope.result

    def constant(self, expression: str) -> str:
        """The name of a module constant with that value."""
        if expression not in self._names:
            name = f"C{len(self._names)}"
            self._names[expression] = name
            self.constants[name] = expression
        return self._names[expression]


class _Scope(ast.NodeTransformer):
    """One copy of one function: its local names get a prefix, its parameters become the caller's variables."""

    def __init__(self, inliner: Inliner, prefix: str, names: dict[str, str]) -> None:
        self.inliner = inliner
        self.prefix = prefix
        self.names = names
        self.indent = ""
        self.result = ""

    def statements(self, body: Sequence[ast.stmt], indent: str) -> None:
        for statement in body:
            self.indent = indent
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                value = self._text(statement.value)
                name = statement.targets[0].id
                self.names[name] = self.prefix + name
                self._append(f"{self.names[name]} = {value}")
            elif isinstance(statement, ast.For):
                self._append(f"for _ in {ast.unparse(statement.iter)}:")
                self.statements(statement.body, indent + "    ")
            elif isinstance(statement, ast.Return) and statement.value is not None:
                self.result = self._text(statement.value)
            else:
                assert isinstance(statement, ast.Expr), f"{self.prefix}: {ast.unparse(statement)} cannot be copied"

    def _append(self, line: str) -> None:
        self.inliner.lines.append(self.indent + line)

    def _text(self, expression: ast.expr) -> str:
        copy = ast.parse(ast.unparse(expression), mode="eval").body
        return ast.unparse(self.visit(copy))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self.names[node.id]) if node.id in self.names else node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, float):
            return ast.Name(self.inliner.constant(f"np.float32({node.value!r})"))
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return ast.Name(self.inliner.constant(f"np.float32(-{node.operand.value!r})"))
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Attribute):
            free = {n.id for n in ast.walk(node.args[0]) if isinstance(n, ast.Name)}
            if free <= {"np"}:
                return ast.Name(self.inliner.constant(ast.unparse(node)))
            dtype = ast.Name(np.dtype(node.func.attr).name)
            return ast.Call(dtype, [self.visit(argument) for argument in node.args], [])
        assert isinstance(node.func, ast.Name)
        arguments = [self._atom(self.visit(argument)) for argument in node.args]
        return ast.parse(self.inliner_call(node.func.id, arguments), mode="eval").body

    def inliner_call(self, function: str, arguments: Sequence[str]) -> str:
        before = len(self.inliner.lines)
        text = self.inliner.call(function, arguments)
        self.inliner.lines[before:] = [self.indent + line for line in self.inliner.lines[before:]]
        return text

    def _atom(self, expression: Any) -> str:
        """The expression as one variable, so that a copied function does not compute it twice."""
        text = ast.unparse(expression)
        if isinstance(expression, ast.Name):
            return text
        self.inliner._calls += 1
        name = f"{self.prefix}a{self.inliner._calls}"
        self._append(f"{name} = {text}")
        return name


def function(name: str) -> Any:
    """The scalar function as one that Numba code can call, float32 constants and all."""
    from numba.extending import register_jitable

    from .. import abi

    parameters = [a.arg for a in definitions()[name].args.args]
    inliner = Inliner()
    result = inliner.call(name, parameters)
    constants = [f"{constant} = {value}" for constant, value in inliner.constants.items()]
    lines = [*constants, f"def {name}({', '.join(parameters)}):", *("    " + line for line in inliner.lines)]
    space: dict[str, Any] = {n: getattr(abi, n) for n in PRIMITIVES} | {"np": np, **{t: getattr(np, t) for t in TYPES}}
    exec("\n".join([*lines, f"    return {result}"]), space)
    return register_jitable(space[name])
