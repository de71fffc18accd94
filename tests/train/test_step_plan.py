"""What a step's plan takes: code for any batch size, and little memory."""

from __future__ import annotations

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.nn import memory


def layers() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1),
        nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Conv2d(16, 24, 3, padding=1, stride=2),
        nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4)]  # fmt: skip


def taken(batch: int, step: ne.TrainStep | None = None) -> ne.TrainStep:
    """A step, taken with so many images."""
    if step is None:
        model = nn.Sequential(*layers())
        step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    rng = np.random.default_rng(0)
    step(rng.standard_normal((batch, 3, 24, 24), dtype=np.float32), rng.integers(0, 4, batch))
    return step


def code_of_loops(step: ne.TrainStep) -> set[int]:
    calls = [inner for call in step.program.plan.calls for inner in call.each()]
    return {address() for call in calls if call.op == "chain" for address, _ in call.stages}


@pytest.mark.parametrize("other", [128, 50, 17, 2])
def test_another_batch_size_needs_no_other_code(other: int) -> None:
    step = taken(32)
    before = code_of_loops(step)
    after = code_of_loops(taken(other, step))
    assert before and after <= before


def test_the_arena_is_smaller_than_activations_kept_twice() -> None:
    x = np.random.default_rng(0).standard_normal((32, 3, 24, 24), dtype=np.float32)
    nbytes = 0
    for layer in layers():
        x = np.asarray(layer(x))
        nbytes += x.nbytes
    assert taken(32).program.plan.arena_bytes < 0.6 * 2 * nbytes


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(reduction="sum")])
def test_an_elementwise_loss_and_its_gradient_are_one_loop(loss: nn.Module) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    step = ne.TrainStep(model, loss, optim.SGD(model.parameters(), lr=0.1))
    rng = np.random.default_rng(0)
    step(rng.standard_normal((8, 3, 4, 4), dtype=np.float32), rng.random((8, 5), dtype=np.float32))
    loops = [call for call in step.program.plan.calls if call.op == "chain" and call.layer == "loss"]
    assert [call.shapes for call in loops if call.shapes != "float32[]"] == ["float32[8, 5]"]


@pytest.mark.parametrize("without", [(), ("merged_updates",), ("depth_first", "in_place")])
def test_gradients_lie_side_by_side(without: tuple[str, ...]) -> None:
    model = nn.Sequential(*layers())
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plan = taken(8, ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer, without_passes=without)).program.plan
    (loss,) = [i for i, call in enumerate(plan.calls) if call.op.startswith("cross_entropy")]
    written = {m for call in plan.calls[: loss + 1] for m in call.memories()}
    updates = [inner for call in plan.calls[plan.guard :] for inner in call.each() if inner.work.kind == "update"]
    read = [m for call in updates for m in call.memories() if m in plan.offsets and m not in written]
    assert len(read) == len(list(model.parameters()))
    offsets = [plan.offsets[m] for m in read]
    assert np.diff(offsets).tolist() == [-(-m.nbytes // 64) * 64 for m in read[:-1]]


def test_what_an_optimizer_keeps_lies_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_block", memory._Block())
    model = nn.Sequential(*layers())
    optimizer = optim.Adam(model.parameters())
    taken(8, ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer))
    arrays = [state[what] for state in optimizer.state.values() for what in ("exp_avg", "exp_avg_sq")]
    addresses = [array.__array_interface__["data"][0] for array in arrays]
    assert np.diff(addresses).tolist() == [-(-array.nbytes // 64) * 64 for array in arrays[:-1]]
