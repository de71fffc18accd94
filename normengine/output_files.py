"""Where ``normengine predict`` puts what a network says: ``.csv``, ``.jsonl`` or ``.npz`` files, or a table."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .files.atomic import atomic_stream
from .table import lines


class Top(NamedTuple):
    """The classes of the largest scores, the largest first, with their labels if there are any."""

    classes: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...] | None


class Result(NamedTuple):
    """What there is to say of a sample: the arrays of outputs by name, without the batch axis, or the best classes."""

    name: str
    outputs: dict[str, np.ndarray]
    top: Top | None


Write = Callable[[Sequence[Result]], None]


def opened(path: Path | None, labels: Sequence[str] | None) -> AbstractContextManager[Write]:
    """A function that writes the results of the next batch. What it wrote is there when the ``with`` ends without an
    error: in the file ``path``, or printed if that is None. ``labels`` head the columns of a ``.csv`` file."""
    if path is None:
        return _printed()
    return _csv(path, labels) if suffix(path) == ".csv" else _FILES[suffix(path)](path)


def suffix(path: Path) -> str:
    """Which of the formats ``path`` asks for; raises ValueError for another suffix."""
    found = path.suffix.lower()
    if found != ".csv" and found not in _FILES:
        raise ValueError(f"{path}: the suffix of the output must be .csv, .jsonl or .npz, got {path.suffix!r}")
    return found


@contextmanager
def _printed() -> Iterator[Write]:
    results: list[tuple[str, ...]] = []
    yield lambda batch: results.extend(map(_cells, batch))
    if results:
        widest = max(map(len, results))
        rows = [cells + ("",) * (widest - len(cells)) for cells in results]
        print("\n".join(lines(("input", *[""] * (widest - 1)), rows, left=range(widest))))


def _cells(result: Result) -> tuple[str, ...]:
    """A sample's row of the table: its best classes, or what its outputs are like."""
    if result.top is None:
        return result.name, *(f"{name} {_summary(array)}" for name, array in result.outputs.items())
    classes, scores, labels = result.top
    return result.name, *(
        f"{_class(c, i, labels)} {score:.4g}" for i, (c, score) in enumerate(zip(classes, scores, strict=True))
    )


def _summary(array: np.ndarray) -> str:
    if array.size == 0:
        return "empty"
    if array.size == 1:
        return f"{array.item():.6g}"
    extents = "x".join(map(str, array.shape))
    return f"{extents} from {array.min():.4g} to {array.max():.4g}, mean {array.mean(dtype=np.float64):.4g}"


def _class(number: int, place: int, labels: Sequence[str] | None) -> str:
    return str(number) if labels is None else labels[place]


@contextmanager
def _csv(path: Path, labels: Sequence[str] | None) -> Iterator[Write]:
    """A row a sample under a header that the first sample makes."""
    header: list[str] = []
    with atomic_stream(path) as stream:

        def write(results: Sequence[Result]) -> None:
            text = io.StringIO()
            rows = csv.writer(text, lineterminator="\n")
            for result in results:
                names, cells = _columns(result, labels)
                if not header:
                    header.extend(names)
                    rows.writerow(header)
                elif header != names:
                    raise ValueError(
                        f"{path}: {result.name} gives {len(cells)} numbers, samples before it gave {len(header) - 1}; "
                        "images of one --size give the same, and .jsonl files take any"
                    )
                rows.writerow([result.name, *cells])
            stream.write(text.getvalue().encode(errors="surrogateescape"))

        yield write
        if not header:
            stream.write(b"name\n")


def _columns(result: Result, labels: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The header and, but for the name, the cells of a sample's row."""
    names, cells = ["name"], []
    if result.top is not None:
        for i, (number, score) in enumerate(zip(result.top.classes, result.top.scores, strict=True)):
            names += [f"top{i + 1}", f"score{i + 1}"]
            cells += [_class(number, i, result.top.labels), str(score)]
        return names, cells
    several = len(result.outputs) > 1
    for output, array in result.outputs.items():
        heads = map(str, range(array.size)) if labels is None else labels
        names += [f"{output}:{head}" if several else head for head in heads]
        cells += [str(number) for number in array.ravel()]
    return names, cells


@contextmanager
def _json_lines(path: Path) -> Iterator[Write]:
    """An object a sample and a line; numbers that are not finite are null, which JSON has instead."""
    with atomic_stream(path) as stream:

        def write(results: Sequence[Result]) -> None:
            for result in results:
                stream.write(json.dumps(_object(result), allow_nan=False).encode() + b"\n")

        yield write


def _object(result: Result) -> dict[str, object]:
    if result.top is None:
        return {"name": result.name, "outputs": {name: _plain(array) for name, array in result.outputs.items()}}
    scores, best = _plain(result.top.scores), []
    for i, (number, score) in enumerate(zip(result.top.classes, scores, strict=True)):
        named = {} if result.top.labels is None else {"label": result.top.labels[i]}
        best.append({"class": int(number), **named, "score": score})
    return {"name": result.name, "top": best}


def _plain(array: np.ndarray) -> list[object]:
    """Nested lists, of floats in as few digits as tell them apart."""
    if array.dtype.kind != "f":
        return list(array.tolist()) if array.ndim else [array.item()]
    words = np.empty(array.size, object)
    words[:] = [float(str(number)) if np.isfinite(number) else None for number in array.ravel()]
    return list(words.reshape(array.shape or (1,)).tolist())


@contextmanager
def _npz(path: Path) -> Iterator[Write]:
    """``names``, and an array ``(samples, ...)`` for each output, or ``classes``, ``scores`` and ``labels``."""
    names: list[str] = []
    held: dict[str, list[np.ndarray]] = {}
    with atomic_stream(path) as stream:

        def write(results: Sequence[Result]) -> None:
            for result in results:
                names.append(result.name)
                for name, array in _named(result).items():
                    rows = held.setdefault(name, [])
                    if rows and rows[0].shape != array.shape:
                        raise ValueError(
                            f"{path}: {result.name} gives '{name}' of shape {array.shape}, samples before it gave "
                            f"{rows[0].shape}; images of one --size give the same, and .jsonl files take any"
                        )
                    rows.append(array)

        yield write
        with zipfile.ZipFile(stream, "w") as file:
            stored = {"names": np.array(names, np.str_), **{name: np.stack(rows) for name, rows in held.items()}}
            for name, array in stored.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as part:
                    np.lib.format.write_array(part, array, allow_pickle=False)


def _named(result: Result) -> dict[str, np.ndarray]:
    if result.top is None:
        return {name: array.copy() for name, array in result.outputs.items()}
    classes, scores, labels = result.top
    named = {} if labels is None else {"labels": np.array(labels, np.str_)}
    return {"classes": classes, "scores": scores, **named}


_FILES: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {".jsonl": _json_lines, ".npz": _npz}
