# ruff: noqa: F401
"""PyTorch's names for ported code: what model files and training scripts call as ``torch.<name>`` beside what this
package's own documentation uses.

All of it is reached as ``normengine.<name>`` after ``import normengine as torch``, and is no part of
``from normengine import *``. The functions take tensors in ``forward`` and NumPy arrays elsewhere, in float32 and
int64; each does what PyTorch's function of that name does, as far as its docstring says.
"""

from numpy import float32, int64

from ..nn.functional import sigmoid, tanh
from .creation import (
    arange,
    empty,
    from_numpy,
    full,
    linspace,
    ones,
    ones_like,
    randint,
    tensor,
    zeros,
    zeros_like,
)
from .functions import (
    abs,
    add,
    amax,
    amin,
    bmm,
    chunk,
    concat,
    concatenate,
    div,
    einsum,
    exp,
    flatten,
    gather,
    index_select,
    is_tensor,
    log,
    log_softmax,
    logsumexp,
    matmul,
    mean,
    mm,
    mul,
    neg,
    numel,
    permute,
    pow,
    prod,
    relu,
    reshape,
    rsqrt,
    softmax,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    sum,
    transpose,
    unbind,
    unsqueeze,
    var,
)
from .scripts import (
    Variable,
    argmax,
    argmin,
    autograd,
    backends,
    bool,
    clamp,
    device,
    enable_grad,
    eq,
    eye,
    float,
    inference_mode,
    is_grad_enabled,
    long,
    max,
    min,
    norm,
    randperm,
    set_grad_enabled,
    topk,
    where,
)
