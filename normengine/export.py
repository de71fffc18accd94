"""``ne.onnx.export``, the door to the ONNX codec: from a model to a file that was checked and run before it took its
place.

The codec itself, from graph to bytes and back, is the package :mod:`normengine.onnx`, which knows no models.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import __version__
from .export_inputs import BATCH, Given, InputPort, input_ports, require_names
from .files.atomic import write_atomically
from .folding import fates
from .graph import Graph
from .locks import at_once, load_module
from .nn import Module
from .nn.mode import kept_mode
from .nn.norm import BatchNorm
from .nn.trace import trace
from .onnx.node import OnnxError
from .onnx.reference import can_evaluate_quickly, evaluate_file
from .ops import OPS, OperatorError, merge_batches
from .passes.bind_state import bind_state
from .passes.fold_batchnorm import Folding, unfolded
from .passes.fold_batchnorm import fold_batchnorm as fold
from .session import InferenceSession

OUTPUT = "y"
_TRIED_BATCHES = (1, 3)


@dataclass(frozen=True)
class Report:
    """What :func:`export` did: ``batch_norms`` says where each batch normalization went or why it stayed,
    ``difference`` is the largest absolute one between the model's outputs and the file's, in random batches."""

    path: Path
    opset: int
    batch_norms: tuple[Folding, ...]
    difference: float

    @property
    def folded(self) -> int:
        """How many batch normalizations are no longer in the file."""
        return sum(bool(norm.into) for norm in self.batch_norms)

    def __str__(self) -> str:
        lines = [f"{self.path} (opset {self.opset})"]
        if self.batch_norms:
            lines += ["", fates(self.batch_norms), ""]
        lines.append(f"{self.folded} of {len(self.batch_norms)} batch normalizations folded")
        lines.append(f"largest difference between model and file: {self.difference:.1e}")
        return "\n".join(lines)


def export(
    model: Module,
    path: str | os.PathLike[str],
    input_shape: Given = (1, 28, 28),
    *,
    opset: int = 17,
    fold_batchnorm: bool = True,
    tolerance: float = 1e-3,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_size: bool = False,
) -> Report:
    """Write ``model`` as it is in eval mode to ``path`` in ONNX.

    Weights are initializers under the keys of ``state_dict``; one that is parametrized is computed once and is the
    layer's plain weight. With ``fold_batchnorm`` every batch normalization beside a convolution or linear layer goes
    into that layer's weight and bias, computed in float64, wherever that is exact; so does a constant of each channel
    that is added or multiplied there.

    Args:
        model: any module.
        path: the file.
        input_shape: the extents of one sample, such as ``(3, 32, 32)``; or an example, an array ``(N, ...)`` of float32
            or int64. Of several inputs a tuple of these, in the order in which ``forward`` takes them, or a dict by
            name. The batch axis ``N`` is dynamic.
        opset: the version of ONNX's operators.
        fold_batchnorm: see above.
        tolerance: how far the file's outputs may be from the model's.
        input_names: by default the dict's, or ``x``; of several ``x_0``, ``x_1``, ...
        output_names: by default ``y``; where ``forward`` returns several ``y_0``, ``y_1``, ...
        dynamic_size: height and width of images may be others in each run, where the model can take them.

    Before the file takes the place of an older one, ``onnx.checker`` has checked it, and its outputs for random
    batches in :class:`~normengine.InferenceSession` (and, unless that would take long, ONNX's reference evaluator)
    were those of the model within ``tolerance`` of the largest one. The model is not changed, not even its mode or
    its buffers.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: the model does what ONNX or this opset cannot express, or the file computes something else.
        OSError: the file cannot be written. In every case what was at ``path`` is still there.
    """
    inputs = input_ports(input_shape, input_names, dynamic_size)
    draft = drafted(model, inputs, output_names, opset=opset, fold_batchnorm=fold_batchnorm, tolerance=tolerance)
    write_atomically(path, draft.content)
    return Report(Path(path), opset, draft.batch_norms, draft.difference)


class Draft(NamedTuple):
    """The content of a file that was not written yet, and what its report says."""

    content: bytes
    batch_norms: tuple[Folding, ...]
    difference: float


def drafted(
    model: Module,
    inputs: Sequence[InputPort],
    output_names: Sequence[str] | None = None,
    *,
    opset: int,
    fold_batchnorm: bool,
    tolerance: float,
) -> Draft:
    """What :func:`export` writes, checked as there. Raises what it raises, but for OSError."""
    load_module("normengine.onnx.serialize")
    from .onnx.serialize import check_opset, model_bytes

    if not isinstance(model, Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be a positive number, got {tolerance!r}")
    check_opset(opset)
    with kept_mode(model, training=False), kept_buffers(model):
        at2, at3 = _traced(model, inputs, 2), _traced(model, inputs, 3, larger=True)
        outputs = _output_shapes(at2, at3, output_names, [port.name for port in inputs])
        whole = graph = merge_batches(at2, at3)
        foldings = unfolded(graph, "fold_batchnorm is False")
        if fold_batchnorm:
            graph, foldings = fold(graph)
        content = model_bytes(
            graph,
            [port.declared() for port in inputs],
            outputs,
            opset,
            settings=_momenta(model),
            version=__version__,
        )
        difference = _tried(model, content, inputs, tolerance, can_evaluate_quickly(graph, opset))
    return Draft(content, _with_mixed(foldings, whole, model), difference)


def _with_mixed(foldings: Sequence[Folding], graph: Graph, model: Module) -> tuple[Folding, ...]:
    """``foldings``, which are those of the ``graph`` in its order, and in their places those of batch norms that mix
    statistics, which are written out in arithmetic."""
    norms = {name: module for name, module in model.named_modules() if isinstance(module, BatchNorm)}
    normalized = {node.layer for node in graph.nodes if OPS[node.op].normalizes}
    mixing = {name: norm.alpha for name, norm in norms.items() if norm.alpha and name not in normalized}
    others, rows = iter(foldings), []
    for node in graph.nodes:
        if OPS[node.op].normalizes:
            rows.append(next(others))
        elif node.layer in mixing:
            alpha = mixing.pop(node.layer)
            reason = f"it mixes the image's own statistics with the running ones, alpha {alpha:g}"
            rows.append(Folding(node.layer or type(model).__name__, reason=reason))
    return tuple(rows)


@contextmanager
def kept_buffers(model: Module) -> Iterator[None]:
    """Afterwards all buffers hold what they hold now, even those that ``forward`` updates in eval mode."""
    restore = at_once([partial(operator.setitem, buffer, ..., buffer.copy()) for _, buffer in model.named_buffers()])
    try:
        yield
    finally:
        restore()


def _traced(model: Module, inputs: Sequence[InputPort], batch: int, larger: bool = False) -> Graph:
    """The model on inputs of a batch, of ``larger`` images where their size is open; its weights are constants."""
    try:
        found = trace(model, [(port.name, port.spec(batch, larger)) for port in inputs], [("", model)])
    except OperatorError as error:
        if not any(larger and port.open_size for port in inputs):
            raise
        sizes = ", ".join(str(port.sample(larger)) for port in inputs)
        raise OnnxError(
            f"dynamic_size: the model does not take samples of other sizes, such as {sizes}: {error}"
        ) from None
    if not found.outputs:
        raise OnnxError("the model's forward returned no tensor, so there is nothing to write")
    if found.counter is not None:
        raise OnnxError(
            "the model draws random numbers in eval mode, which a file cannot; call dropout with training=self.training"
        )
    return bind_state(found.builder.graph(found.outputs), found.state(), found.derived)


def _momenta(model: Module) -> Mapping[str, Any]:
    """The momentum of each batch normalization by layer, as PyTorch counts it."""
    return {name: module.momentum for name, module in model.named_modules() if hasattr(module, "momentum")}


def _output_shapes(
    at2: Graph, at3: Graph, given: Sequence[str] | None, taken: Sequence[str]
) -> dict[str, tuple[int | str, ...]]:
    """Names and declared extents of the outputs: what changes with the inputs' is dynamic."""
    count = len(at2.outputs)
    names = [f"{OUTPUT}_{index}" for index in range(count)] if count > 1 else [OUTPUT]
    if given is not None:
        names = [given] if isinstance(given, str) else list(given)
        if len(names) != count:
            raise OnnxError(f"output_names must be {count} names, one for each output, got {names}")
    require_names([*names, *taken], "names of inputs and outputs")
    shapes: dict[str, tuple[int | str, ...]] = {}
    for name, a, b in zip(names, at2.outputs, at3.outputs, strict=True):
        shapes[name] = tuple(
            m if m == n else BATCH if (m, n) == (2, 3) else f"{name}_extent_{axis}"
            for axis, (m, n) in enumerate(zip(a.shape, b.shape, strict=True))
        )
    return shapes


def _tried(model: Module, content: bytes, inputs: Sequence[InputPort], tolerance: float, twice: bool) -> float:
    """The largest difference between the model's outputs and the file's; ValueError where it is too large.

    ``twice`` asks ONNX's reference evaluator as well.
    """
    session = InferenceSession(content)
    rng = np.random.default_rng(0)
    largest = 0.0
    for batch in _TRIED_BATCHES:
        feeds = {port.name: port.draw(rng, batch, larger=batch > 1) for port in inputs}
        wanted = list(arrays_in(model(*feeds.values())))
        runs = {"InferenceSession": session.run(None, feeds)}
        if twice and batch == 1:
            runs["ONNX's reference evaluator"] = evaluate_file(content, feeds)
        for runner, found in runs.items():
            for name, y, z in zip(session.get_outputs(), wanted, found, strict=True):
                largest = max(largest, _compared(name.name, runner, y, z, tolerance))
    return largest


def _compared(name: str, runner: str, wanted: np.ndarray, found: np.ndarray, tolerance: float) -> float:
    if wanted.shape != found.shape:
        raise OnnxError(f"output '{name}' of the file has shape {found.shape} in {runner}, the model's {wanted.shape}")
    if not np.all(np.isfinite(wanted)):
        raise OnnxError(
            f"the model's output '{name}' for random inputs is not finite; nothing was written, since the file could "
            "not be compared with it"
        )
    difference = float(np.max(np.abs(wanted.astype(np.float64) - found), initial=0.0))
    limit = tolerance * max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
    if not difference <= limit:
        raise OnnxError(
            f"output '{name}' of the file differs from the model's by {difference:.3g} in {runner}, more than "
            f"{limit:.3g}; nothing was written"
        )
    return difference


def arrays_in(result: object) -> Iterator[np.ndarray]:
    """The arrays in what a model returned, in order."""
    if isinstance(result, np.ndarray):
        yield result
    elif isinstance(result, Mapping):
        for part in result.values():
            yield from arrays_in(part)
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from arrays_in(part)
