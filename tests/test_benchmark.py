"""``normengine bench``: what is measured, beside what, and what is said of engines that are not there."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
from channel_means import save_network
from onnx import TensorProto

from normengine import __version__, benchmark
from normengine.cli import main


@pytest.fixture
def model(tmp_path):
    return save_network(tmp_path / "m.onnx")


@pytest.fixture
def alone(monkeypatch):
    """No other engine is installed."""
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)


def run(*arguments):
    return main(["bench", *map(str, arguments), "--seconds", "0.01"])


def test_the_table_and_the_json_file(tmp_path, model, alone, capsys):
    report = tmp_path / "r.json"
    assert run(model, "--batch", 1, 7, "--threads", 1, "--json", report) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == f"{model}: x 3x6x5 a sample, 1 threads, medians in turns"
    rows = [line.split() for line in lines if line.startswith(f"normengine {__version__}")]
    assert [row[2] for row in rows] == ["1", "7"]
    assert lines[-2:] == [
        "ONNX Runtime is not installed (pip install onnxruntime)",
        "OpenVINO is not installed (pip install openvino)",
    ]
    found = json.loads(report.read_text())
    assert found["threads"] == 1 and found["shapes"] == {"x": [3, 6, 5]} and set(found["memory"]) == {"1", "7"}
    for timing, batch in zip(found["timings"], (1, 7), strict=True):
        assert timing["batch"] == batch and timing["runs"] >= 5 and timing["seconds"] > 0
        assert (timing["ratio"], timing["difference"]) == (1.0, 0.0)
        assert timing["images_per_second"] == pytest.approx(batch / timing["seconds"])


def test_beside_onnx_runtime(model, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = benchmark.benchmark(model, batches=[3], threads=1, seconds=0.01)
    ours, theirs = found.timings
    assert theirs.engine.startswith("ONNX Runtime ") and theirs.batch == 3
    assert theirs.ratio == pytest.approx(theirs.seconds / ours.seconds)
    assert 0 <= theirs.difference < 1e-5


class Runtime(ModuleType):
    """An engine with ONNX Runtime's names that says 1 too much."""

    SessionOptions = type("SessionOptions", (), {})

    class InferenceSession:
        def __init__(self, path, options, providers):
            self.session = benchmark.InferenceSession(path)

        def run(self, names, feeds):
            if len(feeds["x"]) > 4:
                raise RuntimeError("out of\nmemory")
            return [array + 1 for array in self.session.run(names, feeds)]


def test_differences_and_refusals_are_told(model, alone, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", Runtime("onnxruntime"))
    monkeypatch.setattr(benchmark.metadata, "version", lambda name: "1.0")
    found = benchmark.benchmark(model, batches=[1, 8], seconds=0.01)
    assert [(timing.engine, timing.batch) for timing in found.timings] == [
        (f"normengine {__version__}", 1),
        ("ONNX Runtime 1.0", 1),
        (f"normengine {__version__}", 8),
    ]
    assert found.timings[1].difference == pytest.approx(1)
    assert "ONNX Runtime 1.0 cannot run a batch of 8: out of" in found.left_out

    def refuse(*_, **__):
        raise RuntimeError("opset 6 is too old")

    monkeypatch.setattr(Runtime.InferenceSession, "__init__", refuse)
    assert run(model, "--batch", 1) == 0
    assert "ONNX Runtime cannot run it: opset 6 is too old" in capsys.readouterr().out


def test_open_height_and_width_and_other_types(tmp_path, alone, capsys):
    model = save_network(tmp_path / "open.onnx", ("N", 3, "H", "W"))
    assert run(model, "--batch", 2) == 1
    assert "input 'x' leaves extents open, [3, 'H', 'W'] behind the batch axis; give a size" in capsys.readouterr().err
    found = benchmark.benchmark(model, batches=[2], seconds=0, size=(8, 9))
    assert found.shapes == {"x": (3, 8, 9)} and found.timings[0].runs == 5
    last = save_network(tmp_path / "last.onnx", ("N", "H", "W", 3), layout="NHWC")
    assert benchmark.benchmark(last, batches=[2], seconds=0, size=(8, 9)).shapes == {"x": (8, 9, 3)}
    whole = save_network(tmp_path / "whole.onnx", dtype=TensorProto.INT64)
    assert benchmark.benchmark(whole, batches=[2], seconds=0).timings[0].batch == 2


def test_a_fixed_batch(tmp_path, alone, capsys):
    model = save_network(tmp_path / "four.onnx", (4, 3, 6, 5))
    assert [timing.batch for timing in benchmark.benchmark(model, seconds=0).timings] == [4]
    assert run(model, "--batch", 1) == 1
    assert "the file fixes the batch to 4, got 1" in capsys.readouterr().err


def test_refusals(tmp_path, model, alone, capsys):
    assert run(tmp_path / "no.onnx") == 1
    assert "there is no file" in capsys.readouterr().err
    assert run(model, "--size", 7, 7) == 1
    assert "input 'x' has the extents [3, 6, 5] in the file, got a size of (7, 7)" in capsys.readouterr().err
    assert run(model, "--json", tmp_path / "no" / "r.json") == 1
    assert "does not exist" in capsys.readouterr().err
    assert run(model, "--batch", 999_999_999) == 1
    assert "does not fit into memory; give fewer" in capsys.readouterr().err


def test_times_at_the_beginning_of_a_turn_are_left_out(monkeypatch):
    clock = iter(np.arange(1000) * 0.5)
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: float(next(clock)))
    calls = []
    found = benchmark._turn(lambda: calls.append(0), 10.0)
    assert len(found) < len(calls) and set(found) == {0.5}
