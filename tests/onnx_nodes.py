"""What hand-made ONNX models in tests are made of."""

import numpy as np
import onnx
from onnx import helper

node = helper.make_node
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def declared(content, dtypes):
    """The model with outputs of these element types."""
    made = onnx.load_model_from_string(content)
    for port, dtype in zip(made.graph.output, dtypes, strict=True):
        port.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return made.SerializeToString()


def typed_model(nodes, inputs, outputs, weights=None, opset=19) -> bytes:
    """Inputs are (dtype, shape) by name, outputs dtypes by name."""

    def port(name, dtype, shape):
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    stored = [
        helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a.tobytes(), raw=True)
        for name, a in (weights or {}).items()
    ]
    ports = [port(name, *given) for name, given in inputs.items()]
    graph = helper.make_graph(nodes, "test", ports, [port(n, d, None) for n, d in outputs.items()], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9).SerializeToString()
