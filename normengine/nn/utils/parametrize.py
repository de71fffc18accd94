"""Parametrizations: a parameter that a module computes of others, as ``torch.nn.utils.parametrize``.

The class of the module stays what it is, and modules with parametrizations can be copied and pickled as others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import delitem, setitem

import numpy as np

from ...graph import Spec
from ...locks import at_once
from ..array import Array
from ..containers import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter
from ..state_dict import StateOwner
from ..tensor import Tensor
from ..trace import trace
from .parameters import M, as_float32, as_value, parameter_of

__all__ = ["ParametrizationList", "is_parametrized", "register_parametrization", "remove_parametrizations"]

_TABLE = "parametrizations"


class ParametrizationList(ModuleList):
    """The parametrizations of one parameter in the order in which they are applied, with the original of it:
    ``module.parametrizations.<name>``.

    There is one ``original``, or there are several, ``original0``, ``original1`` and so on, if that is what the
    ``right_inverse`` of the first parametrization makes of the parameter. Called without arguments it gives the value.
    """

    def __init__(self, modules: Sequence[Module], original: Parameter, unsafe: bool = False) -> None:
        super().__init__(modules)
        given = _inverted(modules, as_float32(original._data, "the original"))
        self.unsafe = unsafe
        self.is_tensor = isinstance(given, Array)
        self.ntensors = 1 if isinstance(given, Array) else len(given)
        if isinstance(given, Array):
            self.original = Parameter(given, original.requires_grad)
        else:
            for number, array in enumerate(given):
                setattr(self, f"original{number}", Parameter(array, original.requires_grad))

    def originals(self) -> list[Parameter]:
        """What the value is computed of, beside the parametrizations' own parameters."""
        return [parameter for parameter in self._parameters.values() if parameter is not None]

    def forward(self) -> Tensor:
        """The value of the parameter."""
        first, *rest = self
        value: Tensor = first(*(parameter.clone() for parameter in self.originals()))
        for parametrization in rest:
            value = parametrization(value)
        return value

    def right_inverse(self, value: object, place: str = "right_inverse") -> None:
        """Set the originals so that the value becomes ``value``, by the ``right_inverse`` of each parametrization.

        Raises RuntimeError if one has none, ValueError for shapes that do not fit; nothing is changed then.
        """
        for parametrization in self:
            if not hasattr(parametrization, "right_inverse"):
                raise RuntimeError(
                    f"{place}: {type(parametrization).__name__} has no right_inverse(), which would say what the "
                    "originals are; change these, or remove the parametrization"
                )
        (now,) = _computed(self, [])
        array = as_float32(value, place) if self.unsafe else as_value(value, now.shape, place)
        given = _inverted(list(self), array)
        arrays = [given] if isinstance(given, Array) else given
        originals = self.originals()
        if len(arrays) != len(originals):
            raise ValueError(f"{place}: there are {len(originals)} originals, right_inverse() gave {len(arrays)}")
        pairs = [(p._data, as_value(array, p.shape, place)) for p, array in zip(originals, arrays, strict=True)]
        at_once([partial(setitem, data, ..., array) for data, array in pairs])()

    def _like(self, items: list[tuple[str, Module | None]]) -> Module:
        return ModuleList([module for _, module in items if module is not None])

    # the attribute of the module

    def compute(self, module: StateOwner) -> Tensor:
        """The value in the current trace."""
        value: Tensor = self()
        return value

    def assign(self, module: StateOwner, name: str, value: object) -> None:
        """:meth:`right_inverse`, for what is assigned to the attribute."""
        self.right_inverse(value, f"assignment to '{name}' of {type(module).__name__}")


def _inverted(modules: Sequence[Module], value: Array) -> Array | list[Array]:
    """What the first of ``modules`` is to be given for ``value``, those without ``right_inverse`` left out."""
    for number, module in reversed(list(enumerate(modules))):
        inverse = getattr(module, "right_inverse", None)
        if inverse is None:
            continue
        given, place = inverse(value), f"{type(module).__name__}.right_inverse()"
        if isinstance(given, (tuple, list)) and number == 0:
            return [_checked(part, place) for part in given]
        value = _checked(given, place)
    return value


def _checked(given: object, place: str) -> Array:
    if not isinstance(given, (np.ndarray, np.generic, Parameter)):
        raise ValueError(f"{place} must return an array, the one applied first several, got {type(given).__name__}")
    return as_float32(given, place)


def register_parametrization(module: M, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> M:
    """The parameter ``tensor_name`` of ``module`` becomes ``parametrization(original)``, computed whenever it is read.

    The original is trained in its place, and is ``parametrizations.<tensor_name>.original`` in ``state_dict``. Where
    the parametrization has a method ``right_inverse(array)``, the original is what that gives: an array, or several
    (``original0``, ``original1``, ...), of which ``forward`` takes as many then. A parameter that is parametrized
    already gets one more parametrization, applied to the value that it has. An assignment to the attribute goes through
    ``right_inverse`` too. Make the optimizer afterwards.

    Args:
        module: it is changed in place and returned.
        tensor_name: the name of one of its parameters.
        parametrization: takes and returns a float32 tensor; parameters of its own are trained as well.
        unsafe: whether the value may have another shape than the parameter.

    Raises:
        TypeError: ``module`` or ``parametrization`` is no module.
        ValueError: there is no such parameter, or the parametrization gives something else than a tensor of its shape.
            Nothing is changed then.
    """
    place = f"register_parametrization of '{tensor_name}'"
    if not isinstance(parametrization, Module):
        raise TypeError(f"{place}: parametrization must be an nn.Module, got {type(parametrization).__name__}")
    if isinstance(module, Module) and is_parametrized(module, tensor_name):
        _append(_list_of(module, tensor_name), parametrization, unsafe, place)
    else:
        parameter = parameter_of(module, tensor_name, place)
        made = ParametrizationList([parametrization], parameter, unsafe)
        _check(_computed(made, []), parameter.shape, unsafe, place)
        _install(module, tensor_name, made, parameter)
    parametrization.train(module.training)
    return module


def _append(made: ParametrizationList, parametrization: Module, unsafe: bool, place: str) -> None:
    (value,) = _computed(made, [])
    _check(_computed(parametrization, [("x", value)]), value.shape, unsafe, place)
    made.append(parametrization)
    made.unsafe = made.unsafe or unsafe


def _computed(module: Module, inputs: list[tuple[str, Spec]]) -> list[Spec]:
    """What the module gives for such tensors."""
    return [value.spec for value in trace(module, inputs, [("", module)]).outputs]


def _check(found: list[Spec], shape: tuple[int, ...], unsafe: bool, place: str) -> None:
    if len(found) != 1 or (found[0] != Spec(shape) and not unsafe):
        given = " and ".join(map(str, found)) or "no tensor"
        raise ValueError(f"{place}: the parametrization must give a tensor {Spec(shape)}, got {given}")


def _install(module: Module, name: str, made: ParametrizationList, parameter: Parameter) -> None:
    """Take the parameter out of the module; it is the original where there is one."""
    table = module._modules.get(_TABLE, ModuleDict())
    assert isinstance(table, ModuleDict)
    table._check_name(name, "parametrization")
    if _TABLE not in module._modules:
        module.add_module(_TABLE, table)
    changes: list[Callable[[], object]] = []
    if made.is_tensor:
        changes.append(_overwriting(parameter, made.original))
        made.original = parameter
    derived = vars(module).setdefault("_derived", {})
    changes += [
        partial(delitem, module._parameters, name),
        partial(setitem, table._modules, name, made),
        partial(setitem, derived, name, made),
    ]
    at_once(changes)()


def _overwriting(parameter: Parameter, other: Parameter) -> Callable[[], object]:
    """A call of a function written in C that gives ``parameter`` the values of the other one."""
    if parameter.shape == other.shape:
        return partial(setitem, parameter._data, ..., other._data)
    return partial(setattr, parameter, "_data", other._data)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether ``module`` has parametrizations, or one of ``tensor_name``; modules below it do not count."""
    table = module._modules.get(_TABLE)
    if table is None:
        return False
    lists = [name for name, made in table._modules.items() if isinstance(made, ParametrizationList)]
    return bool(lists) if tensor_name is None else tensor_name in lists


def _list_of(module: Module, name: str) -> ParametrizationList:
    table = module._modules[_TABLE]
    assert table is not None
    made = table._modules[name]
    assert isinstance(made, ParametrizationList)
    return made


def remove_parametrizations(module: M, tensor_name: str, leave_parametrized: bool = True) -> M:
    """``tensor_name`` is a parameter of ``module`` again, without all its parametrizations.

    It has the value that it is computed to be now, or with ``leave_parametrized=False`` that of the original. Where
    there is one original it becomes the parameter, so that an optimizer still holds it. ``module`` is changed in place
    and returned.

    Raises ValueError where there is no parametrization, or several originals and ``leave_parametrized=False``; nothing
    is changed then.
    """
    place = f"remove_parametrizations of '{tensor_name}'"
    if not isinstance(module, Module) or not is_parametrized(module, tensor_name):
        raise ValueError(f"{place}: {type(module).__name__} has no parametrization of it")
    made = _list_of(module, tensor_name)
    if not made.is_tensor and not leave_parametrized:
        raise ValueError(
            f"{place}: leave_parametrized=False needs one original, there are {made.ntensors}; leave it out"
        )
    changes: list[Callable[[], object]] = []
    value = Parameter(getattr(module, tensor_name), any(p.requires_grad for p in made.originals()))
    if made.is_tensor and leave_parametrized:
        changes.append(_overwriting(made.original, value))
    table = module._modules[_TABLE]
    assert table is not None
    changes += [
        partial(delitem, table._modules, tensor_name),
        partial(delitem, module._derived, tensor_name),
        partial(setitem, module._parameters, tensor_name, made.original if made.is_tensor else value),
    ]
    if len(table._modules) == 1:
        changes.append(partial(delitem, module._modules, _TABLE))
    at_once(changes)()
    return module
