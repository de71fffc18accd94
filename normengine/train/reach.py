"""Reachability: what the Python of a model and its loss can read, found by walking from them before any of it runs.

From a function the walk goes to what its closure and defaults hold, and to those globals and attributes whose names
stand in its code; from an object to its attributes of such names and to its class; from containers to all that they
hold. It stops at what cannot change, and at code of Python's own and of NumPy that looks at nothing but its arguments.
"""

from __future__ import annotations

import abc
import dis
import enum
import functools
import random
import re
import sys
import types
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..nn.module import Module
from ..nn.parameter import Parameter
from ..nn.tensor import Tensor

PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), type(...), range, slice})
"""Types of values that are told from others by what they are."""

_MOST = 20_000
_PURE = frozenset(
    {
        "_collections_abc", "_functools", "_operator", "abc", "argparse", "bisect", "builtins", "cmath", "collections",
        "contextlib", "copy", "dataclasses", "decimal", "enum", "fractions", "functools", "heapq", "itertools",
        "logging", "math", "normengine", "numbers", "numpy", "operator", "random", "re", "statistics", "string",
        "textwrap", "types", "typing", "typing_extensions", "warnings",
    }
)  # fmt: skip
"""Packages whose functions look at their arguments alone; the state of random generators is looked at apart."""
_ANY_NAME = frozenset({"getattr", "vars", "dir", "__dict__", "attrgetter", "methodcaller", "getattr_static"})
_UNSEEN = frozenset({"open", "input", "eval", "exec", "globals", "locals", "compile", "__import__"})
_READERS = frozenset({"load", "fromfile", "loadtxt", "genfromtxt", "memmap", "_buffers"})
"""Attributes of NumPy's and of this package's that give what lies in files, or arrays that steps write."""
_FIXED: tuple[type, ...] = (
    np.generic,
    np.dtype,
    np.ufunc,
    re.Pattern,
    enum.Enum,
    types.CodeType,
    Tensor,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)
"""Types whose instances do not change."""
_GENERATORS: tuple[type, ...] = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_CODE: tuple[type, ...] = (types.FunctionType, staticmethod, classmethod, property)
_CONTAINERS: tuple[type, ...] = (list, tuple, set, frozenset, dict, deque, types.MappingProxyType)
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8
"""Bits of ``__flags__``."""


class Place(NamedTuple):
    """Something that holds values: a dictionary its keys and values, others what they give each time they are iterated
    over. Of a dictionary with ``names`` the values under other keys are not read."""

    holder: Any
    names: set[str] | None = None


class Reach:
    """The walk from ``roots``, and what it found.

    ``places`` hold values that can be read. ``lookups`` are ``(mapping, key)`` and ``attributes`` ``(object, name)`` of
    single ones. ``arrays`` are those whose content can be read; ``generators`` draw random numbers; ``is_abstract``
    says that there is a class whose instances are what was registered. ``unseen`` says what there is that can change
    without a trace in any of these, and is empty if there is nothing.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.places: list[Place] = []
        self.lookups: list[tuple[Mapping[str, Any], str]] = []
        self.attributes: list[tuple[Any, str]] = []
        self.arrays: list[np.ndarray] = []
        self.generators: list[Any] = []
        self.is_abstract = False
        self.unseen = ""
        self._names = {"forward", "__call__"}
        self._any_name = False
        self._met: dict[int, Any] = {}
        self._codes: set[types.CodeType] = set()
        self._kinds: set[type] = set()
        self._spaces: list[tuple[Mapping[str, Any], bool, set[str]]] = []
        self._modules: list[tuple[types.ModuleType, set[str]]] = []
        self._waiting = deque(roots)
        try:
            while self._waiting and not self.unseen:
                while self._waiting and not self.unseen:
                    self._meet(self._waiting.popleft())
                self._look_up()
        except Exception as error:  # whatever an object does that is looked into
            self._cannot_see(f"an object that raises {type(error).__name__} when it is looked into")
        if self.unseen:  # nothing else matters then
            self.places, self.lookups, self.attributes, self.arrays = [], [], [], []
        if self._any_name:
            self.places = [place._replace(names=None) for place in self.places]

    def _look_up(self) -> None:
        """Go on to what the names that were found since stand for."""
        names = self._names
        for mapping, is_class, done in self._spaces:
            found = [
                key
                for key, value in mapping.items()
                if key not in done and (self._any_name or key in names or (is_class and _is_special(key, value)))
            ]
            done.update(found)
            self._waiting.extend(mapping[key] for key in found)
        for module, done in self._modules:
            held = vars(module)
            found = [name for name in names if name not in done and name in held]
            done.update(found)
            for name in found:
                self._look(held, name)

    def _look(self, held: Mapping[str, Any], name: str) -> None:
        self.lookups.append((held, name))
        self._waiting.append(held.get(name))

    def _cannot_see(self, what: str) -> None:
        self.unseen = self.unseen or what

    # kinds of values

    def _meet(self, value: object) -> None:
        kind = type(value)
        if kind in PLAIN or id(value) in self._met:
            return
        self._met[id(value)] = value
        if len(self._met) > _MOST:
            self._cannot_see(f"more than {_MOST} objects")
        elif isinstance(value, np.ndarray):
            self.arrays.append(value)
            if value.dtype.hasobject:
                self._cannot_see("an array of objects")
        elif isinstance(value, random.SystemRandom):
            self._cannot_see("a generator without a seed")
        elif isinstance(value, _GENERATORS):
            self.generators.append(value)
        elif isinstance(value, Parameter):
            self.places.append(Place(vars(value)))
        elif isinstance(value, _FIXED) or (isinstance(value, (str, int, float, bytes)) and _is_pure(kind.__module__)):
            return
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._waiting += (value.__self__, value.__func__)
        elif isinstance(value, (types.BuiltinFunctionType, types.MethodWrapperType)):
            self._builtin(value)
        elif isinstance(value, types.ModuleType):
            self._module(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, functools.partial):
            self._waiting += (value.func, value.args, value.keywords)
        elif isinstance(value, (staticmethod, classmethod)):
            self._waiting.append(value.__func__)
        elif isinstance(value, property):
            self._waiting += (value.fget, value.fset)
        elif isinstance(value, functools.cached_property):
            self._waiting.append(value.func)
        elif isinstance(value, functools._lru_cache_wrapper):
            self._waiting.append(value.__wrapped__)
        elif kind.__module__.partition(".")[0] == "numpy" and not _is_of_python(kind):
            return
        elif isinstance(value, Module):
            self._layer(value)
        else:
            self._object(value)

    def _function(self, function: types.FunctionType) -> None:
        for cell in function.__closure__ or ():
            self.attributes.append((cell, "cell_contents"))
            self._waiting.append(getattr(cell, "cell_contents", None))
        self.attributes += [(function, part) for part in ("__code__", "__defaults__", "__kwdefaults__")]
        self._waiting += (function.__defaults__, function.__kwdefaults__)
        if vars(function):
            self._space(vars(function))
        home = function.__globals__.get("__name__", "")
        if not _is_pure(home):
            self._code(function.__code__, function.__globals__)

    def _code(self, code: types.CodeType, held: dict[str, Any]) -> None:
        if code in self._codes:
            return
        self._codes.add(code)
        self._names.update(code.co_names)
        self._names.update(c for c in code.co_consts if isinstance(c, str) and c.isidentifier())
        self._any_name = self._any_name or not _ANY_NAME.isdisjoint(code.co_names)
        for name in _READERS.intersection(code.co_names):
            self._cannot_see(f"{name} in {code.co_name}")
        looked_up, stored, imported = _outside(code)
        for name in looked_up | stored:
            if name in held or name in stored:
                self._look(held, name)
            elif name in _UNSEEN:
                self._cannot_see(f"{name}() in {code.co_name}")
        self._waiting += [sys.modules[name] for name in imported if name in sys.modules]
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, held)

    def _builtin(self, function: Any) -> None:
        owner = getattr(function, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType):
            self._waiting.append(owner)
        elif not _is_pure(getattr(function, "__module__", None) or ""):
            self._cannot_see(f"{function.__module__}.{function.__name__}")

    def _module(self, module: types.ModuleType) -> None:
        name = module.__name__
        if _is_pure(name):
            return
        if name.partition(".")[0] in sys.stdlib_module_names:
            self._cannot_see(f"module {name}")
        self._modules.append((module, set()))

    def _class(self, kind: type, makes: bool = True) -> None:
        """A class, ``makes`` objects or only has them."""
        self.is_abstract = self.is_abstract or (makes and isinstance(kind, abc.ABCMeta))
        if _is_pure(kind.__module__):
            return
        if not _is_of_python(kind):
            self._cannot_see(f"an object of type {kind.__name__}")
        self._space(vars(kind), frozenset() if makes else _MAKERS)
        for base in kind.__bases__:
            self._class(base, makes)

    def _instance_of(self, kind: type) -> None:
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._class(kind, makes=False)

    def _layer(self, module: Module) -> None:
        own = vars(module)
        tables = [own.get(table, {}) for table in ("_parameters", "_buffers", "_modules")]
        self.places += [Place(table) for table in tables]
        self._waiting += [p for table in (tables[0], tables[2]) for p in table.values() if p is not None]
        kind = type(module)
        if _is_pure(kind.__module__):
            self.places.append(Place(own))
            self._waiting += [value for key, value in own.items() if key not in TABLES]
            return
        if any(_is_pure(base.__module__) for base in kind.__mro__ if base not in (Module, object)):
            self.places.append(Place(own))  # code that is not walked through reads its attributes
            self._spaces.append((own, False, {*TABLES}))
        else:
            self._space(own)
        self._instance_of(kind)

    def _object(self, value: object) -> None:
        kind = type(value)
        if isinstance(value, _CONTAINERS):
            items: Any = value.values() if isinstance(value, (dict, types.MappingProxyType)) else value
            if isinstance(value, dict):
                self.places.append(Place(value))
            elif isinstance(value, types.MappingProxyType):
                self.places += (Place(value.values()), Place(value.keys()))
            elif not isinstance(value, tuple):
                self.places.append(Place(value))
            self._waiting.extend(items)
            if kind in _CONTAINERS:
                return
        elif kind.__module__.partition(".")[0] == "normengine" or not _is_seen(kind):
            self._cannot_see(f"an object of type {kind.__name__}")
            return
        if hasattr(value, "__dict__"):
            # The methods of a pure class are not walked, so that any of its attributes may be read.
            if _is_pure(kind.__module__) and kind is not types.SimpleNamespace:
                self.places.append(Place(vars(value)))
                self._waiting.extend(vars(value).values())
            else:
                self._space(vars(value))
        for base in kind.__mro__:
            slots = vars(base).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__"):
                    self.attributes.append((value, name))
                    self._waiting.append(getattr(value, name, None))
        self._instance_of(kind)

    def _space(self, mapping: Mapping[str, Any], left_out: Collection[str] | None = None) -> None:
        """Names and what they stand for, those of a class where something is ``left_out``."""
        is_class = left_out is not None
        self.places.append(Place(mapping.values()) if is_class else Place(mapping, self._names))
        self._spaces.append((mapping, is_class, {*TABLES, *(left_out or ())}))


TABLES = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent"})
"""What modules keep their parts in, which are places of their own."""


@functools.lru_cache(maxsize=1024)
def _outside(code: types.CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The names of globals that code reads, of those that it stores, and of modules that it imports."""
    instructions = list(dis.get_instructions(code))
    kinds = ("LOAD_GLOBAL", "LOAD_NAME"), ("STORE_GLOBAL", "DELETE_GLOBAL"), ("IMPORT_NAME",)
    looked_up, stored, imported = (frozenset(i.argval for i in instructions if i.opname in kind) for kind in kinds)
    return looked_up, stored, imported


def _is_special(key: object, value: object) -> bool:
    """Whether Python itself calls what a class has under that name."""
    return isinstance(key, str) and key.startswith("__") and key.endswith("__") and isinstance(value, _CODE)


_MAKERS = frozenset({"__init__", "__new__", "__init_subclass__", "__set_name__", "__post_init__", "__del__"})
"""Methods that run before there is an object, or after."""


def _is_pure(module: str) -> bool:
    return module.partition(".")[0] in _PURE


def _is_of_python(kind: type) -> bool:
    """Whether a class is written in Python: those of C are made once for all, or cannot be changed."""
    return kind.__flags__ & (_HEAP_TYPE | _IMMUTABLE_TYPE) == _HEAP_TYPE


def _is_seen(kind: type) -> bool:
    """Whether all that instances hold is in attributes, as of classes that are written in Python."""
    return all(base in (object, types.SimpleNamespace) or _is_of_python(base) for base in kind.__mro__) and (
        kind.__dictoffset__ != 0 or any("__slots__" in vars(base) for base in kind.__mro__)
    )
