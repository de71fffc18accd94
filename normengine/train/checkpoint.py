"""Weights on disk: safetensors under PyTorch's keys, written whole or not at all, read checked or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically
from ..nn import Module


def save(model: Module, path: str | os.PathLike[str]) -> None:
    """Write ``model.state_dict()`` to ``path`` as safetensors.

    The file takes the place of an older one only when it is complete; if writing fails, the older one stays.
    ``safetensors.torch.load_file`` reads it as the state dict of the same network in PyTorch.

    Raises:
        OSError: the folder does not exist or cannot be written.
    """
    from safetensors.numpy import save as serialize

    state = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in model.state_dict().items()}
    write_atomically(path, serialize(state, metadata={"format": "pt"}))


def load(model: Module, path: str | os.PathLike[str], strict: bool = True) -> Module:
    """Read the safetensors file ``path`` into ``model`` and return the model.

    ``strict`` demands the same keys; the shapes must be the same always. Nothing is changed unless all of it fits.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off, damaged, or of another network; the model is as it was.
    """
    state = read_safetensors(path)
    try:
        model.load_state_dict(state, strict=strict)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: {error.args[0] if error.args else error}") from error
    return model


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arrays of a safetensors file by name; raises ValueError where it is cut off or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: expected a complete safetensors file, found {path.stat().st_size} bytes that are cut off or "
            f"damaged ({error}); save or get the file again"
        ) from error
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: holds an array of a type that NumPy does not have ({error}); save it as float32"
        ) from error
