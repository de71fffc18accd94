"""An arena for parameters: arrays that live as long as a model and are made one after the other lie side by side."""

from __future__ import annotations

import threading

import numpy as np

_ALIGNMENT = 64
_BLOCK_BYTES = 4 << 20
_NOTHING = np.empty(0, np.uint8)


class _Block(threading.local):
    """What is left of the block that the next arrays are taken from; each thread has its own, so that none waits."""

    left = _NOTHING


_block = _Block()


def side_by_side(array: np.ndarray) -> np.ndarray:
    """A float32 copy of ``array`` in C order, right behind the one that this thread made before if a block has room.

    Copies begin at multiples of 64 bytes. One that is larger than a block has memory of its own. A block is given back
    when the last copy in it is gone and another one is in use.
    """
    nbytes = 4 * array.size
    if nbytes > _BLOCK_BYTES:
        memory = _aligned(np.empty(nbytes + _ALIGNMENT, np.uint8))
    else:
        # Taken away first, so that a signal handler or finalizer which comes in between finds none of it.
        left, _block.left = _block.left, _NOTHING
        memory = _aligned(left)
        if memory.size < nbytes:
            memory = _aligned(np.empty(_BLOCK_BYTES + _ALIGNMENT, np.uint8))
        _block.left = memory[nbytes:]
    copy = memory[:nbytes].view(np.float32).reshape(array.shape)
    copy[...] = array
    return copy


def _aligned(memory: np.ndarray) -> np.ndarray:
    """``memory`` from its first multiple of 64 bytes on."""
    return memory[-memory.ctypes.data % _ALIGNMENT :]
