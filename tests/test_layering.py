"""A lower layer never imports a higher one, neither packages nor files import each other in a circle, and importing
normengine loads no compiler and no protobuf code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "normengine"

MAY_IMPORT = {
    "graph": set(),
    "kernels": set(),
    "ops": {"graph"},
    "passes": {"ops", "graph"},
    "plan": {"passes", "ops", "graph", "kernels"},
    "runtime": {"plan", "kernels", "passes", "ops", "graph"},
    "onnx": {"graph", "ops", "passes"},
}
"""The layers below the top; whatever else is in the package may import everything."""

FOUNDATION = {"absent", "compiling", "files", "locks", "recent", "table"}
"""What lies below the layers: all of them may import it, and it imports nothing else of the package."""

DOORS = {
    Path("onnx/__init__.py"): {"export", "folding", "inspection"},
    Path("onnx/backend.py"): {"session"},
}
"""Files that give users a name of a higher layer. They import it when a user asks for it, and nothing else does.
The package's own ``__init__.py`` is another: its names are those of all layers."""

SOURCES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
PARTS = {path.parts[0].removesuffix(".py") for path in SOURCES if path.name != "__init__.py" or len(path.parts) > 1}
"""Packages and modules directly in normengine."""


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules that the source imports, at its top or anywhere within, or names in a string."""
    package = ("normengine", *path.parts[:-1])
    return names_in(ast.parse((PACKAGE / path).read_text(encoding="utf-8")), package)


def names_in(tree: ast.AST, package: tuple[str, ...]) -> set[str]:
    """What :func:`imported_modules` says of a source, as a module of ``package`` reads it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *([node.module] if node.module else [])))
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # What importlib is given: "normengine.nn", or "..nn" from within a package.
            level = len(node.value) - len(node.value.lstrip("."))
            name = ".".join((*package[: len(package) - level + 1], node.value[level:])) if level > 1 else node.value
            if re.fullmatch(r"normengine(\.\w+)+", name):
                found.add(name)
    return found


def layer_of(module: str) -> str | None:
    """The layer of a module of this package: its first folder or file; None for other packages' modules."""
    first, _, rest = module.partition(".")
    return rest.split(".")[0] if first == "normengine" else None


def test_every_layer_has_sources() -> None:
    assert set(MAY_IMPORT) <= {path.parts[0] for path in SOURCES}


def parts_imported_by(path: Path) -> set[str]:
    return {layer for module in imported_modules(path) if (layer := layer_of(module)) in PARTS}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_go_downward_only(path: Path) -> None:
    own = path.parts[0].removesuffix(".py")
    if own not in MAY_IMPORT and own not in FOUNDATION:
        return
    allowed = set() if own in FOUNDATION else MAY_IMPORT[own] | FOUNDATION | DOORS.get(path, set())
    assert parts_imported_by(path) - {own} <= allowed, f"{path} may import only {sorted(allowed)}"


def test_packages_do_not_import_each_other_in_a_circle() -> None:
    imports: dict[str, set[str]] = {part: set() for part in PARTS}
    for path in SOURCES:
        own = path.parts[0].removesuffix(".py")
        if own in PARTS:
            imports[own] |= parts_imported_by(path) - DOORS.get(path, set()) - {own}
    TopologicalSorter(imports).prepare()  # raises CycleError


def module_name(path: Path) -> str:
    """``normengine.nn.conv`` for ``nn/conv.py``, ``normengine.nn`` for ``nn/__init__.py``."""
    parts = path.with_suffix("").parts
    return ".".join(("normengine", *parts[: -1 if parts[-1] == "__init__" else None]))


MODULES = {module_name(path): path for path in SOURCES}


def files_imported_by(path: Path) -> set[str]:
    """The modules of the package whose files the source imports, for type checkers alone too. ``from .. import conv``
    asks for the file ``conv.py``; it asks for the package's own file where ``conv`` is a name defined there."""
    tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    package = ("normengine", *path.parts[:-1])
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Constant)):
            names = names_in(node, package)
            if isinstance(node, ast.ImportFrom) and len(names & MODULES.keys()) == len(node.names) + 1:
                names.remove(min(names, key=len))
            found |= names & MODULES.keys()
    return found - {module_name(path)}


def test_files_do_not_import_each_other_in_a_circle() -> None:
    doors = {module_name(path) for path in DOORS} | {"normengine"}
    imports = {module: set() if module in doors else files_imported_by(path) for module, path in MODULES.items()}
    TopologicalSorter(imports).prepare()  # raises CycleError


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_importing_a_layer_loads_no_higher_one(layer: str, tmp_path: Path) -> None:
    script = (
        "import importlib, pkgutil, sys\n"
        f"package = importlib.import_module('normengine.{layer}')\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(*sorted({name.split('.')[1] for name in sys.modules if name.startswith('normengine.')}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    below = {part for part in done.stdout.split() if part in PARTS} - {layer}
    assert below <= FOUNDATION | MAY_IMPORT[layer].union(*(MAY_IMPORT[other] for other in MAY_IMPORT[layer]))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from .. import nn", "normengine.nn"),
        ("from ..nn.conv import Conv2d", "normengine.nn.conv"),
        ("def f():\n    import normengine.nn", "normengine.nn"),
        ("import_module('normengine.nn')", "normengine.nn"),
        ("import_module('..nn', __package__)", "normengine.nn"),
    ],
)
def test_every_way_to_import_is_seen(source: str, found: str) -> None:
    assert found in names_in(ast.parse(source), ("normengine", "ops"))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_only_the_onnx_layer_imports_onnx(path: Path) -> None:
    if path.parts[0] != "onnx":
        assert not {m for m in imported_modules(path) if m.split(".")[0] == "onnx"}


def test_importing_the_package_loads_neither_numba_nor_onnx(tmp_path: Path) -> None:
    script = (
        "import sys, normengine; print([m for m in ('numba', 'llvmlite', 'onnx', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
