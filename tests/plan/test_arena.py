"""The arena: nothing that is alive at one time overlaps, and memory is used again."""

import numpy as np
import pytest

from normengine.plan.arena import ALIGNMENT, LARGE_BYTES, Lifetime, place, side_by_side


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_live_buffers_never_overlap(seed, shared):
    rng = np.random.default_rng(seed)
    lifetimes = []
    for _ in range(60):
        first = int(rng.integers(0, 40))
        size = int(rng.integers(1, 8 * LARGE_BYTES if rng.random() < 0.7 else LARGE_BYTES))
        lifetimes.append(Lifetime(size, first, first + int(rng.integers(0, 10))))
    offsets, total = place(lifetimes, shared)
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


def test_what_threads_share_has_its_parts_where_others_had_theirs():
    """The second array ends before the third begins; alone, the third would lie at the front of the whole."""
    size = 4 * LARGE_BYTES
    kept, whole, half = Lifetime(size, 0, 9), Lifetime(size, 0, 4), Lifetime(size // 2, 5, 9)
    assert place([kept, whole, half]) == ([0, size, size], 2 * size)
    assert place([kept, whole, half], shared=True) == ([0, size, size + size // 4], 2 * size)
    again = Lifetime(size, 5, 9)
    assert place([kept, again, whole], shared=True) == ([0, size, size], 2 * size)


def test_what_threads_share_does_not_grow_the_arena_where_it_fits():
    size = 4 * LARGE_BYTES
    first, second, half, quarter = Lifetime(size, 0, 1), Lifetime(size, 0, 4), Lifetime(size // 2, 2, 4), size // 4
    lifetimes = [first, second, half, Lifetime(quarter, 2, 4), Lifetime(quarter, 2, 4)]
    assert place(lifetimes, shared=True)[1] == 2 * size


@pytest.mark.parametrize("shared", [False, True])
def test_nothing_needs_nothing(shared):
    assert place([], shared) == ([], 0)


def test_side_by_side_is_one_stretch_for_as_long_as_any_is_needed():
    whole, begins = side_by_side([Lifetime(100, 5, 9), Lifetime(64, 3, 4), Lifetime(1, 7, 12)])
    assert whole == Lifetime(128 + 64 + 64, 3, 12)
    assert begins == [0, 128, 192]
