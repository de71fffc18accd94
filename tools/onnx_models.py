"""Random ONNX models for tools/fuzz_onnx.py: small ones, mostly valid, over all operators that are read.

What an operator takes comes from ONNX's own schemas, so an operator that is added is tried by itself; only inputs that
have to fit each other (a convolution's weight, a shape to reshape to) are drawn by a rule of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from normengine.onnx import importer  # noqa: F401  (fills the tables)
from normengine.onnx.parse import OLDEST_OPSET
from normengine.onnx.table import EVALUATORS, READERS

Rng = np.random.Generator

OPERATORS = sorted({*READERS, *EVALUATORS})
NEWEST = onnx.defs.onnx_opset_version()
EXTREMES = (
    0, 1, -1, 2, 3, 7, 64, 65, 255, 2**16, 2**20 + 1, 2**27, 2**31 - 1, 2**31, -(2**31), 2**32, 2**33, 2**40, 2**53 + 1,
    2**61, 2**62, 2**62 + 10**4, 2**63 - 2, 2**63 - 1, -(2**62), -(2**63),
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-30, 1e30, 3.4e38, math.inf, -math.inf, math.nan)
STRINGS = ("", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "mean", "sum", "none", "tanh", "reflect", "\0", "é" * 9)
TYPES: dict[int, str] = {
    TensorProto.FLOAT: "float",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
    TensorProto.INT32: "int32",
}
KINDS = AttributeProto.AttributeType


def valid(rng: Rng) -> ModelProto:
    """Some nodes, each of the last one's output; mostly valid, for the rules here know nothing of some operators."""
    operators = [str(rng.choice(list(RULES) if rng.random() < 0.4 else OPERATORS)) for _ in range(5)]
    opset = int(rng.choice([OLDEST_OPSET, 9, 11, 12, 13, 14, 17, 18, 20, NEWEST]))
    drawing = Drawing(rng, opset if schema_of(operators[0], opset) else NEWEST)
    for op_type in operators[: int(rng.choice([1, 1, 2, 3, 5]))]:
        if not drawing.node(op_type):
            break
    return drawing.model()


def schema_of(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


class Drawing:
    """A graph that grows by nodes; ``last`` is the name, shape and element type of what the next one reads."""

    def __init__(self, rng: Rng, opset: int) -> None:
        self.rng = rng
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        rank = int(rng.choice([4, 4, 4, 2, 3, 1, 5]))
        shape = tuple(int(n) for n in rng.choice([1, 2, 3, 4, 5, 8, 9, 16, 17], rank))
        self.last = self.input(shape)

    def input(self, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...], int]:
        name = f"x{len(self.inputs)}"
        named: list[int | str] = list(shape)
        if shape and self.rng.random() < 0.5:
            named[0] = "N"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, named))
        return name, shape, TensorProto.FLOAT

    def weight(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def array(self, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        numbers = self.rng.standard_normal(shape) * 2
        if kind == "uint8":
            numbers = np.abs(numbers)
        return numbers.astype("float32" if kind == "float" else kind)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def node(self, op_type: str) -> bool:
        """Add the operator; whether its output can be read by another."""
        schema = schema_of(op_type, self.opset)
        if schema is None:
            return True
        names, attributes = RULES.get(op_type, by_schema)(self, schema)
        if op_type not in READERS or self.rng.random() < 0.1:
            names = [self.known() if name == self.last[0] else name for name in names]
        outputs = int(self.rng.integers(1, 4)) if op_type == "Split" else max(1, schema.min_output)
        if op_type == "Split" and self.opset >= 18:
            attributes["num_outputs"] = outputs
        made = [f"y{len(self.nodes)}.{i}" for i in range(outputs)]
        label = f"node {len(self.nodes)}" if self.rng.random() < 0.8 else ""
        self.nodes.append(helper.make_node(op_type, names, made, label))
        for key, value in attributes.items():
            if key in schema.attributes:
                kind = int(schema.attributes[key].type)  # type: ignore[call-overload]
                if key == "to" and kind == KINDS.Value("STRING"):
                    value = TensorProto.DataType.Name(value)
                self.nodes[-1].attribute.append(helper.make_attribute(key, value, attr_type=kind))
        found = self._inferred(made[0])
        if found is None:
            return False
        self.last = found
        return True

    def known(self) -> str:
        """A weight like the last output, for operators that only know arrays are read for."""
        _, shape, kind = self.last
        return self.weight(self.array(TYPES.get(kind, "float"), shape if math.prod(shape) < 10_000 else ()))

    def _inferred(self, name: str) -> tuple[str, tuple[int, ...], int] | None:
        try:
            inferred = onnx.shape_inference.infer_shapes(self.model(declared=False), data_prop=True)
        except Exception:  # not valid, as it turned out
            return None
        for info in [*inferred.graph.value_info, *inferred.graph.output]:
            tensor = info.type.tensor_type
            if info.name == name and tensor.HasField("shape"):
                start = [self.rng.integers(1, 4)]
                shape = tuple(int(d.dim_value) if d.HasField("dim_value") else int(start[0]) for d in tensor.shape.dim)
                return None if any(n < 0 for n in shape) else (name, shape, tensor.elem_type)
        return None

    def model(self, declared: bool = True) -> ModelProto:
        """The file; its output's type is what was inferred, or left open."""
        name = self.nodes[-1].output[0] if self.nodes else self.last[0]
        output = helper.make_tensor_value_info(name, self.last[2] or TensorProto.FLOAT, None)
        if not declared:
            output = helper.make_empty_tensor_value_info(name)
        graph = helper.make_graph(self.nodes, "drawn", self.inputs, [output], self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        made.ir_version = 8
        return made


Rule = Callable[[Drawing, onnx.defs.OpSchema], tuple[list[str], dict[str, Any]]]


def attribute(rng: Rng, kind: int) -> Any:
    """A harmless value of that kind."""
    if kind == KINDS.Value("FLOAT"):
        return float(rng.uniform(0, 1))
    if kind == KINDS.Value("INT"):
        return int(rng.integers(0, 2))
    if kind == KINDS.Value("STRING"):
        return str(rng.choice(STRINGS[:8]))
    if kind == KINDS.Value("INTS"):
        return [int(n) for n in rng.integers(0, 3, int(rng.integers(1, 5)))]
    if kind == KINDS.Value("FLOATS"):
        return [float(n) for n in rng.uniform(0, 1, 3)]
    return numpy_helper.from_array(rng.standard_normal(1).astype(np.float32))


def by_schema(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    """The last output, then arrays of its type that broadcast with it, or what else the schema's types want; attributes
    often left out."""
    rng, (name, shape, kind) = drawing.rng, drawing.last
    count = int(rng.integers(schema.min_input, max(schema.min_input, min(schema.max_input, 3)) + 1))
    names: list[str] = []
    for i in range(count):
        types = schema.inputs[min(i, len(schema.inputs) - 1)].types
        small = tuple(1 if rng.random() < 0.3 else n for n in shape[int(rng.integers(0, len(shape) + 1)) :])
        if f"tensor({TYPES.get(kind, 'float')})" not in types:
            wanted = next((t for t in ("float", "int64", "bool", "uint8") if f"tensor({t})" in types), "float")
            names.append(drawing.weight(drawing.array(wanted, small)))
        elif i == 0:
            names.append(name)
        elif kind == TensorProto.FLOAT and rng.random() < 0.3:
            names.append(drawing.input(small)[0])
        else:
            names.append(drawing.weight(drawing.array(TYPES.get(kind, "float"), small)))
    given = {
        key: attribute(rng, int(a.type))  # type: ignore[call-overload]
        for key, a in schema.attributes.items()
        if a.required or rng.random() < 0.3
    }
    return names, given


def convolution(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    name, shape, rng = *images(drawing), drawing.rng
    groups = int(rng.choice([1, 1, 1, shape[1]]))
    outputs = groups * int(rng.choice([1, 3, 8]))
    attributes, kernel = window(drawing, shape[2:])
    names = [name, drawing.weight(drawing.normal(outputs, shape[1] // groups, *kernel))]
    if rng.random() < 0.5:
        names.append(drawing.weight(drawing.normal(outputs)))
    return names, {**attributes, "group": groups}


def pooling(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    name, shape = images(drawing)
    attributes, _ = window(drawing, shape[2:])
    flags = {k: int(drawing.rng.integers(0, 2)) for k in ("ceil_mode", "count_include_pad")}
    dilated = schema.name == "MaxPool" or drawing.rng.random() < 0.1
    return [name], {k: v for k, v in {**attributes, **flags}.items() if dilated or k != "dilations"}


def images(drawing: Drawing) -> tuple[str, tuple[int, ...]]:
    """The last output where it has four axes, else an input."""
    name, shape, kind = drawing.last
    if len(shape) != 4 or 0 in shape or kind != TensorProto.FLOAT:
        name, shape, _ = drawing.input(tuple(int(n) for n in drawing.rng.choice([1, 2, 3, 8, 9, 17], 4)))
    return name, shape


def window(drawing: Drawing, size: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
    rng = drawing.rng
    kernel = [int(rng.integers(1, min(n, 5) + 1)) for n in size]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if rng.random() < 0.5:
        attributes["strides"] = [int(n) for n in rng.integers(1, 4, 2)]
    if rng.random() < 0.3:
        attributes["dilations"] = [int(rng.integers(1, max(2, n // k))) for n, k in zip(size, kernel, strict=True)]
    if rng.random() < 0.4:
        attributes["pads"] = [int(rng.integers(0, kernel[i % 2])) for i in range(4)]
    elif rng.random() < 0.5:
        attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"]))
    return attributes, kernel


def product(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    rng, (name, shape, _) = drawing.rng, drawing.last
    outputs, inner = int(rng.choice([1, 3, 10])), shape[-1] if shape else 1
    if schema.name == "MatMul":
        return [name, drawing.weight(drawing.normal(inner, outputs))], {}
    turned = bool(rng.integers(0, 2))
    names = [name, drawing.weight(drawing.normal(*((outputs, inner) if turned else (inner, outputs))))]
    if rng.random() < 0.6:
        names.append(drawing.weight(drawing.normal(*([outputs] if rng.random() < 0.7 else [1]))))
    attributes: dict[str, Any] = {"transB": int(turned)}
    if rng.random() < 0.3:
        attributes |= {"alpha": 0.5, "beta": 2.0}
    return names, attributes


def normalization(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    name, shape, _ = drawing.last
    channels = shape[1] if len(shape) > 1 else 1
    rows = [drawing.weight(abs(drawing.normal(channels)) + np.float32(0.1)) for _ in range(4)]
    return [name, *rows], {"epsilon": 1e-5}


def with_integers(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    """Operators whose axes, limits or shape are a list of integers: an attribute or an input, as the opset has it."""
    rng, (name, shape, _) = drawing.rng, drawing.last
    rank = len(shape)
    axis = int(rng.integers(-rank, rank)) if rank else 0
    extent = shape[axis] if rank else 1
    lists: dict[str, dict[str, Sequence[int]]] = {
        "Reshape": {"shape": [0, -1] if rank > 1 else [-1]},
        "Expand": {"shape": [2, *shape]},
        "Squeeze": {"axes": [a for a, n in enumerate(shape) if n == 1]},
        "Unsqueeze": {"axes": [int(rng.integers(0, rank + 1))]},
        "Slice": {"starts": [int(rng.integers(0, 2))], "ends": [2**63 - 1], "axes": [axis]},
        "Pad": {"pads": [int(n) for n in rng.integers(0, 3, 2 * rank)]},
        "Gather": {"indices": [int(n) for n in rng.integers(-extent, max(extent, 1), 3)]},
    }
    wanted = lists.get(schema.name, {"axes": [axis]})
    names, attributes = [name], {"axis": axis, "keepdims": int(rng.integers(0, 2))}
    for i, (key, numbers) in enumerate(wanted.items()):
        if key in schema.attributes:
            attributes[key] = numbers  # type: ignore[assignment]
        elif schema.max_input > i + 1:
            names.append(drawing.weight(np.array(numbers, np.int64)))
    return names, attributes


def moved(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    rng, (name, shape, _) = drawing.rng, drawing.last
    rank = max(len(shape), 1)
    axis = int(rng.integers(-rank, rank))
    names = [name] * int(rng.integers(1, 4)) if schema.name == "Concat" else [name]
    return names, {"axis": axis, "perm": [int(n) for n in rng.permutation(len(shape))], "to": int(rng.integers(1, 12))}


def scalars(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    low, high = drawing.weight(np.float32(-0.5)), drawing.weight(np.float32(drawing.rng.choice([0.5, 2, 6])))
    if schema.name == "Pow":
        return [drawing.last[0], high], {}
    return [drawing.last[0], low, high][: schema.max_input], {"min": -0.5, "max": 6.0}


def quantized(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    """A scale and a zero point, of all or of each place along an axis."""
    (name, shape, _), rng = drawing.last, drawing.rng
    if schema.name == "DequantizeLinear":
        name = drawing.weight(drawing.array("uint8", shape))
    rows = shape[1:2] if rng.random() < 0.3 else ()
    scale = drawing.weight(abs(drawing.normal(*rows)) + np.float32(0.01))
    return [name, scale, drawing.weight(drawing.array("uint8", rows))], {"axis": 1}


def branches(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    """A known condition, and branches that read the last output around them."""
    name, _, kind = drawing.last
    info = helper.make_tensor_value_info("made", kind or TensorProto.FLOAT, None)
    graphs = {
        key: helper.make_graph([helper.make_node(op_type, [name], ["made"])], key, [], [info])
        for key, op_type in (("then_branch", "Relu"), ("else_branch", "Identity"))
    }
    return [drawing.weight(np.array(drawing.rng.random() < 0.5))], graphs


def constants(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    shape = drawing.last[1]
    if schema.name == "ConstantOfShape":
        return [drawing.weight(np.array(shape, np.int64))], {}
    if schema.name == "Range":
        return [drawing.weight(np.array(n)) for n in (0, int(drawing.rng.integers(1, 9)), 1)], {}
    return [], {"value": numpy_helper.from_array(drawing.normal(*shape[-2:]))}


def loss(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    name, shape, _ = drawing.last
    classes = shape[1] if len(shape) > 1 else 1
    target = drawing.rng.integers(0, max(classes, 1), (*shape[:1], *shape[2:]))
    return [name, drawing.weight(target)], {"reduction": str(drawing.rng.choice(["mean", "sum", "none"]))}


def resizing(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    rng, (name, shape, _) = drawing.rng, drawing.last
    scales = rng.choice([0.4, 0.5, 1.0, 1.0, 1.5, 2.0, 3.0], len(shape)).astype(np.float32)
    attributes = {"mode": str(rng.choice(["nearest", "linear", "cubic"]))}
    if schema.max_input == 1:
        return [name], {**attributes, "scales": scales.tolist(), "height_scale": 2.0, "width_scale": 1.5}
    if schema.max_input == 2:
        return [name, drawing.weight(scales)], attributes
    attributes["coordinate_transformation_mode"] = str(
        rng.choice(["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "tf_crop_and_resize"])
    )
    options = {"antialias": int(rng.integers(2)), "exclude_outside": int(rng.integers(2))}
    roi = drawing.weight(rng.uniform(-0.2, 1.2, 2 * len(shape)).astype(np.float32))
    if rng.random() < 0.5:
        return [name, roi, drawing.weight(scales)], {**attributes, **options}
    none = drawing.weight(np.zeros(0, np.float32))
    return [name, roi, none, drawing.weight(np.maximum(scales * shape, 1).astype(np.int64))], {**attributes, **options}


def sampling(drawing: Drawing, schema: onnx.defs.OpSchema) -> tuple[list[str], dict[str, Any]]:
    rng, (name, shape, _) = drawing.rng, drawing.last
    grid = (shape[0] if shape else 1, *rng.integers(1, 6, max(0, len(shape) - 2)).tolist(), max(1, len(shape) - 2))
    modes = ["linear", "nearest", "cubic", "bilinear", "bicubic"]
    attributes = {
        "mode": str(rng.choice(modes)),
        "padding_mode": str(rng.choice(["zeros", "border", "reflection"])),
        "align_corners": int(rng.integers(2)),
    }
    return [name, drawing.input(grid)[0]], attributes


RULES: dict[str, Rule] = {
    "Conv": convolution,
    **dict.fromkeys(("MaxPool", "AveragePool"), pooling),
    **dict.fromkeys(("Gemm", "MatMul"), product),
    "BatchNormalization": normalization,
    **dict.fromkeys(("Reshape", "Expand", "Squeeze", "Unsqueeze", "Slice", "Pad", "Gather"), with_integers),
    **dict.fromkeys((op for op in OPERATORS if op.startswith("Reduce")), with_integers),
    **dict.fromkeys(("Concat", "Split", "Transpose", "Flatten", "Softmax", "LogSoftmax", "Cast"), moved),
    **dict.fromkeys(("Clip", "Pow"), scalars),
    **dict.fromkeys(("Constant", "ConstantOfShape", "Range"), constants),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), quantized),
    "If": branches,
    "SoftmaxCrossEntropyLoss": loss,
    **dict.fromkeys(("Resize", "Upsample"), resizing),
    "GridSample": sampling,
}
