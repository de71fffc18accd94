"""The files that hold results: formats, names that need quotes, digits, and files that are whole or not at all."""

import csv
import json

import numpy as np
import pytest

from normengine.output_files import Result, Top, opened, suffix

NAME = 'a "b", c\n\u00f6.png'


def result(name=NAME, **outputs):
    return Result(name, {key: np.asarray(array) for key, array in outputs.items()}, None)


def write(path, *batches, labels=None):
    with opened(path, labels) as add:
        for batch in batches:
            add(batch)
    return path


def test_an_unknown_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"x.json: the suffix of the output must be .csv, .jsonl or .npz, got '.json'"):
        suffix(tmp_path / "x.json")


def test_csv_of_several_outputs(tmp_path):
    x = np.array([0.1, np.nan, -np.inf], np.float32)
    path = write(tmp_path / "x.csv", [result(a=x, b=np.int64(3))], [], [result("n", a=x, b=np.int64(4))])
    with open(path, newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["name", "a:0", "a:1", "a:2", "b:0"],
            [NAME, "0.1", "nan", "-inf", "3"],
            ["n", "0.1", "nan", "-inf", "4"],
        ]


def test_json_lines_have_few_digits_and_what_json_has(tmp_path):
    x = np.array([[0.1, np.nan], [np.inf, 1e-8]], np.float32)
    path = write(tmp_path / "x.jsonl", [result(a=x, b=np.array([1, 2]), c=np.array(True), d=np.float32(0.3))])
    text = path.read_text()
    assert "NaN" not in text and "0.1," in text
    assert json.loads(text) == {
        "name": NAME,
        "outputs": {"a": [[0.1, None], [None, 1e-08]], "b": [1, 2], "c": [True], "d": [0.3]},
    }


def test_numbers_survive(tmp_path):
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32) ** 5
    written = json.loads(write(tmp_path / "x.jsonl", [result(a=x)]).read_text())["outputs"]["a"]
    assert np.array_equal(np.array(written, np.float32), x)
    text = write(tmp_path / "x.csv", [result("n", a=x)]).read_text().splitlines()[1]
    assert np.array_equal(np.array(text.split(",")[1:], np.float32), x)


def test_names_that_are_no_text(tmp_path):
    name = b"\xff.png".decode(errors="surrogateescape")
    assert b"\xff.png," in write(tmp_path / "x.csv", [result(name, a=[1.0])]).read_bytes()
    assert json.loads(write(tmp_path / "x.jsonl", [result(name, a=[1.0])]).read_text())["name"] == name


class _Half:
    name = "half"

    @property
    def top(self):
        raise ValueError("results cannot be half")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "npz"])
def test_an_error_leaves_what_was_there(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match="cannot be half"), opened(path, None) as add:
        add([result(a=[1.0]), _Half()])
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


def test_a_table(capsys):
    top = Top(np.array([2, 0]), np.array([0.75, 0.125], np.float32), ("cat", "dog"))
    write(
        None,
        [Result("x.png", {}, top), result("y.png", a=np.float32(2.5), b=np.zeros(0), c=np.array([1, 3]))],
        labels=None,
    )
    header, first, second = capsys.readouterr().out.splitlines()
    assert header == "input"
    assert first.split() == ["x.png", "cat", "0.75", "dog", "0.125"]
    assert second.startswith("y.png  a 2.5 ") and "b empty" in second and "c 2 from 1 to 3, mean 2" in second
