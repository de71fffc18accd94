"""Every layer computes what PyTorch's does, keeps what PyTorch's keeps, and looks like it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from layers import CASES

from normengine import nn

REPRS = {
    "conv": "Conv2d(4, 6, kernel_size=(3, 3), stride=(1, 1))",
    "conv_rectangular": "Conv2d(4, 6, kernel_size=(3, 5), stride=(2, 1), padding=(1, 2), bias=False)",
    "conv_same_dilated": "Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=same, dilation=(2, 2))",
    "conv_valid_groups": "Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=valid, groups=2)",
    "linear": "Linear(in_features=6, out_features=3, bias=True)",
    "batch_norm_2d": "BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
    "group_norm": "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)",
    "layer_norm_of_images": "LayerNorm((4, 6, 5), eps=1e-05, elementwise_affine=True, bias=True)",
    "instance_norm_2d": (
        "InstanceNorm2d(4, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=False)"
    ),
    "rms_norm_of_images": "RMSNorm((4, 6, 5), eps=0.1, elementwise_affine=True)",
    "local_response_norm": "LocalResponseNorm(3, alpha=0.0001, beta=0.75, k=1.0)",
    "weight_norm_older": "Linear(in_features=5, out_features=3, bias=False)",
    "relu": "ReLU()",
    "leaky_relu": "LeakyReLU(negative_slope=0.2)",
    "gelu": "GELU(approximate='none')",
    "softmax": "Softmax(dim=1)",
    "max_pool": "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
    "avg_pool": "AvgPool2d(kernel_size=2, stride=2, padding=0)",
    "adaptive_avg_pool_kept": "AdaptiveAvgPool2d(output_size=(None, 2))",
    "upsample": "Upsample(scale_factor=2.0, mode='nearest')",
    "upsample_bilinear": "Upsample(scale_factor=(1.5, 0.7), mode='bilinear')",
    "upsampling_nearest": "UpsamplingNearest2d(size=(7, 11), mode='nearest')",
    "flatten": "Flatten(start_dim=1, end_dim=-1)",
    "unflatten": "Unflatten(dim=1, unflattened_size=(2, -1))",
    "identity": "Identity()",
    "zero_pad": "ZeroPad2d((1, 2, -1, 3))",
    "dropout_of_nothing": "Dropout(p=0.0, inplace=False)",
    "conv_1d_settings": (
        "Conv1d(4, 6, kernel_size=(2,), stride=(2,), padding=(1,), dilation=(2,), groups=2, bias=False)"
    ),
    "conv_transpose_settings": (
        "ConvTranspose2d(4, 6, kernel_size=(3, 4), stride=(2, 3), padding=(1, 2), dilation=(1, 2), "
        "output_padding=(1, 2), groups=2, bias=False)"
    ),
    "avg_pool_1d": "AvgPool1d(kernel_size=(3,), stride=(2,), padding=(1,))",
    "adaptive_max_pool": "AdaptiveMaxPool2d(output_size=(3, 3))",
    "lp_pool": "LPPool2d(norm_type=2, kernel_size=3, stride=2, ceil_mode=False)",
}


@pytest.fixture(scope="module")
def stored() -> Mapping[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "fixtures" / "layers.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_buffers_are_pytorchs(name: str, stored: Mapping[str, np.ndarray], either: str) -> None:
    build, shape = CASES[name]
    layer, x = build(nn), stored[f"x{len(shape)}"]
    layer.load_state_dict({k[len(name) + 8 :]: v for k, v in stored.items() if k.startswith(f"{name}/before/")}, False)
    train = stored[f"{name}/train"]
    np.testing.assert_allclose(layer.train()(x), train, rtol=1e-5, atol=1e-5)
    layer(x[::-1] * 2.0)
    after = {k[len(name) + 7 :]: v for k, v in stored.items() if k.startswith(f"{name}/after/")}
    buffers = dict(layer.named_buffers())
    assert list(buffers) == list(after)
    for key, value in after.items():
        assert buffers[key].dtype == value.dtype
        np.testing.assert_allclose(buffers[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    np.testing.assert_allclose(layer.eval()(x), stored.get(f"{name}/eval", train), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REPRS)
def test_repr_is_pytorchs(name: str) -> None:
    assert repr(CASES[name][0](nn)) == REPRS[name]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.ReLU(inplace=True), "ReLU(inplace=True)"),
        (nn.SiLU(True), "SiLU(inplace=True)"),
        (nn.LeakyReLU(inplace=True), "LeakyReLU(negative_slope=0.01, inplace=True)"),
        (nn.GaussianDropout(0.25), "GaussianDropout(p=0.25)"),
        (nn.UniformDropout(0.3), "UniformDropout(beta=0.3)"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
    ],
)
def test_other_reprs(layer: nn.Module, text: str) -> None:
    assert repr(layer) == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=3), "in_channels 4 and out_channels 6 must be multiples of groups, got 3"),
        (lambda: nn.Conv2d(0, 6, 3), "channels and groups must be positive, got 0, 6 and 1"),
        (lambda: nn.Conv2d(4, 6, 0), r"kernel_size \(0, 0\), stride \(1, 1\) and dilation \(1, 1\) must be positive"),
        (lambda: nn.Conv2d(4, 6, (1, 2, 3)), "kernel_size must be an int or two ints"),
        (lambda: nn.Conv2d(4, 6, 3, padding="full"), "padding must be numbers, 'same' or 'valid', got 'full'"),
        (lambda: nn.Conv2d(4, 6, 3, padding="same", stride=2), "padding 'same' needs stride 1"),
        (lambda: nn.Conv2d(4, 6, 3, padding_mode="reflect"), "padding_mode must be 'zeros', got 'reflect'"),
        (lambda: nn.Conv2d(4, 6, 3, device="cuda"), "computes on the CPU, device 'cuda' is not there"),
        (lambda: nn.Linear(4, 6, dtype=np.float64), "computes in float32"),
        (lambda: nn.Linear(4, 0), "features must be positive, got 4 and 0"),
        (lambda: nn.BatchNorm2d(0), "num_features must be positive, got 0"),
        (lambda: nn.Dropout(1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: nn.GaussianDropout(1.0), r"p must be in \[0, 1\), got 1.0"),
        (lambda: nn.UniformDropout(-0.1), "beta must be a finite number of 0 or more, got -0.1"),
        (lambda: nn.GELU("fast"), "approximate must be 'none' or 'tanh', got 'fast'"),
        (lambda: nn.MaxPool3d(2, return_indices=True), "cannot return indices"),
        (lambda: nn.AdaptiveMaxPool2d(2, return_indices=True), "cannot return indices"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, padding="same"), "padding must be numbers, got 'same'"),
        (lambda: nn.ConvTranspose1d(4, 6, 3, groups=3), "in_channels 4 and out_channels 6 must be multiples of groups"),
        (
            lambda: nn.Conv3d(4, 6, (1, 2)),
            r"kernel_size must be an int or 3 ints \(depth, height, width\), got \(1, 2\)",
        ),
        (lambda: nn.Conv1d(4, 6, (1, 2)), r"kernel_size must be an int, got \(1, 2\)"),
        (lambda: nn.CrossEntropyLoss(reduction="max"), "reduction must be 'mean', 'sum' or 'none', got 'max'"),
        (lambda: nn.MSELoss(size_average=True), "size_average and reduce are gone"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), r"label_smoothing must be in \[0, 1\], got 2"),
    ],
)
def test_settings_that_do_not_fit(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_batch_norm_reset() -> None:
    layer = nn.BatchNorm2d(3)
    for array in layer.state_dict().values():
        array[...] = 7
    layer.reset_parameters()
    assert [v.tolist() for v in layer.state_dict().values()] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3, 0]
