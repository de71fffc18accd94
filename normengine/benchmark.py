"""``normengine bench``: how long a network takes, beside ONNX Runtime and OpenVINO where they are installed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module, metadata
from types import ModuleType
from typing import NamedTuple

import numpy as np

from . import __version__
from .input_files import has_channels_last
from .options import SessionOptions
from .runtime.threads import get_num_threads
from .session import InferenceSession, NodeArg
from .settings import finite, whole
from .table import table

BATCHES = (1, 32, 256)
_TURNS = 5
"""How often engines take turns: what disturbs the machine for a while disturbs all of them."""

_SETTLING = 0.2
"""The share of a turn that is not counted: caches and clocks are still the engine's before, whose threads may spin."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}

Feeds = Mapping[str, np.ndarray]
Run = Callable[[], Sequence[np.ndarray]]
Prepare = Callable[[Feeds], Run]


@dataclass(frozen=True)
class Timing:
    """The median time of ``runs`` runs of a batch in one engine.

    ``ratio`` is how many times as long it is as normengine's, ``difference`` the largest absolute one of outputs to
    normengine's.
    """

    engine: str
    batch: int
    seconds: float
    runs: int
    ratio: float
    difference: float

    @property
    def images_per_second(self) -> float:
        """Samples a second."""
        return self.batch / self.seconds


@dataclass(frozen=True)
class Benchmark:
    """What :func:`benchmark` measured; ``print`` it as a table.

    ``shapes`` are those of the inputs without the batch axis, ``memory`` the bytes that normengine holds from run to
    run for each batch, ``left_out`` says which engines could not run and why.
    """

    path: str
    threads: int
    shapes: Mapping[str, tuple[int, ...]]
    timings: tuple[Timing, ...]
    memory: Mapping[int, int]
    left_out: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """All of it as plain values, which JSON keeps."""
        return {
            "path": self.path,
            "threads": self.threads,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "timings": [{**asdict(found), "images_per_second": found.images_per_second} for found in self.timings],
            "memory": {str(batch): size for batch, size in self.memory.items()},
            "left_out": list(self.left_out),
        }

    def __str__(self) -> str:
        rows = [
            (
                found.engine,
                str(found.batch),
                f"{found.seconds * 1e3:.3f}",
                f"{found.images_per_second:,.0f}",
                f"{found.ratio:.2f}",
                f"{found.difference:.1e}",
            )
            for found in self.timings
        ]
        given = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in self.shapes.items())
        sizes = ", ".join(f"{size / 2**20:,.1f} MiB for a batch of {batch}" for batch, size in self.memory.items())
        head = ("engine", "batch", "ms a run", "samples/s", "times normengine's", "difference")
        return "\n".join(
            [
                f"{self.path}: {given} a sample, {self.threads} threads, medians in turns",
                "",
                table(head, rows),
                "",
                f"normengine holds, beside the file's weights, {sizes}",
                *self.left_out,
            ]
        )


class _Engine(NamedTuple):
    name: str
    prepare: Prepare


class _Ready(NamedTuple):
    name: str
    run: Run
    outputs: Sequence[np.ndarray]


def benchmark(
    path: str | os.PathLike[str],
    *,
    batches: Sequence[int] | None = None,
    threads: int | None = None,
    seconds: float = 1.0,
    size: tuple[int, int] | None = None,
) -> Benchmark:
    """Time the ONNX file ``path`` on random inputs of its declared shape.

    Args:
        path: the network.
        batches: numbers of samples; 1, 32 and 256 by default, or the number that the file fixes.
        threads: of each engine; the process's number by default.
        seconds: how long each engine runs for each batch, in turns with the others.
        size: height and width of images where the file leaves them open.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or its shapes are not those asked for.
    """
    seconds = finite(seconds, "seconds", low=0.0)
    options = SessionOptions()
    options.intra_op_num_threads = 0 if threads is None else threads
    count = threads or get_num_threads()
    session = InferenceSession(path, options)
    ports = session.get_inputs()
    sizes, shapes = _batches(ports, batches), {port.name: _sample(port, size) for port in ports}
    engines, left_out = _engines(session, os.fsdecode(path), count)
    timings: list[Timing] = []
    memory: dict[int, int] = {}
    for batch in sizes:
        feeds = _random(ports, shapes, batch)
        ready = _ready(engines, feeds, left_out)
        memory[batch] = sum(program.nbytes for program in list(session.programs.values())[-1].programs)
        timings += _timings(ready, batch, seconds)
    return Benchmark(os.fsdecode(path), count, shapes, tuple(timings), memory, tuple(dict.fromkeys(left_out)))


def _engines(session: InferenceSession, path: str, count: int) -> tuple[list[_Engine], list[str]]:
    """This engine and the others that are installed and read the file; what is to be said of those that do not."""
    engines = [_Engine(f"normengine {__version__}", lambda feeds: partial(session.run, None, feeds))]
    left_out: list[str] = []
    for name, package, opened in _OTHERS:
        try:
            module = import_module(package)
        except ImportError:
            left_out.append(f"{name} is not installed (pip install {package})")
            continue
        try:
            prepare = opened(module, path, count)
        except Exception as error:  # engines raise errors of their own
            left_out.append(_refusal(name, error))
            continue
        engines.append(_Engine(f"{name} {metadata.version(package)}", prepare))
    return engines, left_out


def _batches(ports: Sequence[NodeArg], asked: Sequence[int] | None) -> list[int]:
    """The numbers of samples to run."""
    fixed = {port.shape[0] for port in ports if port.shape and isinstance(port.shape[0], int)}
    if asked is None:
        return sorted(fixed)[:1] if fixed else list(BATCHES)
    sizes = [whole(batch, "batch", low=1) for batch in asked]
    if fixed and set(sizes) != fixed:
        raise ValueError(f"the file fixes the batch to {sorted(fixed)[0]}, got {', '.join(map(str, sizes))}")
    return list(dict.fromkeys(sizes))


def _sample(port: NodeArg, size: tuple[int, int] | None) -> tuple[int, ...]:
    """Extents of an input behind the batch axis."""
    shape = list(port.shape or ())[1:]
    if size is not None and len(shape) == 3:
        place = 0 if has_channels_last(port.shape or ()) else 1
        for axis, (extent, wanted) in enumerate(zip(shape[place : place + 2], size, strict=True), start=place):
            if isinstance(extent, int) and extent != wanted:
                raise ValueError(f"input '{port.name}' has the extents {shape} in the file, got a size of {size}")
            shape[axis] = wanted
    extents = tuple(extent for extent in shape if isinstance(extent, int))
    if len(extents) < len(shape):
        raise ValueError(f"input '{port.name}' leaves extents open, {shape} behind the batch axis; give a size")
    return extents


def _random(ports: Sequence[NodeArg], shapes: Mapping[str, tuple[int, ...]], batch: int) -> dict[str, np.ndarray]:
    """Normally distributed floats; zeros and ones where an input holds integers, which may be places in a table."""
    rng, feeds = np.random.default_rng(0), {}
    for port in ports:
        shape, dtype = ((batch, *shapes[port.name]) if port.shape else ()), np.dtype(_DTYPES[port.type])
        try:
            numbers = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
            feeds[port.name] = np.asarray(numbers).astype(dtype)
        except (MemoryError, ValueError):
            raise ValueError(f"input '{port.name}' of shape {shape} does not fit into memory; give fewer") from None
    return feeds


def _ready(engines: Sequence[_Engine], feeds: Feeds, left_out: list[str]) -> Sequence[_Ready]:
    """The engines after their first run, the others' errors in ``left_out``; normengine's are raised."""
    found: list[_Ready] = []
    for engine in engines:
        try:
            run = engine.prepare(feeds)
            found.append(_Ready(engine.name, run, [np.array(output) for output in run()]))
        except Exception as error:
            if not found:
                raise
            left_out.append(_refusal(engine.name, error, f"a batch of {max(map(len, feeds.values()))}"))
    return found


def _timings(ready: Sequence[_Ready], batch: int, seconds: float) -> list[Timing]:
    """Medians of what each engine took, in turns."""
    times: list[list[float]] = [[] for _ in ready]
    for _ in range(_TURNS):
        for engine, found in zip(ready, times, strict=True):
            found += _turn(engine.run, seconds / _TURNS)
    medians = [float(np.median(found)) for found in times]
    return [
        Timing(
            engine.name, batch, median, len(found), median / medians[0], _difference(ready[0].outputs, engine.outputs)
        )
        for engine, median, found in zip(ready, medians, times, strict=True)
    ]


def _turn(run: Run, seconds: float) -> list[float]:
    """The times of runs one after the other, at least of one, without those at the beginning."""
    begin = now = time.perf_counter()
    found: list[float] = []
    settled = begin + _SETTLING * seconds
    while not found or now - begin < seconds:
        before = time.perf_counter()
        run()
        now = time.perf_counter()
        if before >= settled or now - begin >= seconds:
            found.append(now - before)
    return found


def _difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return float(np.max([np.max(np.abs(a.astype(np.float64) - b), initial=0.0) for a, b in pairs]))


def _refusal(name: str, error: Exception, what: str = "it") -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{name} cannot run {what}: {first[:200]}"


def _onnxruntime(module: ModuleType, path: str, threads: int) -> Prepare:
    options = module.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feeds: partial(session.run, None, feeds)


def _openvino(module: ModuleType, path: str, threads: int) -> Prepare:
    core = module.Core()
    model = core.read_model(path)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }

    def prepare(feeds: Feeds) -> Run:
        model.reshape({name: list(array.shape) for name, array in feeds.items()})
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        return lambda: list(request.infer(feeds).values())

    return prepare


_OTHERS: tuple[tuple[str, str, Callable[[ModuleType, str, int], Prepare]], ...] = (
    ("ONNX Runtime", "onnxruntime", _onnxruntime),
    ("OpenVINO", "openvino", _openvino),
)
