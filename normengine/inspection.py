"""``ne.onnx.inspect`` and ``normengine inspect``: what is in an ONNX file, what folding makes of it, and what it takes
to run it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .folding import fates, read_graph
from .graph import Graph
from .locks import load_module
from .ops import OPS
from .passes import decompose, fold_constants
from .passes.fold_batchnorm import Folding
from .settings import whole
from .table import table

if TYPE_CHECKING:
    from .onnx.limits import FileLimits

_FOLDED = 2**26


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect` found; ``print`` it.

    ``inputs`` and ``outputs`` have type and extents by name, ``operators`` how many nodes of each there are;
    ``parameters`` counts the numbers of the weights, of ``weight_bytes`` in all. For inputs of ``shapes``,
    ``multiply_adds`` are those of convolutions and products, ``memory_bytes`` what a run takes beside the weights. Both
    are those of the folded network, of what can be read of it: ``unread`` names the nodes that are not supported.
    ``batch_norms`` says of each batch normalization where folding would put it, or why it would stay.
    """

    path: str
    opset: int | None
    producer: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    operators: Mapping[str, int]
    parameters: int
    weight_bytes: int
    batch_norms: tuple[Folding, ...]
    unread: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    multiply_adds: int
    memory_bytes: int

    def as_dict(self) -> dict[str, object]:
        """All of it as plain values, which JSON keeps."""
        norms = [{**norm._asdict(), "into": list(norm.into)} for norm in self.batch_norms]
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {**asdict(self), "batch_norms": norms, "unread": list(self.unread), "shapes": shapes}

    def __str__(self) -> str:
        given = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in self.shapes.items())
        counts = [(name, str(count)) for name, count in self.operators.items()]
        lines = [
            f"{self.path}: opset {self.opset}" + (f", made by {self.producer}" if self.producer else ""),
            *(f"input   {name}: {words}" for name, words in self.inputs.items()),
            *(f"output  {name}: {words}" for name, words in self.outputs.items()),
            f"{self.parameters:,} parameters, {_amount(self.weight_bytes)} of weights",
            f"{self.multiply_adds:,} multiply-adds and {_amount(self.memory_bytes)} beside the weights for {given}",
            "",
            table(("operator", "nodes"), counts),
        ]
        if self.batch_norms:
            folded = sum(bool(norm.into) for norm in self.batch_norms)
            lines += ["", fates(self.batch_norms), ""]
            lines.append(f"{folded} of {len(self.batch_norms)} batch normalizations fold")
        if self.unread:
            lines += ["", f"not supported: {', '.join(self.unread)}"]
        return "\n".join(lines)


def _amount(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB" if nbytes >= 2**20 else f"{nbytes / 2**10:.1f} KiB"


def inspect(
    path: str | os.PathLike[str],
    *,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    limits: FileLimits | None = None,
) -> Inspection:
    """What is in the ONNX file ``path``, what folding would make of it, and what a batch takes.

    ``batch`` is the number of samples where the file leaves it open, ``shapes`` are those of inputs of which it leaves
    more open.

    Raises:
        ValueError: the file is damaged or cannot be read, or ``shapes`` do not fit it.
        OSError: the file cannot be opened.
    """
    load_module("normengine.onnx.folded_file")
    load_module("normengine.onnx.description")
    from .onnx.description import described
    from .onnx.folded_file import fold_file

    batch = whole(batch, "batch", low=1)
    found = fold_file(path, shapes or {}, limits, batch)
    graph = None if found.parts is None else read_graph(found.parts[1], limits)[0]
    return Inspection(
        os.fsdecode(path),
        *described(path, limits),
        batch_norms=found.foldings,
        unread=found.unread,
        shapes=found.shapes,
        multiply_adds=0 if graph is None else _products(graph),
        memory_bytes=0 if graph is None else _memory(graph),
    )


def _products(graph: Graph) -> int:
    total = 0
    for node in decompose(graph).nodes:
        products = OPS[node.op].products
        if products is not None:
            inputs, outputs = ([value.shape for value in values] for values in (node.inputs, node.outputs))
            total += products(inputs, outputs, node.attrs)
    return total


def _memory(graph: Graph) -> int:
    """Bytes of a run beside the weights as the file has them: what the program owns, inputs and outputs."""
    load_module("normengine.runtime.program")
    from .runtime.program import compile_graph

    program = compile_graph(fold_constants(decompose(graph), _FOLDED, 2 * _FOLDED))
    return program.nbytes + sum(value.spec.nbytes for value in (*graph.inputs, *graph.outputs))
