"""A mode for a while: what was changed for it is put back, and nothing else is."""

from __future__ import annotations

import pytest

from normengine import nn
from normengine.nn.mode import in_training, kept_mode


def network():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))


def modes(model):
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("training", [True, False])
def test_each_module_is_in_its_own_mode_again(training):
    model = network()
    model[1].eval()
    before = modes(model)
    with kept_mode(model, training):
        assert modes(model) == [training] * 4
    assert modes(model) == before
    with pytest.raises(KeyboardInterrupt), kept_mode(model, training):
        raise KeyboardInterrupt
    assert modes(model) == before


@pytest.mark.parametrize("training", [True, None])
def test_a_mode_that_somebody_sets_meanwhile_stays(training):
    model = network()
    with kept_mode(model, training):
        model[1].eval()
    assert modes(model) == [True, True, False, True]


def test_a_module_that_takes_anothers_place_meanwhile_keeps_its_mode():
    model = network().eval()
    with kept_mode(model, True):
        model[1] = nn.BatchNorm1d(2)
    assert modes(model) == [False, False, True, False]


class Frozen(nn.Sequential):
    """Keeps its batch norm in eval mode, whatever mode it is put into."""

    def train(self, mode=True):
        super().train(mode)
        self[1].training = False
        return self


def test_what_a_train_of_its_own_does_is_put_back():
    model = Frozen(*network())
    before = modes(model)
    with kept_mode(model, True):
        assert not model[1].training
    assert modes(model) == before


def test_some_modules_alone_are_in_training_mode():
    model = network().eval()
    model[0].train()
    inside = []
    with pytest.raises(KeyboardInterrupt), in_training([model[1], model[0]]):  # noqa: PT012
        inside += modes(model)
        raise KeyboardInterrupt
    assert inside == [False, True, True, False]
    assert modes(model) == [False, True, False, False]
