"""Control flow that is settled while reading: ``If`` becomes one of its branches."""

from __future__ import annotations

from ..import_context import ImportedNode, Results
from ..node import OnnxError
from ..table import reads


@reads("If")
def read_if(call: ImportedNode) -> Results:
    condition = call.array(0, "the condition")
    if condition.size != 1:
        raise OnnxError(f"the condition must be one truth value, got shape {condition.shape}")
    body = call.node.body("then_branch" if condition.reshape(()) else "else_branch")
    return call.place(body, call.node.inputs[len(call.node.own_inputs) :])
