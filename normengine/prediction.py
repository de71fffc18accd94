"""``normengine predict``: a network's outputs for images and arrays, batch by batch, into a file or a table."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .files.atomic import check_replaceable
from .files.reading import open_regular
from .input_files import InputReader, Preparation, Sample, find_files, is_image
from .locks import load_module
from .options import SessionOptions
from .output_files import Result, Top, opened, suffix
from .session import InferenceSession, NodeArg
from .settings import whole

BATCH = 32
"""Samples that run together where neither the file nor the user says how many."""

_SHOWN = 3
"""How many classes a table shows where nobody says how many."""

Complain = Callable[[str], None]


class Predicted(NamedTuple):
    """How many samples there are outputs of, and how many files or samples failed."""

    samples: int
    failed: int


class Scoring(NamedTuple):
    """What is made of outputs: their softmax over axis 1, the ``top`` best classes, named by ``labels``. A table that
    is ``shown`` has some classes where nobody asks for them, too."""

    softmax: bool = False
    top: int | None = None
    labels: tuple[str, ...] | None = None
    shown: bool = False


def predict(
    model: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    batch_size: int | None = None,
    preparation: Preparation | None = None,
    outputs: Sequence[str] = (),
    softmax: bool = False,
    top: int | None = None,
    labels: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> Predicted:
    """Run the ONNX file ``model`` on images, arrays and folders of images; write ``output``, or print a table.

    Samples of one shape that follow each other run as a batch of at most ``batch_size``; what is in memory at a time
    is a batch, and the results where ``output`` is an ``.npz`` file or a table. A file that is damaged or does not fit
    the network is named on the standard error stream, and the others go on.

    Args:
        model: the network.
        inputs: images, ``.npy`` and ``.npz`` arrays ``(N, ...)`` or ``(...)``, and folders of images.
        output: a ``.csv``, ``.jsonl`` or ``.npz`` file, which is written whole or not at all.
        batch_size: 32 by default; the network's where the file fixes it.
        preparation: how pixels, and arrays of uint8, become the numbers that the network reads.
        outputs: those to take, all by default.
        softmax: give probabilities in place of scores, over axis 1 of each output.
        top: keep the classes of so many largest scores. A table has three where scores are ``(N, classes)``.
        labels: a text file with the name of a class a line.
        threads: the process's number by default.

    Raises:
        OSError: the model, the labels or something of ``inputs`` is not there, or ``output`` cannot be written.
        ValueError: arguments do not fit the network or each other.
        ImportError: there are images, and Pillow is not installed.
    """
    path = None if output is None else Path(output)
    if path is not None:
        suffix(path)
        check_replaceable(path)
    files = find_files(inputs)
    scoring = _scoring(softmax, top, labels, path)
    options = SessionOptions()
    options.intra_op_num_threads = 0 if threads is None else threads
    network = _network(InferenceSession(model, options), preparation or Preparation(), scoring)
    network = network._replace(names=_taken(network.names, outputs, path, scoring))
    if any(map(is_image, files)):
        network.reader.check_images()
    if network.fixed is not None and batch_size not in {None, network.fixed}:
        raise ValueError(f"batch_size must be {network.fixed}, to which the file fixes the batch, got {batch_size}")
    limit = network.fixed or whole(BATCH if batch_size is None else batch_size, "batch_size", low=1)
    done, failures = 0, _Failures()
    with opened(path, scoring.labels) as write, _bar(files) as (update, failures.complain):
        for batch in _batches(network.reader, files, limit, failures):
            results = _results(network, batch, failures)
            write(results)
            done += len(results)
            update(len(batch))
    return Predicted(done, failures.count)


class _Network(NamedTuple):
    """What runs batches: the outputs to take, the number of samples that the file fixes if it does."""

    session: InferenceSession
    reader: InputReader
    names: Sequence[str]
    fixed: int | None
    scoring: Scoring


def _network(session: InferenceSession, preparation: Preparation, scoring: Scoring) -> _Network:
    ports = session.get_inputs()
    names = [port.name for port in session.get_outputs()]
    return _Network(session, InputReader(ports, preparation), names, _fixed_batch(ports), scoring)


class _Failures:
    """Counts and names what failed."""

    def __init__(self) -> None:
        self.count = 0
        self.complain: Complain = print

    def add(self, error: Exception | str) -> None:
        self.count += 1
        self.complain(f"normengine: {error}")


def _scoring(softmax: bool, top: int | None, labels: str | os.PathLike[str] | None, output: Path | None) -> Scoring:
    if top is not None:
        whole(top, "top", low=1)
    if labels is None:
        return Scoring(softmax, top, shown=output is None)
    if top is None and output is not None and suffix(output) != ".csv":
        raise ValueError(f"{output}: labels name the classes of top, or columns of a .csv file; give top as well")
    return Scoring(softmax, top, read_labels(labels), output is None)


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The lines of a text file in UTF-8, without blank ones at its end; raises OSError or ValueError."""
    with open_regular(path) as stream:
        content = stream.read()
    try:
        found = [line.strip() for line in content.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fsdecode(path)}: must be text in UTF-8 ({error})") from None
    while found and not found[-1]:
        found.pop()
    if not found:
        raise ValueError(f"{os.fsdecode(path)}: holds no labels; write the name of a class a line")
    return tuple(found)


def _taken(known: Sequence[str], asked: Sequence[str], path: Path | None, scoring: Scoring) -> Sequence[str]:
    """The names of the outputs to take."""
    for name in asked:
        if name not in known:
            raise ValueError(f"output '{name}' does not exist; the outputs are {', '.join(map(repr, known))}")
    names = list(dict.fromkeys(asked)) or known
    if (scoring.top is not None or scoring.labels is not None) and len(names) > 1:
        listed = ", ".join(map(repr, names))
        raise ValueError(f"top and labels are for one output of scores, the network has {listed}; name one to take")
    if path is not None and suffix(path) == ".npz" and scoring.top is None and "names" in names:
        raise ValueError(f"{path}: 'names' is an output and what .npz files call the inputs; write a .jsonl file")
    return names


def _fixed_batch(ports: Sequence[NodeArg]) -> int | None:
    """The number of samples that the file fixes, if it does."""
    sizes = {port.shape[0] for port in ports if port.shape and isinstance(port.shape[0], int)}
    if len(sizes) > 1:
        raise ValueError(f"inputs have batches of different sizes, {sorted(sizes)}; samples cannot be told apart")
    return sizes.pop() if sizes else None


@contextmanager
def _bar(files: Sequence[Path]) -> Iterator[tuple[Callable[[int], object], Complain]]:
    """What to call after each batch with its samples, and what to say something with. The bar is drawn on a terminal
    alone."""
    load_module("tqdm")
    from tqdm import tqdm

    total = len(files) if all(map(is_image, files)) else None
    with tqdm(total=total, desc="predict", unit="sample", disable=None) as bar:
        yield bar.update, lambda text: bar.write(text, file=sys.stderr)


def _batches(reader: InputReader, files: Sequence[Path], limit: int, failures: _Failures) -> Iterator[list[Sample]]:
    """Samples of one shape that follow each other, at most ``limit``."""
    batch: list[Sample] = []
    for path in files:
        try:
            for sample in reader.read(path):
                if batch and (len(batch) == limit or _shapes(sample) != _shapes(batch[0])):
                    yield batch
                    batch = []
                batch.append(sample)
        except (OSError, ValueError) as error:
            failures.add(error)
    if batch:
        yield batch


def _shapes(sample: Sample) -> list[tuple[tuple[int, ...], np.dtype]]:
    return [(array.shape, array.dtype) for array in sample.arrays.values()]


def _results(network: _Network, batch: Sequence[Sample], failures: _Failures) -> list[Result]:
    """What the network says of a batch, filled up where its size is fixed; nothing where it cannot run on it."""
    names, scoring = network.names, network.scoring
    full = [*batch, *[batch[-1]] * ((network.fixed or 0) - len(batch))]
    feeds = {name: np.stack([sample.arrays[name] for sample in full]) for name in batch[0].arrays}
    try:
        outputs = network.session.run(names, feeds)
    except ValueError as error:
        for sample in batch:
            failures.add(f"{sample.name}: {error}")
        return []
    for name, array in zip(names, outputs, strict=True):
        if array.ndim == 0 or len(array) != len(full):
            raise ValueError(f"output '{name}' of shape {array.shape} is not one of each of {len(full)} samples")
    if scoring.softmax:
        outputs = [_softmax(name, array) for name, array in zip(names, outputs, strict=True)]
    return [_result(sample.name, i, names, outputs, scoring) for i, sample in enumerate(batch)]


def _softmax(name: str, array: np.ndarray) -> np.ndarray:
    """``exp(x) / sum(exp(x))`` over axis 1, computed in float64."""
    if array.ndim < 2 or array.dtype.kind != "f":
        raise ValueError(f"softmax needs scores (N, classes) of floats, output '{name}' is {array.dtype} {array.shape}")
    with np.errstate(all="ignore"):  # infinite scores give NaN
        powers = np.exp(array.astype(np.float64) - array.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(array.dtype)


def _result(name: str, i: int, names: Sequence[str], outputs: Sequence[np.ndarray], scoring: Scoring) -> Result:
    arrays = {output: array[i] for output, array in zip(names, outputs, strict=True)}
    asked = scoring.top is not None or scoring.labels is not None
    if not asked and not (scoring.shown and _are_scores(outputs)):
        return Result(name, arrays, None)
    scores = outputs[0][i].ravel()
    if not _are_scores(outputs):
        raise ValueError(f"top and labels need scores (N, classes), output '{names[0]}' is {outputs[0].shape}")
    if scoring.labels is not None and len(scoring.labels) != len(scores):
        raise ValueError(f"there are {len(scoring.labels)} labels for {len(scores)} classes of output '{names[0]}'")
    count = scoring.top or (_SHOWN if scoring.shown else 0)
    if not count:  # labels head the columns of all scores
        return Result(name, arrays, None)
    best = np.argsort(-scores.astype(np.float64), kind="stable")[:count]
    labels = None if scoring.labels is None else tuple(scoring.labels[number] for number in best)
    return Result(name, arrays, Top(best, scores[best], labels))


def _are_scores(outputs: Sequence[np.ndarray]) -> bool:
    """Whether there is one output ``(N, classes)``, or ``(N, classes, 1, 1)``."""
    shape = outputs[0].shape
    return len(outputs) == 1 and len(shape) >= 2 and shape[1] > 1 and all(extent == 1 for extent in shape[2:])
