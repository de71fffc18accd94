"""I/O binding, as ONNX Runtime's: arrays that a session reads inputs from and writes outputs to at each run, bound
once."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .typing import DType

_NUMBERS = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13,
}  # fmt: skip
"""ONNX's numbers of element types."""

_NAMES = {"float32": "float", "float64": "double"}
"""ONNX's names where they are not NumPy's."""


class Session(Protocol):
    """What a binding needs of an ``InferenceSession``."""

    def get_inputs(self) -> Sequence[Any]:
        """The inputs of the network."""

    def get_outputs(self) -> Sequence[Any]:
        """The outputs of the network."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Any], run_options: Any) -> list[np.ndarray]:
        """The outputs of those names for these inputs."""


class OrtValue:
    """An array in the CPU's memory, that of ``numpy()``."""

    def __init__(self, array: np.ndarray) -> None:
        if not isinstance(array, np.ndarray) or array.dtype.name not in _NUMBERS:
            given = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"OrtValue must hold an array of numbers, got {given}")
        self._array = array

    @classmethod
    def ortvalue_from_numpy(cls, numpy_obj: np.ndarray, device_type: str = "cpu", device_id: int = 0) -> OrtValue:
        """The value that shares the memory of an array."""
        _check_device(device_type)
        return cls(numpy_obj)

    @classmethod
    def ortvalue_from_shape_and_type(
        cls, shape: Sequence[int], element_type: DType, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """A new array; ``element_type`` is NumPy's or ONNX's number of it."""
        _check_device(device_type)
        return cls(np.zeros(tuple(shape), _dtype(element_type)))

    def numpy(self) -> np.ndarray:
        """The array itself, whose memory is shared."""
        return self._array

    def __array__(self, dtype: DType = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._array, dtype=dtype, copy=copy)

    def shape(self) -> list[int]:
        """The extents."""
        return list(self._array.shape)

    def data_type(self) -> str:
        """Such as ``tensor(float)``."""
        name = self._array.dtype.name
        return f"tensor({_NAMES.get(name, name)})"

    def element_type(self) -> int:
        """ONNX's number."""
        return _NUMBERS[self._array.dtype.name]

    def device_name(self) -> str:
        """``cpu``."""
        return "cpu"

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array.ctypes.data

    def tensor_size_in_bytes(self) -> int:
        """How many bytes the elements take."""
        return self._array.nbytes

    def has_value(self) -> bool:
        """True: there is an array always."""
        return True

    def is_tensor(self) -> bool:
        """True: it is an array."""
        return True

    def is_tensor_sequence(self) -> bool:
        """False: it is one array."""
        return False

    def is_sparse_tensor(self) -> bool:
        """False: arrays are dense."""
        return False

    def update_inplace(self, data: np.ndarray) -> None:
        """Copy an array of the same shape and type into this one's memory."""
        _put("update_inplace", self._array, np.asarray(data))


class IOBinding:
    """The inputs and outputs of a session's runs: ``session.run_with_iobinding(binding)``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inputs: dict[str, np.ndarray] = {}
        self._outputs: dict[str, np.ndarray | None] = {}
        self._results: list[np.ndarray] = []

    def bind_cpu_input(self, name: str, arr_on_cpu: object) -> None:
        """What is read at each run; an array's memory is shared."""
        self._inputs[_known("input", name, self._session.get_inputs())] = np.asarray(arr_on_cpu)

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: DType,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        """The array at an address of the CPU's memory, which the caller keeps alive."""
        _check_device(device_type)
        self.bind_cpu_input(name, _at(buffer_ptr, element_type, shape))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """What is read at each run: the value's array, whose memory is shared."""
        self.bind_cpu_input(name, ortvalue.numpy())

    def bind_output(
        self, name: str, device_type: str = "cpu", device_id: int = 0, element_type: DType = None,
        shape: Sequence[int] | None = None, buffer_ptr: int | None = None,
    ) -> None:  # fmt: skip
        """An output that runs compute: into the array at an address, or, without one, into a new array at each run."""
        _check_device(device_type)
        array = None
        if buffer_ptr is not None:
            if element_type is None or shape is None:
                raise ValueError(f"bind_output: '{name}' has a buffer_ptr and needs element_type and shape as well")
            array = _at(buffer_ptr, element_type, shape)
        self._outputs[_known("output", name, self._session.get_outputs())] = array

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """An output that runs write into the value's array."""
        self._outputs[_known("output", name, self._session.get_outputs())] = ortvalue.numpy()

    def synchronize_inputs(self) -> None:
        """Nothing is to be waited for on the CPU."""

    def synchronize_outputs(self) -> None:
        """Nothing is to be waited for on the CPU."""

    def clear_binding_inputs(self) -> None:
        """Forget the inputs that were bound."""
        self._inputs = {}

    def clear_binding_outputs(self) -> None:
        """Forget the outputs that were bound, and the last results."""
        self._outputs, self._results = {}, []

    def get_outputs(self) -> list[OrtValue]:
        """The bound outputs of the last run, in the order in which they were bound."""
        return [OrtValue(array) for array in self._results]

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        """The same as arrays of their own."""
        return [array.copy() for array in self._results]

    def run(self, session: Session, run_options: object = None) -> None:
        """What ``session.run_with_iobinding`` does."""
        if session is not self._session:
            raise ValueError("run_with_iobinding: the binding is another session's; make one with session.io_binding()")
        if not self._outputs:
            raise ValueError("run_with_iobinding: no output is bound; bind one with bind_output(name)")
        results = session.run(list(self._outputs), self._inputs, run_options)
        for name, array, result in zip(self._outputs, self._outputs.values(), results, strict=True):
            if array is not None:
                _check_same(f"output '{name}'", array, result)
        self._results = [r if a is None else a for a, r in zip(self._outputs.values(), results, strict=True)]
        for array, result in zip(self._results, results, strict=True):
            if array is not result:
                np.copyto(array, result)


def _known(kind: str, name: str, arguments: Sequence[Any]) -> str:
    names = [argument.name for argument in arguments]
    if name not in names:
        raise ValueError(f"{kind} '{name}' does not exist; the {kind}s are {', '.join(map(repr, names)) or 'none'}")
    return name


def _check_device(device_type: str) -> None:
    if device_type != "cpu":
        raise ValueError(f"there is no device '{device_type}'; everything is computed on 'cpu'")


def _dtype(element_type: DType) -> np.dtype[Any]:
    """NumPy's element type for itself or for ONNX's number of it."""
    if not isinstance(element_type, int):
        return np.dtype(element_type)
    for name, number in _NUMBERS.items():
        if number == element_type:
            return np.dtype(name)
    raise ValueError(f"element type {element_type} is not supported; the numbers are {sorted(_NUMBERS.values())}")


def _at(address: int, element_type: DType, shape: Sequence[int]) -> np.ndarray:
    """The array at an address."""
    dtype = _dtype(element_type)
    memory: Any = (ctypes.c_char * (math.prod(shape) * dtype.itemsize)).from_address(address)
    return np.frombuffer(memory, dtype).reshape(tuple(shape))


def _check_same(what: str, array: np.ndarray, other: np.ndarray) -> None:
    if array.shape != other.shape or array.dtype != other.dtype:
        raise ValueError(f"{what}: {other.dtype} of shape {other.shape} does not fit {array.dtype} of {array.shape}")


def _put(what: str, array: np.ndarray, data: np.ndarray) -> None:
    _check_same(what, array, data)
    np.copyto(array, data)
