"""What files become for a network: kinds of images, arrays, layouts, and what is said of those that do not fit."""

import io
import zipfile

import numpy as np
import pytest

from normengine.input_files import InputReader, Preparation, find_files, has_channels_last
from normengine.session import NodeArg

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed to make images")
RNG = np.random.default_rng(0)


def port(*shape, name="x", kind="float"):
    return NodeArg(name, list(shape), f"tensor({kind})")


def reader(*ports, **preparation):
    return InputReader(ports, Preparation(**preparation))


def only(found):
    (sample,) = found
    return sample.arrays["x"]


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def test_files_of_folders_are_sorted_and_kept_in_the_order_of_folders(tmp_path):
    for name in ("b/2.png", "b/10.PNG", "a/z.jpeg", "a/y.txt", "x.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_files([tmp_path / "b", tmp_path / "x.npy", tmp_path / "a"])
    assert found == [tmp_path / name for name in ("b/10.PNG", "b/2.png", "x.npy", "a/z.jpeg")]


def test_grey_and_colour_by_the_channels_of_the_input(tmp_path):
    colour, grey = pixels(4, 5, 3), pixels(4, 5)
    Image.fromarray(colour).save(tmp_path / "c.png")
    Image.fromarray(grey).save(tmp_path / "g.bmp")
    assert np.array_equal(only(reader(port("N", 3, 4, 5)).read(tmp_path / "c.png")),
                          (np.moveaxis(colour, 2, 0) / 255).astype(np.float32))  # fmt: skip
    assert np.array_equal(only(reader(port("N", 1, 4, 5)).read(tmp_path / "g.bmp"))[0], (grey / 255).astype(np.float32))
    as_colour = only(reader(port("N", 3, 4, 5)).read(tmp_path / "g.bmp"))
    assert as_colour.shape == (3, 4, 5) and np.array_equal(as_colour[2], (grey / 255).astype(np.float32))
    as_grey = only(reader(port("N", 1, 4, 5)).read(tmp_path / "c.png"))[0]
    weighted = colour.astype(np.float64) @ [0.299, 0.587, 0.114]  # ITU-R 601-2
    assert np.abs(as_grey * 255 - weighted).max() < 1


def test_channels_last_and_bytes(tmp_path):
    colour = pixels(4, 5, 3)
    Image.fromarray(colour).save(tmp_path / "c.png")
    last = only(reader(port("N", 4, 5, 3), mean=(0.1, 0.2, 0.3)).read(tmp_path / "c.png"))
    assert np.allclose(last, colour / 255 - [0.1, 0.2, 0.3], rtol=0, atol=1e-6)
    for shape, axis in (((4, 3, 5), 0), ((7, 5, 4), 2), ((4, 5, 6), 0), (("c", "h", "w"), 0)):
        assert has_channels_last(("N", *shape)) == bool(axis)
    taken = only(reader(port("N", 3, "h", "w", kind="uint8")).read(tmp_path / "c.png"))
    assert taken.dtype == np.uint8 and np.array_equal(taken, np.moveaxis(colour, 2, 0))


def test_images_of_16_bits_turned_and_of_other_modes(tmp_path):
    deep = np.array([[0, 257, 65535], [128 * 257, 128 * 257 + 100, 3]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    grey = only(reader(port("N", 1, 2, 3)).read(tmp_path / "deep.png"))[0]
    assert np.array_equal(np.rint(grey * 255), [[0, 1, 255], [128, 128, 0]])
    colour = pixels(4, 6, 3)
    turned = Image.fromarray(colour)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    found = only(reader(port("N", 3, 6, 4)).read(tmp_path / "turned.png"))
    assert np.array_equal(found, np.moveaxis(np.rot90(colour, -1) / 255, 2, 0).astype(np.float32))
    Image.fromarray(colour).convert("P").save(tmp_path / "p.gif")
    assert only(reader(port("N", 3, 4, 6)).read(tmp_path / "p.gif")).shape == (3, 4, 6)
    Image.fromarray(np.zeros((4, 6), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match="its pixels are floats, whose scale nobody knows"):
        list(reader(port("N", 1, 4, 6)).read(tmp_path / "f.tiff"))


def test_images_are_resized_to_the_declared_size(tmp_path):
    Image.fromarray(np.full((9, 7, 3), 51, np.uint8)).save(tmp_path / "c.png")
    assert np.allclose(only(reader(port("N", 3, 4, 5)).read(tmp_path / "c.png")), np.full((3, 4, 5), 0.2))
    assert only(reader(port("N", 3, "h", "w")).read(tmp_path / "c.png")).shape == (3, 9, 7)
    with pytest.raises(ValueError, match=r"c.png: input 'x' is \(N, 3, 4, w\), a sample of it is \(3, 9, 7\)"):
        list(reader(port("N", 3, 4, "w")).read(tmp_path / "c.png"))


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    Image.new("L", (40, 40)).save(tmp_path / "c.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="c.png: cannot be read as an image"):
        list(reader(port("N", 1, 4, 4)).read(tmp_path / "c.png"))


def test_arrays(tmp_path):
    x = RNG.standard_normal((3, 2, 4, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "one.npy", x[1])
    np.savez_compressed(tmp_path / "x.npz", anything=x)
    take = reader(port("N", 2, 4, 5))
    for name in ("x.npy", "x.npz"):
        samples = list(take.read(tmp_path / name))
        assert [sample.name for sample in samples] == [f"{tmp_path / name}[{i}]" for i in range(3)]
        assert np.array_equal([sample.arrays["x"] for sample in samples], x)
    (sample,) = take.read(tmp_path / "one.npy")
    assert sample.name == str(tmp_path / "one.npy") and np.array_equal(sample.arrays["x"], x[1])


def test_arrays_of_bytes_are_pixels(tmp_path):
    x = pixels(3, 2, 4, 5)
    np.save(tmp_path / "x.npy", x)
    samples = list(reader(port("N", 2, 4, 5), scale=0.5, mean=(1, 2), std=(2, 4)).read(tmp_path / "x.npy"))
    expected = (x * 0.5 - np.reshape([1, 2], (2, 1, 1))) / np.reshape([2, 4], (2, 1, 1))
    assert np.allclose([sample.arrays["x"] for sample in samples], expected, rtol=1e-6)
    flat = list(reader(port("N", 40)).read(save(tmp_path / "flat.npy", x.reshape(3, 40))))
    assert np.allclose([sample.arrays["x"] for sample in flat], x.reshape(3, 40) / 255, rtol=1e-6)


def test_several_inputs(tmp_path):
    a, b = RNG.standard_normal((3, 2)).astype(np.float32), np.arange(12).reshape(3, 4)
    take = reader(port("N", 2, name="a"), port("N", 4, name="b", kind="int64"))
    np.savez(tmp_path / "x.npz", a=a, b=b, other=np.zeros(9))
    samples = list(take.read(tmp_path / "x.npz"))
    assert np.array_equal([sample.arrays["a"] for sample in samples], a)
    assert np.array_equal([sample.arrays["b"] for sample in samples], b)
    np.savez(tmp_path / "x.npz", a=a)
    with pytest.raises(ValueError, match="x.npz: must be an .npz file of the inputs 'a', 'b', holds 'a'"):
        list(take.read(tmp_path / "x.npz"))
    np.savez(tmp_path / "x.npz", a=a, b=b[:2])
    with pytest.raises(ValueError, match="inputs must have as many samples each, got {'a': 3, 'b': 2}"):
        list(take.read(tmp_path / "x.npz"))
    with pytest.raises(ValueError, match="must be an .npz file of the inputs 'a', 'b', holds 'one array'"):
        list(take.read(save(tmp_path / "x.npy", a)))


def save(path, array, **options):
    np.save(path, array, **options)
    return path


def test_arrays_that_do_not_fit(tmp_path):
    take = reader(port("N", 2, 4, 5))
    path = tmp_path / "x.npy"
    for array, message in [
        (np.zeros((3, 2, 4, 6), np.float32), r"input 'x' is \(N, 2, 4, 5\), a sample of it is \(2, 4, 6\)"),
        (np.zeros((4, 5), np.float32), r"input 'x' is \(N, 2, 4, 5\), got an array of shape \(4, 5\)"),
        (np.zeros((0, 2, 4, 5), np.float32), r"holds no samples, its shape is \(0, 2, 4, 5\)"),
        (np.zeros((1, 2, 4, 5), np.int64), r"input 'x' is tensor\(float\), got int64; convert it with astype"),
        (np.zeros((1, 2, 4, 5), np.complex64), "got complex64"),
    ]:
        with pytest.raises(ValueError, match=rf"x.npy: .*{message}"):
            list(take.read(save(path, array)))
    with pytest.raises(ValueError, match=r"x.npy: cannot be read as arrays \(.*Python objects"):
        list(take.read(save(path, np.array([{}], object), allow_pickle=True)))


def test_damaged_arrays(tmp_path):
    take = reader(port("N", 2))
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros((500, 2), np.float32))
    whole, path = stream.getvalue(), tmp_path / "x.npz"
    bad_name = io.BytesIO()
    with zipfile.ZipFile(bad_name, "w") as file:
        file.writestr("x.npy", b"\x93NUMPY\x01\x00\xff\xff{")
    for content in (b"", b"PK", whole[: len(whole) // 2], bad_name.getvalue(), whole.replace(b"NUMPY", b"DUMPY")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="x.npz: cannot be read as arrays|x.npz: input 'x'"):
            list(take.read(path))
    numbers = save(tmp_path / "y.npy", np.zeros((500, 2), np.float32)).read_bytes()
    for content in (b"", numbers[:50], numbers[:-100]):
        (tmp_path / "y.npy").write_bytes(content)
        with pytest.raises(ValueError, match="y.npy: cannot be read as arrays"):
            list(take.read(tmp_path / "y.npy"))


def test_inputs_that_have_no_samples():
    with pytest.raises(ValueError, match="the network has no inputs"):
        reader()
    with pytest.raises(ValueError, match="input 'x' has no batch axis"):
        reader(port())


def test_bytes_take_no_scale():
    with pytest.raises(ValueError, match=r"input 'x' takes pixels as they are \(tensor\(uint8\)\)"):
        reader(port("N", 3, 4, 5, kind="uint8"), scale=1.0)
    with pytest.raises(ValueError, match="holds tensor\\(int64\\), which images are not; give arrays"):
        reader(port("N", 3, 4, 5, kind="int64")).check_images()
