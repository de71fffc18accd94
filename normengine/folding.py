"""``ne.onnx.fold`` and ``normengine fold``: batch normalization folded in ONNX files of any origin, measured before it
is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .files.atomic import check_replaceable, write_atomically
from .graph import Graph
from .locks import load_module
from .onnx.node import OnnxError
from .passes import decompose, fold_constants
from .passes.fold_batchnorm import Folding
from .settings import finite
from .table import table

if TYPE_CHECKING:
    from .onnx.limits import FileLimits

_FOLDED = 2**26
"""Elements of the largest constant that is computed before a network runs."""


class Difference(NamedTuple):
    """The largest difference of outputs, and the largest relative to the largest number of its output."""

    absolute: float
    relative: float


@dataclass(frozen=True)
class FoldReport:
    """What :func:`fold` did; ``print`` it as a table.

    ``batch_norms`` says where each batch normalization went or why it stayed, ``constants`` who took the sums and
    products with constants of each channel that are gone, ``unread`` names the nodes that normengine does not support,
    which stayed as they are. ``difference`` is that of the outputs of the file before and
    after on ``measured_on``; None where nothing was folded.
    """

    source: Path
    path: Path
    batch_norms: tuple[Folding, ...]
    constants: tuple[Folding, ...]
    unread: tuple[str, ...]
    difference: Difference | None
    measured_on: str

    @property
    def folded(self) -> int:
        """How many batch normalizations are no longer in the file."""
        return sum(bool(norm.into) for norm in self.batch_norms)

    def as_dict(self) -> dict[str, object]:
        """All of it as plain values."""
        return {
            "source": str(self.source),
            "path": str(self.path),
            "batch_norms": [{**norm._asdict(), "into": list(norm.into)} for norm in self.batch_norms],
            "constants": [{"node": row.batch_norm, "into": list(row.into)} for row in self.constants],
            "unread": list(self.unread),
            "difference": None if self.difference is None else self.difference._asdict(),
            "measured_on": self.measured_on,
        }

    def as_json(self) -> str:
        """:meth:`as_dict` in JSON, a line for each value."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    def __str__(self) -> str:
        lines = [f"{self.source} -> {self.path}"]
        if self.batch_norms:
            lines += ["", fates(self.batch_norms), ""]
        lines.append(f"{self.folded} of {len(self.batch_norms)} batch normalizations folded")
        if self.constants:
            gone = ", ".join(f"{row.batch_norm} into {' and '.join(row.into)}" for row in self.constants)
            lines.append(f"constants of each channel folded too: {gone}")
        if self.difference is not None:
            found = f"{self.difference.absolute:.1e}, relative to the largest output {self.difference.relative:.1e}"
            lines.append(f"largest difference on {self.measured_on}: {found}")
        if self.unread:
            lines.append(f"not supported, and left as they are: {', '.join(self.unread)}")
        return "\n".join(lines)


def fates(norms: Sequence[Folding]) -> str:
    """A table of what became of batch normalizations."""
    head = "what became of it"
    width = max(map(len, [head, *(norm.fate for norm in norms)]))
    rows = [(norm.batch_norm, norm.fate.ljust(width)) for norm in norms]
    return table(("batch normalization", head.ljust(width)), rows)


def fold(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    tolerance: float = 1e-3,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    report: str | os.PathLike[str] | None = None,
    limits: FileLimits | None = None,
) -> FoldReport:
    """Write the ONNX file ``source`` to ``path`` with every batch normalization folded into the layers beside it where
    that is exact, computed in float64.

    Names, metadata, opset, dynamic axes and all nodes and weights that nothing is folded into are kept, those that
    normengine does not support among them. Before the file is written, it and ``source`` have run on ``inputs`` (by
    name) or on random numbers, batch normalizations of ``source`` as they are; nodes that are not supported are left
    out, and what they make is random. ``shapes`` are the extents of inputs that the file leaves open. With ``report``
    the report is written there as JSON.

    Raises:
        TypeError: ``tolerance`` is no number.
        ValueError: the file is damaged or cannot be read, ``inputs`` or ``shapes`` do not fit it, or outputs differ by
            more than ``tolerance`` times the largest one (at least 1). Nothing is written.
        OSError: a file cannot be read or written.
    """
    load_module("normengine.onnx.folded_file")
    from .onnx.folded_file import fold_file

    tolerance = finite(tolerance, "tolerance", 0.0)
    arrays = {name: np.asarray(array) for name, array in (inputs or {}).items()}
    given = {**(shapes or {}), **{name: array.shape for name, array in arrays.items()}}
    check_replaceable(path)
    if report is not None:
        check_replaceable(report)
    found = fold_file(source, given, limits)
    difference, measured_on = None, ""
    if found.parts is not None and (found.constants or any(norm.into for norm in found.foldings)):
        difference, measured_on = _measured(found.parts, arrays, tolerance, os.fsdecode(source), limits)
    done = FoldReport(Path(source), Path(path), found.foldings, found.constants, found.unread, difference, measured_on)
    write_atomically(path, found.content)
    if report is not None:
        write_atomically(report, done.as_json().encode())
    return done


def _measured(
    parts: tuple[bytes, bytes], arrays: Mapping[str, np.ndarray], tolerance: float, name: str, limits: FileLimits | None
) -> tuple[Difference, str]:
    """The largest differences of the outputs of two files, and of what; ValueError where one is too large."""
    before, names = read_graph(parts[0], limits)
    after, _ = read_graph(parts[1], limits)
    feeds = _feeds(before, arrays)
    wanted, results = outputs_of(before, feeds), [outputs_of(after, feeds)]
    second = _second_opinion(parts[1], after, feeds)
    differences = [
        _compared(label, y, z, tolerance, name)
        for found in (*results, *second)
        for label, y, z in zip(names, wanted, found, strict=True)
    ]
    largest = Difference(*(max(d[i] for d in differences) for i in range(2)))
    drawn = "the given input" if feeds.keys() <= arrays.keys() else "random input"
    listed = ", ".join(f"{key} {'x'.join(map(str, array.shape))}" for key, array in feeds.items())
    return largest, f"{drawn} ({listed})"


def read_graph(content: bytes, limits: FileLimits | None = None) -> tuple[Graph, list[str]]:
    """The graph of a file whose inputs have no open extents, as it is written, and the names of its outputs."""
    load_module("normengine.onnx.importer")
    from .onnx.importer import import_graph
    from .onnx.parse import read_model

    model = read_model(content, limits)
    shapes = {port.name: tuple(n for n in port.shape or () if isinstance(n, int)) for port in model.inputs}
    return import_graph(model, shapes), [port.name for port in model.outputs]


def outputs_of(graph: Graph, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What the graph computes, compiled, without anything folded into anything."""
    load_module("normengine.runtime.program")
    from .runtime.program import compile_graph

    return compile_graph(fold_constants(decompose(graph), _FOLDED, 2 * _FOLDED)).run(dict(feeds))


def _second_opinion(content: bytes, graph: Graph, feeds: Mapping[str, np.ndarray]) -> list[list[np.ndarray]]:
    """What ONNX's reference evaluator computes, where it takes little time and can."""
    load_module("normengine.onnx.reference")
    from .onnx.reference import evaluated_quickly

    found = evaluated_quickly(content, graph, feeds)
    return [] if found is None else [found]


def _feeds(graph: Graph, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The given arrays, and random ones for inputs that have none."""
    rng = np.random.default_rng(0)
    feeds = {}
    for value in graph.inputs:
        if value.name in arrays:
            feeds[value.name] = np.ascontiguousarray(arrays[value.name], dtype=value.dtype).reshape(value.shape)
        elif value.dtype == "float32":
            feeds[value.name] = rng.standard_normal(value.shape, dtype=np.float32)
        else:
            feeds[value.name] = rng.integers(0, 2, value.shape).astype(value.dtype)
    return feeds


def _compared(output: str, wanted: np.ndarray, found: np.ndarray, tolerance: float, name: str) -> Difference:
    if not wanted.size:
        return Difference(0.0, 0.0)
    place = f"{name}: output '{output}' of the folded file"
    finite_ones = np.isfinite(wanted)
    if not np.array_equal(finite_ones, np.isfinite(found)):
        raise OnnxError(f"{place} is finite in other places than before; nothing was written")
    exact, other = wanted[finite_ones].astype(np.float64), found[finite_ones].astype(np.float64)
    absolute = float(np.max(np.abs(exact - other), initial=0.0))
    largest = float(np.max(np.abs(exact), initial=0.0))
    limit = tolerance * max(1.0, largest)
    if not absolute <= limit:
        raise OnnxError(f"{place} differs by {absolute:.3g}, more than {limit:.3g}; nothing was written")
    return Difference(absolute, absolute / largest if largest else float(absolute > 0))
