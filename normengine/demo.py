"""The whole way on real data: train on the digits, fold and export, run the file, compare, draw."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import __version__, nn, onnx, optim
from .data import DataLoader, digits
from .files.atomic import check_replaceable
from .kernels import cpu
from .runtime.threads import get_num_threads, set_num_threads
from .session import InferenceSession
from .table import table
from .train import History, Trainer, cosine

EPOCHS = 12
GOAL = 0.985
_MEASURED_SECONDS = 0.3
_say = partial(print, flush=True)  # the progress bar goes another way and must not overtake


class Measured(NamedTuple):
    """What one way of running the network gave on the held-out images."""

    name: str
    outputs: np.ndarray
    accuracy: float
    images_per_second: float


def network() -> nn.Sequential:
    """Four convolutions and two linear layers for images ``(N, 1, 8, 8)``; returns ``(N, 10)`` scores."""
    layers: dict[str, nn.Module] = {}
    for i, (inputs, outputs) in enumerate(((1, 16), (16, 16), (16, 32), (32, 32)), start=1):
        layers[f"conv{i}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers |= {f"norm{i}": nn.BatchNorm2d(outputs), f"relu{i}": nn.ReLU()}
        if i % 2 == 0:
            layers |= {f"pool{i}": nn.MaxPool2d(2), f"dropout{i}": nn.Dropout(0.1)}
    layers |= {"flatten": nn.Flatten(), "hidden": nn.Linear(32 * 2 * 2, 64, bias=False)}
    layers |= {"norm5": nn.BatchNorm1d(64), "relu5": nn.ReLU(), "dropout5": nn.Dropout(0.2)}
    layers["scores"] = nn.Linear(64, 10)
    return nn.Sequential(OrderedDict(layers))


def run(output: Path, *, epochs: int | None = None, seed: int = 0, threads: int | None = None) -> int:
    """Run the demo, print what happens, and return its exit code.

    Writes ``digits.onnx`` and, where matplotlib is installed, ``digits.png`` into the folder ``output``, which is
    made if it does not exist. The code is 1 if the full training ends below an accuracy of 98.5 %, else 0.

    Raises:
        OSError: the files cannot be written to ``output``; this is found out before training starts.
    """
    begin = time.perf_counter()
    model_path, picture_path = output / "digits.onnx", output / "digits.png"
    check_writable(output, (model_path, picture_path))
    if threads is not None:
        set_num_threads(threads)
    x, y = digits("train")
    held_x, held_y = digits("test")
    _say(f"normengine {__version__}, {get_num_threads()} threads, instruction set {cpu.choice().reason}")
    _say(f"Data: {len(x)} images of handwritten digits to train on, {len(held_x)} held out")
    _say("(UCI Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, CC BY 4.0)")
    trainer = train(x, y, held_x, held_y, epochs or EPOCHS, seed)
    outputs = trainer.predict(held_x)
    _say(f"\nTrained in {sum(trainer.history.seconds):.1f} s\n")

    report = onnx.export(trainer.model, model_path, input_shape=held_x.shape[1:])
    _say(f"{report}\n")

    rows = compare(model_path, trainer, outputs, held_x, held_y)
    _say(f"The {len(held_x)} held-out images as one batch\n")
    _say(comparison(rows, outputs))
    _say()

    for line in draw(picture_path, trainer.history, outputs, held_x, held_y):
        _say(line)
    _say(f"{model_path}: {model_path.stat().st_size / 1024:.0f} KiB")
    _say(f"Done in {time.perf_counter() - begin:.1f} s")
    accuracy = rows[0].accuracy
    if accuracy < GOAL and epochs is None:
        _say(f"The accuracy of {accuracy:.2%} is below the {GOAL:.1%} that this training should reach")
        return 1
    return 0


def check_writable(folder: Path, files: tuple[Path, ...]) -> None:
    """Make ``folder`` and try to write there; raises OSError saying what is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in files:
            check_replaceable(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"cannot write {' and '.join(p.name for p in files)} into the folder {folder.absolute()} ({reason}); "
            "name another with --output"
        ) from error


def train(x: np.ndarray, y: np.ndarray, held_x: np.ndarray, held_y: np.ndarray, epochs: int, seed: int) -> Trainer:
    """Train the network on the digits; everything random comes from ``seed``."""
    nn.random.manual_seed(seed)
    model = network()
    weights = sum(p.numel() for p in model.parameters())
    _say(f"Network: 4 convolutions, 2 linear layers, 5 batch norms, 3 dropouts; {weights:,} parameters\n")
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=2e-3)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.1), seed=seed)
    batches = DataLoader((x, y), batch_size=32, shuffle=True, seed=seed, drop_last=True)
    trainer.fit(batches, epochs=epochs, validation=(held_x, held_y), schedule=cosine(warmup=0.1))
    return trainer


def compare(path: Path, trainer: Trainer, outputs: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[Measured]:
    """Run the model and the exported file in every way that is installed."""
    session = InferenceSession(path)
    ways: list[tuple[str, Callable[[], np.ndarray]]] = [
        ("model (eval mode)", lambda: trainer.predict(x, batch_size=len(x))),
        ("digits.onnx in InferenceSession", lambda: session.run(None, {"x": x})[0]),
    ]
    try:
        import onnxruntime
    except ModuleNotFoundError:
        _say("ONNX Runtime is not installed, so that the file is run in InferenceSession alone\n")
    else:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = get_num_threads()
        other = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = f"digits.onnx in ONNX Runtime {metadata.version('onnxruntime')}"
        ways.append((name, lambda: other.run(None, {"x": x})[0]))
    return [_measure(name, way, y) for name, way in ways]


def _measure(name: str, way: Callable[[], np.ndarray], y: np.ndarray) -> Measured:
    outputs = way()
    seconds: list[float] = []
    while sum(seconds) < _MEASURED_SECONDS:
        begin = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - begin)
    return Measured(name, outputs, float(np.mean(outputs.argmax(1) == y)), len(y) / float(np.median(seconds)))


def comparison(rows: list[Measured], outputs: np.ndarray) -> str:
    """The table of what was measured; differences are to ``outputs``, the scores of the model itself."""
    return table(
        ("", "accuracy", "images/s", "largest difference"),
        [
            (
                row.name,
                f"{row.accuracy:.2%}",
                f"{row.images_per_second:,.0f}",
                f"{np.abs(row.outputs - outputs).max():.1e}" if i else "-",
            )
            for i, row in enumerate(rows)
        ],
    )


def draw(path: Path, history: History, outputs: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[str]:
    """Draw the picture where matplotlib is installed; returns what there is to say."""
    try:
        from .picture import draw_digits
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("matplotlib"):
            raise
        return [f"{path.name} is left out: matplotlib is not installed (pip install matplotlib)"]
    draw_digits(path, history, outputs, x, y)
    return [f"{path}: curves and predictions"]
