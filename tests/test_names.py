"""The names of the package: found where the table says, under PyTorch's meaning."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import normengine as ne


@pytest.mark.parametrize("name", ne.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(ne, name) is not None
    assert name in dir(ne)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(ne.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(ne.__all__)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'normengine' has no attribute 'nothing'"):
        print(ne.nothing)


def test_arrays_from_scratch() -> None:
    for array, expected in [
        (ne.zeros(2, 3), np.zeros((2, 3), np.float32)),
        (ne.zeros((2, 3), dtype=ne.int64), np.zeros((2, 3), np.int64)),
        (ne.ones(()), np.ones((), np.float32)),
        (ne.full((2,), 3), np.full(2, 3, np.float32)),
        (ne.empty(2), np.zeros(2, np.float32)),
        (ne.zeros_like(np.ones(2, np.int64)), np.zeros(2, np.int64)),
        (ne.ones_like(ne.zeros(2)), np.ones(2, np.float32)),
        (ne.tensor([1.0, 2.0]), np.array([1, 2], np.float32)),
        (ne.tensor([1, 2]), np.array([1, 2])),
        (ne.tensor([True]), np.array([True])),
        (ne.arange(3), np.arange(3)),
        (ne.arange(1, 2, 0.5), np.array([1, 1.5], np.float32)),
        (ne.linspace(0, 1, 3), np.array([0, 0.5, 1], np.float32)),
    ]:
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    assert ne.randn(3, 4).dtype == ne.rand((3, 4)).dtype == np.float32
    assert ne.randint(5, (100,)).max() == 4
    assert ne.randint(3, 5, (100,)).min() == 3
    array = np.zeros(2)
    assert np.shares_memory(ne.from_numpy(array), array)
    with pytest.raises(ValueError, match="computes on the CPU"):
        ne.zeros(2, device="cuda")
