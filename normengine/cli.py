"""The command line: ``normengine demo``, ``fold``, ``inspect``, ``predict``, ``bench`` and ``info``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, file_commands, run_commands

_DESCRIPTION = (
    "Trains small convolutional networks on a CPU, folds batch normalization into the convolutions before it, "
    "exports ONNX and runs ONNX networks in batches."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.command == "info":
            from .info import describe

            print(describe())
            return 0
        if options.command == "demo":
            from .demo import run

            return run(options.output, epochs=options.epochs, seed=options.seed, threads=options.threads)
        if options.command in file_commands.NAMES:
            return file_commands.run(options)
        if options.command in run_commands.NAMES:
            return run_commands.run(options)
    except KeyboardInterrupt:
        print("\nnormengine: interrupted", file=sys.stderr)
        return 130
    except (ImportError, OSError, ValueError, FloatingPointError) as error:
        print(f"normengine: error: {error}", file=sys.stderr)
        return 1
    parser.print_help()
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="normengine", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"normengine {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")

    demo = commands.add_parser(
        "demo",
        help="train a network on handwritten digits, export it, run it",
        description="Trains a small network on the UCI handwritten digits, exports it to digits.onnx with batch norm "
        "folded, runs that file over images that it was not trained on, and draws digits.png.",
    )
    demo.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="DIR", help="folder for the files (default: this one)"
    )
    demo.add_argument(
        "--epochs", type=_whole(1), default=None, metavar="N", help="passes over the training images (default: 12)"
    )
    demo.add_argument(
        "--seed", type=_whole(0), default=0, metavar="N", help="of weights, order and dropout (default: 0)"
    )
    demo.add_argument(
        "--threads", type=_whole(1), default=None, metavar="N", help="default: the CPUs that the process may use"
    )

    file_commands.add(commands)
    run_commands.add(commands)
    commands.add_parser(
        "info",
        help="what normengine found on this machine and what it uses",
        description="Prints versions, CPU, instruction set and threads in use and why, backends, and the cache folder.",
    )
    return parser


class _whole:
    """An argument that must be a whole number of at least ``least``."""

    def __init__(self, least: int) -> None:
        self.least = least

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = self.least - 1
        if number < self.least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {self.least}, got {text!r}")
        return number
