"""Normalizations against their papers' formulas in float64: outputs, gradients, running statistics, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim

RNG = np.random.default_rng(11)
SHAPES = [(6, 4, 5, 3), (4, 36, 3, 2), (2, 2, 17, 19)]
EPS = 1e-5
Arrays = dict[str, np.ndarray]
PIXELS = (2, 3)


def images(*shape: int) -> np.ndarray:
    return (1.5 * RNG.standard_normal(shape) + 0.5).astype(np.float32)


def column(vector: np.ndarray) -> np.ndarray:
    return vector.reshape(-1, 1, 1)


def normalized(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPS)


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    return normalized(x.reshape(len(x), groups, -1), (2,)).reshape(x.shape)


def affine(y: np.ndarray, p: Arrays) -> np.ndarray:
    return y * column(p["weight"]) + column(p["bias"])


def ghost(size: int) -> Callable[[np.ndarray, Arrays], np.ndarray]:
    def formula(x: np.ndarray, p: Arrays) -> np.ndarray:
        cuts = range(size, len(x), size) if len(x) > size else ()
        return affine(np.concatenate([normalized(part, (0, 2, 3)) for part in np.split(x, cuts)]), p)

    return formula


def response(x: np.ndarray, p: Arrays) -> np.ndarray:
    eps = abs(p["eps"]) if "eps" in p else 1e-6
    y = affine(x / np.sqrt((x * x).mean(PIXELS, keepdims=True) + eps), p)
    return np.maximum(y, column(p["tau"])) if "tau" in p else y


def switch(x: np.ndarray, p: Arrays) -> np.ndarray:
    kinds = [PIXELS, (1, 2, 3), (0, 2, 3)][: len(p["mean_weight"])]
    shares = [np.exp(w) / np.exp(w).sum() for w in (p["mean_weight"], p["var_weight"])]
    mean = sum(s * x.mean(axes, keepdims=True) for s, axes in zip(shares[0], kinds, strict=True))
    var = sum(s * x.var(axes, keepdims=True) for s, axes in zip(shares[1], kinds, strict=True))
    return affine((x - mean) / np.sqrt(var + EPS), p)


def evo(groups: int) -> Callable[[np.ndarray, Arrays], np.ndarray]:
    def formula(x: np.ndarray, p: Arrays) -> np.ndarray:
        var = x.reshape(len(x), groups, -1).var(2)
        std = np.sqrt(np.repeat(var, x.shape[1] // groups, axis=1)[:, :, None, None] + EPS)
        return affine(x / (1 + np.exp(-column(p["v"]) * x)) / std, p)

    return formula


LAYERS: dict[str, tuple[Callable[[int], nn.Module], Callable[[np.ndarray, Arrays], np.ndarray]]] = {
    "group": (lambda c: nn.GroupNorm(2, c), lambda x, p: affine(grouped(x, 2), p)),
    "instance": (lambda c: nn.InstanceNorm2d(c, affine=True), lambda x, p: affine(grouped(x, x.shape[1]), p)),
    "ghost": (lambda c: nn.GhostBatchNorm2d(c, 2), ghost(2)),
    "ghost with a rest": (lambda c: nn.GhostBatchNorm2d(c, 4), ghost(4)),
    "ghost of all": (lambda c: nn.GhostBatchNorm2d(c, 100), ghost(100)),
    "response": (nn.FilterResponseNorm2d, response),
    "response with eps": (lambda c: nn.FilterResponseNorm2d(c, learn_eps=True), response),
    "response alone": (lambda c: nn.FilterResponseNorm2d(c, tlu=False), response),
    "switch": (nn.SwitchNorm2d, switch),
    "switch without batch": (lambda c: nn.SwitchNorm2d(c, using_bn=False), switch),
    "evo": (lambda c: nn.EvoNorm2dS0(c, groups=2), evo(2)),
}


def drawn(layer: nn.Module) -> Arrays:
    """New numbers in all parameters, and what they are in float64."""
    for parameter in layer.parameters():
        parameter.data[...] = RNG.uniform(-0.7, 0.9, parameter.shape)
    return {name: np.asarray(p.data, np.float64) for name, p in layer.named_parameters()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_the_papers(name: str, shape: tuple[int, ...], either: str) -> None:
    build, formula = LAYERS[name]
    layer, x = build(shape[1]), images(*shape)
    parameters = drawn(layer)
    assert np.allclose(layer(x), formula(x.astype(np.float64), parameters), atol=2e-5)


class Given(nn.Module):
    """The layer on a parameter, so that a step of rate 1 moves it by the gradient."""

    def __init__(self, layer: nn.Module, x: np.ndarray) -> None:
        super().__init__()
        self.x = nn.Parameter(x.copy())
        self.layer = layer

    def forward(self, zeros: ne.Tensor) -> ne.Tensor:
        return self.layer(self.x + zeros).flatten(1)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_the_formula(name: str) -> None:
    build, formula = LAYERS[name]
    shape = (6, 4, 3, 2)
    layer, x = build(shape[1]), images(*shape)
    parameters = drawn(layer)
    model, factors = Given(layer, x), RNG.standard_normal((shape[0], 24)).astype(np.float32)

    def loss(output: Any, target: Any) -> Any:
        return (output * target).sum()

    ne.TrainStep(model, loss, optim.SGD(model.parameters(), lr=1.0))(np.zeros(shape, np.float32), factors)
    at = {"x": x.astype(np.float64), **parameters}
    moved = {"x": model.x.data, **{key: p.data for key, p in layer.named_parameters()}}
    step = 1e-6
    for key, array in at.items():
        slope = np.zeros_like(array)
        for i in np.ndindex(array.shape):
            ends = []
            for shift in (step, -step):
                here = {k: v.copy() for k, v in at.items()}
                here[key][i] += shift
                y = formula(here.pop("x"), here).reshape(factors.shape)
                ends.append((y * factors).sum())
            slope[i] = (ends[0] - ends[1]) / (2 * step)
        got = array - moved[key]
        assert np.abs(got - slope).max() <= 2e-4 * max(1, np.abs(slope).max()), key


def test_ghost_parts_enter_the_running_statistics_in_turn() -> None:
    """Algorithm 1 of Hoffer et al.: as if the parts were batches, one after the other."""
    layer, plain, x = nn.GhostBatchNorm2d(3, 2, momentum=0.3), nn.BatchNorm2d(3, momentum=0.3), images(8, 3, 4, 5)
    layer(x)
    for part in np.split(x, 4):
        plain(part)
    for key in ("running_mean", "running_var"):
        assert np.allclose(getattr(layer, key), getattr(plain, key), rtol=1e-5, atol=1e-6)
    assert layer.num_batches_tracked == 1
    assert np.allclose(layer.eval()(x), layer.bias.data.reshape(-1, 1, 1) + plain.eval()(x), atol=1e-5)


def test_cumulative_ghost_statistics() -> None:
    layer, x = nn.GhostBatchNorm2d(3, 2, momentum=None), images(8, 3, 4, 5)
    layer(x[:4])
    layer(x[4:])
    parts = [part.astype(np.float64) for part in np.split(x, 4)]
    assert np.allclose(layer.running_mean, np.mean([p.mean((0, 2, 3)) for p in parts], 0), atol=1e-6)
    assert np.allclose(layer.running_var, np.mean([p.var((0, 2, 3), ddof=1) for p in parts], 0), rtol=1e-5)


def test_ghost_batch_norm_of_all_images_is_batch_norm() -> None:
    x = images(8, 5, 3, 3)
    ghost_norm, plain = nn.GhostBatchNorm2d(5, 8), nn.BatchNorm2d(5)
    assert np.array_equal(ghost_norm(x), plain(x))
    assert np.array_equal(ghost_norm.running_var, plain.running_var)


def test_batch_renorm_is_the_papers() -> None:
    layer, x = nn.BatchRenorm2d(4, momentum=0.2, rmax=1.5, dmax=0.3), images(6, 4, 5, 3)
    p = drawn(layer)
    layer.running_mean[...] = RNG.uniform(0, 1, 4)
    layer.running_var[...] = RNG.uniform(0.2, 4, 4)
    mean, var = (np.asarray(a, np.float64) for a in (layer.running_mean, layer.running_var))
    y, x = layer(x), x.astype(np.float64)
    batch, std, running = x.mean((0, 2, 3)), np.sqrt(x.var((0, 2, 3)) + EPS), np.sqrt(var + EPS)
    r, d = np.clip(std / running, 1 / 1.5, 1.5), np.clip((batch - mean) / running, -0.3, 0.3)
    assert len({*r, *d} & {1 / 1.5, 1.5, 0.3, -0.3}) >= 2, "the bounds must bind somewhere"
    want = affine(normalized(x, (0, 2, 3)) * column(r) + column(d), p)
    assert np.allclose(y, want, atol=2e-5)
    assert np.allclose(layer.running_mean, 0.8 * mean + 0.2 * batch, atol=1e-6)
    assert np.allclose(layer.running_var, 0.8 * var + 0.2 * x.var((0, 2, 3), ddof=1), rtol=1e-5)


def test_no_gradient_flows_through_batch_renorms_corrections() -> None:
    """With ``r`` and ``d`` constant, dx is batch norm's with the weight times r."""
    x, factors = images(6, 4, 3, 2), RNG.standard_normal((6, 24)).astype(np.float32)
    moved = []
    renorm, plain = nn.BatchRenorm2d(4, dmax=0.2), nn.BatchNorm2d(4)
    renorm.running_var[...] = [0.5, 1, 2, 3]
    r = np.sqrt((x.var((0, 2, 3)) + EPS) / (renorm.running_var + EPS))
    plain.weight.data[...] = np.clip(r, 1 / 3, 3)
    for layer in (renorm, plain):
        model = Given(layer, x)
        step = ne.TrainStep(model, lambda y, t: (y * t).sum(), optim.SGD(model.parameters(), lr=1.0))
        step(np.zeros_like(x), factors)
        moved.append(model.x.data)
    assert np.allclose(*moved, atol=1e-5)


def test_batch_renorms_bounds_may_change_between_steps() -> None:
    layer = nn.BatchRenorm2d(3, rmax=1.0, dmax=0.0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), layer, nn.Flatten())
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    x, y = images(4, 2, 5, 5), np.arange(4)
    for bound in (1.0, 1.5, 2.0, 3.0):
        layer.rmax, layer.dmax = bound, bound - 1
        step(x, y)
    assert len(step.programs) == 1


def test_bounds_of_one_and_zero_are_batch_norm() -> None:
    x = images(6, 4, 5, 3)
    assert np.allclose(nn.BatchRenorm2d(4, rmax=1, dmax=0)(x), nn.BatchNorm2d(4)(x), atol=1e-6)


def test_switch_norm_in_inference_uses_the_running_statistics() -> None:
    layer, x = nn.SwitchNorm2d(4), images(6, 4, 5, 3)
    p = drawn(layer)
    layer(x)
    one = layer.eval()(x[:1])
    x = x[:1].astype(np.float64)
    mean, var = (column(np.asarray(a, np.float64)) for a in (layer.running_mean, layer.running_var))
    shares = [np.exp(w) / np.exp(w).sum() for w in (p["mean_weight"], p["var_weight"])]
    middle = shares[0] @ np.stack([np.broadcast_to(m, (1, 4, 1, 1)).ravel() for m in (
        x.mean(PIXELS, keepdims=True), x.mean((1, 2, 3), keepdims=True), mean)])  # fmt: skip
    spread = shares[1] @ np.stack([np.broadcast_to(v, (1, 4, 1, 1)).ravel() for v in (
        x.var(PIXELS, keepdims=True), x.var((1, 2, 3), keepdims=True), var)])  # fmt: skip
    assert np.allclose(one, affine((x - column(middle)) / np.sqrt(column(spread) + EPS), p), atol=2e-5)


FAR = ["group", "instance", "ghost", "switch"]


@pytest.mark.parametrize("name", FAR)
def test_statistics_far_from_zero(name: str) -> None:
    build, formula = LAYERS[name]
    x = (1e4 + RNG.standard_normal((4, 4, 16, 15))).astype(np.float32)
    y = build(4)(x)
    p = {"weight": np.ones(4), "bias": np.zeros(4), "mean_weight": np.ones(3), "var_weight": np.ones(3)}
    assert np.allclose(y, formula(x.astype(np.float64), p), atol=2e-3)


@pytest.mark.parametrize("name", LAYERS)
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    x, y = images(16, 3, 9, 9), RNG.integers(0, 4, 16)
    found = []
    before = ne.get_num_threads()
    try:
        for threads in (1, 2, 3):
            ne.set_num_threads(threads)
            ne.manual_seed(5)
            layer = LAYERS[name][0](20)
            head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 4)
            model = nn.Sequential(nn.Conv2d(3, 20, 3), layer, nn.ReLU(), *head)
            step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
            found.append([step(x, y) for _ in range(3)])
    finally:
        ne.set_num_threads(before)
    assert found[0] == found[1] == found[2]


ERRORS = [
    (lambda: nn.GroupNorm(3, 4), "GroupNorm: num_channels 4 must be divisible by num_groups 3"),
    (lambda: nn.GroupNorm(0, 4), "GroupNorm: num_groups must be a positive integer, got 0"),
    (lambda: nn.LayerNorm(()), "LayerNorm: normalized_shape must have an extent at least"),
    (lambda: nn.LayerNorm((3, 0)), "LayerNorm: normalized_shape must be a positive integer, got 0"),
    (lambda: nn.GhostBatchNorm2d(4, 0), "GhostBatchNorm2d: ghost_size must be a positive integer, got 0"),
    (lambda: nn.BatchRenorm2d(4, rmax=0.5), "BatchRenorm2d: rmax must be a finite number of 1 or more, got 0.5"),
    (lambda: nn.BatchRenorm2d(4, track_running_stats=False), "BatchRenorm2d: there is nothing to renormalize to"),
    (lambda: nn.EvoNorm2dS0(6, groups=4), "EvoNorm2dS0: num_features 6 must be divisible by groups 4"),
    (lambda: nn.FilterResponseNorm2d(4, eps=-1), "FilterResponseNorm2d: eps must be a finite number of 0 or more"),
    (lambda: nn.GroupNorm(2, 4)(images(2, 6, 3, 3)), r"GroupNorm: input has 6 channels \(shape \(2, 6, 3, 3\)\)"),
    (lambda: nn.GroupNorm(4, 4)(images(2, 4)), "expected more than 1 value in each of the 4 groups"),
    (lambda: nn.LayerNorm((4, 3))(images(2, 4, 2)), r"normalized_shape is \(4, 3\), but the input's shape \(2, 4, 2\)"),
    (lambda: nn.InstanceNorm2d(4)(images(2, 4, 1, 1)), "expected more than 1 value in each channel of an image"),
    (lambda: nn.InstanceNorm2d(4)(images(2, 4)), r"input must be \(N, C, H, W\) or \(C, H, W\), got shape \(2, 4\)"),
    (lambda: nn.GhostBatchNorm2d(4, 1)(images(2, 4, 1, 1)), "expected more than 1 value per channel in each part of 1"),
    (lambda: nn.EvoNorm2dS0(4, groups=2)(images(2, 4, 3)), r"input must be \(N, C, H, W\), got shape \(2, 4, 3\)"),
    (lambda: nn.functional.group_norm(images(2, 6, 3, 3), 4), r"6 channels \(shape \(2, 6, 3, 3\)\) cannot be divided"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), ERRORS, ids=[message[:50] for _, message in ERRORS])
def test_errors(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sample_without_its_batch() -> None:
    x = images(2, 4, 6, 5)
    layer = nn.InstanceNorm2d(4)
    assert np.array_equal(layer(x[0]), layer(x)[0])


@pytest.mark.parametrize("opset", [11, 17, 18, 21])
@pytest.mark.parametrize("name", [*LAYERS, "renorm", "layer", "layer of planes", "group of rows", "group plain"])
def test_export_and_import(name: str, opset: int, tmp_path: Any) -> None:
    """The file gives what the model gives (``export`` holds it to ONNX's reference evaluator), and runs."""
    more: dict[str, nn.Module] = {
        "renorm": nn.BatchRenorm2d(4),
        "layer": nn.LayerNorm((4, 7, 6)),
        "layer of planes": nn.LayerNorm((7, 6), elementwise_affine=False),
        "group of rows": nn.Sequential(nn.Flatten(), nn.GroupNorm(3, 168)),
        "group plain": nn.GroupNorm(2, 4, affine=False),
    }
    layer = more[name] if name in more else LAYERS[name][0](4)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), layer, nn.Flatten())
    drawn(layer)
    model(images(8, 2, 9, 8))
    path = tmp_path / "model.onnx"
    report = ne.onnx.export(model, path, (2, 9, 8), opset=opset)
    assert report.difference < 1e-4
    folds = name in ("ghost", "ghost with a rest", "ghost of all", "renorm")
    assert report.folded == len(report.batch_norms) == int(folds)
    x = images(3, 2, 9, 8)
    assert np.allclose(ne.InferenceSession(path)(x), model.eval()(x), atol=1e-5)
