"""The digits in the package: shapes, values, the fixed split, and the credit that their licence asks for."""

from importlib.resources import files

import numpy as np
import pytest

from normengine.data import digits


def test_all_images_and_labels():
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == np.float32
    assert labels.shape == (1797,) and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == 1
    assert np.array_equal(np.unique(labels), np.arange(10))


def test_held_out_fifth_is_fixed_stratified_and_disjoint():
    images, labels = digits()
    train_images, train_labels = digits("train")
    test_images, test_labels = digits("test")
    assert len(train_labels) == 1442 and len(test_labels) == 355
    for digit in range(10):
        of_digit = images[labels == digit]
        assert np.array_equal(test_images[test_labels == digit], of_digit[4::5])
        assert (train_labels == digit).sum() + (test_labels == digit).sum() == len(of_digit)
    assert np.isclose(train_images.sum() + test_images.sum(), images.sum())
    assert not {i.tobytes() for i in train_images} & {i.tobytes() for i in test_images}


def test_same_as_scikit_learn_ships():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed to compare with")
    theirs = datasets.load_digits()
    images, labels = digits()
    assert np.array_equal(images[:, 0] * 16, theirs.images)
    assert np.array_equal(labels, theirs.target)


def test_unknown_split():
    with pytest.raises(ValueError, match='split must be "all", "train" or "test", got \'valid\''):
        digits("valid")


def test_credit_is_beside_the_file():
    text = files("normengine.data").joinpath("DIGITS.md").read_text(encoding="utf-8")
    for words in ("E. Alpaydin and C. Kaynak", "UCI Machine Learning Repository", "10.24432/C50P49", "CC BY 4.0"):
        assert words in text
