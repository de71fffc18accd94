"""Weight normalization, a weight as its length times its direction (Salimans and Kingma, 2016, arXiv 1602.07868), and
its older form in PyTorch, with the parameters ``weight_g`` and ``weight_v``."""

from __future__ import annotations

from functools import partial
from operator import delitem, setitem
from typing import NamedTuple

import numpy as np

from ...locks import at_once
from ...settings import whole
from ...shapes import axis_of
from ..parameter import Parameter
from ..state_dict import StateOwner
from ..tensor import Tensor
from .parameters import M, as_value, weight_of

__all__ = ["remove_weight_norm", "weight_norm"]


def other_axes(dim: int | None, rank: int, place: str) -> tuple[int, ...]:
    """The axes that a norm is taken over: all but ``dim``, or all where that is None or, as in PyTorch, -1.

    Raises ValueError if there is no such axis.
    """
    if dim is None or whole(dim, f"{place}: dim", None) == -1:
        return tuple(range(rank))
    try:
        axis = axis_of(dim, rank)
    except IndexError as error:
        raise ValueError(f"{place}: {error}") from None
    return tuple(i for i in range(rank) if i != axis)


def length_and_direction(weight: np.ndarray, axes: tuple[int, ...], place: str) -> tuple[np.ndarray, np.ndarray]:
    """The Euclidean norm over ``axes``, computed in float64, and the weight itself, whose norm is no part of it then.

    Raises ValueError for a norm of 0, which has no direction.
    """
    keepdims = len(axes) < weight.ndim
    length = np.sqrt(np.square(weight, dtype=np.float64).sum(axis=axes, keepdims=keepdims))
    if not np.all(length > 0):
        raise ValueError(
            f"{place}: a part of the weight is zero or no number and has no direction; give it other numbers"
        )
    return length.astype(np.float32), np.asarray(weight)


def product(length: Tensor, direction: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``length * direction / norm(direction)``."""
    squares = (direction * direction).sum(axes, keepdim=len(axes) < direction.ndim)
    return direction * (length * squares.rsqrt())


class _Product(NamedTuple):
    """The weight of a module that has its length and direction beside it."""

    name: str
    axes: tuple[int, ...]

    def compute(self, module: StateOwner) -> Tensor:
        length, direction = (getattr(module, key) for key in self._keys())
        return product(length.clone(), direction.clone(), self.axes)

    def assign(self, module: StateOwner, name: str, value: object) -> None:
        length, direction = (module._parameters[key] for key in self._keys())
        assert length is not None
        assert direction is not None
        place = f"assignment to '{name}' of {type(module).__name__}"
        made = length_and_direction(as_value(value, direction.shape, place), self.axes, place)
        pairs = zip((length._data, direction._data), made, strict=True)
        at_once([partial(setitem, data, ..., part) for data, part in pairs])()

    def _keys(self) -> tuple[str, str]:
        return f"{self.name}_g", f"{self.name}_v"


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """``w = g * v / |v|``: the parameter ``name`` of ``module`` becomes ``<name>_g``, the norms, and ``<name>_v``.

    The weight itself is computed of these two whenever it is read. Make the optimizer afterwards: it holds other
    parameters then.

    Args:
        module: a layer; it is changed in place and returned.
        name: its parameter, (O, I, ...) float32.
        dim: the axis that has a norm for each index, 0 for each output channel; None for one norm of the whole, which
            is also what -1 means, as in PyTorch. The norms keep their axes: (O, 1, ...) for 0, () for None.

    Raises:
        TypeError: ``module`` is no module.
        ValueError: there is no such parameter or axis, it has less than 2 dimensions or a norm of 0, or it is computed
            of others already. Nothing is changed then.

    Source: Salimans and Kingma, 2016. :func:`normengine.nn.utils.parametrizations.weight_norm` is the newer form.
    """
    place = "weight_norm"
    weight = weight_of(module, name, place)
    made = _Product(name, other_axes(dim, weight.ndim, place))
    for key in made._keys():
        module._check_name(key, "parameter")
    parts = [Parameter(a, weight.requires_grad) for a in length_and_direction(weight._data, made.axes, place)]
    table, derived = module._parameters, vars(module).setdefault("_derived", {})
    at_once(
        [
            *(partial(setitem, table, key, part) for key, part in zip(made._keys(), parts, strict=True)),
            partial(delitem, table, name),
            partial(setitem, derived, name, made),
        ]
    )()
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Undo :func:`weight_norm`: ``name`` is a parameter again, of the value that it has now; returns ``module``.

    Raises ValueError where there is no such weight normalization.
    """
    made = module._derived.get(name)
    if not isinstance(made, _Product):
        raise ValueError(f"remove_weight_norm: '{name}' of {type(module).__name__} has no weight_norm")
    trained = any(module.get_parameter(key).requires_grad for key in made._keys())
    weight, table = Parameter(getattr(module, name), trained), module._parameters
    at_once(
        [
            *(partial(delitem, table, key) for key in made._keys()),
            partial(delitem, module._derived, name),
            partial(setitem, table, name, weight),
        ]
    )()
    return module
