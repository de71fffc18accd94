"""Parameters lie side by side, and their memory goes when they do."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import pytest

from normengine import nn
from normengine.nn import memory
from normengine.nn.memory import side_by_side


@pytest.fixture(autouse=True)
def _a_block_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_block", memory._Block())


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_copies_follow_each_other_at_multiples_of_64_bytes() -> None:
    given = [np.arange(6).reshape(2, 3).T, np.zeros((0, 4)), np.array(2.5), np.ones(16, np.float32), np.ones((3, 1, 5))]
    copies = [side_by_side(array) for array in given]
    for array, copy in zip(given, copies):
        assert copy.dtype == np.float32 and copy.shape == array.shape
        assert copy.flags.c_contiguous and copy.flags.writeable
        assert np.array_equal(copy, array)
    start = address(copies[0])
    assert start % 64 == 0
    assert [address(copy) - start for copy in copies] == [0, 64, 64, 128, 192]


def test_what_does_not_fit_begins_another_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of 512 bytes has up to 63 more, of which it begins at a multiple of 64."""
    monkeypatch.setattr(memory, "_BLOCK_BYTES", 512)
    first, second = side_by_side(np.zeros(64)), side_by_side(np.ones(88))
    large = side_by_side(np.full(200, 2.0))
    third = side_by_side(np.full(8, 3.0))
    assert address(second) != address(first) + 256
    assert address(third) == address(second) + 384
    assert [set(a.tolist()) for a in (first, second, large, third)] == [{0.0}, {1.0}, {2.0}, {3.0}]


def test_a_block_goes_with_its_last_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_BLOCK_BYTES", 512)
    kept, other = side_by_side(np.zeros(32)), side_by_side(np.zeros(32))
    block = kept.base
    while block.base is not None:
        block = block.base
    gone = weakref.ref(block)
    side_by_side(np.zeros(128))
    del block, other
    assert gone() is not None
    del kept
    assert gone() is None


def test_each_thread_has_a_block_of_its_own() -> None:
    made: dict[int, list[np.ndarray]] = {}
    barrier = threading.Barrier(2)

    def work(number: int) -> None:
        for _ in range(20):
            barrier.wait()
            made.setdefault(number, []).append(side_by_side(np.full(16, number)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, arrays in made.items():
        assert [address(a) - address(arrays[0]) for a in arrays] == [64 * i for i in range(20)]
        assert all((a == number).all() for a in arrays)


def test_a_models_parameters_lie_side_by_side() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
    arrays = [p.data for p in model.parameters()]
    sizes = [-(-array.nbytes // 64) * 64 for array in arrays[:-1]]
    assert np.diff([address(array) for array in arrays]).tolist() == sizes


def test_an_array_made_by_a_signal_handler_within_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    side_by_side(np.zeros(4))
    aligned, inner = memory._aligned, []

    def come_back(given: np.ndarray) -> np.ndarray:
        if not inner:
            inner.append(np.zeros(0))
            inner[0] = side_by_side(np.full(64, 5.0))
        return aligned(given)

    monkeypatch.setattr(memory, "_aligned", come_back)
    outer = side_by_side(np.full(64, 3.0))
    assert set(inner[0].tolist()) == {5.0} and set(outer.tolist()) == {3.0}
