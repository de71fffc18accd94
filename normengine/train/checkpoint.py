"""Weights on disk: safetensors under PyTorch's keys, written whole or not at all, read checked or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..files.atomic import write_atomically
from ..files.reading import open_regular
from ..locks import load_module
from ..nn import Module

_DTYPES = frozenset(("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64", "C64"))


def save(model: Module, path: str | os.PathLike[str]) -> None:
    """Write ``model.state_dict()`` to ``path`` as safetensors.

    The file takes the place of an older one only when it is complete, with the older one's owner and permissions; if
    writing fails, the older one stays. Another name (hard link) of the older one keeps what it had.
    ``safetensors.torch.load_file`` reads it as the state dict of the same network in PyTorch.

    Raises:
        OSError: the folder does not exist or cannot be written; ``path`` is write-protected, or no regular file.
    """
    load_module("safetensors.numpy")
    from safetensors.numpy import save as serialize

    state = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in model.state_dict().items()}
    write_atomically(path, serialize(state, metadata={"format": "pt"}))


def load(model: Module, path: str | os.PathLike[str], strict: bool = True) -> Module:
    """Read the safetensors file ``path`` into ``model`` and return the model.

    ``strict`` demands the same keys; the shapes must be the same always. Nothing is changed unless all of it fits.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: ``path`` is a folder, a device or a FIFO, or cannot be read.
        ValueError: the file is cut off, damaged, or of another network; the model is as it was.
    """
    state = read_safetensors(path, model.state_dict())
    try:
        model.load_state_dict(state, strict=strict)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{os.fsdecode(path)}: {error.args[0] if error.args else error}") from error
    return model


def read_safetensors(path: str | os.PathLike[str], wanted: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name. Only those that have name and shape of a ``wanted`` one are read; an
    array that takes no memory stands for any other, whatever size the file says.

    Raises ValueError where the file is cut off or damaged; see also :func:`load`.
    """
    load_module("safetensors")
    from safetensors import SafetensorError, safe_open

    path = os.fsdecode(path)
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
    try:
        with safe_open(path, framework="np") as file:
            return {name: _array(file, name, wanted.get(name)) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: expected a complete safetensors file, found {size} bytes that are cut off or "
            f"damaged ({error}); save or get the file again"
        ) from error
    except MemoryError as error:
        raise ValueError(f"{path}: its {size} bytes are more than this process can map into its memory") from error
    except ValueError as error:
        raise ValueError(f"{path}: holds an array {error}") from error


def _array(file: Any, name: str, wanted: np.ndarray | None) -> np.ndarray:
    stored = file.get_slice(name)
    kind, shape = stored.get_dtype(), tuple(stored.get_shape())
    if kind not in _DTYPES:
        raise ValueError(f"of a type that NumPy does not have ('{name}' is {kind}); save it as float32")
    if wanted is not None and shape == wanted.shape:
        array: np.ndarray = file.get_tensor(name)
        return array
    try:
        return np.broadcast_to(np.float32(0), shape)
    except ValueError as error:
        raise ValueError(f"of a shape that NumPy does not have ('{name}': {error})") from error
