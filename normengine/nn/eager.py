"""Eager execution: modules and functions called directly take and return NumPy arrays, by way of a trace and a compiled
program that is cached."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from ..conversion import converted
from ..graph import Graph, Spec
from ..locks import load_module, new_lock
from ..nested import flattened
from ..ops import label_rules
from ..settings import compile_options
from .array import Array
from .context import current
from .state_dict import StateOwner
from .trace import Trace, trace

if TYPE_CHECKING:
    from ..runtime import Program
    from ..runtime.cache import ProgramCache

P = ParamSpec("P")


_lock = new_lock()
_cache: ProgramCache | None = None


def _programs() -> ProgramCache:
    global _cache
    load_module("normengine.runtime.cache")
    from ..runtime.cache import ProgramCache

    with _lock:
        if _cache is None:
            _cache = ProgramCache(size=16)
        return _cache


def program_of(graph: Graph) -> Program:
    """The program of ``graph``: that of another call which had the same graph lately, or one compiled now."""
    return _programs().get(graph, compile_options())


def function(body: Callable[P, Any]) -> Callable[P, Any]:
    """``body``, written for tensors, made to work on NumPy arrays outside of a trace as well."""

    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        if current() is not None:
            return body(*args, **kwargs)
        return run(body, args, kwargs, (), body.__name__)

    return call


def as_array(array: np.ndarray, what: str) -> np.ndarray:
    """``array`` as C-contiguous float32, or int64 if it holds integers; ValueError for what is empty, or
    holds what these have not."""
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.int64}
    if array.dtype.kind not in kinds:
        raise ValueError(f"{what}: input must be float32, got {array.dtype}; convert with x.astype(np.float32)")
    if array.size == 0:
        raise ValueError(f"{what}: input of shape {array.shape} is an empty batch; give at least one sample")
    return converted(np.asarray(array), kinds[array.dtype.kind], f"{what}: input")


def run(
    body: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    modules: Sequence[tuple[str, StateOwner]],
    what: str,
) -> Any:
    """``body(*args, **kwargs)`` with each array in its arguments, and in tuples, lists and dicts there, traced as an
    input; ``what`` begins messages.

    Arrays that are buffers of ``modules`` change in place where the computation updates them.
    """
    given, build = flattened((tuple(args), kwargs), np.ndarray)
    feeds = {f"input_{i}": as_array(array, what) for i, array in enumerate(given)}
    dtypes = {name: str(array.dtype) for name, array in zip(feeds, given, strict=True)}

    def call(*tensors: object) -> Any:
        positional, named = build(tensors)
        return body(*positional, **named)

    traced = trace(call, [(name, Spec.of(array)) for name, array in feeds.items()], modules, dtypes, True)
    return traced.structure(_results(traced, feeds, what))


def _results(traced: Trace, feeds: dict[str, np.ndarray], what: str) -> list[np.ndarray]:
    """The arrays of the trace's outputs; those that no node makes are copies of what was given."""
    feeds = feeds | traced.state() | traced.scalars()
    if traced.counter is not None:
        feeds["rng_seed"], feeds["rng_step"] = traced.counter()
    builder = traced.builder
    known = {v: feeds[v.name] for v in (*builder.inputs, *builder.state.values())} | builder.constants
    wanted = [v for v in dict.fromkeys(traced.outputs) if v not in known]
    graph = builder.graph(wanted)
    for rule in label_rules(graph):
        rule.check(feeds, what)
    if wanted or graph.updates:
        copies = {v: known[v].copy() for v in traced.outputs if v in known}
        known = known | copies | dict(zip(wanted, program_of(graph).run(feeds), strict=True))
    return [(known[v] if v in wanted else np.array(known[v])).view(Array) for v in traced.outputs]
