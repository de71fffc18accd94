"""``normengine fold`` and ``normengine inspect``: arguments, output, exit codes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import normengine as ne
from normengine import nn
from normengine.cli import main


@pytest.fixture
def path(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2))
    file = tmp_path / "m.onnx"
    ne.onnx.export(model, file, (1, 6, 6), fold_batchnorm=False)
    return file


def test_fold(path, tmp_path, capsys):
    out, record = tmp_path / "out.onnx", tmp_path / "r.json"
    assert main(["fold", str(path), str(out), "--report", str(record), "--tolerance", "1e-4"]) == 0
    text = capsys.readouterr().out
    assert "folded into 0" in text and "1 of 2 batch normalizations folded" in text
    assert json.loads(record.read_text())["batch_norms"][0] == {"batch_norm": "1", "into": ["0"], "reason": ""}
    assert len(ne.InferenceSession(out).foldings) == 1


def test_fold_on_arrays_of_a_file(path, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", x=np.ones((4, 1, 6, 6), np.float32))
    assert main(["fold", str(path), str(tmp_path / "out.onnx"), "--input", str(tmp_path / "x.npz")]) == 0
    assert "the given input (x 4x1x6x6)" in capsys.readouterr().out


def test_fold_refuses(path, tmp_path, capsys):
    out = tmp_path / "out.onnx"
    assert main(["fold", str(path), str(out), "--shape", "x=2x1x7x7"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "input 'x' is declared as (?, 1, 6, 6), got the shape (2, 1, 7, 7)" in captured.err
    (tmp_path / "x.npz").write_bytes(b"none")
    assert main(["fold", str(path), str(out), "--input", str(tmp_path / "x.npz")]) == 1
    assert "no file of named arrays" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert main(["fold", str(path), str(out), "--input", str(tmp_path / "x.npy")]) == 1
    assert "no file of named arrays" in capsys.readouterr().err
    assert not out.exists()


def test_inspect(path, capsys):
    assert main(["inspect", str(path), "--batch", "5"]) == 0
    text = capsys.readouterr().out
    assert "input   x: float32 (N, 1, 6, 6)" in text and "for x 5x1x6x6" in text
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["operators"] == {"BatchNormalization": 2, "Conv": 1, "Relu": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fold", "a"], "the following arguments are required: OUT.onnx"),
        (
            ["fold", "a", "b", "--tolerance", "-1"],
            "argument --tolerance: must be a number that is not negative, got '-1'",
        ),
        (["fold", "a", "b", "--tolerance", "x"], "must be a number that is not negative, got 'x'"),
        (["fold", "a", "b", "--shape", "3x4"], "argument --shape: must be as in x=1x3x224x224, got '3x4'"),
        (["inspect", "a", "--batch", "0"], "argument --batch: must be a whole number of at least 1, got '0'"),
    ],
)
def test_usage_errors(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
