"""The records of kernels whose work is to call others, which ``src_cy/composite_calls.pxi`` reads."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

Function = Annotated[int, "Kernel"]
Slots = Annotated[int, "const int64_t*"]
Seconds = Annotated[int, "double*"]


class Stage(NamedTuple):
    """A stage of a call within a depth-first one; ``first`` of its arguments among the slots."""

    function: Function
    tasks: int
    first: int


class PatchKind(IntEnum):
    """How a slot differs from the template's: by as many bytes as it moves, by where the thread's own memory is; or it
    is 0 for the first group of a chunk and 1 for the others, or the end of the groups that are the thread's share."""

    MOVING = 0
    OWN = 1
    ACCUMULATE = 2
    SHARE_END = 3


class Patch(NamedTuple):
    """A slot, and the bytes that it moves from one group and from one chunk to the next."""

    slot: int
    kind: int
    group_stride: int = 0
    chunk_stride: int = 0


class DepthFirst(NamedTuple):
    """Calls for one group of images after the other. Each thread copies the ``slots`` of the template to its own
    memory, ``stride`` bytes from that of the thread before it; so many ``threads``
    share the chunks. ``seconds[thread][stage]`` are counted unless it is NULL."""

    stages: Annotated[int, "const Stage*"]
    stage_count: int
    patches: Annotated[int, "const Patch*"]
    patch_count: int
    template: Slots
    slots: int
    groups: int
    chunks: int
    memory: int
    threads: int
    stride: int
    seconds: Seconds


class Part(NamedTuple):
    """One of several merged calls; ``first`` is its first task among those of the whole call."""

    function: Function
    args: Slots
    first: int
    tasks: int


class Merged(NamedTuple):
    """Calls whose tasks are handed out together. ``seconds[thread][part]`` are counted unless it is NULL."""

    parts: Annotated[int, "const Part*"]
    part_count: int
    seconds: Seconds


RECORDS = (Stage, Patch, DepthFirst, Part, Merged)
