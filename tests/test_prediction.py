"""``normengine predict``: outputs for images and arrays against closed forms, damaged files, labels, and errors."""

import csv
import json

import numpy as np
import pytest
from channel_means import save_network, scores, softmax

from normengine import prediction
from normengine.cli import main

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed to make images")
CLASSES = ["cat", "dog", "fish, small", "Öl"]


@pytest.fixture
def model(tmp_path):
    return save_network(tmp_path / "m.onnx")


@pytest.fixture
def images(tmp_path):
    """Seven images of the network's size, and their folder, which holds other files, too."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (7, 6, 5, 3), dtype=np.uint8)
    for i in reversed(range(7)):
        Image.fromarray(pixels[i]).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "deeper").mkdir()
    return folder, pixels


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(CLASSES) + "\n\n", encoding="utf-8")
    return path


def run(*arguments):
    return main(["predict", *map(str, arguments)])


def objects(path):
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 32])
def test_json_lines(tmp_path, model, images, batch_size, capsys):
    folder, pixels = images
    out = tmp_path / "out.jsonl"
    assert run(model, folder, "--output", out, "--batch-size", batch_size) == 0
    found = objects(out)
    assert [entry["name"] for entry in found] == [str(folder / f"{i}.png") for i in range(7)]
    assert np.allclose([entry["outputs"]["y"] for entry in found], scores(pixels), rtol=0, atol=1e-5)
    captured = capsys.readouterr()
    assert captured.out == f"{out}: 7 samples\n" and captured.err == ""


def test_csv(tmp_path, model, images, labels):
    folder, pixels = images
    out = tmp_path / "out.CSV"
    assert run(model, folder, "-o", out) == 0
    header, *found = rows(out)
    assert header == ["name", "0", "1", "2", "3"]
    assert np.allclose([list(map(float, row[1:])) for row in found], scores(pixels), rtol=0, atol=1e-5)
    assert run(model, folder, "-o", out, "--labels", labels) == 0
    header, *found = rows(out)
    assert header == ["name", *CLASSES] and len(found) == 7


def test_npz(tmp_path, images):
    folder, pixels = images
    model = save_network(tmp_path / "two.onnx", outputs=("a/b", "file"))
    out = tmp_path / "out.npz"
    assert run(model, folder, "-o", out, "--batch-size", 3) == 0
    with np.load(out) as stored:
        assert set(stored.files) == {"names", "a/b", "file"}
        assert stored["names"].tolist() == [str(folder / f"{i}.png") for i in range(7)]
        assert np.allclose(stored["a/b"], scores(pixels), rtol=0, atol=1e-5)
        assert np.allclose(stored["file"], np.moveaxis(pixels, 3, 1) / 255, rtol=0, atol=1e-6)
    assert run(model, folder, "-o", out, "--take", "file") == 0
    with np.load(out) as stored:
        assert set(stored.files) == {"names", "file"}


def test_top_with_labels_in_every_format(tmp_path, model, images, labels, capsys):
    folder, pixels = images
    expected = softmax(scores(pixels))
    best = np.argsort(-expected, axis=1)[:, :2]
    names = [[CLASSES[i] for i in pair] for pair in best]
    chances = np.take_along_axis(expected, best, 1)
    out = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "jsonl", "npz")}
    for path in out.values():
        assert run(model, folder, "-o", path, "--top", 2, "--labels", labels, "--softmax") == 0
    header, *found = rows(out["csv"])
    assert header == ["name", "top1", "score1", "top2", "score2"]
    assert [row[1::2] for row in found] == names
    assert np.allclose([list(map(float, row[2::2])) for row in found], chances, rtol=0, atol=1e-6)
    for entry, pair, labelled, shares in zip(objects(out["jsonl"]), best, names, chances, strict=True):
        assert [x["class"] for x in entry["top"]] == pair.tolist()
        assert [x["label"] for x in entry["top"]] == labelled
        assert np.allclose([x["score"] for x in entry["top"]], shares, rtol=0, atol=1e-6)
    with np.load(out["npz"]) as stored:
        assert np.array_equal(stored["classes"], best) and stored["labels"].tolist() == names
        assert np.allclose(stored["scores"], chances, rtol=0, atol=1e-6)
    capsys.readouterr()
    assert run(model, folder, "--labels", labels, "--top", 9) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[0] == "input"
    assert all(name in lines[1] for name in CLASSES)  # there are no nine classes


def test_a_table_has_three_classes_or_what_outputs_are_like(tmp_path, model, images, capsys):
    folder, pixels = images
    assert run(model, folder) == 0
    first = capsys.readouterr().out.splitlines()[1].split()
    assert first[0] == str(folder / "0.png") and len(first) == 1 + 2 * 3
    assert list(map(int, first[1::2])) == np.argsort(-scores(pixels)[0])[:3].tolist()
    assert run(save_network(tmp_path / "two.onnx", outputs=("y", "z")), folder / "0.png", "--take", "z") == 0
    assert f"z 3x6x5 from {pixels[0].min() / 255:.4g} to" in capsys.readouterr().out


def test_a_damaged_image_is_named_and_the_others_go_on(tmp_path, model, images, capsys):
    folder, pixels = images
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    (folder / "4.png").write_bytes(b"")
    out = tmp_path / "out.jsonl"
    assert run(model, folder, "-o", out, "--batch-size", 2) == 1
    left = [0, 1, 3, 5, 6]
    assert [entry["name"] for entry in objects(out)] == [str(folder / f"{i}.png") for i in left]
    assert np.allclose([e["outputs"]["y"] for e in objects(out)], scores(pixels[left]), rtol=0, atol=1e-5)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"normengine: {folder / '2.png'}: cannot be read as an image (")
    assert second == f"normengine: {folder / '4.png'}: cannot be read as an image (its format is not known)"
    assert last == "normengine: 2 failed, 5 done"


@pytest.mark.parametrize(("kind", "content"), [("csv", b"name\n"), ("jsonl", b"")])
def test_nothing_works(tmp_path, model, images, kind, content):
    folder, _ = images
    (folder / "0.png").write_bytes(b"")
    out = tmp_path / f"out.{kind}"
    assert run(model, folder / "0.png", "-o", out) == 1
    assert out.read_bytes() == content
    assert run(model, folder / "0.png", "-o", tmp_path / "out.npz") == 1
    with np.load(tmp_path / "out.npz") as stored:
        assert stored.files == ["names"] and stored["names"].shape == (0,)


def test_mean_and_std(tmp_path, model, images):
    folder, pixels = images
    out = tmp_path / "out.npz"
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.5]
    assert run(model, folder, "-o", out, "--mean", *mean, "--std", *std, "--scale", "1/128") == 0
    with np.load(out) as stored:
        assert np.allclose(stored["y"], scores(pixels, scale=1 / 128, mean=mean, std=std), rtol=0, atol=1e-5)
    assert run(model, folder, "-o", out, "--mean", 0.5) == 0
    with np.load(out) as stored:
        assert np.allclose(stored["y"], scores(pixels, mean=0.5), rtol=0, atol=1e-5)


def test_a_fixed_batch_is_filled_up(tmp_path, images):
    folder, pixels = images
    model = save_network(tmp_path / "four.onnx", (4, 3, 6, 5))
    out = tmp_path / "out.npz"
    assert run(model, folder, "-o", out) == 0
    with np.load(out) as stored:
        assert np.allclose(stored["y"], scores(pixels), rtol=0, atol=1e-5)


def test_open_height_and_width(tmp_path, images):
    folder, pixels = images
    model = save_network(tmp_path / "open.onnx", ("N", 3, "H", "W"))
    odd = np.random.default_rng(1).integers(0, 256, (9, 4, 3), dtype=np.uint8)
    Image.fromarray(odd).save(folder / "3.png")
    out = tmp_path / "out.jsonl"
    assert run(model, folder, "-o", out) == 0  # each in its own size
    found = np.array([entry["outputs"]["y"] for entry in objects(out)])
    expected = scores(pixels)
    expected[3] = scores(odd[None])[0]
    assert np.allclose(found, expected, rtol=0, atol=1e-5)
    resized = np.asarray(Image.fromarray(odd).resize((4, 8), Image.Resampling.BILINEAR))
    assert run(model, folder / "3.png", "-o", out, "--size", 8, 4) == 0
    assert np.allclose(objects(out)[0]["outputs"]["y"], scores(resized[None])[0], rtol=0, atol=1e-5)


def test_outputs_of_unlike_shapes_need_json_lines(tmp_path, images, capsys):
    folder, _ = images
    Image.new("RGB", (4, 4)).save(folder / "3.png")
    model = save_network(tmp_path / "open.onnx", ("N", 3, "H", "W"), outputs=("y", "z"))
    for kind in ("csv", "npz"):
        out = tmp_path / f"out.{kind}"
        assert run(model, folder, "-o", out, "--take", "z") == 1
        assert "images of one --size give the same, and .jsonl files take any" in capsys.readouterr().err
        assert not out.exists()
    assert run(model, folder, "-o", tmp_path / "out.jsonl") == 0


def test_what_a_network_refuses_is_named(tmp_path, images, monkeypatch, capsys):
    folder, _ = images
    model = save_network(tmp_path / "m.onnx")
    calls = []

    class Session(prediction.InferenceSession):
        def run(self, names, feeds, options=None):
            calls.append(len(feeds["x"]))
            if len(calls) == 2:
                raise ValueError("too bright")
            return super().run(names, feeds, options)

    monkeypatch.setattr(prediction, "InferenceSession", Session)
    out = tmp_path / "out.csv"
    assert run(model, folder, "-o", out, "--batch-size", 3) == 1
    assert calls == [3, 3, 1] and len(rows(out)) == 1 + 4
    assert [line for line in capsys.readouterr().err.splitlines() if "bright" in line] == [
        f"normengine: {folder / f'{i}.png'}: too bright" for i in (3, 4, 5)
    ]


def test_numbers_that_are_not_finite(tmp_path, model):
    x = np.zeros((2, 3, 6, 5), np.float32)
    x[0, 0, 0, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    assert run(model, tmp_path / "x.npy", "-o", tmp_path / "out.jsonl") == 0
    first, second = objects(tmp_path / "out.jsonl")
    assert first["outputs"]["y"] == [None] * 4 and second["outputs"]["y"] == [0.0] * 4
    x[0, 0] = np.inf
    np.save(tmp_path / "x.npy", x)
    assert run(model, tmp_path / "x.npy", "-o", tmp_path / "out.jsonl", "--softmax", "--top", 4) == 0
    first, second = objects(tmp_path / "out.jsonl")
    assert [entry["score"] for entry in second["top"]] == [0.25] * 4
    assert [entry["class"] for entry in second["top"]] == [0, 1, 2, 3]
    assert None in [entry["score"] for entry in first["top"]]


def refusals(tmp_path, model, folder, labels):
    text = tmp_path / "x.txt"
    text.write_text("")
    few = tmp_path / "few.txt"
    few.write_text("cat\ndog\n")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Öl\n".encode("latin-1"))
    image = folder / "0.png"
    two = save_network(tmp_path / "two.onnx", outputs=("y", "names"))
    return [
        ([model, tmp_path / "a.png", image, tmp_path / "b"], f"no such file or folder: {tmp_path / 'a.png'}, "),
        ([tmp_path / "no.onnx", image], "there is no file "),
        ([model, text], "x.txt: the suffix must be one of .bmp, "),
        ([model, folder / "deeper"], "deeper: holds no image; those of .bmp, "),
        (
            [model, image, "-o", tmp_path / "out.txt"],
            "the suffix of the output must be .csv, .jsonl or .npz, got '.txt'",
        ),
        ([model, image, "-o", tmp_path / "no" / "out.csv"], "does not exist"),
        ([model, image, "--labels", text], "x.txt: holds no labels; write the name of a class a line"),
        ([model, image, "--labels", latin], "latin.txt: must be text in UTF-8"),
        ([model, image, "--labels", few], "there are 2 labels for 4 classes of output 'y'"),
        ([model, image, "--labels", labels, "-o", tmp_path / "out.npz"], "labels name the classes of top"),
        ([model, image, "--size", "6", "6"], "input 'x' has the width 5 in the file, got a size of 6"),
        ([model, image, "--mean", "1", "2"], "mean must be one number or one for each of 3 channels, got 2"),
        ([model, image, "--std", "0"], "std must not be zero"),
        ([model, image, "--take", "z"], "output 'z' does not exist; the outputs are 'y'"),
        ([two, image, "--top", "2"], "top and labels are for one output of scores, the network has 'y', 'names'"),
        ([two, image, "--take", "names", "--top", "2"], "top and labels need scores (N, classes), output 'names' is"),
        ([two, image, "-o", tmp_path / "out.npz"], "'names' is an output and what .npz files call the inputs"),
        (
            [save_network(tmp_path / "f.onnx", (4, 3, 6, 5)), image, "--batch-size", "2"],
            "batch_size must be 4, to which",
        ),
        (
            [save_network(tmp_path / "c.onnx", ("N", 2, 6, 5)), image],
            "input 'x' has 2 channels, images have 1, 3 or 4; give arrays",
        ),
        (
            [save_network(tmp_path / "v.onnx", ("N", 3), layout="NC"), image],
            "images need one input (N, C, H, W), this network has 'x' (N, 3); give arrays",
        ),
        (
            [save_network(tmp_path / "v.onnx", ("N", 3), layout="NC"), image, "--size", "3", "3"],
            "size, mean and std are for networks of one input (N, C, H, W)",
        ),
    ]


def test_refusals_are_one_line_and_write_nothing(tmp_path, model, images, labels, capsys):
    for arguments, message in refusals(tmp_path, model, images[0], labels):
        assert run(*arguments) == 1, message
        captured = capsys.readouterr()
        assert message in captured.err and captured.out == ""
        assert captured.err.startswith("normengine: error: ") and captured.err.count("\n") == 1
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(("out", ".normengine"))]


def test_without_pillow(tmp_path, model, images, monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("normengine.input_files.load_module", missing)
    assert run(model, images[0]) == 1
    assert capsys.readouterr().err == (
        "normengine: error: images are read by Pillow, which is not installed; pip install pillow\n"
    )
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 6, 5), np.float32))
    assert run(model, tmp_path / "x.npy") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top", "0"], "argument --top: must be a whole number of at least 1, got '0'"),
        (["--batch-size", "x"], "argument --batch-size: must be a whole number of at least 1, got 'x'"),
        (["--scale", "1/0"], "argument --scale: must be a number, as in 0.5 or 1/255, got '1/0'"),
        (["--size", "3"], "argument --size: expected 2 arguments"),
    ],
)
def test_usage_errors(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        run("m.onnx", "x.png", *arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_an_interrupted_run_leaves_the_older_file(tmp_path, model, images, monkeypatch, capsys):
    out = tmp_path / "out.jsonl"
    out.write_text("older")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "_results", interrupt)
    assert run(model, images[0], "-o", out) == 130
    assert out.read_text() == "older" and not list(tmp_path.glob(".normengine-*"))
