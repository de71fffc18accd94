"""What ONNX says of its operators, and the check of a file's nodes against it: the one that ONNX Runtime makes.

The rules of all operators stand in ``schemas.jsonl``, which ``tools/make_schemas.py`` writes from the ``onnx`` package:
its own registry takes longer to set up, and more memory, than a small network to read. Opsets that are newer than the
file are looked up there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from .node import OnnxError, OnnxNode
from .tensors import text

_KINDS: dict[int, str] = {
    onnx.AttributeProto.FLOAT: "a number",
    onnx.AttributeProto.INT: "an integer",
    onnx.AttributeProto.STRING: "a string",
    onnx.AttributeProto.TENSOR: "a tensor",
    onnx.AttributeProto.GRAPH: "a graph",
    onnx.AttributeProto.FLOATS: "a list of numbers",
    onnx.AttributeProto.INTS: "a list of integers",
    onnx.AttributeProto.STRINGS: "a list of strings",
}

_DTYPES = {f"tensor({name})": dtype for name, dtype in {"float": "float32", "double": "float64"}.items()} | {
    f"tensor({name})": name
    for name in ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")
}


class Slots(NamedTuple):
    """An operator's inputs or outputs: how many there may be, and at which places one may not be left out."""

    least: int
    most: int
    required: tuple[bool, ...]
    variadic: bool

    def complaint(self, what: str, names: tuple[str, ...]) -> str | None:
        """What is wrong with those names, if anything; an empty name stands for one that is left out."""
        given = len(names)
        if not self.least <= given <= self.most:
            least, most = self.least, self.most
            count = f"at least {least}" if self.variadic else str(most) if least == most else f"{least} to {most}"
            return f"needs {count} {what}s, got {given}"
        if "" in names:
            for i, (name, required) in enumerate(zip(names, self.required, strict=False)):
                if required and not name:
                    return f"{what} {i} is missing"
        return None


class Rule(NamedTuple):
    """One version of an operator.

    ``attributes`` has their types by name and ``types`` the element types of each input (the last one's are those of
    all that follow), each with the name of the type that inputs must share.
    """

    inputs: Slots
    outputs: Slots
    attributes: dict[str, int]
    required: tuple[str, ...]
    types: tuple[tuple[str, frozenset[str]], ...]


class _Stored(NamedTuple):
    """The file: its newest opset, the sets of element types that its forms number, and the line of each operator."""

    opset: int
    types: tuple[frozenset[str], ...]
    operators: dict[str, str]

    def rule(self, op_type: str, opset: int) -> Rule | None:
        found = None
        for since, form in json.loads(self.operators.get(op_type, "[]")):
            if since > opset:
                break
            found = form
        if found is None:
            return None
        inputs, outputs, attributes, required, types = found
        shared = tuple((name, self.types[number]) for name, number in types)
        return Rule(_restored(inputs), _restored(outputs), attributes, tuple(required), shared)


@cache
def _stored() -> _Stored:
    first, *lines = (Path(__file__).parent / "schemas.jsonl").read_text(encoding="utf-8").splitlines()
    head = json.loads(first)
    return _Stored(head["opset"], tuple(map(frozenset, head["types"])), dict(line.split(" ", 1) for line in lines))


def _restored(form: list[Any]) -> Slots:
    least, most, required, variadic = form
    return Slots(least, most, tuple(map(bool, required)), bool(variadic))


@lru_cache(4096)
def rule(op_type: str, opset: int) -> Rule | None:
    """None for an operator that ONNX does not have at that opset."""
    stored = _stored()
    if opset <= stored.opset:
        return stored.rule(op_type, opset)
    try:
        return stated(onnx.defs.get_schema(op_type, opset, ""))
    except onnx.defs.SchemaError:
        return None


def stated(schema: onnx.defs.OpSchema) -> Rule | None:
    """What ``onnx`` says of one form of an operator; None where it withdrew the operator. The first form that there was
    is one that files have, though ONNX may call it deprecated: group normalization's of opset 18 to 20."""
    if schema.deprecated and onnx.defs.has(schema.name, schema.since_version - 1, schema.domain):
        return None
    return Rule(
        inputs=_slots(schema.inputs, schema.min_input, schema.max_input),
        outputs=_slots(schema.outputs, schema.min_output, schema.max_output),
        attributes={name: int(a.type) for name, a in schema.attributes.items()},  # type: ignore[call-overload]
        required=tuple(name for name, a in schema.attributes.items() if a.required),
        types=tuple(
            (p.type_str if p.is_homogeneous else "", frozenset(_DTYPES.get(t, t) for t in p.types))
            for p in schema.inputs
        ),
    )


def _slots(formal: Sequence[onnx.defs.OpSchema.FormalParameter], least: int, most: int) -> Slots:
    options = onnx.defs.OpSchema.FormalParameterOption
    variadic = bool(formal) and formal[-1].option == options.Variadic
    return Slots(least, most, tuple(p.option == options.Single for p in formal), variadic)


def check_node(node: OnnxNode, attributes: Sequence[onnx.AttributeProto], opset: int) -> None:
    """Raise :class:`OnnxError` where a node of the standard operators does not have the form that ONNX gives it.

    Operators that ONNX does not know at all are left to those who read them.
    """
    found = rule(node.op_type, opset)
    if found is None:
        if node.op_type in _stored().operators or onnx.defs.has(node.op_type):
            raise OnnxError(f"opset {opset} has no such operator; export the file with an opset that has it")
        return
    complaint = found.inputs.complaint("input", node.inputs) or found.outputs.complaint("output", node.outputs)
    if complaint is not None:
        raise OnnxError(complaint)
    if not (attributes or found.required):
        return
    seen: set[str] = set()
    for attribute in attributes:
        name = text(attribute.name)
        if name in seen:
            raise OnnxError(f"attribute '{name}' is given twice")
        seen.add(name)
        kind = found.attributes.get(name)
        if kind is None:
            if name.startswith("__"):  # ONNX leaves such names to whoever writes them
                continue
            known = ", ".join(found.attributes) or "none"
            raise OnnxError(f"attribute '{name}' is not one that the operator has at opset {opset} ({known})")
        if attribute.type != kind:
            raise OnnxError(f"attribute '{name}' must be {_KINDS.get(kind, 'of another type')}, {_given(attribute)}")
    for name in found.required:
        if name not in seen:
            raise OnnxError(f"attribute '{name}' is missing")


def check_types(node: OnnxNode, types: Sequence[str], opset: int) -> None:
    """Raise :class:`OnnxError` where an input is of an element type that the operator does not read, or two that must
    be of one type are not. An empty string stands for an input that is left out or whose type is not known."""
    found = rule(node.op_type, opset)
    if found is None or not found.types:
        return
    last = len(found.types) - 1
    bound: dict[str, tuple[int, str]] = {}
    for i, dtype in enumerate(types):
        if not dtype:
            continue
        shared, allowed = found.types[min(i, last)]
        if dtype not in allowed:
            raise OnnxError(f"input {i} is {dtype}, which the operator does not read at opset {opset}")
        first = bound.setdefault(shared, (i, dtype))
        if first[1] != dtype and shared:
            raise OnnxError(f"inputs {first[0]} and {i} must be of one type, got {first[1]} and {dtype}")


def _given(attribute: onnx.AttributeProto) -> str:
    """The value in words: itself where it is one of a few kinds, else what it is."""
    kinds = onnx.AttributeProto
    if attribute.type == kinds.STRING:
        return f"got {text(attribute.s)[:80]!r}"
    if attribute.type in (kinds.FLOAT, kinds.INT):
        return f"got {attribute.f if attribute.type == kinds.FLOAT else attribute.i}"
    return f"got {_KINDS.get(attribute.type, 'nothing')}"
