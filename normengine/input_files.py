"""What ``normengine predict`` reads: images, arrays and folders of images, as samples of a network's inputs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .files.reading import open_regular
from .locks import load_module

if TYPE_CHECKING:
    from PIL.Image import Image

    from .session import NodeArg

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
ARRAYS = (".npy", ".npz")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_MOST_16_BITS = 257
"""What a step of 8 bits is in 16 bits: 65535 / 255."""


class Sample(NamedTuple):
    """An array for each input, without the batch axis, and what to call them all."""

    name: str
    arrays: dict[str, np.ndarray]


def find_files(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files that are meant: those given, and in place of a folder the images directly in it, sorted by name.

    Raises:
        FileNotFoundError: something does not exist; the message names all that is missing.
        ValueError: a file is neither image nor array by its suffix, or a folder has no image.
    """
    paths = [Path(given) for given in inputs]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"no such file or folder: {', '.join(missing)}")
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            images = sorted(entry for entry in path.iterdir() if is_image(entry) and not entry.name.startswith("."))
            if not images:
                raise ValueError(f"{path}: holds no image; those of {', '.join(IMAGES)} are read")
            found += images
        elif is_image(path) or path.suffix.lower() in ARRAYS:
            found.append(path)
        else:
            known = ", ".join((*IMAGES, *ARRAYS))
            raise ValueError(f"{path}: the suffix must be one of {known}, got {path.suffix!r}")
    return found


def is_image(path: Path) -> bool:
    """Whether that is an image, by its suffix."""
    return path.suffix.lower() in IMAGES


def has_channels_last(shape: Sequence[int | str | None]) -> bool:
    """Whether an input of images is ``(N, H, W, C)`` rather than ``(N, C, H, W)``, by which axis has the extent 1 or 3,
    or else 4."""
    for usual in ((1, 3), (4,)):
        if shape[1] in usual or shape[3] in usual:
            return shape[1] not in usual
    return False


@dataclass(frozen=True)
class Preparation:
    """How pixels become numbers: ``(pixel * scale - mean) / std``, of one mean and std or one a channel.

    ``size`` is the height and width that images are resized to (bilinear, over all pixels that are covered), None for
    the image's own. ``scale`` is by default 1/255 where the network reads floats.
    """

    size: tuple[int, int] | None = None
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class InputReader:
    """Reads files as samples for the inputs of a network.

    Raises ValueError where ``preparation`` does not fit the inputs.
    """

    def __init__(self, ports: Sequence[NodeArg], preparation: Preparation) -> None:
        if not ports:
            raise ValueError("the network has no inputs; there is nothing to predict")
        self._ports = {port.name: port for port in ports}
        self._preparation = preparation
        for port in ports:
            if not port.shape:
                raise ValueError(f"input '{port.name}' has no batch axis; samples cannot be told apart")
        self._port = ports[0]
        shape = list(self._port.shape or ())
        self._pictures = len(ports) == 1 and len(shape) == 4
        self._channel_axis = 2 if self._pictures and has_channels_last(shape) else 0
        self._check_preparation(shape[1:])

    def _check_preparation(self, shape: list[int | str | None]) -> None:
        """Find size and channels by what the input declares; raise ValueError where something else is asked for."""
        asked, where = self._preparation, f"input '{self._port.name}'"
        self._channels: int | None = None
        self._size = asked.size
        if not self._pictures:
            if asked.size or asked.mean or asked.std:
                raise ValueError("size, mean and std are for networks of one input (N, C, H, W)")
            return
        channels = shape.pop(self._channel_axis)
        self._channels = channels if isinstance(channels, int) else None
        height, width = shape
        if asked.size is None and isinstance(height, int) and isinstance(width, int):
            self._size = height, width
        for extent, wanted, what in zip(shape, asked.size or (), ("height", "width")):
            if isinstance(extent, int) and extent != wanted:
                raise ValueError(f"{where} has the {what} {extent} in the file, got a size of {wanted}")
        if not _is_float(self._port) and (asked.scale is not None or asked.mean or asked.std):
            raise ValueError(f"{where} takes pixels as they are ({self._port.type}); leave scale, mean and std out")
        for name, numbers in (("mean", asked.mean), ("std", asked.std)):
            if len(numbers) not in {0, 1, self._channels or 3}:
                rule = f"one number or one for each of {self._channels or 3} channels"
                raise ValueError(f"{where}: {name} must be {rule}, got {len(numbers)}")
        if 0 in asked.std:
            raise ValueError(f"{where}: std must not be zero, numbers are divided by it")

    def check_images(self) -> None:
        """Raise what keeps all images from being read: Pillow is missing (ImportError), or the network's inputs are not
        those of images (ValueError)."""
        if not self._pictures:
            shapes = ", ".join(f"'{port.name}' {_layout(port.shape)}" for port in self._ports.values())
            raise ValueError(f"images need one input (N, C, H, W), this network has {shapes}; give arrays")
        if not _is_float(self._port) and self._port.type != "tensor(uint8)":
            raise ValueError(f"input '{self._port.name}' holds {self._port.type}, which images are not; give arrays")
        if (self._channels or 3) not in _MODES:
            raise ValueError(
                f"input '{self._port.name}' has {self._channels} channels, images have 1, 3 or 4; give arrays"
            )
        try:
            load_module("PIL.Image")
        except ModuleNotFoundError:
            raise ImportError("images are read by Pillow, which is not installed; pip install pillow") from None

    def read(self, path: Path) -> Iterator[Sample]:
        """The samples of a file: an image is one, an array one for each element of its first axis.

        Raises ValueError or OSError, which name the file, where it is damaged or is not what the network takes.
        """
        if is_image(path):
            yield Sample(str(path), {self._port.name: self._fitting(path, self._port, self._image(path))})
            return
        yield from self._arrays(path)

    def _arrays(self, path: Path) -> Iterator[Sample]:
        held: dict[str, np.ndarray] = {}
        single = True
        for name, array in self._stored(path).items():
            rank = len(self._ports[name].shape or ())
            if array.ndim not in {rank, rank - 1}:
                declared = _layout(self._ports[name].shape)
                raise ValueError(f"{path}: input '{name}' is {declared}, got an array of shape {array.shape}")
            single = single and array.ndim == rank - 1
            held[name] = array[None] if array.ndim == rank - 1 else array
            self._fitting(path, self._ports[name], held[name][0] if len(held[name]) else held[name])
        counts = {name: len(array) for name, array in held.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{path}: inputs must have as many samples each, got {counts}")
        for i in range(max(counts.values())):
            arrays = {name: self._numbers(self._ports[name], array[i]) for name, array in held.items()}
            yield Sample(str(path) if single else f"{path}[{i}]", arrays)

    def _stored(self, path: Path) -> dict[str, np.ndarray]:
        """The arrays of a file by the names of inputs."""
        try:
            there, arrays = _loaded(path, set(self._ports))
        except OSError:
            raise
        except Exception as error:  # what damaged headers and damaged zip files lead to is of all kinds
            raise ValueError(f"{path}: cannot be read as arrays ({str(error) or type(error).__name__})") from None
        if self._ports.keys() <= arrays.keys():
            return {name: arrays[name] for name in self._ports}
        if len(self._ports) == len(arrays) == len(there) == 1:
            return {self._port.name: next(iter(arrays.values()))}
        names, found = ", ".join(map(repr, self._ports)), ", ".join(map(repr, there)) or "nothing"
        raise ValueError(f"{path}: must be an .npz file of the inputs {names}, holds {found}")

    def _fitting(self, path: Path, port: NodeArg, sample: np.ndarray) -> np.ndarray:
        """``sample`` if it is as ``port`` declares."""
        declared, given = (port.shape or [])[1:], sample.dtype
        if sample.size == 0:
            raise ValueError(f"{path}: holds no samples, its shape is {sample.shape}")
        if any(isinstance(n, int) and n != found for n, found in zip(declared, sample.shape, strict=True)):
            raise ValueError(f"{path}: input '{port.name}' is {_layout(port.shape)}, a sample of it is {sample.shape}")
        if not (given.kind == "f" or given == np.uint8 if _is_float(port) else given.kind in "iub"):
            raise ValueError(f"{path}: input '{port.name}' is {port.type}, got {given}; convert it with astype")
        return sample

    def _numbers(self, port: NodeArg, array: np.ndarray) -> np.ndarray:
        """``array`` as the network takes it: bytes as pixels are, all else as it is."""
        if array.dtype != np.uint8 or not _is_float(port):
            return np.array(array)
        asked = self._preparation
        shape = [1] * array.ndim
        if self._pictures:
            shape[self._channel_axis] = -1
        scale = 1 / 255 if asked.scale is None else asked.scale
        numbers = array * np.float64(scale) - np.reshape(asked.mean or (0.0,), shape)
        return (numbers / np.reshape(asked.std or (1.0,), shape)).astype(np.float32)

    def _image(self, path: Path) -> np.ndarray:
        from PIL import Image

        with open_regular(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what matters little, such as damaged comments
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with Image.open(stream) as image:
                    pixels = self._pixels(image)
            except Exception as error:  # decoders raise errors of all kinds
                raise ValueError(f"{path}: cannot be read as an image ({_reason(error)})") from None
        return self._numbers(self._port, pixels if self._channel_axis else np.moveaxis(pixels, 2, 0))

    def _pixels(self, image: Image) -> np.ndarray:
        """``(H, W, C) uint8``, turned as the image asks for, in the network's channels and size."""
        from PIL import Image, ImageOps

        if image.mode == "F":
            raise ValueError("its pixels are floats, whose scale nobody knows; give an array")
        turned = ImageOps.exif_transpose(image)
        if turned.mode.startswith("I"):  # 16 bits, which Pillow cuts rather than scales
            values = np.rint(np.clip(np.asarray(turned).astype(np.float64) / _MOST_16_BITS, 0, 255))
            turned = Image.fromarray(values.astype(np.uint8))
        turned = turned.convert(_MODES[self._channels or 3])
        if self._size is not None and turned.size != self._size[::-1]:
            turned = turned.resize(self._size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(turned)
        return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _is_float(port: NodeArg) -> bool:
    return port.type in {"tensor(float)", "tensor(double)"}


def _loaded(path: Path, wanted: set[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of a file's arrays, and those wanted, or the only one; one of an ``.npy`` file has no name and is
    mapped, not read."""
    with open_regular(path) as stream:
        if path.suffix.lower() == ".npy":
            return ["one array"], {"": np.load(path, mmap_mode="r", allow_pickle=False)}
        with np.load(stream, allow_pickle=False) as stored:
            there = list(stored.files)
            return there, {name: stored[name] for name in there if name in wanted or len(there) == 1}


def _reason(error: Exception) -> str:
    """What went wrong, without the objects that decoders name by their addresses in memory."""
    words = str(error)
    return "its format is not known" if "cannot identify" in words else words or type(error).__name__


def _layout(shape: Sequence[int | str | None] | None) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape or ()) + ")"
