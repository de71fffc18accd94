"""Portable kernels are plain functions with the slots they need as parameters; here they become rows and code.

A kernel's parameters are names of its :class:`~normengine.kernels.base.Signature` (extents in capitals) — arrays come
as pointers to float32 (the signature's ``integers`` to int64, those annotated ``Elements`` to the kernel's dtype;
``scratch`` and the thread's own ``workspace`` to float64), numbers as int64 or float64 — besides ``begin`` and ``end``,
the tasks to do, and ``has_<input>``, whether an optional input is there. The body is compiled by Numba on first use,
with the functions of :mod:`..chains.scalars` and :mod:`.window` that its module imports.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, get_type_hints

from ..base import ELEMENTS, REGISTRY, Kernel, Launch, Problem, Signature
from ..cache import cache_folder, compile_function, digest
from ..code import Code, CodeCache
from . import window

Array = Any
Indices = Any
Elements = Any


def portable(
    op: str,
    launch: Callable[[Problem], Launch],
    *stages: Callable[..., None],
    supports: Callable[[Problem], bool] = lambda problem: True,
    dtype: str = "float32",
) -> None:
    """Register the portable kernel of ``op``; its stages run one after the other."""
    signature = REGISTRY.signatures[op]
    addresses = tuple(_lazily(stage, signature, dtype) for stage in stages)
    name = f"{op}_{ELEMENTS[dtype].short}_numba"
    REGISTRY.register(Kernel(op, name, "numba", addresses, launch, supports, _last, dtype=dtype))


def _last(problem: Problem) -> float:
    """Above what any compiled kernel costs that can be had, so that the portable ones are what is left."""
    return sys.float_info.max


def _lazily(stage: Callable[..., None], signature: Signature, dtype: str) -> Callable[[], int]:
    return lambda: _codes.get((stage, signature.op, dtype), lambda: _compile(stage, signature.op, dtype))


_codes = CodeCache()


def _compile(stage: Callable[..., None], op: str, dtype: str) -> Code:
    source = entry_source(stage, REGISTRY.signatures[op], dtype)
    files = [Path(str(sys.modules[stage.__module__].__file__)), Path(window.__file__)]
    files += [Path(__file__).parents[1] / name for name in ("abi.py", "chains/inline.py", "chains/scalars.py")]
    name = digest(source, *(file.read_text(encoding="utf-8") for file in files))
    path = cache_folder() / "portable" / f"{stage.__name__}-{name}.code"
    return compile_function(lambda: _function(stage, source), path, {"contract", "reassoc"})


def _function(stage: Callable[..., None], source: str) -> Callable[..., None]:
    space = dict(_namespace(stage.__module__))
    exec(compile(source, f"<portable {stage.__name__}>", "exec"), space)
    function: Callable[..., None] = space[stage.__name__]
    return function


@cache
def _namespace(module: str) -> dict[str, Any]:
    """The module's names with its helpers and the scalar functions as Numba code can call them."""
    from numba.extending import register_jitable

    from .. import abi
    from ..chains import inline, scalars

    space = dict(vars(abi))
    for name, value in vars(sys.modules[module]).items():
        if not inspect.isfunction(value):
            space[name] = value
        elif value.__module__ in (module, window.__name__):
            space[name] = register_jitable(FunctionType(value.__code__, space, name))
        elif value.__module__ == scalars.__name__:
            space[name] = getattr(abi, name) if name in inline.PRIMITIVES else inline.function(name)
    return space


def entry_source(stage: Callable[..., None], signature: Signature, dtype: str = "float32") -> str:
    """The kernel's source with the C signature: its parameters read from their slots, then its body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(stage)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    reads = [_read(a, signature, dtype) for a in definition.args.args if a.arg not in ("begin", "end")]
    body = ast.parse("\n".join(reads)).body + definition.body[1:]
    lines = [ast.unparse(statement) for statement in body]
    return f"def {stage.__name__}(args, begin, end, thread):\n" + textwrap.indent("\n".join(lines), "    ")


def _read(parameter: ast.arg, signature: Signature, dtype: str) -> str:
    name = parameter.arg
    if name.startswith("has_"):
        return f"{name} = args[{signature.slot(name[4:])}] != 0"
    slot = signature.slot(name.lower())
    if name == "workspace":
        return f"{name} = float64_at(args[{slot}] + thread * args[{slot + 1}])"
    if name == "scratch":
        return f"{name} = float64_at(args[{slot}])"
    if name in signature.inputs + signature.outputs:
        kind = parameter.annotation.id if isinstance(parameter.annotation, ast.Name) else ""
        element = "int64" if name in signature.integers else dtype if kind == "Elements" else "float32"
        return f"{name} = {element}_at(args[{slot}])"
    return f"{name} = double_of(args[{slot}])" if name in _floats(signature) else f"{name} = args[{slot}]"


def _floats(signature: Signature) -> set[str]:
    """The names of the numbers that are floating-point ones."""
    hints = [hint for record in signature.records for hint in get_type_hints(record).items()]
    return {name for name, kind in hints if kind is float}
