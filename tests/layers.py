"""Layers on one input each, built by the same source from any namespace with PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

IMAGE, ROWS, SIGNAL = (2, 4, 6, 5), (5, 6), (3, 4, 5)

CASES: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "conv": (lambda nn: nn.Conv2d(4, 6, 3), IMAGE),
    "conv_rectangular": (lambda nn: nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), bias=False), IMAGE),
    "conv_same_dilated": (lambda nn: nn.Conv2d(4, 8, 3, padding="same", dilation=2), IMAGE),
    "conv_same_even": (lambda nn: nn.Conv2d(4, 8, (2, 4), padding="same"), IMAGE),
    "conv_valid_groups": (lambda nn: nn.Conv2d(4, 8, 3, padding="valid", groups=2), IMAGE),
    "conv_depthwise": (lambda nn: nn.Conv2d(4, 4, 3, padding=1, groups=4, stride=3), IMAGE),
    "linear": (lambda nn: nn.Linear(6, 3), ROWS),
    "linear_without_bias_rank_3": (lambda nn: nn.Linear(5, 3, bias=False), SIGNAL),
    "batch_norm_2d": (lambda nn: nn.BatchNorm2d(4), IMAGE),
    "batch_norm_2d_settings": (lambda nn: nn.BatchNorm2d(4, eps=1e-3, momentum=0.3, affine=False), IMAGE),
    "batch_norm_2d_cumulative": (lambda nn: nn.BatchNorm2d(4, momentum=None), IMAGE),
    "batch_norm_2d_untracked": (lambda nn: nn.BatchNorm2d(4, track_running_stats=False), IMAGE),
    "batch_norm_1d": (lambda nn: nn.BatchNorm1d(6), ROWS),
    "batch_norm_1d_rank_3": (lambda nn: nn.BatchNorm1d(4), SIGNAL),
    "relu": (lambda nn: nn.ReLU(), IMAGE),
    "relu6": (lambda nn: nn.ReLU6(), IMAGE),
    "leaky_relu": (lambda nn: nn.LeakyReLU(0.2), IMAGE),
    "sigmoid": (lambda nn: nn.Sigmoid(), IMAGE),
    "tanh": (lambda nn: nn.Tanh(), IMAGE),
    "silu": (lambda nn: nn.SiLU(), IMAGE),
    "gelu": (lambda nn: nn.GELU(), IMAGE),
    "gelu_tanh": (lambda nn: nn.GELU("tanh"), IMAGE),
    "hardswish": (lambda nn: nn.Hardswish(), IMAGE),
    "mish": (lambda nn: nn.Mish(), IMAGE),
    "softmax": (lambda nn: nn.Softmax(1), IMAGE),
    "log_softmax": (lambda nn: nn.LogSoftmax(-1), IMAGE),
    "max_pool": (lambda nn: nn.MaxPool2d(2), IMAGE),
    "max_pool_padded": (lambda nn: nn.MaxPool2d(3, 2, 1), IMAGE),
    "max_pool_ceil": (lambda nn: nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "max_pool_dilated": (lambda nn: nn.MaxPool2d((2, 3), dilation=2, stride=1), IMAGE),
    "avg_pool": (lambda nn: nn.AvgPool2d(2), IMAGE),
    "avg_pool_padded": (lambda nn: nn.AvgPool2d(3, 2, 1), IMAGE),
    "avg_pool_ceil": (lambda nn: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    "adaptive_avg_pool": (lambda nn: nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive_avg_pool_uneven": (lambda nn: nn.AdaptiveAvgPool2d((4, 3)), IMAGE),
    "adaptive_avg_pool_kept": (lambda nn: nn.AdaptiveAvgPool2d((None, 2)), IMAGE),
    "flatten": (lambda nn: nn.Flatten(), IMAGE),
    "flatten_tail": (lambda nn: nn.Flatten(2), IMAGE),
    "unflatten": (lambda nn: nn.Unflatten(1, (2, -1)), IMAGE),
    "identity": (lambda nn: nn.Identity(54, unused=True), IMAGE),
    "zero_pad": (lambda nn: nn.ZeroPad2d((1, 2, -1, 3)), IMAGE),
    "dropout_of_nothing": (lambda nn: nn.Dropout(0.0), IMAGE),
}
