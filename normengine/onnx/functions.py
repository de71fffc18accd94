"""Inlining: a file's own functions are put in place of the nodes that call them, once it is known how many nodes
that makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import onnx

from ..locks import load_module
from .limits import FileLimits
from .node import OnnxError
from .order import nested_nodes

Key = tuple[str, str, str]


class Cost(NamedTuple):
    """What one call of a function becomes, all that it calls included; ``references`` counts the attributes in it that
    stand for one of the call."""

    nodes: int
    nbytes: int
    references: int
    depth: int


@dataclass
class Body:
    """The nodes of a function, or of the network: how often each function is called (None counts the nodes that call
    none), how many attributes are references, and the size of the largest attribute that a call gives."""

    calls: Counter[Key | None]
    references: int = 0
    largest: int = 0


def functions_in_place(model: onnx.ModelProto, name: str, limits: FileLimits) -> onnx.ModelProto:
    """``model`` without functions. Raises :class:`OnnxError` where they call themselves or become too much."""
    load_module("onnx.inliner")
    from onnx.inliner import inline_local_functions

    functions: dict[Key, onnx.FunctionProto] = {}
    for function in model.functions:
        key = _key(function.domain, function.name, function.overload)
        if key in functions:
            raise OnnxError(f"{name}: two functions are named {_name(key)}")
        functions[key] = function
    bodies = {key: _body(function.node, functions) for key, function in functions.items()}
    main = _body(model.graph.node, functions)
    whole = _cost(main, _costs(functions, bodies, name), model.graph.ByteSize())
    given = [a.ByteSize() for function in model.functions for a in function.attribute_proto]
    largest = max([*given, *(body.largest for body in (main, *bodies.values()))])
    nbytes = whole.nbytes + whole.references * largest
    limits.check("function_depth", whole.depth, f"{name}: its functions call each other {whole.depth} deep")
    limits.check("nodes", whole.nodes, f"{name} has {whole.nodes} nodes with its functions in place")
    limits.check("model_bytes", nbytes, f"{name} may have {nbytes} bytes with its functions in place")
    try:
        return inline_local_functions(model)
    except Exception as error:  # whatever ONNX's own code raises is said of this file
        raise OnnxError(f"{name}: its functions cannot be put in place: {error}") from None


def _key(domain: str, name: str, overload: str) -> Key:
    return ("" if domain == "ai.onnx" else domain, name, overload)


def _name(key: Key) -> str:
    return "'" + ".".join(part for part in key if part) + "'"


def _body(nodes: Sequence[onnx.NodeProto], functions: dict[Key, onnx.FunctionProto]) -> Body:
    found = Body(Counter())
    for node in nested_nodes(nodes):
        key = _key(node.domain, node.op_type, node.overload)
        called = key if key in functions else None
        found.calls[called] += 1
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                found.references += 1
            elif called is not None:
                found.largest = max(found.largest, attribute.ByteSize())
    return found


def _cost(body: Body, costs: dict[Key, Cost], own: int) -> Cost:
    called = [(costs[key], count) for key, count in body.calls.items() if key is not None]
    return Cost(
        nodes=body.calls[None] + sum(cost.nodes * count for cost, count in called),
        nbytes=own + sum(cost.nbytes * count for cost, count in called),
        references=body.references + sum(cost.references * count for cost, count in called),
        depth=max((cost.depth for cost, _ in called), default=0) + 1,
    )


def _costs(functions: dict[Key, onnx.FunctionProto], bodies: dict[Key, Body], name: str) -> dict[Key, Cost]:
    """The cost of one call of each, those that a function calls before it; without recursion, however deep they go."""
    costs: dict[Key, Cost] = {}
    for first in functions:
        if first in costs:
            continue
        open_ = {first: iter(bodies[first].calls)}  # the functions being entered, each with the calls still to be seen
        while open_:
            key = next(reversed(open_))
            called = next((k for k in open_[key] if k is not None and k not in costs), None)
            if called is None:
                costs[key] = _cost(bodies[key], costs, functions[key].ByteSize())
                del open_[key]
            elif called in open_:
                raise OnnxError(f"{name}: the function {_name(called)} calls itself, which no network can")
            else:
                open_[called] = iter(bodies[called].calls)
    return costs
