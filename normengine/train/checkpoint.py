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
from ..nn.array import Array
from ..nn.module import check_placement
from ..nn.parameter import Parameter

_DTYPES = frozenset(("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64", "C64"))


def save(model: Module | Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write ``model.state_dict()``, or the state dict that is given in place of a model, to ``path`` as safetensors:
    what ``torch.save(model.state_dict(), path)`` is in scripts.

    The file takes the place of an older one only when it is complete, with the older one's owner and permissions; if
    writing fails, the older one stays. Another name (hard link) of the older one keeps what it had.
    ``safetensors.torch.load_file`` reads it as the state dict of the same network in PyTorch.

    Raises:
        TypeError: it is no module and no dictionary of names and arrays, or ``path`` is none.
        OSError: the folder does not exist or cannot be written; ``path`` is write-protected, or no regular file.
    """
    state = model.state_dict() if isinstance(model, Module) else _arrays(model)
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"ne.save writes a file, got {type(path).__name__}; give the path of one: ne.save(model, path)")
    load_module("safetensors.numpy")
    from safetensors.numpy import save as serialize

    whole = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in state.items()}
    write_atomically(path, serialize(whole, metadata={"format": "pt"}))


def _arrays(state: object) -> dict[str, np.ndarray]:
    if not isinstance(state, Mapping):
        raise TypeError(
            f"ne.save takes a module or its state_dict(), and a path, got {type(state).__name__}; "
            "write ne.save(model, path) or ne.save(model.state_dict(), path)"
        )
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, (np.ndarray, np.generic, Parameter)):
            raise TypeError(
                f"ne.save: '{name}' is a {type(value).__name__}; a file of weights holds names and arrays: save "
                "model.state_dict(), and what else there is (epoch, optimizer.state_dict()) with pickle or json"
            )
    return {name: np.asarray(value) for name, value in state.items()}


def load(
    model: Module | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    strict: bool = True,
    **options: Any,
) -> Any:
    """Read the safetensors file ``path`` into ``model`` and return the model; ``load(path)`` returns its arrays by
    name, for ``model.load_state_dict``, as ``torch.load(path)`` does in scripts.

    ``strict`` demands the same keys; the shapes must be the same always. Nothing is changed unless all of it fits.
    ``map_location="cpu"``, by name or after a path alone, and ``weights_only`` change nothing. No file is ever
    unpickled.

    Raises:
        TypeError: the arguments are others; the message says what to write.
        FileNotFoundError: there is no such file.
        OSError: ``path`` is a folder, a device or a FIFO, or cannot be read.
        ValueError: the file is cut off, damaged, of another network, or no safetensors file; the model is as it was.
    """
    for name in options:
        if name not in ("map_location", "weights_only"):
            raise TypeError(f"ne.load takes (model, path), or a path, and strict; got {name}=")
    check_placement(options.get("map_location"))
    if not isinstance(model, Module):
        if not isinstance(model, (str, os.PathLike)):
            raise TypeError(
                f"ne.load takes a module and the path of its file, or the path alone, got {type(model).__name__}; "
                "write ne.load(model, path), or model.load_state_dict(ne.load(path))"
            )
        if isinstance(path, Module):
            raise TypeError("ne.load takes the module first, then the path; write ne.load(model, path)")
        check_placement(path)  # torch.load(path, map_location)
        return {name: array.view(Array) for name, array in read_safetensors(model, None).items()}
    if path is None:
        raise TypeError("ne.load was given a module alone; write ne.load(model, path) with the path of its file")
    state = read_safetensors(path, model.state_dict())
    try:
        model.load_state_dict(state, strict=strict)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{os.fsdecode(path)}: {error.args[0] if error.args else error}") from error
    return model


_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""What files of ``torch.save`` and of pickle begin with."""


def read_safetensors(path: str | os.PathLike[str], wanted: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name. Only those that have name and shape of a ``wanted`` one are read, or
    all without it; an array that takes no memory stands for any other, whatever size the file says.

    Raises ValueError where the file is cut off or damaged; see also :func:`load`.
    """
    load_module("safetensors")
    from safetensors import SafetensorError, safe_open

    path = os.fsdecode(path)
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if stream.read(8).startswith(_PICKLES):
            raise ValueError(
                f"{path}: is a pickle, as torch.save writes it, which would run code; write the weights in PyTorch "
                "with safetensors.torch.save_file(model.state_dict(), path) and read that file"
            )
    try:
        with safe_open(path, framework="np") as file:
            return {name: _array(file, name, wanted) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: expected a complete safetensors file, found {size} bytes that are cut off or "
            f"damaged ({error}); save or get the file again"
        ) from error
    except MemoryError as error:
        raise ValueError(f"{path}: its {size} bytes are more than this process can map into its memory") from error
    except ValueError as error:
        raise ValueError(f"{path}: holds an array {error}") from error


def _array(file: Any, name: str, wanted: Mapping[str, np.ndarray] | None) -> np.ndarray:
    stored = file.get_slice(name)
    kind, shape = stored.get_dtype(), tuple(stored.get_shape())
    if kind not in _DTYPES:
        raise ValueError(f"of a type that NumPy does not have ('{name}' is {kind}); save it as float32")
    if wanted is None or (name in wanted and shape == wanted[name].shape):
        array: np.ndarray = file.get_tensor(name)
        return array
    try:
        return np.broadcast_to(np.float32(0), shape)
    except ValueError as error:
        raise ValueError(f"of a shape that NumPy does not have ('{name}': {error})") from error
