"""The commands of the command line that run a network: ``normengine predict`` and ``normengine bench``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

NAMES = ("predict", "bench")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parsers of these commands."""
    _add_predict(commands)
    _add_bench(commands)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = commands.add_parser(
        "predict",
        help="run an ONNX network on images and arrays",
        description="Runs MODEL on images, .npy and .npz arrays and the images of folders, and writes its outputs or "
        "prints a table. A damaged image is named and left out, and the exit code is 1 at the end.",
    )
    predict.add_argument("model", type=Path, metavar="MODEL.onnx")
    predict.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="image, .npy, .npz or folder of images")
    predict.add_argument("-o", "--output", type=Path, metavar="OUT", help="a .csv, .jsonl or .npz file to write")
    predict.add_argument(
        "--batch-size", type=_positive, metavar="N", help="samples that run together (default: 32, or the file's)"
    )
    _add_size(predict, "resize images to this (default: what the file declares, else their own)")
    pixels = predict.add_argument_group(
        "pixels", "Numbers are (pixel * scale - mean) / std; float arrays stay as given."
    )
    pixels.add_argument("--scale", type=_number, metavar="S", help="a number or a fraction (default: 1/255)")
    pixels.add_argument("--mean", type=_number, nargs="+", default=(), metavar="M", help="one, or one a channel")
    pixels.add_argument("--std", type=_number, nargs="+", default=(), metavar="D", help="one, or one a channel")
    scores = predict.add_argument_group("scores")
    scores.add_argument("--softmax", action="store_true", help="probabilities in place of scores")
    scores.add_argument("--top", type=_positive, metavar="K", help="only the K best classes (a table has 3 of them)")
    scores.add_argument("--labels", type=Path, metavar="FILE", help="text file with the name of a class a line")
    scores.add_argument(
        "--take", action="append", default=[], metavar="NAME", help="an output to take, may be repeated (default: all)"
    )
    _add_threads(predict)


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser(
        "bench",
        help="time an ONNX network beside other engines",
        description="Times MODEL on random inputs, in turns beside ONNX Runtime and OpenVINO where they are installed.",
    )
    bench.add_argument("model", type=Path, metavar="MODEL.onnx")
    bench.add_argument(
        "--batch", type=_positive, nargs="+", metavar="N", help="numbers of samples (default: 1 32 256, or the file's)"
    )
    bench.add_argument(
        "--seconds", type=_number, default=1.0, metavar="S", help="of each engine for each batch (default: 1)"
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="write what is printed as JSON, too")
    _add_size(bench, "of images, where the file leaves it open")
    _add_threads(bench)


def _add_size(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--size", type=_positive, nargs=2, metavar=("H", "W"), help=f"height and width {words}")


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: the CPUs that the process may use")


def run(options: argparse.Namespace) -> int:
    """Run one of these commands and return its exit code."""
    return _predict(options) if options.command == "predict" else _bench(options)


def _predict(options: argparse.Namespace) -> int:
    from .input_files import Preparation
    from .prediction import predict

    size = None if options.size is None else (options.size[0], options.size[1])
    done, failed = predict(
        options.model,
        options.inputs,
        options.output,
        batch_size=options.batch_size,
        preparation=Preparation(size, options.scale, tuple(options.mean), tuple(options.std)),
        outputs=options.take,
        softmax=options.softmax,
        top=options.top,
        labels=options.labels,
        threads=options.threads,
    )
    if options.output is not None:
        print(f"{options.output}: {done} {'sample' if done == 1 else 'samples'}")
    if failed:
        print(f"normengine: {failed} failed, {done} done", file=sys.stderr)
    return 1 if failed else 0


def _bench(options: argparse.Namespace) -> int:
    from .benchmark import benchmark
    from .files.atomic import check_replaceable, write_atomically

    if options.json is not None:
        check_replaceable(options.json)
    size = None if options.size is None else (options.size[0], options.size[1])
    found = benchmark(options.model, batches=options.batch, threads=options.threads, seconds=options.seconds, size=size)
    print(found)
    if options.json is not None:
        write_atomically(options.json, (json.dumps(found.as_dict(), indent=2) + "\n").encode())
    return 0


def _number(text: str) -> float:
    """A number or, as in 1/255, one over the other."""
    over, slash, under = text.partition("/")
    try:
        number = float(over) / float(under) if slash else float(over)
    except (ValueError, ZeroDivisionError):
        number = float("nan")
    if not abs(number) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number, as in 0.5 or 1/255, got {text!r}")
    return number


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)
