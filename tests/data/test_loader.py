"""Batches: every sample once, in an order that the seed and the epoch decide, no batch of one left over."""

import json
from collections import namedtuple

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


IMAGES = [np.full((3, 4, 4), i, np.float32) for i in range(5)]
Sample = namedtuple("Sample", "image label")


@pytest.mark.parametrize("dataset", [IMAGES, np.stack(IMAGES)], ids=["list", "array"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_images_alone_are_batched_as_images(dataset, shuffle):
    batches = list(DataLoader(dataset, 2, shuffle))
    assert [batch.shape for batch in batches] == [(2, 3, 4, 4), (3, 3, 4, 4)]
    assert sorted(np.concatenate(batches)[:, 0, 0, 0]) == [0, 1, 2, 3, 4]


def test_a_list_of_pairs_is_a_data_set():
    (x, y), (rest, _) = DataLoader([(image, i) for i, image in enumerate(IMAGES)], 2)
    assert x.shape == (2, 3, 4, 4) and rest.shape == (3, 3, 4, 4)
    assert y.tolist() == [0, 1] and y.dtype == np.int64
    assert np.array_equal(x[1], IMAGES[1])


def test_batches_have_the_form_of_samples():
    samples = [{"image": image, "sizes": (i, [2 * i, 0.5]), "name": f"image {i}"} for i, image in enumerate(IMAGES)]
    batch = next(iter(DataLoader(samples, 2)))
    assert list(batch) == ["image", "sizes", "name"]
    assert batch["image"].shape == (2, 3, 4, 4) and batch["name"] == ["image 0", "image 1"]
    (first, (second, third)) = batch["sizes"]
    assert [a.tolist() for a in (first, second, third)] == [[0, 1], [0, 2], [0.5, 0.5]]
    named = next(iter(DataLoader([Sample(image, i) for i, image in enumerate(IMAGES)], 2)))
    assert type(named) is Sample and named.label.tolist() == [0, 1]


def test_a_list_that_grows():
    data = list(range(4))
    loader = DataLoader(data, 2)
    data += [4, 5]
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5]] and len(loader) == 3


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([IMAGES[0], IMAGES[0][:2]], r"DataLoader: sample must have the same shape .* got \(3, 4, 4\) and \(2, 4, 4\)"),
        ([IMAGES[0], np.arange(5)], r"or give arrays that hold all samples as a tuple \(x, y\)"),
        (
            [(IMAGES[0], 1), (IMAGES[0],)],
            r"sample must have the same form each time, got 2 parts at 0 and 1 parts at 1",
        ),
        ([{"x": 1}, {"y": 1}], r"sample must have the same form .* a dict of 'x' at 0 and a dict of 'y' at 1"),
        ([(1, None), (1, None)], r"sample\[1\] must be an array, a number or a text, got NoneType"),
    ],
)
def test_samples_that_cannot_be_stacked(dataset, message):
    with pytest.raises(ValueError, match=message):
        list(DataLoader(dataset, 2))


@pytest.mark.parametrize("dataset", [{"x": np.zeros(3)}, iter([1, 2]), 5, {1, 2}])
def test_what_is_no_data_set(dataset):
    message = rf"dataset must be a tuple of arrays, or have len\(dataset\) .* got {type(dataset).__name__}"
    with pytest.raises(TypeError, match=message):
        DataLoader(dataset)


def test_arrays_of_parts_of_unlike_shapes():
    message = "TensorDataset: array 1 must be one array, got a list of 2 parts of unlike shapes"
    with pytest.raises(ValueError, match=message):
        DataLoader((np.zeros(2), [np.zeros(2), np.zeros(3)]))


def test_saved_and_loaded_it_goes_on():
    def order(loader):
        return np.concatenate([y for _, y in loader]).tolist()

    whole = DataLoader(arrays(50), 16, shuffle=True, seed=3)
    expected = [order(whole) for _ in range(4)]
    first = DataLoader(arrays(50), 16, shuffle=True, seed=3)
    assert [order(first) for _ in range(2)] == expected[:2]
    state = json.loads(json.dumps(first.state_dict()))
    assert state == {"seed": 3, "epoch": 2}
    second = DataLoader(arrays(50), 16, shuffle=True)
    second.load_state_dict(state)
    assert [order(second) for _ in range(2)] == expected[2:]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"seed": 1, "epoch": -1}, "DataLoader: saved epoch must be an integer of 0 or more, got -1"),
        ({"seed": 0.5, "epoch": 1}, "DataLoader: saved seed must be an integer of 0 or more, got 0.5"),
        ({"seed": 1}, "DataLoader: state_dict must be what .* a dict with 'seed', 'epoch', got a dict with 'seed'"),
        ([1, 2], "DataLoader: state_dict must be what .* got list"),
    ],
)
def test_a_state_that_is_none_changes_nothing(state, message):
    loader = DataLoader(arrays(5), seed=7)
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == {"seed": 7, "epoch": 0}


@pytest.mark.parametrize("form", [lambda x, i: x, lambda x, i: [x, i], lambda x, i: Sample(x, i)])
def test_augment_changes_the_images_of_samples_of_any_form(form):
    dataset = [form(image, i) for i, image in enumerate(IMAGES)]
    (plain, _), (changed, _) = (list(DataLoader(dataset, 2, augment=a)) for a in (None, lambda x, rng: x + 1))
    assert type(changed) is type(plain)
    if isinstance(plain, np.ndarray):
        assert np.array_equal(changed, plain + 1)
    else:
        assert np.array_equal(changed[0], plain[0] + 1) and np.array_equal(changed[1], plain[1])


def test_augment_does_not_guess_in_dicts():
    loader = DataLoader([{"x": image} for image in IMAGES], augment=lambda x, rng: x)
    with pytest.raises(ValueError, match="augment changes the first array of tuples .* these samples make a dict"):
        next(iter(loader))


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
