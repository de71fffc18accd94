"""The tracer: turns what users write into nodes of a graph, while their ``forward`` runs."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..conversion import converted
from ..graph import Graph, Spec, Value
from ..ops import OPS, Builder, OperatorError, evaluate
from .array import Array
from .names import Names, follows, getter
from .parameter import Parameter
from .recorder import BufferOwner
from .tensor import Tensor
from .traced import Counter, Trace

_ABSENT: Any = object()


class _Assigned(NamedTuple):
    """An attribute that ``forward`` assigned: where it was, what it held, whether it was a buffer that is not saved."""

    module: BufferOwner
    table: dict[str, Any]
    name: str
    before: Any
    was_apart: bool


def _takes(array: object, spec: Spec) -> bool:
    """Whether a program can write a value of ``spec`` to it."""
    return isinstance(array, np.ndarray) and Spec.of(array) == spec and array.flags.carray


class Tracer:
    """One trace under way: turns what users write into nodes of ``builder``.

    Where it is ``live``, numbers and arrays that users hand to arithmetic are not built into the graph, but are inputs
    and state of it, so that it is the same for others.
    """

    def __init__(self, names: Names, counter: Counter, live: bool = False) -> None:
        self.builder = Builder()
        self.counter = functools.cache(counter)
        self.live = live
        self.numbers: dict[str, float] = {}
        self.looked = False
        self.given: dict[Value, str] = {}
        """The dtypes that integers had before they became int64, for messages."""
        self.parameters: dict[str, Parameter] = {}
        self.buffers: dict[str, Callable[[], np.ndarray]] = {}
        self.derived: dict[Value, str] = {}
        self.recording = True
        self.gradients = True
        self.grad_enabled = True
        self._names = names
        self._arrays: dict[int, tuple[np.ndarray, Value]] = {}
        self._constants: dict[tuple[float, float], Value] = {}
        self._assigned: list[_Assigned] = []
        self._read: dict[int, str] = {}
        self._newest: dict[str, Value] = {}
        self._sources: dict[Value, str] = {}
        self._random: tuple[Value, Value] | None = None
        self._draws = 0
        self._place = ""

    def fork(self) -> Tracer:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.builder = self.builder.copy()
        other.counter = functools.cache(self.counter.__wrapped__)
        other.recording = True
        other._names = self._names.copy()
        for name, value in vars(self).items():
            if isinstance(value, (dict, list)):
                setattr(other, name, value.copy())
        return other

    def trace(self, outputs: Sequence[Value], structure: Callable[[Sequence[Any]], Any]) -> Trace:
        """What was traced, with its results."""
        counter = None if self._random is None else self.counter
        return Trace(
            self.builder,
            tuple(outputs),
            structure,
            self.parameters,
            self.buffers,
            counter,
            self.numbers,
            self.looked,
            self.derived,
        )

    # nodes

    def add(self, op: str, *inputs: Tensor, **attrs: object) -> Tensor:
        """The one output of a new node."""
        return self.add_multi(op, *inputs, **attrs)[0]

    def add_multi(self, op: str, *inputs: Tensor, **attrs: object) -> tuple[Tensor, ...]:
        """All outputs of a new node."""
        values = [self._value_of(t) for t in inputs]
        integers = OPS[op].integers == "any" or (
            OPS[op].integers == "all" and all(value.dtype == "int64" for value in values)
        )
        if not integers:
            for value in values:
                if value.dtype not in ("float32", "uint32"):
                    raise self.error(
                        f"{op} needs float32, got {self.given.get(value, value.dtype)} of shape {value.shape}; "
                        "convert images with x.astype(np.float32) / 255"
                    )
        outputs = self.builder.add_multi(op, *values, **attrs)
        if values and values[0] in self.given:
            self.given.update((v, self.given[values[0]]) for v in outputs if v.dtype == "int64")
        if not self.gradients:
            outputs = tuple(self._detach(v) for v in outputs)
        return tuple(Tensor(self, v) for v in outputs)

    def _value_of(self, tensor: Tensor) -> Value:
        if tensor._tracer is not self or not self.recording:
            raise RuntimeError(
                "a tensor of an earlier trace was used: forward() cannot keep tensors from one call to the next"
            )
        return tensor._value

    def _detach(self, value: Value) -> Value:
        return self.builder.add("detach", value) if value.dtype == "float32" else value

    def detached(self, tensor: Tensor) -> Tensor:
        """The same values, through which no gradient flows."""
        return Tensor(self, self._detach(self._value_of(tensor)))

    def error(self, message: str) -> OperatorError:
        """The error to raise for ``message``, the layer at work before it."""
        return OperatorError(f"{self._place}: {message}" if self._place else message)

    @contextmanager
    def inside(self, module: object) -> Iterator[None]:
        """Nodes added inside belong to ``module``, and a ValueError raised inside names it."""
        kind, name = type(module).__name__, self._names.modules.get(id(module), "")
        before, self._place = self._place, f"{kind} '{name}'" if name else kind
        try:
            with self.builder.at(name, kind):
                yield
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            raise self.error(str(error)) from error
        finally:
            self._place = before

    # what users hand in

    def tensor(self, x: object) -> Tensor:
        """``x`` as a tensor: parameters and buffers as state, numbers and other arrays as constants."""
        if isinstance(x, Tensor):
            self._value_of(x)
            return x
        if isinstance(x, Parameter):
            return self.parameter(x)
        if isinstance(x, (int, float, np.number)) and not isinstance(x, bool):
            return Tensor(self, self._number(float(x)))
        if isinstance(x, np.ndarray):
            known = self._names.buffers.get(id(x))
            return self._buffer(*known) if known else Tensor(self, self._array(x))
        raise self.error(f"a tensor or an array is needed, got {type(x).__name__}; give a NumPy array of float32")

    def operand(self, x: object) -> Tensor | None:
        """``x`` as a float32 side of arithmetic, None if it cannot be one."""
        if not isinstance(x, (Tensor, Parameter, int, float, np.number, np.ndarray)):
            return None
        return self.real(int(x) if isinstance(x, bool) else x)

    def real(self, x: object) -> Tensor:
        """``x`` as a tensor, constants and buffers of integers converted to float32."""
        if isinstance(x, np.ndarray) and x.dtype.kind in "iub" and id(x) not in self._names.buffers:
            x = x.astype(np.float32)
        tensor = self.tensor(x)
        return tensor if isinstance(x, Tensor) else tensor.float()

    def parameter(self, parameter: Parameter) -> Tensor:
        """The state value of ``parameter``."""
        name = self._names.parameters.get(id(parameter))
        if name is None:
            name = self._names.parameters[id(parameter)] = self._names.unique("parameter")
        if name not in self.builder.state:
            if parameter.requires_grad:
                self.parameters[name] = parameter
            else:
                self.buffers[name] = lambda: parameter._data
        value = self.builder.state_value(name, Spec.of(parameter._data))
        return Tensor(self, value if self.gradients else self._detach(value))

    def buffer(self, module: BufferOwner, key: str) -> Tensor | None:
        """The newest value of a module's buffer, None where the module has None."""
        array = module._buffers[key]
        if array is None:
            return None
        if id(array) not in self._names.buffers:
            self._names.add_buffer(array, self._free_name(module, key), getter(module, key))
        return self._buffer(*self._names.buffers[id(array)])

    def derive(self, module: BufferOwner, key: str, tensor: Tensor) -> Tensor:
        """``tensor``, noted as what a module's attribute is computed to be."""
        self.derived.setdefault(self._value_of(tensor), self._names.own(module, key))
        return tensor

    def _free_name(self, module: BufferOwner, key: str) -> str:
        """The name that the place of a buffer has, unless another array has been there in this trace."""
        name = self._names.places.get((id(module), key))
        return self._names.unique(self._names.own(module, key)) if name is None or name in self.builder.state else name

    def bind(self, name: str, array: np.ndarray) -> None:
        """Make ``array`` state, so that updates change it in place."""
        if id(array) not in self._names.buffers:
            self._names.add_buffer(array, self._names.unique(name), lambda: array)

    def _buffer(self, name: str, get: Callable[[], np.ndarray]) -> Tensor:
        if name not in self._newest:
            self.buffers[name] = get
            value = self.builder.state_value(name, Spec.of(get()))
            self._newest[name] = value
            self._sources[value] = name
        return Tensor(self, self._newest[name])

    def update(self, buffer: Tensor, new: Tensor) -> None:
        """Store ``new`` in ``buffer`` when the graph has run; those who read the buffer later see it at once."""
        name = self._sources.get(self._value_of(buffer))
        if name is None:
            raise self.error("only a buffer that was registered with register_buffer can be updated")
        old, value = self.builder.state[name], self._value_of(new)
        if old.spec != value.spec:
            raise self.error(f"buffer '{name}' is {old.spec}, it cannot become {value.spec}")
        self.builder.update(old, value)
        self._newest[name] = value
        self._sources[value] = name

    def _array(self, array: np.ndarray) -> Value:
        """An array that is no state of a module."""
        if id(array) not in self._arrays:
            kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.int64}
            if array.dtype.kind not in kinds:
                raise self.error(f"an array of numbers is needed, got {array.dtype}")
            try:
                fitting = converted(np.asarray(array), kinds[array.dtype.kind], "an array")
            except ValueError as error:
                raise self.error(str(error)) from None
            if self.live:
                name = self._read[id(array)] = self._names.of(array)
                self.buffers[name] = follows(array, fitting)
                value = self._newest[name] = self.builder.state_value(name, Spec.of(fitting))
                self._sources[value] = name
            else:
                value = self.builder.constant(np.array(fitting, order="C", subok=False))
            self._arrays[id(array)] = array, value
        return self._arrays[id(array)][1]

    def assign(self, module: BufferOwner, name: str, tensor: Tensor) -> None:
        """``tensor`` becomes what ``module`` has under ``name``: a buffer from now on, which each run writes. Who holds
        the array that was there keeps it as it is."""
        table = module._buffers if name in module._buffers else vars(module)
        before = table.get(name, _ABSENT)
        self._assigned.append(_Assigned(module, table, name, before, name in module._non_persistent))
        spec, own = self._value_of(tensor).spec, self._names.own(module, name)
        # Forgotten, since who holds the array that was there reads that.
        known, _ = self._names.buffers.pop(id(before), (None, None))
        if known in self.builder.state:
            self.builder.updates.pop(self.builder.state[known], None)
        if _takes(before, spec):
            array, is_read = before.copy(), self._read.get(id(before)) == own
        else:
            array, is_read = np.zeros(spec.shape, spec.dtype), False
        array = array.view(Array)
        module._become_buffer(name, array)
        state = own if is_read else self._free_name(module, name)
        get = self.buffers[state] = getter(module, name)
        self._names.add_buffer(array, state, get)
        self.update(self._buffer(state, get), tensor)

    def restore(self) -> None:
        """Attributes are what they were before the trace."""
        for module, table, name, before, was_apart in reversed(self._assigned):
            del module._buffers[name]
            if not was_apart:
                module._non_persistent.discard(name)
            if before is not _ABSENT:
                table[name] = before

    def _number(self, number: float) -> Value:
        """A number that a user hands to arithmetic."""
        if not self.live:
            return self.constant(number)._value
        name = self._names.unique("number")
        self.numbers[name] = number
        return self.builder.input(name, Spec(()))

    def integer(self, number: int) -> Tensor:
        """A whole number that a user hands to arithmetic of integers, as int64."""
        if not self.live:
            return Tensor(self, self.builder.constant(np.array(number, np.int64)))
        name = self._names.unique("number")
        self.numbers[name] = number
        return Tensor(self, self.builder.input(name, Spec((), "int64")))

    def array(self, array: np.ndarray) -> Tensor:
        """An array that is part of a formula."""
        return Tensor(self, self.builder.constant(array))

    def constant(self, number: float) -> Tensor:
        """A number that is part of a formula: the same whatever the settings are."""
        key = number, math.copysign(1.0, number)
        if key not in self._constants:
            self._constants[key] = self.builder.constant(number)
        return Tensor(self, self._constants[key])

    # randomness

    def random(self) -> tuple[Tensor, Tensor, int]:
        """The seed and step of the run, and a number that nothing else random in this trace has."""
        if self._random is None:
            scalar = Spec((), "uint32")
            self._random = self.builder.input("rng_seed", scalar), self.builder.input("rng_step", scalar)
        seed, step = self._random
        self._draws += 1
        return Tensor(self, seed), Tensor(self, step), self._draws - 1

    def draw(self, op: str, shape: tuple[int, ...]) -> Tensor:
        """``random_uniform`` or ``random_normal`` numbers of a shape."""
        seed, step, layer = self.random()
        return self.add(op, seed, step, layer=layer, shape=shape)

    def bernoulli(self, p: Tensor) -> Tensor:
        """1 with probability ``p``, else 0."""
        seed, step, layer = self.random()
        return self.add("bernoulli", p, seed, step, layer=layer)

    # values

    def computes(self, tensor: Tensor) -> bool:
        """Whether a node makes the value, which is no input, state or constant then."""
        return any(tensor._value in node.outputs for node in self.builder.nodes)

    def values(self, tensor: Tensor) -> np.ndarray | None:
        """What ``tensor`` holds in this run, None where that depends on the inputs. Whoever asks makes the trace one of
        this run alone."""
        builder, wanted = self.builder, self._value_of(tensor)
        state = tuple(builder.state.values())
        graph = Graph((), (wanted,), tuple(builder.nodes), state, builder.constants).pruned()
        read = {wanted, *(value for node in graph.nodes for value in node.inputs)}
        inputs = tuple(value for value in builder.inputs if value in read)
        given = {value: self._given(value) for value in (*inputs, *graph.state)}
        known = {value: array for value, array in given.items() if array is not None}
        if len(known) < len(given):
            return None
        self.looked = True
        return evaluate(replace(graph, inputs=inputs), known)[wanted].astype(wanted.dtype)

    def _given(self, value: Value) -> np.ndarray | None:
        """What the run gives for an input or state value, if that is known before it is called."""
        name = value.name
        if name in self.parameters:
            return self.parameters[name]._data
        if name in self.buffers:
            return self.buffers[name]()
        if name in self.numbers:
            return np.asarray(self.numbers[name])
        if self._random is not None and value in self._random:
            return self.counter()[self._random.index(value)]
        return None
