"""The commands of the command line that go from file to file: ``normengine fold`` and ``normengine inspect``."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path

import numpy as np

NAMES = ("fold", "inspect")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parsers of these commands."""
    fold = commands.add_parser(
        "fold",
        help="fold batch normalization in an ONNX file",
        description="Writes IN to OUT with each batch normalization folded into the layers beside it where that is "
        "exact, prints where each went, and compares the outputs of both before OUT is written.",
    )
    fold.add_argument("source", type=Path, metavar="IN.onnx")
    fold.add_argument("path", type=Path, metavar="OUT.onnx")
    fold.add_argument("--report", type=Path, metavar="R.json", help="write what is printed as JSON, too")
    fold.add_argument(
        "--tolerance",
        type=_number,
        default=1e-3,
        metavar="T",
        help="most that outputs may differ by, times the largest one if that is above 1; nothing is written beyond it "
        "(default: 0.001)",
    )
    fold.add_argument("--input", type=Path, metavar="X.npz", help="arrays to compare on, by names of inputs")
    _add_shape(fold)

    inspect = commands.add_parser(
        "inspect",
        help="what is in an ONNX file, what would fold, what a batch takes",
        description="Prints operators, inputs and outputs, parameters, multiply-adds and memory of MODEL, and what "
        "folding would make of each batch normalization.",
    )
    inspect.add_argument("source", type=Path, metavar="MODEL.onnx")
    inspect.add_argument("--batch", type=_positive, default=1, metavar="N", help="samples of a batch (default: 1)")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    _add_shape(inspect)


def _add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        type=_shape,
        action="append",
        default=[],
        metavar="NAME=NxCxHxW",
        help="shape of an input whose extents the file leaves open; may be given once for each input",
    )


def run(options: argparse.Namespace) -> int:
    """Run one of these commands and return its exit code."""
    shapes = dict(options.shape)
    if options.command == "inspect":
        from .inspection import inspect

        found = inspect(options.source, batch=options.batch, shapes=shapes)
        print(json.dumps(found.as_dict(), indent=2) if options.json else found)
        return 0
    from .folding import fold

    inputs = None if options.input is None else _arrays(options.input)
    print(
        fold(
            options.source,
            options.path,
            tolerance=options.tolerance,
            inputs=inputs,
            shapes=shapes,
            report=options.report,
        )
    )
    return 0


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by name."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, EOFError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no file of named arrays, as numpy.savez writes it ({error})") from None


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, extents = text.rpartition("=")
    words = extents.split("x") if extents else []
    if not name or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise argparse.ArgumentTypeError(f"must be as in x=1x3x224x224, got {text!r}")
    return name, tuple(map(int, words))


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number that is not negative, got {text!r}")
    return number


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)
