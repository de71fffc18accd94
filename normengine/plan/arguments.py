"""Memory that is named and not yet placed, and the arguments of calls that point into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class Memory:
    """One stretch of memory. ``kind`` says where it comes from:

    - ``arena``: at an offset in the program's arena;
    - ``feed``: given at each run under ``name`` (a graph input or a state value);
    - ``output``: made fresh at each run, the output number ``index``;
    - ``constant``: ``array``, shared by all programs;
    - ``packed``: the program's own, filled once by the plan's ``setup`` calls;
    - ``scratch``: as arena, shared by the stages of one kernel;
    - ``verdict``: the program's own int64, 0 until a call that tries an update finds what is not finite;
    - ``local``: at an offset in the memory that a thread has for the groups of a depth-first call.
    """

    kind: str
    nbytes: int
    name: str = ""
    index: int = 0
    array: np.ndarray | None = None


class Pointer(NamedTuple):
    """An argument slot that holds an address: ``offset`` bytes into ``memory``.

    In a depth-first call it moves ``group_stride`` bytes further for each group of images and ``chunk_stride`` for each
    chunk.
    """

    memory: Memory
    offset: int = 0
    group_stride: int = 0
    chunk_stride: int = 0


class PerGroup(NamedTuple):
    """An argument slot of a depth-first call that holds a number: ``group_stride`` more for each group of images."""

    number: int
    group_stride: int


class Accumulate(NamedTuple):
    """An argument slot of a depth-first call: 0 for the first group of a chunk, 1 for the others, which add to it."""


class ShareEnd(NamedTuple):
    """An argument slot of a depth-first call: where the groups end that are the thread's share."""


Argument = Pointer | PerGroup | Accumulate | ShareEnd | int | float | None
