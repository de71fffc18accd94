"""What instruments return: records in order, found by number or by name, which print as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from ..table import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

R = TypeVar("R")

TRAINING, INFERENCE, REMEMBERED = "#1f5fa8", "#d1603d", "#7a7a7a"
"""Colours of what is seen in training and in inference, and of running statistics."""


class Report(Generic[R]):
    """Records, one a layer or a finding, in the order of the network; ``print`` it as a table."""

    key = "name"
    """The field of a record that names it."""

    def __init__(self, records: tuple[R, ...]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    def __getitem__(self, place: int | str) -> R:
        """The record of that number, or the first of that name; raises IndexError or KeyError where there is none."""
        if not isinstance(place, str):
            return self.records[place]
        names = [getattr(record, self.key) for record in self.records]
        if place not in names:
            there = ", ".join(map(repr, dict.fromkeys(names))) or "none"
            raise KeyError(f"{type(self).__name__}: there is no record of {place!r}; there are {there}")
        return self.records[names.index(place)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.records)!r})"


def ruled(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], left: int = 1) -> str:
    """A table whose first ``left`` columns begin at the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def aligned(cells: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cell.ljust(width) if i < left else cell for i, (cell, width) in enumerate(zip(cells, widths)))

    return "\n".join(line.rstrip() for line in table(aligned(head), [aligned(row) for row in rows]).splitlines())


def number(value: float | None, form: str = ".3g") -> str:
    """``value`` for a table, a dash for None."""
    return "-" if value is None else f"{value:{form}}"


def new_figure(what: str, width: float, height: float) -> Figure:
    """An empty figure of matplotlib; raises ModuleNotFoundError, which ``what`` begins, where that is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{what} needs matplotlib; install it with pip install matplotlib", name=error.name
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def name_axis(axes: Axes, names: Sequence[str], what: str) -> None:
    """Names along the horizontal axis, aslant where they are long."""
    aslant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 4 else {}
    axes.set_xticks(range(len(names)), names, fontsize=8, **aslant)
    axes.set(xlim=(-0.5, len(names) - 0.5), xlabel=what)


def log_axis(axes: Axes) -> None:
    """A logarithmic vertical axis for what is drawn, its numbers written out."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}") if high < 12 * low else NullFormatter())


def saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """The figure, its axes made plain, written to ``path`` if one is given."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
