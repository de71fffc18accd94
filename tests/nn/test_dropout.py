"""What layers drop, scale and add: rates and moments against closed forms, whole rows, channels and squares, the same
noise in the backward pass and for any number of threads, nothing in inference."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim

ALPHA = 1.0507009873554805 * 1.6732632423543772

MAKE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dropout1d": (lambda: nn.Dropout1d(0.3), (6, 17, 11)),
    "dropout3d": (lambda: nn.Dropout3d(0.3), (3, 17, 3, 5, 7)),
    "alpha": (lambda: nn.AlphaDropout(0.3), (5, 17, 7, 9)),
    "alpha_of_rows": (lambda: nn.AlphaDropout(0.3), (40, 33)),
    "feature_alpha": (lambda: nn.FeatureAlphaDropout(0.3), (5, 17, 7, 9)),
    "feature_alpha_of_rows": (lambda: nn.FeatureAlphaDropout(0.3), (40, 33)),
    "drop_block": (lambda: nn.DropBlock2d(0.3, 3), (5, 17, 7, 9)),
    "drop_block_of_even_size": (lambda: nn.DropBlock2d(0.3, 4), (5, 17, 7, 9)),
    "drop_block_larger_than_the_image": (lambda: nn.DropBlock2d(0.3, 9), (5, 17, 7, 4)),
    "stochastic_depth": (lambda: nn.StochasticDepth(0.3, "row"), (19, 5, 3, 7)),
    "stochastic_depth_of_batch": (lambda: nn.StochasticDepth(0.3, "batch"), (4, 5, 3, 7)),
    "gaussian_noise": (lambda: nn.GaussianNoise(0.3), (5, 17, 7, 9)),
    "gaussian_noise_of_one": (lambda: nn.GaussianNoise(0.3), (1,)),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    ne.manual_seed(17)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def alpha_scale(p: float) -> float:
    return ((1 - p) * (1 + p * ALPHA**2)) ** -0.5


# what all have in common


@pytest.mark.parametrize("name", MAKE)
def test_nothing_in_inference_and_something_in_training(name: str) -> None:
    make, shape = MAKE[name]
    x = normal(*shape)
    layer = make()
    assert np.array_equal(layer.eval()(x), x)
    layer.train()
    assert any(not np.array_equal(layer(x), x) for _ in range(20))


@pytest.mark.parametrize("name", MAKE)
def test_the_same_bits_for_any_number_of_threads(name: str) -> None:
    make, shape = MAKE[name]
    layer, x = make().train(), normal(*shape)

    def draws(threads: int) -> np.ndarray:
        ne.set_num_threads(threads)
        ne.manual_seed(3)
        return np.stack([layer(x) for _ in range(12)])

    one = draws(1)
    assert np.array_equal(one, draws(2))
    assert not all(np.array_equal(one[0], other) for other in one[1:])


class Weight(nn.Module):
    """A layer on a parameter; what it gave in a step stays in ``y``."""

    def __init__(self, layer: nn.Module, x: np.ndarray) -> None:
        super().__init__()
        self.layer, self.weight, self.y = layer, nn.Parameter(x), np.zeros_like(x)

    def forward(self, x: ne.Tensor) -> ne.Tensor:
        y = self.layer(self.weight * x)
        self.y = y
        return y


@pytest.mark.parametrize("name", MAKE)
def test_backward_has_the_mask_of_forward(name: str, backend: str) -> None:
    """The gradient of sum(y) with respect to x is what x was multiplied by."""
    make, shape = MAKE[name]
    x = np.abs(normal(*shape)) + 2
    model = Weight(make(), x).train()
    step = ne.TrainStep(model, lambda y, _: y.sum(), optim.SGD(model.parameters(), lr=1.0), seed=4)
    for _ in range(3):
        before = np.float64(model.weight.numpy())
        step(np.ones_like(x), np.zeros(len(x), np.float32))
        gradient, y = before - model.weight.numpy(), np.float64(model.y)
        if name.startswith("gaussian_noise"):
            want = np.ones(shape)
        elif "alpha" in name:
            a = alpha_scale(0.3)
            want = np.where(np.abs(y + a * ALPHA * 0.7) < 1e-4, 0, a)
            assert np.allclose(y, a * np.where(want == 0, ALPHA * -0.7, before + ALPHA * 0.3), atol=1e-4)
        else:
            want = y / before
        assert np.allclose(gradient, want, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "attribute", "spread"),
    [
        (nn.GaussianNoise(0.0), "std", lambda std: std),
        (nn.StochasticDepth(0.0, "row"), "p", lambda p: math.sqrt(p / (1 - p))),
        (nn.DropBlock2d(0.0, 1), "p", lambda p: math.sqrt(p / (1 - p))),
    ],
)
def test_rates_may_change_between_steps(layer: nn.Module, attribute: str, spread: Callable[[float], float]) -> None:
    model = Weight(layer, np.ones((2000, 1, 2, 1), np.float32)).train()
    step = ne.TrainStep(model, lambda y, _: y.sum(), optim.SGD(model.parameters(), lr=0.0), seed=4)
    for rate in (0.1, 0.5, 0.3, 0.7):
        setattr(layer, attribute, rate)
        step(model.weight.numpy(), np.zeros(2000, np.float32))
        assert np.isclose(model.y.std(), spread(rate), rtol=0.15)
    assert len(step.programs) == 1


@pytest.mark.parametrize("name", [name for name in MAKE if name not in ("dropout1d", "dropout3d")])
def test_programs_draw_what_the_references_draw(name: str, request: pytest.FixtureRequest) -> None:
    make, shape = MAKE[name]
    layer, x = make().train(), normal(*shape)
    ne.manual_seed(8)
    compiled = [layer(x) for _ in range(3)]
    request.getfixturevalue("references")
    ne.manual_seed(8)
    for y in compiled:
        assert np.allclose(y, layer(x), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "p"),
    [
        (lambda x: F.alpha_dropout(x, 0.5, True, True), 0.5),
        (lambda x: F.feature_alpha_dropout(x, 0.5, True, True), 0.5),
        (lambda x: F.drop_block2d(x, 0.5, 3, True), 0.5),
        (lambda x: F.dropout1d(x[0], 1.0, True, True), 1.0),
        (lambda x: F.dropout3d(x.unsqueeze(0), 1.0, True, True), 1.0),
    ],
)
def test_in_place(change: Callable[[ne.Tensor], ne.Tensor], p: float) -> None:
    class Same(nn.Module):
        def forward(self, x: ne.Tensor) -> tuple[ne.Tensor, ne.Tensor]:
            given = x * 2.0
            return change(given), given

    result, given = Same()(normal(2, 3, 8, 8))
    assert p == 1 or np.array_equal(result, given)
    assert p < 1 or not result.any()


# what each of them does


@pytest.mark.parametrize(("layer", "shape"), [(nn.Dropout1d, (64, 65, 3)), (nn.Dropout3d, (64, 65, 2, 1, 3))])
def test_whole_channels_are_dropped(layer: type[nn.Dropout1d], shape: tuple[int, ...]) -> None:
    p = 0.25
    y = layer(p).train()(np.ones(shape, np.float32)).reshape(*shape[:2], -1)
    assert np.array_equal(y.min(2), y.max(2))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / (1 - p))}
    assert abs((y == 0).mean() - p) < 5 * math.sqrt(p * (1 - p) / (64 * 65))
    assert not layer(1).train()(np.ones(shape, np.float32)).any()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(p: float) -> None:
    x = normal(256, 1024)
    y = nn.AlphaDropout(p).train()(x)
    a, count = alpha_scale(p), x.size
    dropped = np.isclose(y, -a * ALPHA * (1 - p), rtol=0, atol=1e-5)
    assert abs(dropped.mean() - p) < 5 * math.sqrt(p * (1 - p) / count)
    assert np.allclose(y[~dropped], a * (np.float64(x[~dropped]) + ALPHA * p), atol=1e-5)
    assert abs(y.mean(dtype=np.float64)) < 5 / math.sqrt(count)
    squares = np.float64(y) ** 2
    assert abs(squares.mean() - 1) < 5 * squares.std() / math.sqrt(count)


def test_feature_alpha_dropout_saturates_whole_channels() -> None:
    p, x = 0.4, normal(64, 65, 3, 4)
    y = nn.FeatureAlphaDropout(p).train()(x)
    a = alpha_scale(p)
    dropped = np.isclose(y, -a * ALPHA * (1 - p), rtol=0, atol=1e-5).all((2, 3))
    assert abs(dropped.mean() - p) < 5 * math.sqrt(p * (1 - p) / dropped.size)
    assert np.allclose(y[~dropped], a * (np.float64(x[~dropped]) + ALPHA * p), atol=1e-5)


@pytest.mark.parametrize("layer", [nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_alpha_dropout_of_nothing_and_of_everything(layer: type[nn.AlphaDropout]) -> None:
    x = normal(4, 3, 5, 5)
    assert np.array_equal(layer(0).train()(x), x)
    assert not layer(1).train()(x).any()
    assert np.array_equal(F.alpha_dropout(x), x)
    assert np.array_equal(F.feature_alpha_dropout(x), x)


def opened(holes: np.ndarray, size: int) -> np.ndarray:
    """The union of the squares of ``size`` that lie in ``holes``."""
    squares = np.lib.stride_tricks.sliding_window_view(holes, (size, size), (2, 3)).all((4, 5))
    union = np.zeros_like(holes)
    for row in range(size):
        for column in range(size):
            union[:, :, row : row + squares.shape[2], column : column + squares.shape[3]] |= squares
    return union


@pytest.mark.parametrize(
    ("size", "shape", "p"),
    [
        (1, (16, 33, 9, 7), 0.3),
        (3, (16, 33, 9, 7), 0.3),
        (4, (16, 33, 9, 7), 0.5),
        (5, (8, 65, 12, 5), 0.1),
        (9, (64, 65, 6, 4), 0.2),
    ],
)
def test_blocks_are_whole_squares_at_the_rate_of_the_paper(size: int, shape: tuple[int, ...], p: float) -> None:
    x = np.abs(normal(*shape)) + 1
    y = nn.DropBlock2d(p, size).train()(x)
    side, (rows, columns) = min(size, *shape[2:]), shape[2:]
    gamma = p * rows * columns / (side**2 * (rows - side + 1) * (columns - side + 1))
    holes = y == 0
    assert np.array_equal(opened(holes, side), holes)
    assert np.allclose(y[~holes], x[~holes] * (holes.size / np.count_nonzero(~holes)), rtol=1e-5)
    reach = [np.convolve(np.ones(n - side + 1), np.ones(side)) for n in (rows, columns)]
    expected = ((1 - gamma) ** np.outer(*reach)).mean()
    kept = (~holes).mean((2, 3))
    assert abs(kept.mean() - expected) < 5 * kept.std() / math.sqrt(kept.size)


def test_drop_block_of_nothing_of_everything_and_its_eps() -> None:
    x = normal(4, 3, 5, 5)
    assert np.array_equal(F.drop_block2d(x, 0.0, 3), x)
    assert np.array_equal(F.drop_block2d(x, 0.5, 3, training=False), x)
    assert not F.drop_block2d(x, 1.0, 1).any()
    y = F.drop_block2d(x, 0.5, 1, eps=100.0)
    mask = y != 0
    assert np.allclose(y[mask], x[mask] * (x.size / (100 + mask.sum())), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4096, 2), (4096, 2, 1, 3), (4096,)])
def test_stochastic_depth_of_rows_is_all_or_nothing(shape: tuple[int, ...]) -> None:
    p, x = 0.2, np.abs(normal(*shape)) + 1
    factor = (nn.StochasticDepth(p, "row").train()(x) / x).reshape(len(x), -1)
    assert np.all(np.isclose(factor, 1 / (1 - p)) | (factor == 0))
    assert np.array_equal(factor.min(1) == 0, factor.max(1) == 0)
    assert abs((factor[:, 0] == 0).mean() - p) < 5 * math.sqrt(p * (1 - p) / len(x))


def test_stochastic_depth_of_the_batch_is_all_or_nothing() -> None:
    p, x, draws = 0.5, np.abs(normal(3, 2, 4)) + 1, 200
    layer = nn.StochasticDepth(p, "batch").train()
    dropped = 0
    for _ in range(draws):
        y = layer(x)
        assert not y.any() or np.allclose(y, x / (1 - p))
        dropped += not y.any()
    assert abs(dropped / draws - p) < 5 * math.sqrt(p * (1 - p) / draws)


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth_of_nothing_and_of_everything(mode: str) -> None:
    x = normal(4, 3, 5, 5)
    assert np.array_equal(F.stochastic_depth(x, 0.0, mode), x)
    assert np.array_equal(F.stochastic_depth(x, 0.5, mode, training=False), x)
    assert not F.stochastic_depth(x, 1.0, mode).any()


def test_gaussian_noise_is_added_whatever_the_input() -> None:
    x = normal(64, 65, 8, 9)
    noise = np.float64(nn.GaussianNoise(0.5).train()(x)) - x
    count = x.size
    assert abs(noise.mean()) < 5 * 0.5 / math.sqrt(count)
    assert abs(noise.var() - 0.25) < 5 * 0.25 * math.sqrt(2 / count)
    assert abs(np.corrcoef(noise.ravel(), x.ravel())[0, 1]) < 5 / math.sqrt(count)
    assert np.array_equal(F.gaussian_noise(x, 0.0), x)
    assert np.array_equal(F.gaussian_noise(x, 0.5, training=False), x)


# export, errors, looks


def operators(layer: nn.Module, path: str) -> list[str]:
    ne.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), layer, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )
    report = ne.onnx.export(model, path, input_shape=(2, 6, 6))
    x = normal(3, 2, 6, 6)
    assert report.difference < 1e-4
    assert np.allclose(ne.InferenceSession(path)(x), model.eval()(x), atol=1e-5)
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("name", [n for n in MAKE if "dropout" not in n and "of_one" not in n])
def test_nothing_of_it_is_in_the_exported_file(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = str(tmp_path / "model.onnx")
    assert operators(MAKE[name][0](), file) == operators(nn.Identity(), file)


@pytest.mark.parametrize(("name", "shape"), [("dropout1d", (4, 9)), ("dropout3d", (4, 3, 3, 3))])
def test_nothing_of_channel_dropout_is_in_the_exported_file(name: str, shape: tuple[int, ...], tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "model.onnx"
    ne.onnx.export(nn.Sequential(MAKE[name][0](), nn.Flatten(), nn.ReLU()), file, input_shape=shape)
    assert {node.op_type for node in onnx.load(file).graph.node} <= {"Flatten", "Reshape", "Relu"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Dropout1d(1.5), r"Dropout1d: p must be in \[0, 1\], got 1.5"),
        (lambda: nn.Dropout3d(-0.5), r"Dropout3d: p must be in \[0, 1\], got -0.5"),
        (lambda: nn.AlphaDropout(2), r"AlphaDropout: p must be in \[0, 1\], got 2"),
        (lambda: nn.FeatureAlphaDropout(math.nan), r"FeatureAlphaDropout: p must be in \[0, 1\], got nan"),
        (lambda: nn.DropBlock2d(1.1, 3), r"DropBlock2d: p must be in \[0, 1\], got 1.1"),
        (lambda: nn.DropBlock2d(0.1, 0), "DropBlock2d: block_size must be a positive integer, got 0"),
        (lambda: nn.DropBlock2d(0.1, 2.5), "DropBlock2d: block_size must be a positive integer, got 2.5"),
        (lambda: nn.DropBlock2d(0.1, 3, eps=-1), "DropBlock2d: eps must be a finite number of 0 or more, got -1"),
        (lambda: nn.StochasticDepth(-1, "row"), r"StochasticDepth: p must be in \[0, 1\], got -1"),
        (lambda: nn.StochasticDepth(0.1, "all"), "StochasticDepth: mode must be 'batch' or 'row', got 'all'"),
        (lambda: nn.GaussianNoise(-0.1), "GaussianNoise: std must be a finite number of 0 or more, got -0.1"),
        (lambda: F.dropout1d(normal(2, 3, 4), 2), r"dropout1d: p must be in \[0, 1\], got 2"),
        (lambda: F.dropout3d(normal(2, 3, 4, 5, 6), 2), r"dropout3d: p must be in \[0, 1\], got 2"),
        (lambda: F.alpha_dropout(normal(3), 2), r"alpha_dropout: p must be in \[0, 1\], got 2"),
        (lambda: F.feature_alpha_dropout(normal(3, 4), 2), r"feature_alpha_dropout: p must be in \[0, 1\], got 2"),
        (lambda: F.drop_block2d(normal(1, 2, 3, 4), 2, 3), r"drop_block2d: p must be in \[0, 1\], got 2"),
        (lambda: F.drop_block2d(normal(1, 2, 3, 4), 0.1, 0), "drop_block2d: block_size must be a positive integer"),
        (lambda: F.stochastic_depth(normal(3), 2, "row"), r"stochastic_depth: p must be in \[0, 1\], got 2"),
        (lambda: F.stochastic_depth(normal(3), 0, "all"), "stochastic_depth: mode must be 'batch' or 'row', got 'all'"),
        (lambda: F.gaussian_noise(normal(3), -1), "gaussian_noise: std must be a finite number of 0 or more, got -1"),
        (lambda: nn.Dropout1d()(normal(3, 4)), r"Dropout1d: input must be \(N, C, L\), got shape \(3, 4\)"),
        (lambda: nn.Dropout3d()(normal(3, 4)), r"Dropout3d: input must be \(N, C, D, H, W\), got shape \(3, 4\)"),
        (lambda: nn.FeatureAlphaDropout()(normal(3)), r"input must be \(N, C, ...\), got shape \(3,\)"),
        (lambda: nn.DropBlock2d(0.1, 3)(normal(3, 4)), r"input must be \(N, C, H, W\), got shape \(3, 4\)"),
        (lambda: F.stochastic_depth(np.ones((), np.float32), 0.1, "row"), r"input must be \(N, ...\), got shape \(\)"),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Dropout1d(0.25), "Dropout1d(p=0.25, inplace=False)"),
        (nn.Dropout3d(0.25, True), "Dropout3d(p=0.25, inplace=True)"),
        (nn.AlphaDropout(), "AlphaDropout(p=0.5, inplace=False)"),
        (nn.FeatureAlphaDropout(0.1), "FeatureAlphaDropout(p=0.1, inplace=False)"),
        (nn.DropBlock2d(0.1, 7), "DropBlock2d(p=0.1, block_size=7, inplace=False)"),
        (nn.StochasticDepth(0.2, "row"), "StochasticDepth(p=0.2, mode=row)"),
        (nn.GaussianNoise(0.5), "GaussianNoise(std=0.5)"),
    ],
)
def test_reprs(layer: nn.Module, text: str) -> None:
    assert repr(layer) == text
