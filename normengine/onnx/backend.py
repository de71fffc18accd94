"""ONNX's backend interface: ``prepare``, ``run_model`` and ``run_node`` as ``onnx.backend`` defines them, so that what
is written for any backend runs on this one.

::

    import normengine.onnx.backend as backend

    outputs = backend.prepare(onnx.load("model.onnx")).run([x])

The specification is that of ``onnx.backend.base``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.shape_inference
from onnx import helper
from onnx.backend import base

from ..locks import load_module
from .node import OnnxError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..session import InferenceSession

__all__ = ["Backend", "BackendRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]

Inputs = Sequence["npt.ArrayLike"] | Mapping[str, "npt.ArrayLike"]


class BackendRep(base.BackendRep):
    """A prepared model: an ``InferenceSession`` that is called with arrays in the order of the model's inputs."""

    def __init__(self, session: InferenceSession) -> None:
        self.session = session
        self._names = [port.name for port in session.get_inputs()]

    def run(self, inputs: Inputs, **kwargs: object) -> tuple[np.ndarray, ...]:
        """All outputs for one array an input, in the model's order or by name.

        Raises:
            ValueError: there are more or fewer arrays than inputs, or as ``InferenceSession.run`` does.
        """
        if not isinstance(inputs, Mapping):
            if len(inputs) != len(self._names):
                raise ValueError(f"run() needs {len(self._names)} arrays ({', '.join(self._names)}), got {len(inputs)}")
            inputs = dict(zip(self._names, inputs, strict=True))
        return tuple(self.session.run(None, inputs))


class Backend(base.Backend):
    """ONNX models on this package; see ``onnx.backend.base.Backend`` for the interface."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether ``device`` is the CPU (``CPU``, ``CPU:0``)."""
        return str(device).partition(":")[0].upper() == "CPU"

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: object) -> bool:
        """Whether ``prepare`` takes the model, for extents of its inputs that it need not know."""
        try:
            cls.prepare(model, device)
        except ValueError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: object) -> BackendRep:
        """The model as something to run.

        Raises:
            ValueError: the device is not the CPU, or as ``InferenceSession`` does, which names all operators that are
                not supported.
        """
        if not cls.supports_device(device):
            raise ValueError(f"the device must be CPU, got {device!r}")
        load_module("normengine.session")
        from ..session import InferenceSession

        return BackendRep(InferenceSession(model.SerializeToString()))

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Inputs, device: str = "CPU", **kwargs: object
    ) -> tuple[np.ndarray, ...]:
        """``prepare`` and ``run`` in one; raises as they do."""
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Inputs,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
        **kwargs: object,
    ) -> tuple[np.ndarray, ...]:
        """The outputs of one node for arrays in the order of its inputs.

        ``outputs_info`` has the element type and shape of each output; where it is not given ONNX infers them.
        ``opset_version`` among the ``kwargs`` chooses the version of the operator, the newest by default. Raises as
        ``prepare`` and ``run`` do.
        """
        names = [name for name in node.input if name]
        if isinstance(inputs, Mapping):
            inputs = [inputs[name] for name in names]
        arrays = [np.asarray(array) for array in inputs]
        if len(arrays) != len(names):
            raise ValueError(f"{node.op_type} needs {len(names)} arrays ({', '.join(names)}), got {len(arrays)}")
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        return cls.run_model(_model_of(node, names, arrays, version, outputs_info), arrays, device)


def _model_of(
    node: onnx.NodeProto,
    names: Sequence[str],
    arrays: Sequence[np.ndarray],
    version: object,
    outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None,
) -> onnx.ModelProto:
    """A model of that one node; inputs are as the arrays are."""
    if not isinstance(version, int):
        raise ValueError(f"opset_version must be an integer, got {version!r}")
    inputs = {n: _port(n, a.dtype, a.shape) for n, a in zip(names, arrays, strict=True)}
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    if outputs_info is not None:
        outputs = [_port(o.name, np.dtype(t), s) for o, (t, s) in zip(outputs, outputs_info, strict=True)]
    graph = helper.make_graph([node], "node", list(inputs.values()), outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)])
    if outputs_info is not None:
        return model
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise OnnxError(f"{node.op_type}: {error}") from None


def _port(name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
