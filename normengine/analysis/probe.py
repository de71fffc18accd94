"""The probe: values inside a model, such as what its layers are given, for one batch after another.

A model is traced in the mode that is asked for, the wanted values become the outputs of the graph, and that is run as a
program, which is compiled once for each shape of batch. Whatever the graph would store is left out: weights, running
statistics and the generator of random numbers stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..graph import Graph, Node, Spec, Value
from ..nn.mode import in_training, kept_mode
from ..nn.module import Module
from ..nn.norm import BatchNorm
from ..nn.trace import Trace, trace
from ..ops import OPS
from ..runtime import Program
from ..runtime.cache import ProgramCache
from ..settings import compile_options, whole

INPUT = "x"
Choose = Callable[[Trace], Mapping[str, Value]]
"""Gives the wanted values of a trace by name, and adds nodes for those that it does not compute yet."""


class Site(NamedTuple):
    """A batch norm at work: its name, with a number behind it from its second input on, its layer, its input."""

    name: str
    layer: str
    input: Value


class Probe:
    """The values that ``choose`` wants of ``model`` in the mode that ``mode()`` puts it into, for given batches.

    ``what`` begins messages. ``seed`` is that of random numbers, which are others for each ``draw``. Programs are kept
    in ``programs``, where that is given, beyond the life of the probe.
    """

    def __init__(
        self,
        model: Module,
        choose: Choose,
        mode: Callable[[], AbstractContextManager[None]],
        what: str,
        *,
        seed: int = 0,
        programs: ProgramCache | None = None,
    ) -> None:
        if not isinstance(model, Module):
            given = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise TypeError(f"{what}: model must be an nn.Module, got {given}")
        self._model = model
        self._choose = choose
        self._mode = mode
        self._what = what
        self._seed = whole(seed, f"{what}: seed")
        self._programs = ProgramCache(size=4) if programs is None else programs
        self._made: dict[tuple[int, ...], _Made] = {}

    def run(self, x: np.ndarray, draw: int = 0) -> dict[str, np.ndarray]:
        """The wanted values for the batch ``x`` ``(N, ...)`` float32, by name.

        Raises ValueError where the model cannot take it; the message names the layer.
        """
        made = self._made.get(x.shape)
        if made is None:
            made = self._make(Spec.of(x))
            if not made.traced.looked:  # else its Python is to look at this batch alone
                self._made[x.shape] = made
        feeds = {INPUT: x, "rng_seed": _word(self._seed), "rng_step": _word(draw), **made.traced.state()}
        arrays = made.program.run(feeds) if made.program else []
        values = dict(zip(made.computed, arrays, strict=True))
        return {name: values[name] if name in values else feeds[given] for name, given in made.wanted}

    def _make(self, spec: Spec) -> _Made:
        with self._mode():
            traced = traced_with(self._model, spec)
        builder, wanted = traced.builder, self._choose(traced)
        sources = {*builder.inputs, *builder.state.values()}
        computed = {name: value for name, value in wanted.items() if value not in sources}
        graph = without_updates(traced, tuple(computed.values()))
        program = self._programs.get(graph, compile_options()) if computed else None
        return _Made(traced, program, tuple(computed), tuple((name, value.name) for name, value in wanted.items()))


class _Made(NamedTuple):
    """A trace for one shape of batch, the program of those wanted values that are ``computed`` and not given to it, and
    the names of all wanted ones, each with its name in the graph."""

    traced: Trace
    program: Program | None
    computed: tuple[str, ...]
    wanted: tuple[tuple[str, str], ...]


def traced_with(model: Module, spec: Spec) -> Trace:
    """``model`` in the mode it is in, traced on an input of ``spec``; nothing is computed, and no random number is
    drawn."""
    return trace(lambda x: model(x), [(INPUT, spec)], [("", model)], counter=lambda: (_word(0), _word(0)))


def without_updates(traced: Trace, outputs: Sequence[Value]) -> Graph:
    """The graph that computes ``outputs`` and stores nothing."""
    return replace(traced.builder.graph(outputs), updates=()).pruned()


def _word(number: int) -> np.ndarray:
    return np.asarray(number & 0xFFFFFFFF, np.uint32)


# modes


@contextmanager
def norms_in_training(model: Module, dropout: bool) -> Iterator[None]:
    """Batch norms in training mode, all else in it with ``dropout`` and in eval mode without; then as before."""
    with kept_mode(model, training=dropout), in_training(batch_norms(model).values()):
        yield


# places


def batch_norms(model: Module) -> dict[str, Module]:
    """The modules that keep running statistics, or are batch norms without, by name."""
    return {name: module for name, module in model.named_modules() if _is_batch_norm(module)}


def _is_batch_norm(module: Module) -> bool:
    return isinstance(module, BatchNorm) or module._buffers.get("running_var") is not None


def norm_sites(model: Module, nodes: Iterable[Node], inputs: Iterable[Value]) -> list[Site]:
    """Each batch norm at work in a trace with these nodes and inputs, in order: layers, and calls of
    ``F.batch_norm``."""
    norms = batch_norms(model)
    origin: dict[Value, str | None] = dict.fromkeys(inputs)
    found: dict[tuple[str, Value], str] = {}
    for node in nodes:
        origin.update(dict.fromkeys(node.outputs, node.layer))
        if OPS[node.op].normalizes:
            own = node.layer in norms
            name = node.layer if own else f"{node.layer}.{node.op.removesuffix('_train')}".lstrip(".")
            found.setdefault((name, node.inputs[0]), node.layer)
        elif node.layer in norms:
            found.update({(node.layer, v): node.layer for v in node.inputs if _comes_from_outside(v, node, origin)})
    seen: dict[str, int] = {}
    sites = []
    for (name, value), layer in found.items():
        seen[name] = seen.get(name, 0) + 1
        shown = name or type(model).__name__
        sites.append(Site(shown if seen[name] == 1 else f"{shown} ({seen[name]})", layer, value))
    return sites


def _comes_from_outside(value: Value, node: Node, origin: Mapping[Value, str | None]) -> bool:
    """Whether a batch of values comes from another layer than the node's, or from outside of the model."""
    is_batch = value.dtype == "float32" and value.spec.rank >= 2
    return is_batch and value in origin and origin[value] != node.layer


def sites_of(model: Module, traced: Trace, what: str) -> list[Site]:
    """The batch norms at work in a trace; raises ValueError where there is none."""
    sites = norm_sites(model, traced.builder.nodes, traced.builder.inputs)
    if not sites:
        raise ValueError(f"{what}: the model has no batch norm at work; give one with nn.BatchNorm1d or nn.BatchNorm2d")
    return sites


def layer_input(nodes: Iterable[Node], inputs: Iterable[Value], layer: str) -> Value | None:
    """What the layer of that name, or the layers in it, are given first; None where they compute nothing."""
    prefix = f"{layer}." if layer else ""
    known = {value for value in inputs if value.dtype == "float32"}
    for node in nodes:
        if node.layer == layer or node.layer.startswith(prefix):
            for value in node.inputs:
                if value in known:
                    return value
        else:
            known.update(node.outputs)
    return None


def node_name(node: Node, modules: Mapping[str, Module]) -> str:
    """What to call a node: its layer, if that is no container of others, else with the operator behind it."""
    module = modules.get(node.layer)
    if node.layer and module is not None and next(module.children(), None) is None:
        return node.layer
    return f"{node.layer}.{node.op}".lstrip(".")
