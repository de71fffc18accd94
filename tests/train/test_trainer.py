"""Training over epochs: what it learns, repeats, leaves behind, and says when it cannot."""

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.data import DataLoader, random_shift


def stripes(count, seed=0):
    """Images (N, 1, 6, 6) of noise with a bright row or a bright column, labelled 0 or 1."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.2, (count, 1, 6, 6)).astype(np.float32)
    labels = rng.integers(0, 2, count)
    for image, label, place in zip(images[:, 0], labels, rng.integers(0, 6, count), strict=True):
        (image if label == 0 else image.T)[place] += 1
    return images, labels.astype(np.int64)


def network(dropout=0.1):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(dropout),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2),
    )  # fmt: skip


def trainer(seed=0, dropout=0.1, lr=0.05):
    ne.manual_seed(seed)
    model = network(dropout)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return ne.Trainer(model, optimizer, nn.CrossEntropyLoss(), seed=seed)


def weights(owner):
    return {name: np.array(array) for name, array in owner.model.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_learns_and_records():
    x, y = stripes(160)
    held_out = stripes(60, seed=1)
    owner = trainer()
    history = owner.fit(x, y, epochs=6, batch_size=32, validation=held_out, progress=False)
    assert history is owner.history and [e.epoch for e in history] == [1, 2, 3, 4, 5, 6]
    assert history.loss[-1] < 0.5 * history.loss[0]
    assert history.val_accuracy[-1] > 0.9
    assert all(seconds > 0 for seconds in history.seconds)
    found = owner.evaluate(*held_out)
    assert found == (history.val_loss[-1], history.val_accuracy[-1])
    assert str(history).count("\n") == 6


def test_evaluate_is_the_loss_and_accuracy_of_all_samples():
    x, y = stripes(50)
    owner = trainer()
    owner.fit(x, y, epochs=1, progress=False)
    scores = owner.predict(x, batch_size=50).astype(np.float64)
    assert np.allclose(owner.predict(x, batch_size=7), scores, atol=1e-5)
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    for found in (owner.evaluate(x, y, batch_size=16), owner.evaluate(DataLoader((x, y), 16))):
        assert found.loss == pytest.approx(-log_p[np.arange(50), y].mean(), abs=1e-5)
        assert found.accuracy == pytest.approx((scores.argmax(1) == y).mean())


@pytest.mark.parametrize("shuffle", [False, True])
def test_same_seed_gives_the_same_bits(shuffle):
    x, y = stripes(75)
    owners = [trainer(seed) for seed in (3, 3, 4)]
    for owner in owners:
        owner.fit(x, y, epochs=2, batch_size=16, shuffle=shuffle, augment=random_shift(1), progress=False)
    assert same(weights(owners[0]), weights(owners[1]))
    assert owners[0].history.loss == owners[1].history.loss
    assert not same(weights(owners[0]), weights(owners[2]))


def test_fitting_again_goes_on():
    x, y = stripes(40)
    once, twice = trainer(), trainer()
    once.fit(x, y, epochs=3, batch_size=16, progress=False)
    twice.fit(x, y, epochs=1, batch_size=16, progress=False)
    twice.fit(x, y, epochs=2, batch_size=16, progress=False)
    assert same(weights(once), weights(twice))
    assert once.history.loss == twice.history.loss


def test_single_sample_left_over_joins_the_batch_before_it():
    x, y = stripes(33)
    owner = trainer()
    owner.fit(x, y, epochs=1, batch_size=16, progress=False)
    assert owner.model.state_dict()["1.num_batches_tracked"] == 2


def test_loader_is_the_same_as_arrays():
    x, y = stripes(40)
    arrays, loader = trainer(), trainer()
    arrays.fit(x, y, epochs=2, batch_size=16, progress=False)
    loader.fit(DataLoader((x, y), 16, shuffle=True, seed=0), epochs=2, progress=False)
    assert same(weights(arrays), weights(loader))


def test_share_held_out():
    x, y = stripes(50)
    owners = [trainer(), trainer()]
    histories = [owner.fit(x, y, epochs=1, validation=0.2, progress=False) for owner in owners]
    assert histories[0].val_accuracy == histories[1].val_accuracy
    assert (histories[0].val_accuracy[0] * 10) % 1 == pytest.approx(0, abs=1e-9)
    for share in (0.0, 1.0, 0.001):
        with pytest.raises(
            ValueError, match=f"validation={share} is no share of 50 samples that leaves at least one on either side"
        ):
            trainer().fit(x, y, validation=share, progress=False)


def test_modes_are_kept():
    x, y = stripes(20)
    owner = trainer()
    frozen = owner.model[1]
    frozen.eval()
    mean = np.array(frozen.running_mean)
    owner.fit(x, y, epochs=1, validation=(x, y), progress=False)
    owner.predict(x)
    assert [m.training for m in owner.model.modules()].count(False) == 1 and not frozen.training
    assert np.array_equal(frozen.running_mean, mean)

    owner.model.eval()
    owner.fit(x, y, epochs=1, progress=False)
    assert not any(m.training for m in owner.model.modules())
    assert not np.array_equal(frozen.running_mean, mean)


def test_schedule_sets_the_rates_and_puts_them_back():
    x, y = stripes(64)
    owner = trainer(lr=0.2)
    seen = []

    def factor(done):
        seen.append(done)
        return 0.0

    before = weights(owner)
    owner.fit(x, y, epochs=2, batch_size=32, schedule=factor, progress=False)
    assert seen == [0, 0.25, 0.5, 0.75]
    assert owner.optimizer.param_groups[0]["lr"] == 0.2
    after = weights(owner)
    assert np.array_equal(before["0.weight"], after["0.weight"])
    assert not np.array_equal(before["1.running_mean"], after["1.running_mean"])


def test_cosine():
    factor = ne.train.cosine(warmup=0.2)
    assert [round(factor(done), 6) for done in (0, 0.1, 0.2, 0.6, 1)] == [0, 0.5, 1, 0.5, 0]
    with pytest.raises(ValueError, match=r"warmup must be in \[0, 1\), got 1"):
        ne.train.cosine(warmup=1)


def test_interrupted_training_leaves_a_history_to_go_on_with():
    x, y = stripes(40)
    owner = trainer()

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        owner.fit(x, y, epochs=5, batch_size=16, callback=stop, progress=False)
    assert len(owner.history) == 2
    owner.fit(x, y, epochs=1, batch_size=16, progress=False)
    whole = trainer()
    whole.fit(x, y, epochs=3, batch_size=16, progress=False)
    assert same(weights(owner), weights(whole))


def test_progress_bar(capsys):
    x, y = stripes(40)
    trainer().fit(x, y, epochs=2, batch_size=16, validation=(x, y))
    text = capsys.readouterr().err
    assert "epoch 1/2" in text and "epoch 2/2" in text and "3/3" in text
    assert "loss " in text and "val_accuracy " in text


def test_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    x, y = stripes(40)
    history = trainer().fit(x, y, epochs=2, validation=(x, y), progress=False)
    figure = history.plot(tmp_path / "curves.png")
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy (%)"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_accuracy_of_binary_targets_and_of_no_classes():
    x, y = stripes(40)
    ne.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    target = y[:, None].astype(np.float32)
    binary = ne.Trainer(model, optimizer, nn.BCEWithLogitsLoss())
    outputs = binary.predict(x)
    assert binary.evaluate(x, target).accuracy == pytest.approx(((outputs > 0) == (target > 0.5)).mean())
    squared = ne.Trainer(model, optimizer, nn.MSELoss()).evaluate(x, target)
    assert squared.accuracy is None
    assert squared.loss == pytest.approx(((outputs - target) ** 2).mean(), rel=1e-5)
