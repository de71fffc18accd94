"""README and docs say what is true: the example runs, names exist, links lead somewhere, commands are there."""

import json
import re
import subprocess
import sys
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


PAGES_WITH_CODE = ("getting-started", "training", "onnx", "batchnorm-and-dropout", "analysis")
RUN_EACH = """
import json, sys
for block in json.load(sys.stdin):
    exec(compile(block, "a block of the page", "exec"), {"__name__": "__main__"})
"""


@pytest.mark.parametrize(
    ("page", "files"),
    [
        ("docs/getting-started.md", []),
        (
            "docs/training.md",
            ["curves.png", "model.safetensors", "profile.html", "trace.json", "training.pickle"],
        ),
        ("docs/onnx.md", ["folded.onnx", "model.onnx"]),
        ("docs/batchnorm-and-dropout.md", ["model.onnx"]),
        ("docs/analysis.md", ["distributions.png", "shift.png", "statistics.png"]),
    ],
)
def test_each_block_of_a_page_runs_as_it_stands(page, files, tmp_path):
    """In a fresh interpreter, and each with names of its own."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    given = json.dumps(code_blocks(ROOT / page, "python"))
    command = [sys.executable, "-c", RUN_EACH]
    done = subprocess.run(command, input=given, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_no_page_with_code_is_left_out():
    pages = {str(page.relative_to(ROOT)) for page in PAGES if code_blocks(page, "python")}
    assert pages == {"README.md", *(f"docs/{name}.md" for name in PAGES_WITH_CODE)}


def test_the_training_that_the_page_cuts_off_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    """As in another process, with a model and an optimizer made anew."""
    monkeypatch.chdir(tmp_path)
    cut_off, resumed = (b for b in code_blocks(ROOT / "docs" / "training.md", "python") if "training.pickle" in b)
    begin, _ = cut_off.split("def keep")
    normengine.manual_seed(0)
    whole, first, second = {}, {}, {}
    exec(compile(begin, "training.md", "exec"), whole)
    normengine.manual_seed(0)
    exec(compile(cut_off, "training.md", "exec"), first)
    assert len(first["trainer"].history) == 3
    exec(compile(resumed, "training.md", "exec"), second)
    trainer = normengine.Trainer(whole["model"], whole["optimizer"], nn.CrossEntropyLoss(), seed=0)
    trainer.fit(whole["x"], whole["y"], epochs=5, schedule=normengine.train.cosine())
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
