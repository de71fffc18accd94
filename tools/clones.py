"""Finds what the sources say twice: runs of more than 10 lines that stand in two places, white space aside.

    python tools/clones.py [--lines 10] [folders or files]

Blank lines, comments, imports and lone brackets do not count. Exits with 1 if there is a pair; ``tools/check.py`` runs
it on the package, the kernels and the tools.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("normengine", "src_cy", "tools")
ENDINGS = {".py", ".pyx", ".pxi", ".h"}
GENERATED = {"kernel_structs.pxi", "kernel_addresses.pxi", "composite_structs.pxi"}
SILENT = ("#", "//", "cimport ", "from ", "include ", "cdef extern")

Line = tuple[int, str]
Place = tuple[Path, int]


def lines_of(path: Path) -> list[Line]:
    """The lines that count, with their numbers."""
    source = path.read_text(encoding="utf-8")
    imports = set(_import_lines(source)) if path.suffix == ".py" else set()
    lines = ((i, " ".join(text.split())) for i, text in enumerate(source.splitlines(), 1) if i not in imports)
    return [(i, text) for i, text in lines if any(c.isalnum() for c in text) and not text.startswith(SILENT)]


def _import_lines(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def pairs(files: Sequence[Path], most: int) -> Iterator[tuple[Place, Place, int]]:
    """The longest runs of more than ``most`` lines, each with its two places and its length."""
    texts = {path: lines_of(path) for path in files}
    windows: defaultdict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path, lines in texts.items():
        for start in range(len(lines) - most):
            windows[tuple(text for _, text in lines[start : start + most + 1])].append((path, start))
    for places in windows.values():
        for n, (a, i) in enumerate(places):
            for b, j in places[n + 1 :]:
                if a == b and j - i <= most:
                    continue  # a run that overlaps itself
                before = i and j and texts[a][i - 1][1] == texts[b][j - 1][1]
                if not before:
                    length = next(
                        (
                            k
                            for k, (one, two) in enumerate(zip(texts[a][i:], texts[b][j:], strict=False))
                            if one[1] != two[1]
                        ),
                        min(len(texts[a]) - i, len(texts[b]) - j),
                    )
                    yield (a, texts[a][i][0]), (b, texts[b][j][0]), length


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / folder for folder in FOLDERS])
    parser.add_argument("--lines", type=int, default=10, help="lines that may be the same (default: 10)")
    options = parser.parse_args()
    files = [f for path in options.paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = [f for f in files if f.suffix in ENDINGS and f.name not in GENERATED]
    found = list(pairs(files, options.lines))
    for (a, i), (b, j), length in found:
        print(f"{length} lines: {a}:{i} and {b}:{j}")
    print(f"{len(files)} files, {len(found) or 'no'} pairs of more than {options.lines} lines")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
