"""Tracing, from a function on tensors to a graph: the user's Python runs once, and what it does is recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..graph import Spec, Value
from ..nested import flattened
from . import random
from .context import _current, _grad_enabled, current
from .names import Names
from .parameter import Parameter
from .state_dict import StateOwner
from .tensor import Tensor
from .traced import Counter, Trace
from .tracer import Tracer

__all__ = [
    "Begun",
    "Trace",
    "Tracer",
    "current",
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
    "trace",
]


def trace(
    function: Callable[..., Any],
    inputs: Sequence[tuple[str, Spec]],
    modules: Sequence[tuple[str, StateOwner]],
    dtypes: Mapping[str, str] | None = None,
    live: bool = False,
    counter: Counter = random.next_call,
) -> Trace:
    """Call ``function`` with one tensor for each of ``inputs`` (name, spec) and return what it computed.

    ``modules`` are (prefix, module) pairs whose parameters and buffers get the names of their ``state_dict`` under
    the prefix, with a number behind it where an input has that name. ``dtypes`` says, for messages, what the user
    gave for an input if that is another dtype than the spec's. With ``live`` numbers and arrays from outside are inputs
    and state (see :class:`Tracer`), else they are constants. ``counter`` is asked at most once, for what is random.
    Whatever the function's Python decides (loops, conditions on shapes and settings) is decided now.
    Raises what the function raises; :class:`~normengine.ops.OperatorError` names the layer.
    """
    tracer, tensors = _tracer(inputs, modules, dtypes, live, counter)
    tracer.grad_enabled = _grad_enabled.get()
    with _at_work(tracer):
        outputs, structure = _outputs(function(*tensors), tracer)
    return tracer.trace(outputs, structure)


class Begun:
    """A function that was traced, and what it returned: for others, which go on from there, each on its own.

    Takes what :func:`trace` takes, and is ``live``. Gradients are on when it begins, whatever the caller said of them.
    Raises what the function raises, and TypeError if what it returned cannot be taken apart.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[tuple[str, Spec]],
        modules: Sequence[tuple[str, StateOwner]],
        counter: Counter,
    ) -> None:
        self._tracer, tensors = _tracer(inputs, modules, None, True, counter)
        with _at_work(self._tracer):
            self._results, self._structure = _outputs(function(*tensors), self._tracer)

    @property
    def looked(self) -> bool:
        """Whether the function's Python read values that steps change."""
        return self._tracer.looked

    def finish(self, function: Callable[..., Any], given: Sequence[str]) -> Trace:
        """What ``function`` computes of what was returned, followed by the inputs of the names in ``given``."""
        tracer = self._tracer.fork()
        result = self._structure([Tensor(tracer, value) for value in self._results])
        inputs = {value.name: value for value in tracer.builder.inputs}
        with _at_work(tracer):
            more = [Tensor(tracer, inputs[name]) for name in given]
            outputs, structure = _outputs(function(result, *more), tracer)
        return tracer.trace(outputs, structure)


def _tracer(
    inputs: Sequence[tuple[str, Spec]],
    modules: Sequence[tuple[str, StateOwner]],
    dtypes: Mapping[str, str] | None,
    live: bool,
    counter: Counter,
) -> tuple[Tracer, list[Tensor]]:
    """A tracer that knows the modules, and a tensor for each input."""
    names = Names(taken={name for name, _ in inputs} | {"rng_seed", "rng_step"})
    for prefix, module in modules:
        names.add(prefix, module)
    tracer = Tracer(names, counter, live)
    values = {name: tracer.builder.input(name, spec) for name, spec in inputs}
    tracer.given = {values[name]: dtype for name, dtype in (dtypes or {}).items()}
    return tracer, [Tensor(tracer, value) for value in values.values()]


@contextmanager
def _at_work(tracer: Tracer) -> Iterator[None]:
    """The tracer is the current one inside; attributes that were assigned there are kept only if nothing is raised."""
    before = _current.get()
    try:
        _current.set(tracer)
        yield
        if tracer.live:
            tracer._assigned.clear()
    finally:
        tracer.restore()
        tracer.recording = False
        _current.set(before)


def _outputs(result: object, tracer: Tracer) -> tuple[list[Value], Callable[[Sequence[Any]], Any]]:
    """The tensors in ``result``, and the function that rebuilds it from as many arrays."""
    parts, build = flattened(result, (Tensor, Parameter, np.ndarray), _check_other)
    return [tracer.tensor(part)._value for part in parts], build


def _check_other(part: object) -> None:
    if part is not None and not isinstance(part, (int, float, str)):
        raise TypeError(f"forward() returned a {type(part).__name__}; tensors in tuples, lists and dicts are supported")


class set_grad_enabled:
    """Whether what follows is differentiated, as ``torch.set_grad_enabled(mode)``: at once, and until the end of the
    block where it is used as a context.

    Inside ``forward`` no gradient flows through what is computed while it is off; elsewhere it changes nothing but
    :func:`is_grad_enabled`, since arrays carry no gradients.
    """

    def __init__(self, mode: bool) -> None:
        self._mode = bool(mode)
        self._before = is_grad_enabled()
        _enable_grad(self._mode)

    def __enter__(self) -> None:
        _enable_grad(self._mode)

    def __exit__(self, *error: object) -> None:
        _enable_grad(self._before)


class _Switched:
    """A context, and a decorator, in which gradients are on or off."""

    mode = False

    def __enter__(self) -> None:
        self._before = is_grad_enabled()
        _enable_grad(self.mode)

    def __exit__(self, *error: object) -> None:
        _enable_grad(self._before)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: object, **kwargs: object) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped


class no_grad(_Switched):
    """A context (or decorator) in which nothing is differentiated, as ``torch.no_grad()``; see
    :class:`set_grad_enabled`."""


class inference_mode(_Switched):
    """As :class:`no_grad`; ``inference_mode(False)`` changes nothing."""

    def __init__(self, mode: bool = True) -> None:
        self.mode = not mode


class enable_grad(_Switched):
    """A context (or decorator) in which gradients flow again."""

    mode = True


def is_grad_enabled() -> bool:
    """Whether what is computed now is differentiated."""
    tracer = _current.get()
    return _grad_enabled.get() if tracer is None else tracer.grad_enabled


def _enable_grad(enabled: bool) -> None:
    tracer = _current.get()
    if tracer is None:
        _grad_enabled.set(enabled)
    else:
        tracer.grad_enabled = tracer.gradients = enabled
