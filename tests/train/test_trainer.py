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
    assert history.accuracy[-1] > 0.9 > history.accuracy[0] and history.lr == [(0.05,)] * 6
    header, first, *_, last = str(history).splitlines()
    assert header.split() == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]
    assert len(first) == len(last) == len(header) and str(history).count("\n") == 6
    assert last.split()[:6] == [
        "6", f"{history.loss[-1]:.4f}", f"{history.accuracy[-1]:.2%}", f"{found.loss:.4f}", f"{found.accuracy:.2%}",
        "0.05",
    ]  # fmt: skip


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


@pytest.mark.parametrize(
    "shape", [lambda x, y: DataLoader((x, y), 7), lambda x, y: [(x[:20], y[:20]), (x[20:], y[20:])]]
)
def test_loader_to_validate_on(shape):
    x, y = stripes(40)
    held_out = stripes(30, seed=1)
    arrays, loader = trainer(), trainer()
    arrays.fit(x, y, epochs=2, validation=held_out, progress=False)
    loader.fit(DataLoader((x, y), 32, shuffle=True, seed=0), epochs=2, validation=shape(*held_out), progress=False)
    assert loader.history.val_loss == pytest.approx(arrays.history.val_loss, rel=1e-6)
    assert loader.history.val_accuracy == arrays.history.val_accuracy


def test_a_generator_validates_once():
    x, y = stripes(40)
    once = trainer().fit(x, y, epochs=1, validation=iter([(x, y)]), progress=False)
    assert once.val_loss[0] > 0


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


def rates(owner):
    return [group["lr"] for group in owner.optimizer.param_groups]


@pytest.mark.parametrize("schedule", [None, lambda done: 0.5])
def test_a_rate_that_a_callback_sets_stays(schedule):
    x, y = stripes(32)
    owner, seen = trainer(lr=0.2), []

    def callback(record):
        seen.append((*rates(owner), *record.lr))
        owner.optimizer.param_groups[0]["lr"] *= 0.1

    owner.fit(x, y, epochs=2, schedule=schedule, callback=callback, progress=False)
    factor = 1 if schedule is None else 0.5
    np.testing.assert_allclose(seen, [(0.2, 0.2 * factor), (0.02, 0.02 * factor)])
    assert rates(owner) == pytest.approx([0.002])
    assert owner.history.lr == [(0.2 * factor,), (pytest.approx(0.02 * factor),)]


def test_a_rate_that_is_set_while_a_schedule_is_at_work_stays():
    """By a loader, or another thread, between two steps of an epoch: it is scaled from then on."""
    x, y = stripes(32)
    owner, seen = trainer(lr=0.2), []

    def batches():
        for i in range(4):
            if i == 2:
                owner.optimizer.param_groups[0]["lr"] = 0.4
            yield x, y
            seen.append(rates(owner)[0])

    owner.fit(batches(), epochs=1, schedule=lambda done: 0.5, progress=False)
    assert seen == [0.1, 0.1, 0.2, 0.2]
    assert rates(owner) == [0.4]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_rates_are_put_back_when_an_epoch_does_not_end(error):
    x, y = stripes(64)
    owner = trainer(lr=0.2)
    owner.optimizer.add_param_group({"params": [nn.Parameter(np.zeros(2))], "lr": 0.3})

    def batches():
        yield x, y
        owner.optimizer.param_groups[1]["lr"] = 0.7
        raise error

    with pytest.raises(error):
        owner.fit(batches(), epochs=1, schedule=lambda done: 0.5, progress=False)
    assert rates(owner) == [0.2, 0.7]


@pytest.mark.parametrize("schedule", [None, ne.train.cosine(warmup=0.5)])
def test_a_group_that_a_callback_adds(schedule):
    """Layers that thaw: trained from the next epoch on, at the rate of their group."""
    x, y = stripes(64)
    ne.manual_seed(0)
    model = network()
    optimizer = optim.SGD(model[6:].parameters(), lr=0.2)
    owner = ne.Trainer(model, optimizer, nn.CrossEntropyLoss(), seed=0)
    kernels = []

    def callback(record):
        kernels.append(model[0].weight.numpy().copy())
        if record.epoch == 2:
            optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.1})

    history = owner.fit(x, y, epochs=4, schedule=schedule, callback=callback, progress=False)
    assert np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[1], kernels[2])
    assert [len(lr) for lr in history.lr] == [1, 1, 2, 2]
    assert rates(owner) == [0.2, 0.1]
    assert history.lr[2][0] == pytest.approx(2 * history.lr[2][1])


def test_a_mode_that_a_callback_sets_stays():
    x, y = stripes(32)
    owner, means = trainer(), []
    norm = owner.model[1]

    def callback(record):
        means.append(norm.running_mean.copy())
        norm.eval()

    owner.fit(x, y, epochs=2, callback=callback, progress=False)
    assert not norm.training and owner.model.training and owner.model[3].training
    assert np.array_equal(*means)


def stop_by(how):
    def callback(record):
        if record.epoch == 2:
            return how()

    return callback


def raise_stop():
    raise StopIteration


@pytest.mark.parametrize("how", [lambda: False, lambda: np.False_, raise_stop])
def test_a_callback_ends_training(how):
    x, y = stripes(32)
    stopped, whole = trainer(), trainer()
    history = stopped.fit(x, y, epochs=5, callback=stop_by(how), progress=False)
    assert history is stopped.history and len(history) == 2
    whole.fit(x, y, epochs=2, progress=False)
    assert same(weights(stopped), weights(whole)) and history.loss == whole.history.loss
    stopped.fit(x, y, epochs=1, progress=False)
    assert len(history) == 3


@pytest.mark.parametrize("answer", [None, True, 0, "", [], 0.0])
def test_other_answers_of_a_callback_do_not(answer):
    x, y = stripes(32)
    assert len(trainer().fit(x, y, epochs=3, callback=lambda record: answer, progress=False)) == 3


def test_other_errors_of_a_callback_come_through():
    x, y = stripes(32)
    with pytest.raises(ZeroDivisionError):
        trainer().fit(x, y, epochs=3, callback=lambda record: 1 / 0, progress=False)


def test_epochs_that_are_done_already():
    """The passes that are left, where the schedule stands then."""
    x, y = stripes(64)
    whole, parts, seen = trainer(), trainer(), []

    def schedule(done):
        seen.append(done)
        return 1 - done

    arguments = {"epochs": 5, "batch_size": 16, "schedule": schedule, "progress": False}
    whole.fit(x, y, **arguments)
    expected = seen.copy()
    seen.clear()
    parts.fit(x, y, **arguments, callback=stop_by(lambda: False))
    parts.fit(x, y, **arguments, initial_epoch=len(parts.history))
    assert seen == expected and len(parts.history) == 5
    assert same(weights(whole), weights(parts))
    parts.fit(x, y, **arguments, initial_epoch=5)
    assert len(parts.history) == 5


def test_a_seed_that_is_refused_changes_nothing():
    x, y = stripes(32)
    owner = trainer()
    for arguments in ({"seed": -1}, {"seed": 5, "epochs": -1}, {"seed": 5, "validation": 1.5}):
        with pytest.raises(ValueError):
            owner.fit(x, y, **arguments)
    assert owner.seed == owner.step.seed == 0
    with pytest.raises(ValueError, match="Trainer: seed must be an integer of 0 or more, got -1"):
        ne.Trainer(owner.model, owner.optimizer, owner.loss, seed=-1)


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
    assert "loss " in text and " accuracy " in text and "val_accuracy " in text


def test_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    x, y = stripes(40)
    history = trainer().fit(x, y, epochs=2, validation=(x, y), progress=False)
    figure = history.plot(tmp_path / "curves.png")
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy (%)"]
    drawn = [[(line.get_label(), list(line.get_ydata())) for line in axes.lines] for axes in figure.axes]
    assert drawn[0] == [("training", history.loss), ("held out", history.val_loss)]
    assert drawn[1] == [("training", [100 * a for a in history.accuracy]),
                        ("held out", [100 * a for a in history.val_accuracy])]  # fmt: skip
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
