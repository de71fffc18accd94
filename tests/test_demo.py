"""The demo from end to end, short, in an empty folder; and what stops it before it trains."""

import io
import re
import sys
from contextlib import redirect_stdout

import numpy as np
import pytest

import normengine as ne
from normengine import demo
from normengine.cli import main
from normengine.data import digits


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "made"
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(text):
        patch.setattr(demo, "_MEASURED_SECONDS", 1e-6)
        code = main(["demo", "--output", str(folder), "--epochs", "3", "--seed", "1"])
    return folder, code, text.getvalue()


def test_ends_well(finished):
    folder, code, text = finished
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["digits.onnx", "digits.png"]
    assert "UCI Optical Recognition of Handwritten Digits" in text and "CC BY 4.0" in text


def test_file_recognizes_held_out_digits(finished):
    folder, _, _ = finished
    x, y = digits("test")
    (scores,) = ne.InferenceSession(folder / "digits.onnx").run(None, {"x": x})
    assert scores.shape == (len(x), 10)
    assert np.mean(scores.argmax(1) == y) > 0.95


def test_batch_norms_are_folded(finished):
    onnx = pytest.importorskip("onnx")
    folder, _, text = finished
    nodes = [node.op_type for node in onnx.load(folder / "digits.onnx").graph.node]
    assert "BatchNormalization" not in nodes
    assert nodes.count("Conv") == 4
    assert "5 of 5 batch normalizations folded" in text
    assert re.search(r"norm5 +folded into hidden", text)


def test_comparison_in_numbers(finished):
    _, _, text = finished
    row = re.search(r"digits\.onnx in InferenceSession +(\d+\.\d\d)% +[\d,]+ +(\S+)", text)
    assert row is not None
    assert float(row[1]) > 95
    assert float(row[2]) < 1e-3


def test_picture(finished):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed to read the picture")
    folder, _, _ = finished
    with image.open(folder / "digits.png") as picture:
        assert picture.width > 1000 and picture.height > 700
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_folder_that_cannot_be_written_stops_it_before_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "train", lambda *_: pytest.fail("it trained"))
    (tmp_path / "file").write_text("in the way")
    assert main(["demo", "--output", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("normengine: error: cannot write digits.onnx and digits.png into the folder")
    assert str(tmp_path / "file") in error and "name another with --output" in error


def test_file_name_that_is_taken_by_a_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "train", lambda *_: pytest.fail("it trained"))
    (tmp_path / "digits.onnx").mkdir()
    assert main(["demo", "--output", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err


def test_without_matplotlib_it_says_what_is_left_out(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "normengine.picture", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    x, y = digits("test")
    lines = demo.draw(tmp_path / "digits.png", ne.train.History(), np.zeros((len(x), 10)), x, y)
    assert len(lines) == 1 and lines[0].startswith("digits.png is left out: matplotlib is not")
    assert not list(tmp_path.iterdir())
