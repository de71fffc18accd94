"""Ways to spoil an ONNX model for tools/fuzz_onnx.py: numbers at and beyond every bound, wrong types and counts, odd
names, functions, data beside the file, bytes. Each changes one place; some leave a model that is still valid."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_models import EXTREMES, FLOATS, KINDS, OPERATORS, STRINGS, Rng, attribute

PIPE = "a pipe"
"""In place of a file's bytes."""

Beside = dict[str, "bytes | str"]
Damage = Callable[[Rng, ModelProto, Beside], None]


def damage(rng: Rng, model: ModelProto, beside: Beside) -> list[str]:
    """Spoil the model at one to three places; the names of what was done."""
    done = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        way = WAYS[int(rng.choice(len(WAYS), p=WEIGHTS))]
        way(rng, model, beside)
        done.append(way.__name__)
    return done


def pick(rng: Rng, things: Sequence[Any]) -> Any:
    return things[int(rng.integers(0, len(things)))] if len(things) else None


def extreme(rng: Rng) -> int:
    return int(pick(rng, EXTREMES))


def integers(rng: Rng) -> list[int]:
    """A list of integers, seldom of a sane length, rarely of a huge one."""
    length = int(rng.choice([0, 1, 2, 2, 3, 4, 4, 5, 8, 70, 100_000], p=[0.05, *[0.1] * 9, 0.05]))
    if length > 100:
        return [int(pick(rng, (0, 1, extreme(rng))))] * length if rng.random() < 0.5 else list(range(length))
    return [extreme(rng) if rng.random() < 0.4 else int(rng.integers(-2, 5)) for _ in range(length)]


def set_attribute(node: onnx.NodeProto, made: onnx.AttributeProto) -> None:
    for old in node.attribute:
        if old.name == made.name:
            old.CopyFrom(made)
            return
    node.attribute.append(made)


def beyond(rng: Rng, name: str, kind: int) -> onnx.AttributeProto:
    made = onnx.AttributeProto(name=name, type=kind)  # type: ignore[arg-type]
    if kind == KINDS.Value("INT"):
        made.i = extreme(rng)
    elif kind == KINDS.Value("FLOAT"):
        made.f = pick(rng, FLOATS)
    elif kind == KINDS.Value("STRING"):
        made.s = pick(rng, (*(s.encode() for s in STRINGS), b"\xff\xfe"))
    elif kind == KINDS.Value("INTS"):
        made.ints.extend(integers(rng))
    elif kind == KINDS.Value("FLOATS"):
        made.floats.extend([pick(rng, FLOATS) for _ in range(int(rng.choice([0, 1, 3, 100_000])))])
    elif kind == KINDS.Value("TENSOR"):
        made.t.CopyFrom(tensor(rng))
    return made


def tensor(rng: Rng) -> TensorProto:
    shape = pick(rng, ((), (0,), (1,), (2,), (2, 0, 3), (3, 4)))
    kind = pick(rng, ("float32", "int64", "int32", "uint8", "bool", "float64", "float16"))
    return numpy_helper.from_array((rng.standard_normal(shape) * 3).astype(kind))


def attribute_value(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """One that the schema knows, at or beyond its bounds."""
    node = pick(rng, model.graph.node)
    if node is None or not onnx.defs.has(node.op_type):
        return
    known = {name: int(a.type) for name, a in onnx.defs.get_schema(node.op_type).attributes.items()}  # type: ignore[call-overload]
    known |= {a.name: a.type for a in node.attribute}
    name = pick(rng, sorted(known))
    if name is None:
        return
    present = next((a for a in node.attribute if a.name == name), None)
    if present is not None and len(present.ints) and rng.random() < 0.7:
        present.ints[int(rng.integers(0, len(present.ints)))] = extreme(rng)
    else:
        set_attribute(node, beyond(rng, name, known[name]))


def agreeing(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """One large number in several lists of a node, so that what is absurd alone fits together."""
    nodes = [node for node in model.graph.node if any(len(a.ints) for a in node.attribute)]
    node = pick(rng, nodes)
    if node is None:
        return
    large = abs(extreme(rng))
    known = onnx.defs.get_schema(node.op_type).attributes if onnx.defs.has(node.op_type) else {}
    if "kernel_shape" in known:
        for name, length in (("kernel_shape", 2), ("strides", 2), ("dilations", 2), ("pads", 4)):
            if name in known and rng.random() < 0.4 and all(a.name not in (name, "auto_pad") for a in node.attribute):
                node.attribute.append(helper.make_attribute(name, [int(name != "pads")] * length))
        if rng.random() < 0.2:
            mode = helper.make_attribute("auto_pad", pick(rng, ("SAME_UPPER", "SAME_LOWER", "VALID")))
            set_attribute(node, mode)
        if "count_include_pad" in known and rng.random() < 0.5:
            set_attribute(node, helper.make_attribute("count_include_pad", 1))
    near = (large, large, large - 1, large // 2, large + 1, 1, 1)
    axis = int(rng.integers(0, 2))
    for given in node.attribute:
        for i in range(len(given.ints)):
            if rng.random() < (0.6 if i % 2 == axis else 0.15):
                given.ints[i] = min(int(pick(rng, near)), 2**63 - 1)


def attribute_form(rng: Rng, model: ModelProto, beside: Beside) -> None:
    node = pick(rng, model.graph.node)
    given = pick(rng, node.attribute) if node is not None else None
    if given is None:
        return
    what = int(rng.integers(0, 6))
    if what == 0:
        node.attribute.append(given)
    elif what == 1:
        given.name = pick(rng, ("", "nothing", "__free", "axis", "axes", "shape"))
    elif what == 2:
        given.type = pick(rng, KINDS.values())
    elif what == 3:
        given.ref_attr_name = "a"
    elif what == 4:
        node.attribute.remove(given)
    else:
        kind = int(rng.integers(1, 9))
        made = helper.make_attribute(given.name, attribute(rng, kind))
        set_attribute(node, made)


def weight_numbers(rng: Rng, model: ModelProto, beside: Beside) -> None:
    held = pick(rng, model.graph.initializer)
    if held is None or held.data_location == TensorProto.EXTERNAL:
        return
    try:
        array = numpy_helper.to_array(held).copy()
    except Exception:  # spoilt before
        return
    if array.dtype.kind == "i" and rng.random() < 0.3:
        array = np.array(integers(rng), np.int64)
    elif array.size and array.dtype.kind == "i":
        array.reshape(-1)[int(rng.integers(0, array.size))] = np.int64(extreme(rng)).astype(array.dtype)
    elif array.size and array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array.reshape(-1)[int(rng.integers(0, array.size))] = pick(rng, FLOATS)
    held.CopyFrom(numpy_helper.from_array(array, held.name))


def weight_form(rng: Rng, model: ModelProto, beside: Beside) -> None:
    held = pick(rng, model.graph.initializer)
    if held is None:
        return
    what = int(rng.integers(0, 7))
    if what == 0 and len(held.dims):
        held.dims[int(rng.integers(0, len(held.dims)))] = extreme(rng)
    elif what == 1:
        held.dims.extend([extreme(rng)] * int(rng.choice([1, 2, 70])))
    elif what == 2:
        held.data_type = int(rng.integers(0, 24))
    elif what == 3:
        held.raw_data = held.raw_data[: int(rng.integers(0, len(held.raw_data) + 1))] + bytes(int(rng.integers(0, 9)))
    elif what == 4:
        held.ClearField("raw_data")
        held.int32_data.extend([300, -1])
    elif what == 5:
        held.CopyFrom(tensor(rng))
        held.name = "w0"
    else:
        model.graph.initializer.append(held)


def weight_beside(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """Stored in a file of its own: whole, cut off, missing, outside, a pipe, with absurd numbers."""
    held = pick(rng, model.graph.initializer)
    if held is None:
        return
    content = bytes(held.raw_data)
    held.ClearField("raw_data")
    held.data_location = TensorProto.EXTERNAL
    location = pick(rng, ("w.bin", "w.bin", "w.bin", "gone", "", "../w.bin", "/etc/passwd", ".", "a\0b", "x" * 5000))
    held.external_data.add(key="location", value=location)
    if rng.random() < 0.5:
        value = pick(rng, (str(extreme(rng)), "", "x", "9" * 5000, " 1", str(len(content))))
        held.external_data.add(key=pick(rng, ("offset", "length", "location", "checksum")), value=value)
    beside["w.bin"] = pick(rng, (content, content, content[:-1], b"", PIPE, content * 3))


def port(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """A declared input or output: its extents, its type, its presence."""
    info = pick(rng, [*model.graph.input, *model.graph.input, *model.graph.output])
    what = int(rng.integers(0, 7))
    if info is None or what == 0:
        ports = pick(rng, (model.graph.input, model.graph.output))
        if len(ports) and rng.random() < 0.5:
            ports.append(ports[0])
        elif len(ports):
            del ports[int(rng.integers(0, len(ports)))]
        return
    dims = info.type.tensor_type.shape.dim
    if what == 1:
        info.type.tensor_type.elem_type = int(rng.integers(0, 24))
    elif what == 2:
        info.type.Clear()
    elif what == 3:
        dims.add().dim_value = extreme(rng)
    elif len(dims):
        dim = dims[int(rng.integers(0, len(dims)))]
        if rng.random() < 0.3:
            dim.dim_param = pick(rng, ("N", "M", "", "\0"))
        else:
            dim.dim_value = extreme(rng)


def arity(rng: Rng, model: ModelProto, beside: Beside) -> None:
    node = pick(rng, model.graph.node)
    if node is None:
        return
    names = pick(rng, (node.input, node.input, node.output))
    what = int(rng.integers(0, 4))
    if what == 0 and len(names):
        del names[int(rng.integers(0, len(names)))]
    elif what == 1:
        known = [t.name for t in model.graph.initializer] + [i.name for i in model.graph.input] + ["", "nothing"]
        names.append(pick(rng, known))
    elif what == 2:
        names.extend([names[0] if len(names) else ""] * int(rng.choice([1, 2, 70])))
    elif len(names):
        names[int(rng.integers(0, len(names)))] = pick(rng, ("", "x0", "w0", "y0.0", "\0"))


def operator(rng: Rng, model: ModelProto, beside: Beside) -> None:
    node = pick(rng, model.graph.node)
    what = int(rng.integers(0, 4))
    if node is not None and what == 0:
        node.op_type = pick(rng, OPERATORS)
    elif node is not None and what == 1:
        node.domain = pick(rng, ("ai.onnx", "ai.onnx.ml", "mine", "\0"))
    elif what == 2:
        model.opset_import[0].version = int(pick(rng, (extreme(rng), int(rng.integers(7, 26)))))
    else:
        model.opset_import.add(domain=pick(rng, ("", "ai.onnx", "mine")), version=extreme(rng))


def order(rng: Rng, model: ModelProto, beside: Beside) -> None:
    nodes = list(model.graph.node)
    if not nodes:
        return
    what = int(rng.integers(0, 4))
    if what == 0:
        nodes = [nodes[int(i)] for i in rng.permutation(len(nodes))]
    elif what == 1:
        nodes.append(nodes[0])
    elif what == 2:
        del nodes[int(rng.integers(0, len(nodes)))]
    else:
        nodes[0].input.append(nodes[-1].output[0] if len(nodes[-1].output) else "")
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def known_input(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """An input becomes a constant that the file makes of a few bytes."""
    if not len(model.graph.input):
        return
    info = model.graph.input[0]
    shape = [d.dim_value or 2 for d in info.type.tensor_type.shape.dim]
    if shape and rng.random() < 0.5:
        shape[int(rng.integers(0, len(shape)))] = extreme(rng)
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "made shape"))
    made = helper.make_node("ConstantOfShape", ["made shape"], [info.name])
    if rng.random() < 0.5:
        made.attribute.append(helper.make_attribute("value", tensor(rng)))
    old = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([made, *old])
    del model.graph.input[0]


def nesting(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """Functions that call functions, themselves, or too often; graphs in attributes."""
    node = pick(rng, model.graph.node)
    if node is None:
        return
    opsets = [helper.make_opsetid("", model.opset_import[0].version), helper.make_opsetid("mine", 1)]
    body = onnx.NodeProto.FromString(node.SerializeToString())
    if rng.random() < 0.3:
        inner = helper.make_graph([body], "inner", [], [])
        flag = pick(rng, [t.name for t in model.graph.initializer] or ["x0"])
        wrapped = helper.make_node("If", [flag], list(node.output), then_branch=inner, else_branch=inner)
        node.CopyFrom(wrapped)
        return
    depth, width = int(rng.choice([1, 2, 3, 11, 40])), int(rng.choice([1, 2, 10]))
    model.opset_import.append(opsets[1])
    inputs, outputs = list(body.input), list(body.output)
    for i in range(depth):
        calls = helper.make_node(f"f{i + 1}", inputs, outputs, domain="mine")
        inside = [calls] * width if i < depth - 1 else [body]
        if rng.random() < 0.1:
            inside = [helper.make_node(f"f{int(rng.integers(0, depth))}", inputs, outputs, domain="mine")]
        model.functions.append(helper.make_function("mine", f"f{i}", inputs, outputs, inside, opsets))
    node.CopyFrom(helper.make_node("f0", inputs, outputs, node.name, domain="mine"))


def names(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """The same odd name in all places of one that there was."""
    known = [i.name for i in model.graph.input] + [t.name for t in model.graph.initializer]
    old = pick(rng, [*known, *(o for n in model.graph.node for o in n.output)])
    new = pick(rng, ("", "\0", "é\u202e", "y", "a" * 100_000, "x0", "'", "{}", "%s\n"))
    for thing in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        if thing.name == old:
            thing.name = new
    for node in model.graph.node:
        for listed in (node.input, node.output):
            for i, name in enumerate(listed):
                if name == old:
                    listed[i] = new


def outputs(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """What is made, given or known leaves the network too."""
    known = [i.name for i in model.graph.input] + [t.name for t in model.graph.initializer]
    name = pick(rng, [*known, *(o for n in model.graph.node for o in n.output), "nothing"])
    model.graph.output.append(helper.make_tensor_value_info(name, int(rng.choice([1, 1, 1, 7, 6])), None))


def repeated(rng: Rng, model: ModelProto, beside: Beside) -> None:
    """A node that reads its own kind of output many times over."""
    node = pick(rng, model.graph.node)
    if node is None or not len(node.input) or not len(node.output) or not len(model.graph.output):
        return
    last = node.output[0]
    for i in range(int(rng.choice([2, 5, 30]))):
        made = onnx.NodeProto.FromString(node.SerializeToString())
        made.name = ""
        made.input[0], made.output[0] = last, f"again {i}"
        last = made.output[0]
        model.graph.node.append(made)
    model.graph.output[0].name = last


def damage_bytes(rng: Rng, content: bytes) -> bytes:
    """Bytes overwritten, cut out, put in, doubled; varints of all ones among them."""
    changed = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 2, 8]))):
        place = int(rng.integers(0, len(changed) + 1))
        what = int(rng.integers(0, 5))
        if what == 0:
            changed[place : place + 1] = bytes([int(rng.integers(0, 256))])
        elif what == 1:
            del changed[place : place + int(rng.integers(1, 20))]
        elif what == 2:
            changed[place:place] = pick(rng, (b"\xff" * 9 + b"\x01", b"\x00", struct.pack("<q", extreme(rng))))
        elif what == 3:
            end = place + int(rng.integers(1, 60))
            changed[place:place] = changed[place:end]
        else:
            del changed[place:]
    return bytes(changed)


_WEIGHTED: dict[Damage, int] = {
    attribute_value: 8, agreeing: 6, attribute_form: 2, weight_numbers: 6, weight_form: 2, weight_beside: 1, port: 3,
    arity: 2, operator: 2, order: 1, known_input: 3, nesting: 1, names: 1, outputs: 2, repeated: 1,
}  # fmt: skip
WAYS = list(_WEIGHTED)
WEIGHTS = np.array(list(_WEIGHTED.values())) / sum(_WEIGHTED.values())
