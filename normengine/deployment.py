"""``ne.deploy``: from a trained model to an ONNX file whose outputs on real data are known, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from operator import setitem
from pathlib import Path
from typing import Any

import numpy as np

from .export import Report, arrays_in, drafted, kept_buffers
from .export_inputs import INPUT, input_ports
from .files.atomic import check_replaceable, write_atomically
from .locks import at_once
from .nn.mode import kept_mode
from .nn.module import Module
from .onnx.node import OnnxError
from .session import InferenceSession
from .settings import finite, whole
from .table import table
from .train import population
from .train.accuracy import Tally, is_rated
from .train.batches import given_batches
from .train.population import Recalibration

_Batch = tuple[np.ndarray, "np.ndarray | None"]
_Run = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Stage:
    """What came out at one stage, on all samples that were compared.

    ``difference`` is the largest absolute one of outputs to the stage before, ``changed`` how many predictions (the
    largest of a sample's scores) are others than there, ``accuracy`` the share of predictions that are the target's.
    They are None where there is nothing to compare with, or outputs are no scores ``(N, classes)``.
    """

    name: str
    difference: float | None
    changed: int | None
    accuracy: float | None


@dataclass(frozen=True)
class Deployment:
    """What :func:`deploy` did; ``print`` it as tables.

    ``stages`` are the model as it was, the recalibrated one, and the file; ``recalibration`` is None where there was
    none, ``export`` the report of :func:`normengine.onnx.export`, ``limit`` what the file might have differed from the
    model by.
    """

    export: Report
    recalibration: Recalibration | None
    stages: tuple[Stage, ...]
    samples: int
    limit: float

    @property
    def path(self) -> Path:
        """The file."""
        return self.export.path

    @property
    def difference(self) -> float:
        """The largest absolute difference between the outputs of the model and of the file."""
        return self.stages[-1].difference or 0.0

    @property
    def changed(self) -> int | None:
        """How many predictions of the file are not the model's, None where outputs are no scores."""
        return self.stages[-1].changed

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, which JSON keeps."""
        norms = [norm._asdict() for norm in self.export.batch_norms]
        return {
            "path": str(self.path),
            "opset": self.export.opset,
            "batch_norms": [{**norm, "into": list(norm["into"])} for norm in norms],
            "recalibration": None if self.recalibration is None else self.recalibration.as_dict(),
            "stages": [asdict(stage) for stage in self.stages],
            "samples": self.samples,
            "limit": self.limit,
        }

    def __str__(self) -> str:
        rows = [
            (x.name, _text(x.accuracy, ".2%"), _text(x.changed, "d"), _text(x.difference, ".1e")) for x in self.stages
        ]
        parts = [] if self.recalibration is None else [str(self.recalibration), ""]
        parts += [str(self.export), "", table(("stage", "accuracy", "changed predictions", "difference"), rows), ""]
        parts.append(
            f"{self.samples} samples, each stage beside the one before; the file may differ by {self.limit:.1e}"
        )
        return "\n".join(parts)


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def deploy(
    model: Module,
    data: object,
    path: str | os.PathLike[str],
    *,
    recalibrate: bool = True,
    dropout: bool = False,
    validation: object = None,
    batch_size: int = 256,
    opset: int = 17,
    fold_batchnorm: bool = True,
    tolerance: float = 1e-3,
) -> Deployment:
    """Recalibrate ``model``, fold its batch norms, and write it to ``path`` in ONNX, if the file's outputs on the data
    are those of the model.

    Args:
        model: a module whose ``forward`` takes one array, with the input ``(N, ...)`` of the data.
        data: ``(N, ...)`` float32, a tuple ``(x, y)`` of arrays, or a loader whose batches are ``x`` or ``(x, y)``. It
            is gone through once; what a loader gives is kept in memory until the end.
        path: the file, which is written as :func:`normengine.onnx.export` does.
        recalibrate: compute the running statistics of the batch norms anew from ``data`` (:func:`recalibrate`). A model
            without such layers is left as it is.
        dropout: as in :func:`recalibrate`.
        validation: other samples, given as ``data``, to compare outputs on; by default those of ``data``.
        batch_size: samples a batch, of arrays.
        opset, fold_batchnorm: as in :func:`normengine.onnx.export`.
        tolerance: how far outputs of the file may be from those of the model, times the largest output if that is
            above 1.

    The model keeps the recalibrated statistics; nothing else of it changes.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: the data give nothing or do not fit the model, the model cannot be recalibrated or exported, or the
            file's outputs are beyond ``tolerance``.
        FloatingPointError: statistics are not finite.
        OSError: the file cannot be written. Whatever is raised, what was at ``path`` is still there, and the statistics
            are those that they were.
    """
    norms, _ = population.batch_norms(model, "deploy")
    tolerance, batch_size = (
        finite(tolerance, "deploy: tolerance", low=0),
        whole(batch_size, "deploy: batch_size", low=1),
    )
    check_replaceable(path)
    batches = list(given_batches(data, batch_size, "deploy: data"))
    held_out = batches if validation is None else list(given_batches(validation, batch_size, "deploy: validation"))
    comparison, recalibration = _Comparison(held_out), None
    run = partial(_outputs, model)
    with _statistics_back(model):
        with kept_mode(model, training=False), kept_buffers(model):
            stages = [comparison.stage("model", run)]
        if recalibrate and norms:
            recalibration = population.recalibrate(model, [x for x, _ in batches], dropout=dropout)
            with kept_mode(model, training=False), kept_buffers(model):
                stages.append(comparison.stage("recalibrated", run))
        inputs = input_ports(batches[0][0].shape[1:])
        draft = drafted(model, inputs, opset=opset, fold_batchnorm=fold_batchnorm, tolerance=tolerance)
        session = InferenceSession(draft.content)
        limit = tolerance * max(1.0, comparison.largest)
        stages.append(comparison.stage("file", lambda x: session.run(None, {INPUT: x})))
        if not (difference := stages[-1].difference or 0.0) <= limit:
            raise OnnxError(
                f"deploy: outputs of the file differ from the model's by {difference:.3g} on the data, more than "
                f"{limit:.3g}; nothing was written"
            )
        write_atomically(path, draft.content)
    report = Report(Path(path), opset, draft.batch_norms, draft.difference)
    return Deployment(report, recalibration, tuple(stages), comparison.samples, limit)


@contextmanager
def _statistics_back(model: Module) -> Iterator[None]:
    """If anything is raised inside, the buffers of the model hold what they hold now."""
    buffers = [buffer for _, buffer in model.named_buffers() if buffer.flags.writeable]
    restore = at_once([partial(setitem, buffer, ..., buffer.copy()) for buffer in buffers])
    try:
        yield
    except BaseException:
        restore()
        raise


def _outputs(model: Module, x: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(array) for array in arrays_in(model(x))]


class _Comparison:
    """Runs batches at one stage after the other; of outputs, those of the last stage are kept."""

    def __init__(self, batches: Sequence[_Batch]) -> None:
        self.samples = sum(len(x) for x, _ in batches)
        self.largest = 0.0
        """The largest absolute output of the last stage."""
        self._batches = batches
        self._outputs: list[Sequence[np.ndarray]] = []

    def stage(self, name: str, run: _Run) -> Stage:
        """What ``run`` makes of all batches, beside the stage before."""
        before, self._outputs, self.largest = self._outputs, [], 0.0
        difference, changed, tally, scores = 0.0, 0, Tally(None), True
        for i, (x, y) in enumerate(self._batches):
            try:
                outputs = run(x)
            except ValueError as error:
                raise ValueError(f"deploy, batch {i + 1}: {error}; nothing was written") from error
            scores = scores and len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] > 1
            self.largest = _most(self.largest, outputs)
            if before:
                pairs = list(zip(before[i], outputs, strict=True))
                difference = _most(difference, [a.astype(np.float64) - b for a, b in pairs])
                changed += sum(int(np.count_nonzero(a.argmax(1) != b.argmax(1))) for a, b in pairs if scores)
            if scores and y is not None and is_rated(None, outputs[0].shape, y.shape, y.dtype):
                tally.add(outputs[0], y)
            self._outputs.append(outputs)
        if not before:
            return Stage(name, None, None, tally.accuracy())
        return Stage(name, difference, changed if scores else None, tally.accuracy())


def _most(largest: float, arrays: Sequence[np.ndarray]) -> float:
    """The largest absolute number, NaN where there is one."""
    return float(np.max([largest, *(np.max(np.abs(array), initial=0.0) for array in arrays)]))
