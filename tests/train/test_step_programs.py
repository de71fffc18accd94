"""The programs of a step: what makes another one, and which are kept."""

import warnings

import numpy as np

import normengine as ne
from normengine import nn, optim


class Configured(nn.Module):
    """Its settings lie in containers, and its parameters have the names of the step's inputs."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(np.ones(3))
        self.y = nn.Parameter(np.zeros(3))
        self.config = {"scales": ([1.0, 2.0], 3)}

    def forward(self, images):
        scales, _ = self.config["scales"]
        return images * self.x * scales[0] + self.y


def test_settings_in_containers_and_of_the_loss_count():
    model, loss = Configured(), nn.CrossEntropyLoss()
    step = ne.TrainStep(model, loss, optim.SGD(model.parameters(), lr=0.0))
    x, y = np.eye(3), np.arange(3)
    first = step(x, y)
    model.config["scales"][0][0] = 4.0
    second = step(x, y)
    loss.label_smoothing = 0.5
    third = step(x, y)
    assert first > second < third
    program = step.program
    model.config["scales"][0][0] = 1.0
    loss.label_smoothing = 0.0
    assert step(x, y) == first
    assert step.program is not program


def test_parameters_may_have_the_names_of_the_inputs():
    model = Configured()
    assert list(model.state_dict()) == ["x", "y"]
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    losses = [step(np.eye(3), np.arange(3)) for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]
    assert (model.x.numpy() > 1).all()


def test_programs_used_last_are_kept():
    model = Configured()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    programs = {}
    for size in (3, *range(1, 70)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of so many programs
            step(np.eye(3)[np.arange(size) % 3], np.arange(size) % 3)
        programs[size] = step.program
    step(np.eye(3)[np.arange(6) % 3], np.arange(6) % 3)
    assert step.program is programs[6]
    step(np.eye(3), np.arange(3))
    assert step.program is not programs[3]


def test_few_programs_are_kept_where_they_are_large(monkeypatch):
    monkeypatch.setattr("normengine.train.step._MEMORY", 0)
    model = Configured()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    programs = {}
    for size in range(1, 12):
        step(np.eye(3)[np.arange(size) % 3], np.arange(size) % 3)
        programs[size] = step.program
    for size in (11, 5, 2):
        step(np.eye(3)[np.arange(size) % 3], np.arange(size) % 3)
        assert (step.program is programs[size]) == (size != 2)


def test_what_is_kept_for_other_shapes_has_an_end():
    model = Configured()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of so many programs
        for size in range(2, 80):
            step(np.eye(3)[np.arange(size) % 3], np.arange(size) % 3)
    assert len(step.programs) == 64


def operators(step):
    """Those of all calls of the program."""
    return {call.op for part in step.program.programs for group in part.plan.calls for call in group.each()}


def test_frozen_weights_have_no_gradients():
    """Where nothing but batch norm's scale and shift is trained, no gradient of a weight is computed."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    x, y = np.random.default_rng(0).standard_normal((6, 1, 9, 9)).astype(np.float32), np.arange(6) % 3
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    step(x, y)
    assert "conv2d_weight_grad" in operators(step)
    for module in model:
        if not isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    before = {name: array.copy() for name, array in model.state_dict().items()}
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(trained, lr=0.1))
    losses = [step(x, y) for _ in range(5)]
    assert losses[0] > losses[-1]
    found = operators(step)
    assert "conv2d_input_grad" in found, "the gradient goes through the second convolution"
    assert not any(op.endswith("weight_grad") for op in found)
    changed = {name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])}
    assert {name for name in changed if name.endswith(("weight", "bias"))} == {
        "1.weight", "1.bias", "4.weight", "4.bias"
    }  # fmt: skip
