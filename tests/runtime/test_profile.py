"""A profile: every call once, totals that add up, state untouched, a page and a trace that can be read."""

import json
import os
from html.parser import HTMLParser

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.graph import Spec
from normengine.ops import Builder
from normengine.runtime import compile_graph
from normengine.runtime.limits import Limits
from normengine.runtime.profile import Profile, Timing


def network():
    ne.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, 4))  # fmt: skip


def batch():
    rng = np.random.default_rng(0)
    return rng.standard_normal((6, 3, 8, 8), np.float32), rng.integers(0, 4, 6)


TIMINGS = (
    Timing("conv2d", "1x3x8x8 -> 1x8x6x6", "<first>", "convolutions", 2e-3, 4_000_000_000, 1_000_000),
    Timing("relu", "1x8x6x6", "", "elementwise", 1e-3, 1_000_000, 8_000_000),
    Timing("conv2d", "1x8x6x6 -> 1x8x4x4", "third", "convolutions", 1e-3, 1_000_000_000, 1_000_000),
)
PROFILE = Profile("Net & Co", TIMINGS, 5e-3, 2, Limits(2, 4e12, 16e9))


def test_a_profile_of_a_step_changes_nothing():
    x, y = batch()

    def train(profiled):
        model = network()
        step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), seed=1)
        losses = []
        for _ in range(3):
            if profiled:
                before = {name: array.copy() for name, array in model.state_dict().items()}
                profile = step.profile(x, y, runs=2)
                assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
                calls = [each for call in step.program.plan.calls for each in call.each()]
                assert [t.kernel for t in profile.timings] == [c.kernel for c in calls]
            losses.append(step(x, y))
        return losses, step.steps, model.state_dict()

    (losses, steps, state), (other_losses, other_steps, other_state) = train(True), train(False)
    assert losses == other_losses and steps == other_steps == 3
    assert all(np.array_equal(state[name], other_state[name]) for name in state)


def test_what_cannot_be_trained_cannot_be_profiled():
    model = network()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    x, y = batch()
    with pytest.raises(ValueError, match="labels must be in 0..3"):
        step.profile(x, y + 4)
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        step.profile(x, y, runs=0)


def test_kinds_of_a_step():
    model = network()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    profile = step.profile(*batch(), runs=1)
    kinds = {timing.kind: (timing, count) for timing, count in profile.kinds()}
    assert {"convolutions", "linear", "elementwise", "statistics", "pooling", "softmax and loss", "update"} <= set(
        kinds
    )
    rest, calls = kinds.pop("all but convolutions")
    assert calls + kinds["convolutions"][1] == len(profile.timings) == sum(count for _, count in kinds.values())
    total = sum(timing.seconds for timing in profile.timings)
    assert rest.seconds + kinds["convolutions"][0].seconds == pytest.approx(total)
    assert sum(timing.seconds for timing, _ in kinds.values()) == pytest.approx(total)


def test_columns_are_shares_of_time_and_of_the_nearer_limit():
    assert PROFILE.columns(TIMINGS[0]) == ("2.000", "50.0 %", "2000.0", "0.5", "50 %")
    assert PROFILE.columns(TIMINGS[1]) == ("1.000", "25.0 %", "1.0", "8.0", "50 %")
    assert Profile("", TIMINGS, 1.0, 1, None).columns(TIMINGS[1])[-1] == "-"
    totals = [(timing.kind, timing.seconds, count) for timing, count in PROFILE.kinds()]
    assert totals == [("convolutions", 3e-3, 2), ("elementwise", 1e-3, 1), ("all but convolutions", 1e-3, 1)]


def test_printed():
    lines = str(PROFILE).splitlines()
    assert lines[0].split() == ["ms", "share", "GFLOP/s", "GB/s", "of", "limit", "kernel", "shapes", "layer"]
    assert lines[1].split()[-5:] == ["conv2d", "1x3x8x8", "->", "1x8x6x6", "<first>"]
    assert lines[-1] == (
        "Net & Co: 5.000 ms a run, 4.000 ms in its 3 calls, 2 threads; the machine allows 4000 GFLOP/s, 16.0 GB/s"
    )
    starts = {line.index(kernel) for line, kernel in zip(lines, ("kernel", "conv2d", "relu", "conv2d"))}
    assert len(starts) == 1


def test_a_trace(tmp_path):
    PROFILE.save(tmp_path / "trace.json")
    name, *calls = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert name["ph"] == "M" and name["args"] == {"name": "Net & Co"}
    assert [(e["ph"], e["name"], e["cat"], e["ts"], e["dur"]) for e in calls] == [
        ("X", "conv2d", "convolutions", 0.0, 2000.0),
        ("X", "relu", "elementwise", 2000.0, 1000.0),
        ("X", "conv2d", "convolutions", 3000.0, 1000.0),
    ]
    assert calls[0]["args"]["layer"] == "<first>" and calls[0]["args"]["of limit"] == "50 %"


class Reader(HTMLParser):
    """Rows of text, and that every element is closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open, self.rows, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "span"):
            self.rows[-1].append(data)


def test_a_page_of_its_own(tmp_path):
    PROFILE.save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.open == [] and reader.links == [] and "http" not in text
    assert "<title>Net &amp; Co</title>" in text
    assert reader.rows[1] == [*PROFILE.columns(PROFILE.kinds()[0][0]), "convolutions", "2"]
    assert reader.rows[-3] == ["0", *PROFILE.columns(TIMINGS[0]), "conv2d", "1x3x8x8 -> 1x8x6x6", "<first>"]


def test_a_profile_that_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "trace.json"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot be written .No space left on device."):
        PROFILE.save(path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"saved as .html \(a page\) or .json \(a trace\), got '.*profile.txt'"):
        PROFILE.save(tmp_path / "profile.txt")


def test_a_session(tmp_path):
    model = network().eval()
    ne.onnx.export(model, tmp_path / "net.onnx", (3, 8, 8))
    session = ne.InferenceSession(tmp_path / "net.onnx")
    (port,) = session.get_inputs()
    x = batch()[0]
    profile = session.profile({port.name: x}, runs=2)
    assert profile.title.endswith("net.onnx on 6x3x8x8")
    assert any(timing.kind == "convolutions" and timing.flops for timing in profile.timings)


def test_the_program_lets_go_of_the_copies():
    b = Builder()
    x, s = b.input("x", Spec((4,))), b.state_value("s", Spec((4,)))
    b.update(s, b.add("add", s, x))
    program = compile_graph(b.graph([b.add("mul", x, s)]))
    state = np.ones(4, np.float32)
    program.profile({"x": state, "s": state.copy()})
    program.release()
    assert program._bound is None
    program.run({"x": np.ones(4, np.float32), "s": state})
    assert np.array_equal(state, np.full(4, 2, np.float32))


def test_a_printed_program_has_a_line_a_call():
    model = network()
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    assert step.program is None
    step(*batch())
    head, *calls, total = str(step.program).splitlines()
    assert head.split() == ["kernel", "shapes", "MiB", "MFLOP", "layer"]
    inside = [line for line in calls if line.startswith("  ")]
    count = len(step.program.plan.calls)
    assert len(calls) == count + len(inside) and len(inside) == sum(len(c.inner) for c in step.program.plan.calls)
    assert total.startswith(f"{count} calls with {len(inside)} inside" if inside else f"{count} calls,")
    conv = next(line for line in calls if line.startswith("conv2d"))
    flops = 2 * 6 * 8 * 64 * 27 / 1e6
    assert f"  {flops:.3f}  0" in conv and "6x3x8x8, 8x3x3x3, 8 -> 6x8x8x8" in conv
