"""Names, order and defaults of arguments are PyTorch's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from normengine import nn, optim
from normengine.nn import functional, init, utils

_POOL = "kernel_size, stride=None, padding=0"
_NORM = (
    "num_features, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True, "
    "device=None, dtype=None, *, bias=True"
)
_INSTANCE = _NORM.replace("affine=True, track_running_stats=True", "affine=False, track_running_stats=False")
_CONV = (
    "in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, "
    "padding_mode='zeros', device=None, dtype=None"
)
_TRANSPOSE = (
    "in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1, "
    "padding_mode='zeros', device=None, dtype=None"
)
_TRANSPOSED = "input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1"
_OLD = "size_average=None, reduce=None"
_CLASSES = "weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean'"
_ADAM = "params, lr=0.001, betas=(0.9, 0.999), eps=1e-08"
_KAIMING = "tensor, a=0, mode='fan_in', nonlinearity='leaky_relu', generator=None"

LAYERS = {
    "AdaptiveAvgPool2d": "output_size",
    "AdaptiveAvgPool1d": "output_size",
    "AdaptiveAvgPool3d": "output_size",
    "AdaptiveMaxPool1d": "output_size, return_indices=False",
    "AdaptiveMaxPool2d": "output_size, return_indices=False",
    "AdaptiveMaxPool3d": "output_size, return_indices=False",
    "AlphaDropout": "p=0.5, inplace=False",
    "AvgPool1d": f"{_POOL}, ceil_mode=False, count_include_pad=True",
    "AvgPool3d": f"{_POOL}, ceil_mode=False, count_include_pad=True, divisor_override=None",
    "AvgPool2d": f"{_POOL}, ceil_mode=False, count_include_pad=True, divisor_override=None",
    "BCEWithLogitsLoss": f"weight=None, {_OLD}, reduction='mean', pos_weight=None",
    "BatchNorm1d": _NORM,
    "BatchNorm2d": _NORM,
    "BatchNorm3d": _NORM,
    "Conv1d": _CONV,
    "Conv3d": _CONV,
    "ConvTranspose1d": _TRANSPOSE,
    "ConvTranspose2d": _TRANSPOSE,
    "ConvTranspose3d": _TRANSPOSE,
    "Conv2d": _CONV,
    "CELU": "alpha=1.0, inplace=False",
    "ChannelShuffle": "groups",
    "CircularPad1d": "padding",
    "CircularPad2d": "padding",
    "CircularPad3d": "padding",
    "ConstantPad1d": "padding, value",
    "ConstantPad2d": "padding, value",
    "ConstantPad3d": "padding, value",
    "CrossEntropyLoss": f"{_CLASSES}, label_smoothing=0.0",
    "DropBlock2d": "p, block_size, inplace=False, eps=1e-06",  # torchvision's, as StochasticDepth
    "Dropout": "p=0.5, inplace=False",
    "Dropout1d": "p=0.5, inplace=False",
    "Dropout2d": "p=0.5, inplace=False",
    "Dropout3d": "p=0.5, inplace=False",
    "ELU": "alpha=1.0, inplace=False",
    "FeatureAlphaDropout": "p=0.5, inplace=False",
    "Flatten": "start_dim=1, end_dim=-1",
    "GELU": "approximate='none'",
    "GLU": "dim=-1",
    "GroupNorm": "num_groups, num_channels, eps=1e-05, affine=True, device=None, dtype=None, *, bias=True",
    "InstanceNorm1d": _INSTANCE,
    "InstanceNorm2d": _INSTANCE,
    "InstanceNorm3d": _INSTANCE,
    "LPPool1d": "norm_type, kernel_size, stride=None, ceil_mode=False",
    "LPPool2d": "norm_type, kernel_size, stride=None, ceil_mode=False",
    "LPPool3d": "norm_type, kernel_size, stride=None, ceil_mode=False",
    "LayerNorm": "normalized_shape, eps=1e-05, elementwise_affine=True, bias=True, device=None, dtype=None",
    "Hardshrink": "lambd=0.5",
    "Hardsigmoid": "inplace=False",
    "Hardswish": "inplace=False",
    "Hardtanh": "min_val=-1.0, max_val=1.0, inplace=False, min_value=None, max_value=None",
    "LeakyReLU": "negative_slope=0.01, inplace=False",
    "Linear": "in_features, out_features, bias=True, device=None, dtype=None",
    "LocalResponseNorm": "size, alpha=0.0001, beta=0.75, k=1.0",
    "LogSigmoid": "",
    "LogSoftmax": "dim=None",
    "MSELoss": f"{_OLD}, reduction='mean'",
    "MaxPool1d": f"{_POOL}, dilation=1, return_indices=False, ceil_mode=False",
    "MaxPool3d": f"{_POOL}, dilation=1, return_indices=False, ceil_mode=False",
    "MaxPool2d": f"{_POOL}, dilation=1, return_indices=False, ceil_mode=False",
    "MaxUnpool1d": _POOL,
    "MaxUnpool2d": _POOL,
    "ModuleDict": "modules=None",
    "ModuleList": "modules=None",
    "NLLLoss": _CLASSES,
    "PReLU": "num_parameters=1, init=0.25, device=None, dtype=None",
    "PixelShuffle": "upscale_factor",
    "PixelUnshuffle": "downscale_factor",
    "RMSNorm": "normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None",
    "ReLU": "inplace=False",
    "ReLU6": "inplace=False",
    "ReflectionPad1d": "padding",
    "ReflectionPad2d": "padding",
    "ReflectionPad3d": "padding",
    "ReplicationPad1d": "padding",
    "ReplicationPad2d": "padding",
    "ReplicationPad3d": "padding",
    "SELU": "inplace=False",
    "SiLU": "inplace=False",
    "Softmax": "dim=None",
    "Softmax2d": "",
    "Softmin": "dim=None",
    "Softplus": "beta=1.0, threshold=20.0",
    "Softshrink": "lambd=0.5",
    "Softsign": "",
    "StochasticDepth": "p, mode",
    "Tanhshrink": "",
    "Threshold": "threshold, value, inplace=False",
    "Unflatten": "dim, unflattened_size",
    "Upsample": "size=None, scale_factor=None, mode='nearest', align_corners=None, recompute_scale_factor=None",
    "UpsamplingBilinear2d": "size=None, scale_factor=None",
    "UpsamplingNearest2d": "size=None, scale_factor=None",
    "ZeroPad1d": "padding",
    "ZeroPad2d": "padding",
    "ZeroPad3d": "padding",
}
OPTIMIZERS = {
    "SGD": "params, lr=0.001, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False, "
    "foreach=None, differentiable=False, fused=None",
    "Adam": f"{_ADAM}, weight_decay=0, amsgrad=False, *, foreach=None, maximize=False, capturable=False, "
    "differentiable=False, fused=None, decoupled_weight_decay=False",
    "AdamW": f"{_ADAM}, weight_decay=0.01, amsgrad=False, *, maximize=False, foreach=None, capturable=False, "
    "differentiable=False, fused=None",
}
FUNCTIONS = {
    "adaptive_avg_pool1d": "input, output_size",
    "adaptive_avg_pool2d": "input, output_size",
    "adaptive_avg_pool3d": "input, output_size",
    "adaptive_max_pool1d": "input, output_size, return_indices=False",
    "adaptive_max_pool2d": "input, output_size, return_indices=False",
    "adaptive_max_pool3d": "input, output_size, return_indices=False",
    "affine_grid": "theta, size, align_corners=None",
    "alpha_dropout": "input, p=0.5, training=False, inplace=False",
    "avg_pool1d": f"input, {_POOL}, ceil_mode=False, count_include_pad=True",
    "avg_pool3d": f"input, {_POOL}, ceil_mode=False, count_include_pad=True, divisor_override=None",
    "avg_pool2d": f"input, {_POOL}, ceil_mode=False, count_include_pad=True, divisor_override=None",
    "batch_norm": "input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05",
    "binary_cross_entropy_with_logits": f"input, target, weight=None, {_OLD}, reduction='mean', pos_weight=None",
    "conv1d": "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1",
    "conv3d": "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1",
    "conv_transpose1d": _TRANSPOSED,
    "conv_transpose2d": _TRANSPOSED,
    "conv_transpose3d": _TRANSPOSED,
    "celu": "input, alpha=1.0, inplace=False",
    "channel_shuffle": "input, groups",
    "conv2d": "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1",
    "cross_entropy": f"input, target, {_CLASSES}, label_smoothing=0.0",
    "drop_block2d": "input, p, block_size, inplace=False, eps=1e-06, training=True",
    "dropout": "input, p=0.5, training=True, inplace=False",
    "dropout1d": "input, p=0.5, training=True, inplace=False",
    "dropout2d": "input, p=0.5, training=True, inplace=False",
    "dropout3d": "input, p=0.5, training=True, inplace=False",
    "elu": "input, alpha=1.0, inplace=False",
    "feature_alpha_dropout": "input, p=0.5, training=False, inplace=False",
    "gelu": "input, approximate='none'",
    "grid_sample": "input, grid, mode='bilinear', padding_mode='zeros', align_corners=None",
    "hardsigmoid": "input, inplace=False",
    "hardswish": "input, inplace=False",
    "interpolate": "input, size=None, scale_factor=None, mode='nearest', align_corners=None, "
    "recompute_scale_factor=None, antialias=False",
    "leaky_relu": "input, negative_slope=0.01, inplace=False",
    "linear": "input, weight, bias=None",
    "local_response_norm": "input, size, alpha=0.0001, beta=0.75, k=1.0",
    "lp_pool1d": "input, norm_type, kernel_size, stride=None, ceil_mode=False",
    "lp_pool2d": "input, norm_type, kernel_size, stride=None, ceil_mode=False",
    "lp_pool3d": "input, norm_type, kernel_size, stride=None, ceil_mode=False",
    "max_pool1d": f"input, {_POOL}, dilation=1, ceil_mode=False, return_indices=False",
    "max_pool3d": f"input, {_POOL}, dilation=1, ceil_mode=False, return_indices=False",
    "glu": "input, dim=-1",
    "hardshrink": "input, lambd=0.5",
    "hardtanh": "input, min_val=-1.0, max_val=1.0, inplace=False",
    "logsigmoid": "input",
    "max_pool2d": f"input, {_POOL}, dilation=1, ceil_mode=False, return_indices=False",
    "max_unpool1d": f"input, indices, {_POOL}, output_size=None",
    "max_unpool2d": f"input, indices, {_POOL}, output_size=None",
    "mish": "input, inplace=False",
    "mse_loss": f"input, target, {_OLD}, reduction='mean', weight=None",
    "nll_loss": f"input, target, {_CLASSES}",
    "pad": "input, pad, mode='constant', value=None",
    "pixel_shuffle": "input, upscale_factor",
    "pixel_unshuffle": "input, downscale_factor",
    "prelu": "input, weight",
    "relu": "input, inplace=False",
    "relu6": "input, inplace=False",
    "rms_norm": "input, normalized_shape, weight=None, eps=None",
    "scaled_dot_product_attention": "query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, "
    "enable_gqa=False",
    "selu": "input, inplace=False",
    "sigmoid": "input",
    "silu": "input, inplace=False",
    "softmin": "input, dim=None",
    "softplus": "input, beta=1.0, threshold=20.0",
    "softshrink": "input, lambd=0.5",
    "softsign": "input",
    "stochastic_depth": "input, p, mode, training=True",
    "tanh": "input",
    "tanhshrink": "input",
    "threshold": "input, threshold, value, inplace=False",
}
INITIALIZERS = {
    "calculate_gain": "nonlinearity, param=None",
    "constant_": "tensor, val",
    "dirac_": "tensor, groups=1",
    "eye_": "tensor",
    "kaiming_normal_": _KAIMING,
    "kaiming_uniform_": _KAIMING,
    "normal_": "tensor, mean=0.0, std=1.0, generator=None",
    "ones_": "tensor",
    "orthogonal_": "tensor, gain=1, generator=None",
    "trunc_normal_": "tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None",
    "uniform_": "tensor, a=0.0, b=1.0, generator=None",
    "xavier_normal_": "tensor, gain=1.0, generator=None",
    "xavier_uniform_": "tensor, gain=1.0, generator=None",
    "zeros_": "tensor",
}

UTILITIES = {"weight_norm": "module, name='weight', dim=0", "remove_weight_norm": "module, name='weight'"}
PARAMETRIZE = {
    "is_parametrized": "module, tensor_name=None",
    "register_parametrization": "module, tensor_name, parametrization, *, unsafe=False",
    "remove_parametrizations": "module, tensor_name, leave_parametrized=True",
    "ParametrizationList": "modules, original, unsafe=False",
}
PARAMETRIZATIONS = {"weight_norm": "module, name='weight', dim=0"}


def _signature(function: Callable[..., Any]) -> str:
    parts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(
            parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
        )
    return ", ".join(parts)


@pytest.mark.parametrize(
    ("home", "name", "expected"),
    [
        pytest.param(home, name, text, id=name)
        for home, table in (
            (nn, LAYERS),
            (optim, OPTIMIZERS),
            (functional, FUNCTIONS),
            (init, INITIALIZERS),
            (utils, UTILITIES),
            (utils.parametrize, PARAMETRIZE),
            (utils.parametrizations, PARAMETRIZATIONS),
        )
        for name, text in table.items()
    ],
)
def test_signature(home: Any, name: str, expected: str) -> None:
    assert _signature(getattr(home, name)) == expected
