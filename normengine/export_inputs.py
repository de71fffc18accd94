"""What an exported network is given: names, extents and element types of its inputs, as users say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .graph import Spec
from .onnx.node import OnnxError
from .shapes import sample_shape

INPUT, BATCH = "x", "N"
Given = Sequence[int] | Sequence[Sequence[int]] | np.ndarray | Sequence[np.ndarray] | Mapping[str, object]
"""The extents of one sample, or an example array ``(N, ...)``; several of these, or by name."""

_FACTORS = 2, 3
"""What height and width are multiplied by for the second trace, where they are open."""


class InputPort(NamedTuple):
    """One input: ``shape`` are the extents of a sample; with ``open_size`` its last two, height and width, are examples
    alone."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    open_size: bool = False

    def spec(self, batch: int, larger: bool = False) -> Spec:
        """That of a batch, of ``larger`` images where their size is open."""
        return Spec((batch, *self.sample(larger)), self.dtype)

    def sample(self, larger: bool) -> tuple[int, ...]:
        """The extents of a sample, of other height and width where these are open and ``larger`` is set."""
        if not (larger and self.open_size):
            return self.shape
        *rest, height, width = self.shape
        return (*rest, height * _FACTORS[0], width * _FACTORS[1])

    def declared(self) -> tuple[int | str, ...]:
        """The extents in the file: a name for what is open, the same in all inputs for the batch alone."""
        if not self.open_size:
            return (BATCH, *self.shape)
        *rest, _, _ = self.shape
        return (BATCH, *rest, f"{self.name}_height", f"{self.name}_width")

    def draw(self, rng: np.random.Generator, batch: int, larger: bool) -> np.ndarray:
        """Random values: normal ones, or 0 and 1 where they are integers."""
        shape = self.spec(batch, larger).shape
        if self.dtype == "float32":
            return rng.standard_normal(shape, dtype=np.float32)
        return rng.integers(0, 2, shape)


def input_ports(given: Given, names: Sequence[str] | None = None, dynamic_size: bool = False) -> tuple[InputPort, ...]:
    """The inputs in the order in which ``forward`` takes them.

    Args:
        given: for one input the extents of a sample, ``(3, 32, 32)``, or an example ``(N, ...)``, an array of float32
            or int64; for several a tuple of these, or a dict of them by name.
        names: of the inputs; by default those of the dict, or ``x``, or ``x_0``, ``x_1``, ... where there are several.
        dynamic_size: whether height and width, the last two extents of samples ``(C, H, W)``, may be others in each
            run.

    Raises:
        ValueError: extents are not positive, an array holds something else, names are double, empty, or not as many as
            the inputs, or ``dynamic_size`` is asked for where no input is an image.
    """
    if isinstance(given, Mapping):
        parts = list(given.values())
        found = list(given)
    else:
        parts = list(given) if _are_several(given) else [given]
        found = [INPUT] if len(parts) == 1 else [f"{INPUT}_{i}" for i in range(len(parts))]
    if names is not None:
        found = [names] if isinstance(names, str) else list(names)
        if len(found) != len(parts):
            raise OnnxError(f"input_names must be {len(parts)} names, one for each input, got {found}")
    require_names(found, "input_names")
    ports = tuple(_port(name, part, dynamic_size) for name, part in zip(found, parts, strict=True))
    if not ports:
        raise OnnxError("input_shape names no input; give the extents of a sample, such as (3, 32, 32)")
    if dynamic_size and not any(port.open_size for port in ports):
        shapes = ", ".join(str(port.shape) for port in ports)
        raise OnnxError(f"dynamic_size wants an input of images (C, H, W), the extents of samples are {shapes}")
    return ports


def require_names(names: Sequence[object], what: str) -> None:
    """Raise :class:`OnnxError` unless they are texts, none of them empty and each there once."""
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise OnnxError(f"{what} must be names that differ from each other, got {list(names)}")


def _are_several(given: object) -> bool:
    """Whether it holds an entry for each input, rather than an integer for each axis."""
    return isinstance(given, (tuple, list)) and any(isinstance(part, (tuple, list, np.ndarray)) for part in given)


def _port(name: str, given: object, dynamic_size: bool) -> InputPort:
    if not isinstance(given, np.ndarray):
        shape = sample_shape(given if isinstance(given, Sequence) else ())
        return InputPort(name, shape, open_size=dynamic_size and len(shape) == 3)
    if given.ndim == 0 or given.size == 0:
        raise OnnxError(f"the example of input '{name}' must be a batch (N, ...) of samples, got shape {given.shape}")
    dtypes = {"f": "float32", "i": "int64", "u": "int64"}
    if given.dtype.kind not in dtypes:
        raise OnnxError(f"the example of input '{name}' must be float32 or int64, got {given.dtype}")
    shape = given.shape[1:]
    return InputPort(name, shape, dtypes[given.dtype.kind], dynamic_size and len(shape) == 3)
