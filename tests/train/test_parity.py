"""Training is PyTorch's: losses, parameters, running statistics and eval outputs of awkward networks, from a fixture
that ``tools/make_parity_fixture.py`` made with PyTorch."""

import pathlib

import numpy as np
import pytest
from networks import MODELS

import normengine as ne
from normengine import nn, optim

FIXTURE = pathlib.Path(__file__).parent.parent / "fixtures" / "parity.npz"


@pytest.mark.parametrize("name", MODELS)
def test_a_run_gives_the_numbers_of_pytorch(name):
    with np.load(FIXTURE) as stored:
        want = {k[len(name) + 1 :]: stored[k] for k in stored.files if k.startswith(name + "/")}
    before = {k[7:]: v for k, v in want.items() if k.startswith("before/")}
    after = {k[6:]: v for k, v in want.items() if k.startswith("after/")}
    x = want["x"].astype(np.float32)
    model = MODELS[name][0](nn).train()
    model.load_state_dict(before)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(),
                        optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4))  # fmt: skip
    losses = [step(images, labels) for images, labels in zip(x, want["y"])]
    assert np.allclose(losses, want["losses"], rtol=1e-3, atol=0)
    got = model.state_dict()
    assert set(got) == set(after)
    for key, value in after.items():
        assert got[key].dtype == value.dtype, key
        moved = max(np.linalg.norm(value - before[key].astype("f8")), 1e-3 * np.linalg.norm(value))
        assert np.linalg.norm(got[key] - value.astype("f8")) <= 0.01 * moved, key
    output = model.eval()(x[0])
    assert np.abs(output - want["eval"]).max() <= 0.005 * np.abs(want["eval"]).max()
