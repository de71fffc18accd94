"""Shape inference of outputs: the shapes that a file does not declare, found by importing it for two sizes of the
batch."""

from __future__ import annotations

from collections.abc import Sequence

from .importer import import_graph
from .parse import OnnxModel, Port

Extent = int | str | None


def outputs_with_shapes(model: OnnxModel) -> tuple[Port, ...]:
    """The outputs of ``model``, those without a declared shape with the one that the network makes of its inputs',
    where these are open along the batch alone: what changes with the batch has its name."""
    batches = {port.shape[0] for port in model.inputs if port.shape and not isinstance(port.shape[0], int)}
    name = batches.pop() if len(batches) == 1 else None
    try:
        at2, at3 = (
            import_graph(model, {port.name: _with_batch(port.shape or (), n) for port in model.inputs}) for n in (2, 3)
        )
    except ValueError:
        return model.outputs
    found = [_merged(a.shape, b.shape, name) for a, b in zip(at2.outputs, at3.outputs, strict=True)]
    return tuple(
        port._replace(shape=shape) if port.shape is None else port
        for port, shape in zip(model.outputs, found, strict=True)
    )


def _with_batch(shape: Sequence[Extent], batch: int) -> tuple[int, ...]:
    """``shape`` for a batch; ValueError where another extent is open."""
    made = (batch, *shape[1:]) if shape and not isinstance(shape[0], int) else shape
    known = tuple(n for n in made if isinstance(n, int))
    if len(known) < len(made):
        raise ValueError(f"the shape {tuple(shape)} is open along other axes than the batch")
    return known


def _merged(at2: Sequence[int], at3: Sequence[int], batch: Extent) -> tuple[Extent, ...] | None:
    if len(at2) != len(at3):
        return None
    return tuple(a if a == b else batch if (a, b) == (2, 3) else None for a, b in zip(at2, at3, strict=True))
