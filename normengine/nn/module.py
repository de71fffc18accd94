"""The base class of layers and models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import setitem
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from ..conversion import converted
from ..locks import at_once
from ..typing import Device
from . import eager
from .arithmetic import ArrayLike
from .array import Array
from .context import current
from .derived import Derived, read, write
from .parameter import Parameter
from .state_dict import IncompatibleKeys, entries, load
from .tensor import Tensor

__all__ = ["Module"]

M = TypeVar("M", bound="Module")

_BEFORE_INIT = "{} cannot be set on {}: call super().__init__() first"


class Module:
    """A layer or a model: parameters, buffers and submodules by attribute, and a ``forward`` of tensors.

    Called on NumPy arrays it returns NumPy arrays; called in the ``forward`` of another module it takes part in that
    one's trace. ``forward`` runs once for each trace, so its loops and conditions may depend on shapes and settings,
    not on values.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, np.ndarray | None]
    _modules: dict[str, Module | None]
    _non_persistent: set[str]
    _derived: Mapping[str, Derived] = MappingProxyType({})

    def __init__(self) -> None:
        values = {"training": True, "_parameters": {}, "_buffers": {}, "_modules": {}, "_non_persistent": set()}
        self.__dict__.update(values)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output from tensors; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``forward`` on arrays, traced anew at every call so that a changed setting counts.

        float64 and non-contiguous arrays are converted to contiguous float32. In training mode batch norms update
        their running statistics and dropout draws from the generator of ``ne.manual_seed``.
        Raises ValueError, naming layer and shapes, before anything has changed.
        """
        if "_modules" not in self.__dict__:
            raise AttributeError(_BEFORE_INIT.format("forward", type(self).__name__))
        tracer = current()
        if tracer is None:
            return eager.run(self, args, kwargs, [("", self)], type(self).__name__)
        with tracer.inside(self):
            return self.forward(*args, **kwargs)

    # attributes

    def __setattr__(self, name: str, value: object) -> None:
        tables = self.__dict__
        if name in self._derived:
            write(self, name, self._derived[name], value)
        elif isinstance(value, (Parameter, Module)):
            if "_modules" not in tables:
                raise AttributeError(_BEFORE_INIT.format(f"'{name}'", type(self).__name__))
            table: dict[str, Any] = self._parameters if isinstance(value, Parameter) else self._modules
            self._forget(name, table)
            table[name] = value
        elif name in tables.get("_parameters", ()):
            if value is not None:
                raise TypeError(f"cannot assign {type(value).__name__} to parameter '{name}'; use nn.Parameter or None")
            self._parameters[name] = None
        elif name in tables.get("_modules", ()):
            if value is not None:
                raise TypeError(f"cannot assign {type(value).__name__} to module '{name}'; use an nn.Module or None")
            self._modules[name] = None
        elif name in tables.get("_buffers", ()):
            self._set_buffer(name, value)
        elif isinstance(value, Tensor) and "_buffers" in tables:
            value._tracer.assign(self, name, value)
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        tables = self.__dict__
        if name in tables.get("_parameters", ()):
            return self._parameters[name]
        if name in tables.get("_buffers", ()):
            return self._here(name)
        if name in tables.get("_modules", ()):
            return self._modules[name]
        if name in self._derived:
            return read(self, name, self._derived[name])
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _here(self, name: str) -> Any:
        """A buffer: its newest value as a tensor in a trace, the array outside."""
        tracer = current()
        return self._buffers[name] if tracer is None else tracer.buffer(self, name)

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules, *self._derived})

    def _forget(self, name: str, keep: dict[str, Any] | None = None) -> bool:
        """Remove the attribute from every table but ``keep``, where its place is; whether there was one."""
        tables: tuple[dict[str, Any], ...] = (self._parameters, self._buffers, self._modules, self.__dict__)
        known = [table for table in tables if name in table and table is not keep]
        for table in known:
            del table[name]
        self._non_persistent.discard(name)
        return bool(known)

    def _check_name(self, name: str, kind: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"a {kind}'s name is a non-empty string without '.', got {name!r}")
        if hasattr(self, name) and name not in {**self._parameters, **self._buffers, **self._modules}:
            raise KeyError(f"{type(self).__name__} has an attribute '{name}' already")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name."""
        self._check_name(name, "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter('{name}') takes a Parameter or None, got {type(param).__name__}")
        self._forget(name, self._parameters)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: ArrayLike | None, persistent: bool = True) -> None:
        """Add an array that is state but not trained; ``persistent=False`` keeps it out of ``state_dict``.

        Floating-point arrays are kept as float32, integers as int64 (uint8 and bool as they are).
        """
        self._check_name(name, "buffer")
        array = _buffer_array(name, tensor)
        self._forget(name, self._buffers)
        self._buffers[name] = array
        if not persistent:
            self._non_persistent.add(name)

    def _set_buffer(self, name: str, value: object) -> None:
        if isinstance(value, Tensor):
            old = value._tracer.buffer(self, name)
            if old is None or old._value.spec != value._value.spec:
                value._tracer.assign(self, name, value)
            else:
                value._tracer.update(old, value)
        else:
            self._buffers[name] = _buffer_array(name, value)

    def _become_buffer(self, name: str, array: np.ndarray) -> None:
        """What ``forward`` assigned is an array from now on that runs write, and that is in no ``state_dict`` unless it
        was before."""
        if name not in self._buffers:
            self._non_persistent.add(name)
        self._buffers[name] = array
        self.__dict__.pop(name, None)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule; None reserves the name."""
        self._check_name(name, "module")
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module('{name}') takes a Module or None, got {type(module).__name__}")
        self._forget(name, self._modules)
        self._modules[name] = module

    register_module = add_module

    # walks

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below it; one that appears twice only at its first path."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of those directly below this one, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below this one, each once."""
        return (module for _, module in self.named_children())

    def _members(self, table: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        walk = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in walk:
            for key, member in getattr(module, table).items():
                if member is None or (remove_duplicate and id(member) in seen):
                    continue
                seen.add(id(member))
                yield f"{path}.{key}" if path else key, module._here(key) if table == "_buffers" else member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter); a shared parameter only under its first name."""
        return self._members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once; those of this module alone unless ``recurse``."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, np.ndarray]]:
        """(name, buffer); a shared one only under its first name."""
        return self._members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[np.ndarray]:
        """The buffers, each once; those of this module alone unless ``recurse``."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at the dotted path; AttributeError names the part that is not there."""
        module: Module = self
        for part in target.split(".") if target else ():
            found = module._modules.get(part)
            if found is None:
                raise AttributeError(f"{type(module).__name__} has no module '{part}' (looking for '{target}')")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the dotted path; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no parameter '{target}'")
        return found

    def get_buffer(self, target: str) -> np.ndarray:
        """The buffer at the dotted path; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if module._buffers.get(name) is None:
            raise AttributeError(f"{type(self).__name__} has no buffer '{target}'")
        return module._here(name)

    # state

    def state_dict(self, *, prefix: str = "") -> dict[str, np.ndarray]:
        """The live arrays of parameters and persistent buffers under PyTorch's keys; copy what must not change."""
        return entries(self, prefix.removesuffix("."))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy arrays into parameters and buffers, in place.

        Raises:
            StateDictError: (a RuntimeError) one message with every key that is missing, unexpected or of another
                shape; nothing is changed then. With ``strict=False`` missing and unexpected keys are returned.
        """
        return load(self, state_dict, strict)

    def train(self: M, mode: bool = True) -> M:
        """Set training mode here and below: batch norm and dropout look at it."""
        if not isinstance(mode, bool):
            raise ValueError(f"train() takes True or False, got {mode!r}")
        alike, others = self._trained_alike()
        at_once([partial(setitem, vars(module), "training", mode) for module in alike])()
        for module in others:
            module.train(mode)
        return self

    def _trained_alike(self) -> tuple[list[Module], list[Module]]:
        """This module and those below it whose mode is no more than their attribute, and those that have a ``train`` of
        their own, which sees to what is below them."""
        alike: dict[Module, None] = {}
        others: dict[Module, None] = {}
        waiting: list[Module] = [self]
        while waiting:
            module = waiting.pop()
            if module is not self and type(module).train is not Module.train:
                others[module] = None
            elif module not in alike:
                alike[module] = None
                waiting += module.children()
        return list(alike), list(others)

    def eval(self: M) -> M:
        """Set evaluation mode here and below: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set whether the parameters here and below are trained."""
        at_once([partial(setattr, p, "requires_grad", bool(requires_grad)) for p in self.parameters()])()
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: gradients live inside a step only."""

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn`` on every module, children first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self: M, *args: object, **kwargs: object) -> M:
        """This module: everything is float32 on the CPU. Raises ValueError where something else is asked for."""
        for wanted in (*args, *kwargs.values()):
            check_placement(wanted if isinstance(wanted, str) else None, None if isinstance(wanted, str) else wanted)
        return self

    def cpu(self: M) -> M:
        """This module: everything is on the CPU in float32."""
        return self

    float = cpu

    def cuda(self: M, device: Device = None) -> M:
        """Raises ValueError: there is the CPU only."""
        return self.to("cuda")

    def half(self: M) -> M:
        """Raises ValueError: there is float32 only."""
        return self.to(np.float16)

    def double(self: M) -> M:
        """Raises ValueError: there is float32 only."""
        return self.to(np.float64)

    # display

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows; subclasses write it."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_indented(repr(module))}" for name, module in self._modules.items()]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + children) + "\n)"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _buffer_array(name: str, value: object) -> np.ndarray | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"buffer '{name}' must be an array of numbers, got {array.dtype}")
    kept = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}
    dtype: Any = np.uint8 if array.dtype == np.uint8 else kept[array.dtype.kind]
    return np.require(converted(array, dtype, f"buffer '{name}'"), None, ["C", "W"]).view(Array)


def check_placement(device: object = None, dtype: Any = None) -> None:
    """Raise ValueError unless ``device`` and ``dtype`` are the CPU and float32, or not given."""
    if device is not None and str(device) != "cpu":
        raise ValueError(f"normengine computes on the CPU, device {device!r} is not there; leave it out or use 'cpu'")
    if dtype is None or isinstance(dtype, bool):
        return
    try:
        fits = dtype is float or np.dtype(dtype) == np.float32
    except TypeError:
        fits = False
    if not fits:
        name = getattr(dtype, "__name__", dtype)
        raise ValueError(f"normengine computes in float32, got dtype {name}; leave it out or use float32")
