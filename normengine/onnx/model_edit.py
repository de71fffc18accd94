"""A file's network while its nodes are taken out and their weights exchanged; all else stays as it was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .partial import names_read


class ModelEdit:
    """Works on a copy of ``model``. Nodes are known by their positions in it, whatever happens to others."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.nodes = dict(enumerate(self.model.graph.node))
        self._behind: dict[int, onnx.NodeProto] = {}
        self._weights = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._read_before = self._read()
        self._names = {name for node in self.nodes.values() for name in (*names_read(node), *node.output)}
        self._names |= {*self._weights, *(info.name for info in (*self.model.graph.input, *self.model.graph.output))}

    def maker(self, name: str) -> int | None:
        """The position of the node that makes a name."""
        return next((i for i, node in self.nodes.items() if name in node.output), None)

    def reads(self, name: str) -> int:
        """How often a name is read, by nodes, graphs within them, and as an output."""
        return self._read()[name]

    def is_constant(self, name: str) -> bool:
        """Whether a name's array is in the file, or computed from what is in the file alone."""
        waiting, seen = [name], {name}
        while waiting:
            name = waiting.pop()
            if name in self._weights:
                continue
            position = self.maker(name)
            if position is None:
                return False
            new = names_read(self.nodes[position]) - seen
            seen |= new
            waiting += new
        return True

    def set_weight(self, position: int, index: int, array: np.ndarray, stem: str) -> None:
        """Let a node read ``array``. Who else reads the old weight keeps it; a new one is named after ``stem`` where
        there was none."""
        node = self.nodes[position]
        node.input.extend([""] * (index + 1 - len(node.input)))
        old = node.input[index]
        weight = self._weights.get(old)
        if weight is not None and tuple(weight.dims) == array.shape and self._read()[old] == 1:
            doc = weight.doc_string
            weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), old))
            weight.doc_string = doc
        else:
            node.input[index] = self._add_weight(array, f"{old}_folded" if old else stem)

    def add_behind(self, position: int, array: np.ndarray, stem: str) -> None:
        """Add a constant to what a node makes."""
        node = self.nodes[position]
        result = node.output[0]
        node.output[0] = self._free(f"{result}_product")
        names = [node.output[0], self._add_weight(array, stem)]
        self._behind[position] = helper.make_node("Add", names, [result], self._free(f"{node.name or result}_bias"))

    def remove(self, position: int, index: int, before: bool) -> None:
        """Take out a node: with ``before``, what makes the input at ``index`` makes its output from now on, else those
        that read its output read that input."""
        node = self.nodes.pop(position)
        x, y = node.input[index], node.output[0]
        old, new = (x, y) if before else (y, x)
        for other in [*self.nodes.values(), *self._behind.values()]:
            for names in (other.input, other.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new

    def finished(self) -> tuple[onnx.ModelProto, dict[int, int]]:
        """The edited model, without what only the nodes that are gone have read, and where in it each node is that was
        not taken out."""
        kept: list[tuple[int | None, onnx.NodeProto]] = []
        for position in sorted(self.nodes):
            kept.append((position, _copied(self.nodes[position])))
            if position in self._behind:
                kept.append((None, self._behind[position]))
        while True:
            unread = self._unread([node for _, node in kept])
            left = [(i, node) for i, node in kept if not any(node.output) or not unread.issuperset(node.output)]
            if len(left) == len(kept):
                break
            kept = left
        del self.model.graph.node[:]
        self.model.graph.node.extend(node for _, node in kept)
        self._drop(unread)
        return self.model, {old: new for new, (old, _) in enumerate(kept) if old is not None}

    def _unread(self, nodes: Sequence[onnx.NodeProto]) -> set[str]:
        """Names that somebody read and nobody does any more, and the empty one."""
        now = {name for node in nodes for name in names_read(node)}
        now.update(info.name for info in self.model.graph.output)
        return {"", *(name for name in self._read_before if name not in now)}

    def _drop(self, unread: set[str]) -> None:
        """Forget weights that are not read, and what is said of names that are no longer there."""
        graph = self.model.graph
        made = {name for node in graph.node for name in node.output}
        for field in (graph.initializer, graph.input, graph.value_info):
            infos = list(field)
            if field is graph.value_info:
                gone = {info.name for info in infos if info.name in unread and info.name not in made}
            else:
                gone = unread & self._weights.keys()
            kept = [type(info).FromString(info.SerializeToString()) for info in infos if info.name not in gone]
            if len(kept) < len(infos):
                del field[:]
                field.extend(kept)

    def _read(self) -> Counter[str]:
        read = Counter(name for node in self.nodes.values() for name in node.input if name)
        nested = (names_read(node).difference(node.input) for node in self.nodes.values())
        read.update(name for names in nested for name in names)
        read.update(info.name for info in self.model.graph.output)
        return read

    def _add_weight(self, array: np.ndarray, stem: str) -> str:
        name = self._free(stem)
        graph = self.model.graph
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        self._weights[name] = graph.initializer[-1]
        if self.model.ir_version < 4:  # where weights are inputs too
            number = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(helper.make_tensor_value_info(name, number, array.shape))
        return name

    def _free(self, stem: str) -> str:
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
