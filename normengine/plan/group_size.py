"""Tile sizes of depth-first scheduling: how many images a group has, and which nodes are worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from ..graph import Node
from ..kernels import REGISTRY, Problem
from ..kernels.machine import l2
from ..ops import OPS
from .blocked import fits_blocks
from .depth_first import image_inputs, image_outputs, images_together, sums_images

FEWEST_GROUPS = 16
"""Groups that a batch is cut into, at least, where it has so many images: work for so many threads."""
FEWEST_IMAGES = 8
"""A smaller batch is not cut: threads share the work on each image."""
MOST_CHUNKS = 16
"""Partial sums of a reduction over the batch."""
GROUP_BYTES = l2(3 / 8)
"""What the largest node reads and makes of a group's images, at most: a share of the L2 cache."""
IMAGE_BYTES = l2(4)
"""What a node reads and makes of one image, at most: more is in no cache that a thread has for itself."""
NEAR_WEIGHT_BYTES = l2(5 / 32)
"""Weights, in bytes, of which every form that kernels bring them into stays in the L2 cache."""
NEAR_PIXELS, FAR_PIXELS = 128, 448
"""Pixels that each weight is used for in a group, at least, where weights are that few and where they are more."""
SHARE_OF_SUMS = 0.5
"""Partial sums may be so large beside the arrays that are summed."""


@cache
def group_sizes(batch: int) -> tuple[int, ...]:
    """The numbers of images that a group may have, ascending: divisors of the batch, so that all groups are alike."""
    if batch < FEWEST_IMAGES:
        return ()
    return tuple(s for s in range(1, batch + 1) if batch % s == 0 and batch // s >= min(batch, FEWEST_GROUPS))


def chunks_of(groups: int) -> int:
    return min(groups, MOST_CHUNKS)


def group_size(nodes: Sequence[Node], batch: int) -> int:
    """Images of a group: as many as the caches hold of the node that needs most."""
    return min((_images(node, batch) for node in nodes), default=group_sizes(batch)[-1])


class Joining:
    """Says which nodes go depth first together; kernels are chosen as :class:`~.calls.Calls` does."""

    def __init__(self, batch: int, isas: Sequence[str], preferred: Mapping[str, str]) -> None:
        self.batch = batch
        self.isas = isas
        self.preferred = preferred
        self._sizes: dict[Node, tuple[int, int]] = {}
        self._well: dict[tuple[Node, int], bool] = {}

    def __call__(self, segment: Sequence[Node], node: Node) -> bool:
        before = self._size(segment)
        size = min(before, _images(node, self.batch))
        asked = [node] if size == before else [*segment, node]
        return all(self._goes(n, size) for n in asked)

    def _size(self, segment: Sequence[Node]) -> int:
        """The group size of a segment, which grows by nodes at its end."""
        if not segment:
            return group_size((), self.batch)
        known, size = self._sizes.get(segment[0], (0, group_size((), self.batch)))
        size = min(size, group_size(segment[known:], self.batch))
        self._sizes[segment[0]] = len(segment), size
        return size

    def _goes(self, node: Node, size: int) -> bool:
        """Whether a node runs well on so few images."""
        if (node, size) not in self._well:
            self._well[node, size] = self._runs_well(node, size)
        return self._well[node, size]

    def _runs_well(self, node: Node, size: int) -> bool:
        if size % images_together(node) or _bytes(node, self.batch) > IMAGE_BYTES * self.batch:
            return False
        if node.op == "chain":
            return "sums" not in node.attrs or fits_blocks(node)
        if sums_images(node) and not self._sums_pay(node):
            return False
        return _used_often(node, size)

    def _sums_pay(self, node: Node) -> bool:
        """Whether there is a kernel that sums over groups of images, whose partial sums are not too large."""
        kernel = REGISTRY.choose(_problem(node), self.isas, preferred=self.preferred)
        if kernel.partial_sums is None:
            return False
        size = group_size([node], self.batch)
        chunks = chunks_of(self.batch // size)
        first = kernel.partial_sums.group(_problem(node, size))
        return chunks * first.scratch <= SHARE_OF_SUMS * sum(v.spec.nbytes for v in node.inputs)


def _problem(node: Node, images: int = 0) -> Problem:
    """The node's, of so many images (0: all of the batch)."""
    inputs = tuple((images or v.shape[0], *v.shape[1:]) for v in node.inputs)
    shapes, dtype = tuple(v.shape for v in node.outputs), node.outputs[0].dtype
    return Problem(node.op, inputs, shapes, node.attrs, single_thread=images > 0, dtype=dtype)


def _bytes(node: Node, batch: int) -> int:
    """Of all images that a node reads and makes."""
    return sum(v.spec.nbytes for v in (*image_inputs(node, batch), *image_outputs(node)))


def _images(node: Node, batch: int) -> int:
    """Images of a group, as far as one node goes."""
    most = max(1, GROUP_BYTES * batch // max(1, _bytes(node, batch)))
    return max(size for size in group_sizes(batch) if size <= most)


def _used_often(node: Node, size: int) -> bool:
    """Whether the images of a group have so many pixels that reading the weights for them costs little."""
    op = OPS[node.op]
    if op.weight is None or op.products is None:
        return True
    values = (*node.inputs, *node.outputs)
    weight, batch = values[op.weight], values[0].shape[0]
    if weight.shape[1] == 1:
        return True
    products = op.products([v.shape for v in node.inputs], [v.shape for v in node.outputs], node.attrs)
    uses = products // weight.spec.size * size // batch
    return uses >= (NEAR_PIXELS if weight.spec.nbytes <= NEAR_WEIGHT_BYTES else FAR_PIXELS)
