"""Accuracy of the scalar functions in compiled chains, over their whole range, and the random numbers."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest

from normengine.kernels.chains import Step, scalars
from normengine.kernels.chains import chain as chain_module
from normengine.kernels.chains.inline import Inliner, definitions
from normengine.kernels.code import _library
from normengine.ops import OPS
from normengine.ops.base import Op

from .test_chain import Ref, draw, run, step


def apply(function: str, x: np.ndarray, *more: Ref) -> np.ndarray:
    y = np.empty_like(x)
    run([Step(function, (("input", 0), *more), "float32")], [x], [y], [0])
    return y


def ulps(result: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(result.astype(np.float64) - expected) / np.spacing(np.abs(expected).astype(np.float32))))


def test_exp() -> None:
    x = np.linspace(-86.6, 88.7, 1_000_001).astype(np.float32)
    assert ulps(apply("exp", x), np.exp(x.astype(np.float64))) < 2
    special = np.array([0, -0.0, 88.73, 1e30, np.inf, -87.4, -1e30, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(apply("exp", special), [1, 1, np.inf, np.inf, np.inf, 0, 0, 0, np.nan])


def test_log() -> None:
    x = np.exp(np.linspace(-87, 88, 1_000_001)).astype(np.float32)
    assert ulps(apply("log", x), np.log(x.astype(np.float64))) < 3
    near = (1 + np.linspace(-0.3, 0.3, 100_001)).astype(np.float32)
    np.testing.assert_allclose(apply("log", near), np.log(near.astype(np.float64)), rtol=3e-7)
    special = np.array([1, 0, -0.0, -1, -np.inf, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(apply("log", special), [0, -np.inf, -np.inf, np.nan, np.nan, np.inf, np.nan])


def test_log1p() -> None:
    x = np.concatenate([[0], np.geomspace(1e-30, 1e4, 100_001)]).astype(np.float32)
    np.testing.assert_allclose(apply("log1p", x), np.log1p(x.astype(np.float64)), rtol=1e-6)


def test_tanh() -> None:
    x = np.concatenate([np.linspace(-12, 12, 1_000_001), np.geomspace(1e-30, 1, 1001)]).astype(np.float32)
    np.testing.assert_allclose(apply("tanh", x), np.tanh(x.astype(np.float64)), rtol=3e-7)
    special = np.array([np.inf, -np.inf, 1e30, np.nan], np.float32)
    np.testing.assert_array_equal(apply("tanh", special), [1, -1, 1, np.nan])


def test_sigmoid() -> None:
    x = np.linspace(-86, 100, 1_000_001).astype(np.float32)
    np.testing.assert_allclose(apply("sigmoid", x), 1 / (1 + np.exp(-x.astype(np.float64))), rtol=5e-7)
    np.testing.assert_array_equal(apply("sigmoid", np.array([np.inf, -np.inf, -1e30], np.float32)), [1, 0, 0])


@pytest.mark.parametrize("function", ["erf", "gelu"])
def test_error_function(function: str) -> None:
    x = np.linspace(-9, 9, 20_001).astype(np.float32)
    error = np.array([math.erf(v if function == "erf" else v / math.sqrt(2)) for v in x.astype(np.float64)])
    expected = error if function == "erf" else 0.5 * x.astype(np.float64) * (1 + error)
    np.testing.assert_allclose(apply(function, x), expected, rtol=1e-7, atol=1e-6)


def test_cosine_of_turns() -> None:
    u = (np.arange(0, 1 << 24, 17) / (1 << 24)).astype(np.float32)
    np.testing.assert_allclose(apply("cos_turns", u), np.cos(2 * math.pi * u.astype(np.float64)), rtol=0, atol=3e-7)


@pytest.mark.parametrize(
    "function", ["relu", "relu6", "silu", "hardswish", "mish", "gelu", "gelu_tanh", "sqrt", "rsqrt", "erf"]
)
def test_nan_goes_through(function: str) -> None:
    assert np.isnan(apply(function, np.full(19, np.nan, np.float32))).all()


# Random123's kat_vectors for philox2x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = (
    ((0x00000000, 0x00000000), 0x00000000, (0xFF1DAE59, 0x6CD10DF2)),
    ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, (0x2C3F628B, 0xAB4FD7AD)),
    ((0x243F6A88, 0x85A308D3), 0x13198A2E, (0xDD7CE038, 0xF62A4C12)),
)


@pytest.mark.parametrize("counter, key, words", KNOWN_ANSWERS)
def test_philox_known_answers(counter: tuple[int, int], key: int, words: tuple[int, int]) -> None:
    expected = words[0] | words[1] << 32
    assert int(scalars.philox(counter[0], counter[1], key)) == expected
    inputs = [np.full(11, n, np.uint32) for n in (*counter, key)]
    low = np.empty(11, np.uint32)
    high = np.empty(11, np.float64)
    steps = [
        Step("philox", (("input", 0), ("input", 1), ("input", 2)), "uint64"),
        Step("cast", (("step", 0),), "uint32"),
        Step("second_uniform", (("step", 0),), "float64"),
    ]
    run(steps, inputs, [low, high], [1, 2])
    assert (low == words[0]).all()
    assert (high == (words[1] >> 8) / 2**24).all()


SEED, NOW = (("input", 1), ("input", 2))


def noise(function: str, setting: float, layer: float = 0.0, now: int = 0) -> np.ndarray:
    ones = np.ones((64, 4096), np.float32)
    counters = [np.broadcast_to(np.array(n, np.uint32), ones.shape) for n in (123, now)]
    y = np.empty_like(ones)
    arguments = (("input", 0), SEED, NOW, ("index", 0), ("constant", setting), ("constant", layer))
    run([Step(function, arguments, "float32")], [ones, *counters], [y], [0], [[4096, 1]])
    return y


def test_dropout_keeps_its_share_and_scales() -> None:
    y = noise("dropout", 0.3)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
    assert abs((y == 0).mean() - 0.3) < 0.005
    assert (noise("dropout", 0.0) == 1).all() and (noise("dropout", 1.0) == 0).all()


def test_gaussian_dropout_has_its_moments() -> None:
    y = noise("gaussian_dropout", 0.2).astype(np.float64)
    assert abs(y.mean() - 1) < 0.005 and abs(y.std() - 0.5) < 0.005
    z = (y - 1) / 0.5
    assert abs((z**3).mean()) < 0.03 and abs((z**4).mean() - 3) < 0.1
    assert (noise("gaussian_dropout", 0.0) == 1).all()


def test_uniform_dropout_fills_its_interval() -> None:
    y = noise("uniform_dropout", 0.4)
    assert 0.6 <= y.min() < 0.601 and 1.399 < y.max() <= 1.4
    assert (noise("uniform_dropout", 0.0) == 1).all()


def test_steps_and_layers_draw_independent_noise() -> None:
    draws = [noise("uniform_dropout", 1.0, layer, now).ravel() for layer, now in ((0, 0), (1, 0), (0, 1), (2, 0))]
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.01
    assert abs(np.corrcoef(draws[0][:-1], draws[0][1:])[0, 1]) < 0.01


def test_loops_are_vector_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMENGINE_CACHE", str(tmp_path))
    y = np.empty((2, 100), np.float32)
    steps = [
        step("sub", ("input", 0), ("input", 1)),
        step("exp", ("step", 0)),
        step("tanh", ("step", 1)),
        step("gelu", ("step", 2)),
    ]
    chain = run(steps, [draw(2, 100), np.broadcast_to(draw(2, 1), (2, 100))], [y], [3])
    function = chain_module._function(chain.source(), tmp_path / "chain.py")
    code = str(_library(function, "vector_code", {"contract"})._final_module)
    assert " x float>" in code and "x double" not in code and "fptrunc" not in code


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.scalar], ids=lambda op: op.name)
def test_an_operator_says_how_many_operations_its_function_has(op: Op) -> None:
    assert op.scalar is not None
    inliner = Inliner()
    parameters = [argument.arg for argument in definitions()[op.scalar.function].args.args]
    result = inliner.call(op.scalar.function, parameters)
    nodes = ast.walk(ast.parse("\n".join([*inliner.lines, result])))
    assert op.scalar.operations == sum(isinstance(n, (ast.BinOp, ast.Compare, ast.Call, ast.UnaryOp)) for n in nodes)
