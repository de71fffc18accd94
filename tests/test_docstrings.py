"""Every name that users import says what it is: the names of the public modules, and the methods of their classes."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import normengine as ne
from normengine import analysis, compat, data, nn, onnx, optim, session, train
from normengine.nn import functional, init, utils
from normengine.nn.utils import parametrizations, parametrize
from normengine.utils import data as utils_data

MODULES = (
    *(ne, nn, functional, init, utils, parametrize, parametrizations, optim, train, data, onnx, session, compat),
    *(analysis, utils_data),
)


def public_names(module: ModuleType) -> list[str]:
    """Those of ``__all__``, or those that are defined in the module and begin with no underscore."""
    return getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(module.__name__)
    ]


def undocumented(name: str, value: object) -> list[str]:
    if isinstance(value, ModuleType):
        return [] if value.__doc__ else [name]
    if not callable(value) or getattr(value, "__module__", "").partition(".")[0] != "normengine":
        return []
    missing = [] if inspect.getdoc(value) else [name]
    if inspect.isclass(value):
        own = [base for base in value.__mro__ if base.__module__.partition(".")[0] == "normengine"]
        members = {key for base in own for key in vars(base) if not key.startswith("_")}
        methods = [key for key in sorted(members) if callable(getattr(value, key, None))]
        missing += [f"{name}.{key}" for key in methods if not inspect.getdoc(getattr(value, key))]
    return missing


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_names_have_a_docstring(module: ModuleType) -> None:
    names = public_names(module)
    assert names
    assert not [lack for name in names for lack in undocumented(name, getattr(module, name))]
