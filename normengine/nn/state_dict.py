"""State dicts: a module's parameters and buffers by name, read and written as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from operator import setitem
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..conversion import converted
from ..locks import at_once
from .context import current
from .parameter import Parameter
from .recorder import BufferOwner


class StateDictError(RuntimeError, ValueError):
    """A state dict does not fit the module: a RuntimeError, as in PyTorch, and a ValueError, as other refusals."""


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(strict=False)`` left out."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class StateOwner(BufferOwner, Protocol):
    """A module, as one that has parameters and buffers, and others below it."""

    _parameters: dict[str, Parameter | None]

    def named_modules(self, *, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, StateOwner]]:
        """(path, module) of this module and all below it."""


def entries(module: StateOwner, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays behind each key, not copies; what two modules share appears under both keys."""
    tracer = current()
    if tracer is not None:
        tracer.looked = True
    found: dict[str, np.ndarray] = {}
    for path, part in module.named_modules(prefix=prefix, remove_duplicate=False):
        dot = f"{path}." if path else ""
        for key, parameter in part._parameters.items():
            if parameter is not None:
                found[dot + key] = parameter.numpy()
        for key, array in part._buffers.items():
            if array is not None and key not in part._non_persistent:
                found[dot + key] = array.view(np.ndarray)
    return found


def load(module: StateOwner, state_dict: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copy the arrays of ``state_dict`` into ``module``; changes nothing if it raises :class:`StateDictError`."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"load_state_dict takes a mapping of names to arrays, got {type(state_dict).__name__}")
    own = entries(module)
    # Files of before PyTorch counted batches have no such key; the count stays what it is, as there.
    missing = [key for key in own if key not in state_dict and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state_dict if key not in own]
    fitting: dict[str, np.ndarray] = {}
    misfits: list[str] = []
    for key, target in own.items():
        if key not in state_dict:
            continue
        array = np.asarray(state_dict[key])
        if array.dtype.kind not in "fiub":
            misfits.append(f"{key} holds {array.dtype}, the model needs {target.dtype}")
        elif array.shape != target.shape:
            misfits.append(f"{key} has shape {array.shape}, the model needs {target.shape}")
        else:
            try:
                fitting[key] = np.array(converted(array, target.dtype, key))
            except ValueError as error:
                misfits.append(str(error))
    complaints = []
    if strict and missing:
        complaints.append(f"missing keys: {', '.join(missing)}")
    if strict and unexpected:
        complaints.append(f"unexpected keys: {', '.join(map(str, unexpected))}")
    if misfits:
        complaints.append(f"other shapes or dtypes: {', '.join(misfits)}")
    fixed = [key for key in fitting if not own[key].flags.writeable]
    if fixed:
        complaints.append(f"arrays of the model that are read-only: {', '.join(fixed)}")
    if complaints:
        raise StateDictError(f"load_state_dict of {type(module).__name__}: {'; '.join(complaints)}; nothing was loaded")
    at_once([partial(setitem, own[key], ..., array) for key, array in fitting.items()])()
    return IncompatibleKeys(missing, unexpected)
