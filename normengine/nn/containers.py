"""Containers: modules that hold modules, in order or by name."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from .module import Module
from .tensor import Tensor

__all__ = ["ModuleDict", "ModuleList", "Sequential"]

C = TypeVar("C", bound="_ListLike")


class _ListLike(Module):
    """Modules in order under the names 0, 1, ..."""

    def _key(self, index: int) -> str:
        at = operator.index(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"{type(self).__name__}: index {at} is out of range for {len(self)} modules")
        return list(self._modules)[at]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))

    def __contains__(self, module: object) -> bool:
        return any(module is m for m in self._modules.values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._like(list(self._modules.items())[index])
        return self._modules[self._key(index)]

    def _like(self, items: list[tuple[str, Module | None]]) -> Module:
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        keys = list(self._modules)[index] if isinstance(index, slice) else [self._key(index)]
        for key in keys:
            del self._modules[key]
        self._renumber(list(self._modules.items()))

    def _renumber(self, items: list[tuple[str, Module | None]]) -> None:
        """Names that are numbers become the positions again."""
        self._modules.clear()
        for position, (key, module) in enumerate(items):
            self._modules[str(position) if key.isdigit() else key] = module

    def append(self: C, module: Module) -> C:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self: C, modules: Iterable[Module]) -> C:
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self: C, index: int, module: Module) -> C:
        """Add a module at a position; those behind it move on."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}.insert takes a Module, got {type(module).__name__}")
        at = operator.index(index)
        if not -len(self) <= at <= len(self):
            raise IndexError(f"{type(self).__name__}: index {at} is out of range for {len(self)} modules")
        items: list[tuple[str, Module | None]] = list(self._modules.items())
        items.insert(at, ("0", module))
        self._renumber(items)
        return self

    def pop(self, index: int = -1) -> Any:
        """Remove the module at a position and return it."""
        module = self[index]
        del self[index]
        return module


class Sequential(_ListLike):
    """Modules called one after the other, given as arguments or as an ``OrderedDict`` of names and modules."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], Mapping) else enumerate(args)
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last module, each taking that of the one before it."""
        for module in self:
            x = module(x)
        return x

    def _like(self, items: list[tuple[str, Module | None]]) -> Module:
        return type(self)(dict(items))


class ModuleList(_ListLike):
    """A list of modules, whose parameters are seen; it has no ``forward``."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def _like(self, items: list[tuple[str, Module | None]]) -> Module:
        return type(self)([module for _, module in items if module is not None])


class ModuleDict(Module):
    """Modules by name, whose parameters are seen; it has no ``forward``."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def keys(self) -> Iterable[str]:
        """The names, in order."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """The modules, in order."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """(name, module), in order."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add the modules of a dictionary or of pairs (name, module)."""
        for key, module in modules.items():
            self[key] = module
