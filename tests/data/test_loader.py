"""Batches: every sample once, in an order that the seed and the epoch decide, no batch of one left over."""

import numpy as np
import pytest

from normengine.data import DataLoader, TensorDataset, random_shift


def arrays(count):
    return np.arange(count, dtype=np.float32).reshape(count, 1) * [1, 10], np.arange(count)


@pytest.mark.parametrize(
    ("count", "batch_size", "drop_last", "sizes"),
    [
        (10, 4, False, [4, 4, 2]),
        (9, 4, False, [4, 5]),
        (8, 4, False, [4, 4]),
        (9, 4, True, [4, 4]),
        (3, 4, False, [3]),
        (1, 4, False, [1]),
        (3, 1, False, [1, 1, 1]),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches(count, batch_size, drop_last, sizes, shuffle):
    loader = DataLoader(arrays(count), batch_size, shuffle, drop_last=drop_last)
    batches = list(loader)
    assert [len(y) for _, y in batches] == sizes and len(loader) == len(sizes)
    for x, y in batches:
        assert np.array_equal(x[:, 0], y) and np.array_equal(x[:, 1], 10 * y)
    seen = np.concatenate([y for _, y in batches])
    assert len(np.unique(seen)) == sum(sizes)
    assert shuffle or np.array_equal(seen, np.arange(sum(sizes)))


def test_order_is_the_seed_and_the_epoch():
    def orders(seed):
        loader = DataLoader(arrays(50), 16, shuffle=True, seed=seed)
        return [np.concatenate([y for _, y in loader]).tolist() for _ in range(3)]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    first, second, third = orders(1)
    assert first != second != third


def test_data_set_of_single_samples():
    class Squares:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return np.full(3, index, np.float32), index * index

    batches = list(DataLoader(Squares(), 2))
    assert batches[-1][0].shape == (3, 3)
    assert np.concatenate([y for _, y in batches]).tolist() == [0, 1, 4, 9, 16]


def test_augment_gets_the_images_and_a_generator_of_the_seed():
    def noise(x, rng):
        return x + rng.random(x.shape, np.float32)

    batches = [list(DataLoader(arrays(6), 4, seed=3, augment=noise)) for _ in range(2)]
    for (x, y), (again, _) in zip(*batches, strict=True):
        assert np.array_equal(x, again)
        assert np.array_equal(np.floor(x[:, 0]), y)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, None])
def test_bad_batch_size(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be a positive integer, got {batch_size!r}"):
        DataLoader(arrays(4), batch_size)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match=f"seed must be an integer of 0 or more, got {seed!r}"):
        DataLoader(arrays(4), seed=seed)


def test_empty_and_uneven_data():
    with pytest.raises(ValueError, match="the data set has no samples"):
        DataLoader(arrays(0))
    with pytest.raises(ValueError, match="same number of samples, got 4 and 3"):
        TensorDataset(np.zeros(4), np.zeros(3))
    with pytest.raises(ValueError, match="drop_last leaves no batch, since 3 samples are fewer than batch_size 4"):
        DataLoader(arrays(3), 4, drop_last=True)


def test_random_shift():
    images = np.zeros((200, 2, 6, 5), np.float32)
    images[:, 0, 3, 2] = 1
    images[:, 1, 3, 2] = 2
    moved = random_shift(1)(images, np.random.default_rng(0))
    assert moved.shape == images.shape and moved.dtype == images.dtype
    assert np.array_equal(moved[:, 1], 2 * moved[:, 0])
    assert np.array_equal(moved[:, 0].sum((1, 2)), np.ones(200))
    places = {(int(r), int(c)) for _, r, c in zip(*np.nonzero(moved[:, 0]), strict=True)}
    assert places == {(r, c) for r in (2, 3, 4) for c in (1, 2, 3)}
    assert np.array_equal(random_shift(0)(images, np.random.default_rng(0)), images)
    with pytest.raises(ValueError, match="pixels must be an integer of 0 or more, got -1"):
        random_shift(-1)
