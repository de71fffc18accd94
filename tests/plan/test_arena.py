"""The arena: nothing that is alive at one time overlaps, and memory is used again."""

import numpy as np
import pytest

from normengine.plan.arena import ALIGNMENT, Lifetime, place


@pytest.mark.parametrize("seed", range(20))
def test_live_buffers_never_overlap(seed):
    rng = np.random.default_rng(seed)
    lifetimes = []
    for _ in range(60):
        first = int(rng.integers(0, 40))
        lifetimes.append(Lifetime(int(rng.integers(1, 5000)), first, first + int(rng.integers(0, 10))))
    offsets, total = place(lifetimes)
    for i, (a, at) in enumerate(zip(lifetimes, offsets)):
        assert at % ALIGNMENT == 0
        assert at + a.size <= total
        for b, other in list(zip(lifetimes, offsets))[:i]:
            if a.first <= b.last and b.first <= a.last:
                assert at + a.size <= other or other + b.size <= at
    peak = max(sum(x.size for x in lifetimes if x.first <= t <= x.last) for t in range(50))
    assert peak <= total <= sum(-(-x.size // ALIGNMENT) * ALIGNMENT for x in lifetimes)


def test_memory_is_used_again():
    offsets, total = place([Lifetime(640, i, i + 1) for i in range(10)])
    assert total == 2 * 640
    assert set(offsets) == {0, 640}


def test_nothing_needs_nothing():
    assert place([]) == ([], 0)
