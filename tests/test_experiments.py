"""tools/experiments: each runs and writes its numbers and its picture; the page shows the numbers that came out."""

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from normengine import nn

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tools" / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")
PAGE = ROOT / "docs" / "experiments.md"
SHOWN = ROOT / "docs" / "images" / "experiments"


@pytest.fixture
def experiment(monkeypatch):
    """Imports an experiment, or what they share, by its name."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def common(experiment):
    return experiment("common")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_writes_its_numbers_and_its_picture(name, experiment, tmp_path, capsys):
    assert experiment(name).main(["--short", "--seeds", "1", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert list(found) == ["experiment", "data", "seeds", "settings", "rows", "curves"]
    assert (found["experiment"], found["seeds"]) == (name, [0])
    assert found["data"] == "digits of the package: 256 images to train on, 100 held out"
    assert len(found["rows"]) > 1
    assert all(len(values) == 1 for row in found["rows"].values() for values in row.values())
    assert all(len(y) == 1 and len(y[0]) == len(x) for x, y in (c.values() for c in found["curves"].values()))
    picture = (tmp_path / f"{name}.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 5000
    assert all(f"| {row} |" in capsys.readouterr().out for row in list(found["rows"])[:1])


def test_the_same_seed_gives_the_same_numbers(experiment, tmp_path):
    for folder in ("first", "second"):
        assert experiment("before_or_after").main(["--short", "--seeds", "2", "--out", str(tmp_path / folder)]) == 0
    first, second = ((tmp_path / folder / "before_or_after.json").read_text() for folder in ("first", "second"))
    assert first == second
    curves = json.loads(first)["curves"]["before ReLU"]["y"]
    assert curves[0] != curves[1]


def test_arguments_that_make_no_sense(experiment, tmp_path, capsys):
    main = experiment("before_or_after").main
    assert main(["--data", str(tmp_path / "nothing"), "--out", str(tmp_path)]) == 1
    assert "before_or_after.py: error: MNIST images: the folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--seeds", "0"])
    assert "must be 1 or more, got 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_tables_have_means_deviations_and_what_is_missing(common):
    findings = common.Findings()
    for accuracy, steps in ((90.0, 5.0), (92.0, math.nan)):
        findings.add("a", {"accuracy": accuracy, "steps": steps})
        findings.add("b", {"accuracy": 50.0, "steps": math.nan})
        findings.add("c", {"other": 0.25})
    assert findings.table().splitlines() == [
        "| | accuracy | steps |",
        "| --- | ---: | ---: |",
        "| a | 91 ± 1 | 5 (1 of 2) |",
        "| b | 50 | none |",
        "",
        "| | other |",
        "| --- | ---: |",
        "| c | 0.25 |",
    ]
    assert json.loads(findings.to_json("name", "data", 2))["rows"]["a"]["steps"] == [5.0, None]


def test_a_curve_that_ends_early_is_filled_up(common):
    findings = common.Findings()
    findings.add_losses("loss", 30, np.arange(30.0).tolist())
    findings.add_losses("loss", 30, [1.0] * 25)
    steps, losses = findings.curves["loss"]
    assert steps == [10, 20, 30]
    assert losses[0] == [4.5, 14.5, 24.5]
    assert losses[1][:2] == [1, 1] and math.isnan(losses[1][2])


def test_a_training_that_diverges_ends_with_what_was_there(common):
    x, y = np.ones((4, 2), np.float32), np.zeros(4, np.int64)
    model = nn.Sequential(nn.Linear(2, 3))
    seen = []
    given = [(x, y), (x * np.float32(np.inf), y), (x, y)]
    losses = common.train(model, given, lr=0.1, watch=seen.append)
    assert len(losses) == 1 and seen == [0, 1]
    assert all(np.isfinite(parameter.numpy()).all() for parameter in model.parameters())


@pytest.mark.parametrize("at", [4, 5], ids=["before the convolution", "before the batch norm"])
def test_the_predicted_shift_is_the_measured_one(at, experiment, common):
    data = common.Setup(None, 1, True).data()
    for noise, variance in ((nn.Dropout(0.5), 1.0), (nn.UniformDropout(0.5), 1 / 12)):
        found = experiment("variance_shift").shifts(data, 8, at, noise, variance, 3, 0)
        assert found["measured shift"] == pytest.approx(found["predicted shift"], rel=0.02)
        assert found["measured shift"] < 1 - variance / 2


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_the_numbers_that_came_out(name, common):
    text = PAGE.read_text(encoding="utf-8")
    assert f"](images/experiments/{name}.png)" in text and f"`tools/experiments/{name}.py`" in text
    found = json.loads((SHOWN / f"{name}.json").read_text(encoding="utf-8"))
    assert len(found["seeds"]) >= 5 and found["data"].startswith("MNIST")
    for row, measures in found["rows"].items():
        given = [[math.nan if value is None else value for value in values] for values in measures.values()]
        assert f"| {row} | {' | '.join(map(common.cell, given))} |" in text
