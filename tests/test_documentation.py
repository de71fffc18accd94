"""README and docs say what is true: the example runs, names exist, links lead somewhere, commands are there."""

import re
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

import normengine
from normengine import cli, nn, optim

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FUNCTIONAL = {"ne": normengine, "nn": nn, "optim": optim}


def code_blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_example_in_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = code_blocks(README, "python")
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    assert float(lines[-1]) > 0.95
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_first_pages_example_runs():
    first, own, *_ = code_blocks(ROOT / "docs" / "getting-started.md", "python")
    names = {}
    exec(compile(first + own, "getting-started.md", "exec"), names)
    assert names["y"].shape == (8, 16 * 32 * 32)
    x = names["x"]
    assert names["Block"](3)(x).shape == x.shape


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("training.md", ["curves.png", "model.safetensors", "profile.html", "trace.json", "training.pickle"]),
        ("onnx.md", ["model.onnx"]),
    ],
)
def test_examples_of_a_page_run_one_after_the_other(name, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))
    names = {
        "ne": normengine,
        "nn": nn,
        "model": model,
        "optimizer": optim.SGD(model.parameters(), lr=0.01),
        "x": rng.random((128, 3, 32, 32), dtype=np.float32),
        "y": rng.integers(0, 10, 128),
        "held_x": rng.random((16, 3, 32, 32), dtype=np.float32),
        "held_y": rng.integers(0, 10, 16),
    }
    for block in code_blocks(ROOT / "docs" / name, "python"):
        exec(compile(block, name, "exec"), names)
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_the_training_that_the_page_cuts_off_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    """As in another process, with a model and an optimizer made anew."""
    monkeypatch.chdir(tmp_path)
    cut_off, resumed = (b for b in code_blocks(ROOT / "docs" / "training.md", "python") if "training.pickle" in b)
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 4), dtype=np.float32), rng.integers(0, 3, 40)

    def fresh():
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        trainer = normengine.Trainer(model, optimizer, nn.CrossEntropyLoss())
        return {"ne": normengine, "nn": nn, "model": model, "optimizer": optimizer, "trainer": trainer, "x": x, "y": y}

    first, second = fresh(), fresh()
    start = {name: array.copy() for name, array in first["model"].state_dict().items()}
    exec(compile(cut_off, "training.md", "exec"), first)
    assert len(first["trainer"].history) == 3
    exec(compile("import pickle\n" + resumed, "training.md", "exec"), second)
    whole = fresh()
    whole["model"].load_state_dict(start)
    trainer = normengine.Trainer(whole["model"], whole["optimizer"], nn.CrossEntropyLoss(), seed=0)
    trainer.fit(x, y, epochs=5, schedule=normengine.train.cosine())
    assert second["trainer"].history.loss == trainer.history.loss
    for name, array in whole["model"].state_dict().items():
        assert np.array_equal(second["model"].state_dict()[name], array), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_the_text_exist(page):
    text = page.read_text(encoding="utf-8")
    for start, rest in set(re.findall(r"(?<![\w.])(ne|nn|optim)\.([a-zA-Z_][\w.]*\w)", text)):
        if (start, rest) == ("nn", "functional"):
            continue
        reduce(getattr, rest.split("."), FUNCTIONAL[start])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_commands_and_files_in_the_text_exist():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    choices = next(a.choices for a in cli._parser()._actions if a.dest == "command")
    for command in set(re.findall(r"normengine (\w+)", "\n".join(re.findall(r"`([^`\n]+)`", text)))):
        assert command in choices
    for name in set(re.findall(r"`((?:normengine|tests|tools|docs)/[\w/.]+)`", text)):
        assert (ROOT / name).exists(), name
    for name in set(re.findall(r"`((?:ops|passes|plan|runtime|nn|kernels|train)/\w+\.py)`", text)):
        assert (ROOT / "normengine" / name).exists(), name


def test_environment_variables_are_the_documented_ones():
    variable = re.compile(r"\bNORMENGINE_[A-Z_]*[A-Z]\b")
    sources = [ROOT / "setup.py", *(ROOT / "normengine").rglob("*.py")]
    used = {name for path in sources for name in variable.findall(path.read_text(encoding="utf-8"))}
    assert used == set(variable.findall((ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")))
