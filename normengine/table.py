"""Plain text tables for the terminal."""

from __future__ import annotations

from collections.abc import Container, Sequence


def lines(header: Sequence[str], rows: Sequence[Sequence[str]], left: Container[int]) -> list[str]:
    """Columns two blanks apart: those that ``left`` has to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return [line(header), *map(line, rows)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same under a ruled header, the first column to the left."""
    head, *body = lines(header, rows, left=(0,))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join([head, "  ".join("-" * width for width in widths), *body])
