"""The linter finds every layer of noise before a batch norm, through branches, and none in a clean network."""

from __future__ import annotations

import numpy as np
import pytest
from networks import MODELS

import normengine as ne
from normengine import analysis, nn
from normengine.nn import functional as F
from normengine.nn import random


def pairs(found):
    return {(f.noise, f.batch_norm): (f.through, f.direct, f.shift) for f in found}


class Residual(nn.Module):
    """Noise in the branch of a sum, and a clean shortcut."""

    def __init__(self, channels=4, p=0.3):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.drop = nn.Dropout(p)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        return x + self.conv2(self.drop(F.relu(self.bn2(y))))


class Inception(nn.Module):
    """Two branches side by side, noise in one of them, and a batch norm in the other."""

    def __init__(self, layer):
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(3, 4, 1), layer, nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.last(self.norm(ne.cat([self.left(x), self.right(x)], dim=1)))


def test_every_pair_in_a_residual_network():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), Residual(), Residual(p=0.5), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.1), nn.Linear(6, 2),
    )  # fmt: skip
    assert pairs(analysis.check(model, (3, 9, 9))) == {
        ("1.drop", "2.bn1"): (("1.conv2", "1.add"), True, "0.7 to 1"),
        ("1.drop", "2.bn2"): (("1.conv2", "1.add", "2.bn1", "2.relu", "2.conv1"), False, "no closed form"),
        ("1.drop", "3"): (("1.conv2", "1.add", "2.add"), True, "0.5 to 1"),
        ("1.drop", "9"): (("1.conv2", "1.add", "2.add", "3", "4", "5", "6", "7", "8"), False, "no closed form"),
        ("2.drop", "3"): (("2.conv2", "2.add"), True, "0.5 to 1"),
        ("2.drop", "9"): (("2.conv2", "2.add", "3", "4", "5", "6", "7", "8"), False, "no closed form"),
        ("5", "9"): (("6", "7", "8"), True, "0.8"),
    }


def test_every_pair_in_concatenated_branches():
    found = analysis.check(Inception(nn.UniformDropout(0.5)))
    assert pairs(found) == {("left.1", "norm"): (("left.2", "concat"), True, "0.923 to 1")}
    (only,) = found
    assert only.kind == "UniformDropout(beta=0.5)"
    assert only.expected == pytest.approx(12 / 13) and only.is_bound


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ((), "0.6"),
        ((nn.ReLU(),), "0.6"),
        ((nn.Conv2d(4, 4, 3),), "0.6"),
        ((nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False)), "0.6"),
        ((nn.Dropout(0.5),), "0.3"),
        ((nn.Conv2d(4, 4, 3), nn.ReLU()), "no closed form"),
    ],
)
def test_what_shift_to_expect(between, expected):
    model = nn.Sequential(nn.Dropout(0.4), *between, nn.BatchNorm2d(4))
    found = analysis.check(model, (4, 5, 5))["0"]
    assert (found.shift, found.is_bound) == (expected, False)
    assert found.through == tuple(str(i + 1) for i in range(len(between)))


@pytest.mark.parametrize("name", MODELS)
def test_nothing_in_networks_without_noise(name):
    build, shape = MODELS[name]
    found = analysis.check(build(nn), shape)
    assert not found and len(found) == 0 and found.remedies == ()
    assert str(found) == "no dropout or other noise comes before a batch norm"


def test_nothing_where_noise_comes_last_or_is_none():
    class Aside(nn.Module):
        """A branch with noise that no batch norm reads."""

        def __init__(self):
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.drop(x) + self.norm(x)

    assert not analysis.check(Aside(), (4,))
    assert not analysis.check(nn.Sequential(Residual(p=0.0), nn.BatchNorm2d(4), nn.Dropout(0.5)), (4, 6, 6))
    assert not analysis.check(nn.Sequential(nn.UniformDropout(0.0), nn.Dropout2d(0.0), nn.BatchNorm2d(4)), (4, 6, 6))


def test_other_noise_and_functions():
    class Depth(nn.Module):
        """Whole samples are dropped, and noise is added, by what draws random numbers."""

        def __init__(self):
            super().__init__()
            self.fc, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            kept = ne.bernoulli(0 * x[:, :1] + 0.8)
            x = F.dropout(x + self.fc(x) * kept, 0.1, self.training)
            return F.batch_norm(self.norm(x) + ne.randn_like(x), None, None, training=True)

    found = pairs(analysis.check(Depth(), [4]))
    assert found[("bernoulli", "norm")] == (("mul", "add", "dropout"), True, "0 to 1")
    assert found[("dropout", "norm")] == ((), True, "0 to 1")
    assert found[("random_normal", "batch_norm")][:2] == (("add",), True)
    assert found[("dropout", "batch_norm")][:2] == (("norm", "add"), False)
    assert set(found) == {(a, b) for a in ("bernoulli", "dropout") for b in ("norm", "batch_norm")} | {
        ("random_normal", "batch_norm")
    }


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(5, 3, 3), nn.Dropout(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 30 * 30, 2)),
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.Dropout(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 6 * 6, 2)),
        nn.Sequential(nn.Linear(20, 3), nn.Dropout(), nn.BatchNorm1d(3)),
        nn.Sequential(nn.Flatten(), nn.Linear(49, 3), nn.Dropout(), nn.BatchNorm1d(3)),
        nn.Sequential(nn.Dropout(), nn.BatchNorm1d(7)),
        nn.Sequential(nn.Dropout(), nn.BatchNorm2d(7)),
    ],
)
def test_a_shape_is_found_where_none_is_given(model):
    assert len(analysis.check(model)) == 1


def test_the_table():
    model = nn.Sequential(Residual(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    lines = str(analysis.check(model)).splitlines()
    assert lines[0].split("  ")[0] == "noise" and lines[0].endswith("variance in inference / training")
    assert lines[2].startswith("0.drop  Dropout(p=0.3, inplace=False)  1           0.conv2, 0.add")
    assert lines[3] == "0.drop also comes before 3, with another batch norm between"
    assert lines[4] == "What helps:" and [line[:2] for line in lines[5:]] == ["- "] * 3
    assert "UniformDropout" in lines[6] and "recalibrate" in lines[7]


def test_nothing_changes():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3))
    model[0].eval()
    calls = random._calls
    assert analysis.check(model)
    assert [module.training for module in model] == [False, True] and random._calls == calls
    assert np.array_equal(model[1].running_var, np.ones(3))


def test_what_cannot_be_checked():
    with pytest.raises(ValueError, match="check: the model has no batch norm at work"):
        analysis.check(nn.Sequential(nn.Linear(3, 3), nn.Dropout()))
    with pytest.raises(ValueError, match="Conv2d '0': input has 4 channels"):
        analysis.check(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), (4, 8, 8))
    with pytest.raises(ValueError, match=r"input_shape must be the positive extents of one sample.*got \(3, 0\)"):
        analysis.check(nn.BatchNorm1d(3), (3, 0))
    with pytest.raises(ValueError, match=r"check: no common size of images goes through.*give input_shape"):
        analysis.check(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(17, 2)))
    with pytest.raises(TypeError, match="check: model must be an nn.Module, got int"):
        analysis.check(3)


def test_signals_and_volumes_are_tried_too():
    for conv, norm in ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv3d, nn.BatchNorm3d), (nn.ConvTranspose2d, nn.BatchNorm2d)):
        model = nn.Sequential(conv(3, 4, 3), nn.Dropout(0.5), norm(4))
        assert [(f.noise, f.batch_norm) for f in analysis.check(model)] == [("1", "2")]
