"""Functions of layers without state, with PyTorch's names and signatures (``import normengine.nn.functional as F``).

Inside ``forward`` they take tensors and record nodes; elsewhere they take NumPy arrays and return NumPy arrays.
"""

from .activation import (
    gelu,
    hardsigmoid,
    hardswish,
    leaky_relu,
    log_softmax,
    mish,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from .conv import conv2d, linear, pad
from .dropout import dropout, dropout2d, gaussian_dropout, uniform_dropout
from .loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss, nll_loss
from .norm import batch_norm
from .pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cross_entropy",
    "dropout",
    "dropout2d",
    "gaussian_dropout",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mish",
    "mse_loss",
    "nll_loss",
    "pad",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
    "uniform_dropout",
]
