"""A lower layer never imports a higher one, and importing the package loads no compiler and no protobuf code."""

from __future__ import annotations

import ast
import subprocess
import sys
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

SOURCES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules that the source imports, at its top or anywhere within."""
    package = ("normengine", *path.parts[:-1])
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *([node.module] if node.module else [])))
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def layer_of(module: str) -> str | None:
    """The layer of a module of this package: its first folder or file; None for other packages' modules."""
    first, _, rest = module.partition(".")
    return rest.split(".")[0] if first == "normengine" else None


def test_every_layer_has_sources() -> None:
    assert set(MAY_IMPORT) <= {path.parts[0] for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_go_downward_only(path: Path) -> None:
    own = path.parts[0]
    if own not in MAY_IMPORT:
        return
    layers = {layer_of(module) for module in imported_modules(path)} - {None, own}
    # `from .. import x` names the package itself, layer "", and then x as well.
    assert layers - {""} <= MAY_IMPORT[own], f"{path} may import only {sorted(MAY_IMPORT[own])}"


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
