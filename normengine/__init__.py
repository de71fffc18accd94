"""normengine: trains small convolutional networks on a CPU, folds batch normalization, exports and runs ONNX.

Building and training use PyTorch's names (``import normengine as torch`` serves a model file as it is), running a
network uses ONNX Runtime's (``import normengine as ort``). Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .absent import missing
from .locks import load_module

__version__ = "0.1.0"

if TYPE_CHECKING:  # for type checkers and editors; the table below serves programs
    from . import analysis as analysis
    from . import cli as cli
    from . import data as data
    from . import nn as nn
    from . import onnx as onnx
    from . import optim as optim
    from . import train as train
    from .binding import IOBinding as IOBinding
    from .binding import OrtValue as OrtValue
    from .compat.creation import bernoulli as bernoulli
    from .compat.creation import rand as rand
    from .compat.creation import rand_like as rand_like
    from .compat.creation import randn as randn
    from .compat.creation import randn_like as randn_like
    from .compat.functions import cat as cat
    from .deployment import deploy as deploy
    from .nn.random import manual_seed as manual_seed
    from .nn.tensor import Tensor as Tensor
    from .nn.trace import no_grad as no_grad
    from .options import ExecutionMode as ExecutionMode
    from .options import ExecutionOrder as ExecutionOrder
    from .options import GraphOptimizationLevel as GraphOptimizationLevel
    from .options import ModelMetadata as ModelMetadata
    from .options import RunOptions as RunOptions
    from .options import SessionOptions as SessionOptions
    from .options import get_all_providers as get_all_providers
    from .options import get_available_providers as get_available_providers
    from .options import get_device as get_device
    from .options import set_default_logger_severity as set_default_logger_severity
    from .options import set_default_logger_verbosity as set_default_logger_verbosity
    from .runtime.threads import get_num_threads as get_num_threads
    from .runtime.threads import set_num_threads as set_num_threads
    from .session import InferenceSession as InferenceSession
    from .session import NodeArg as NodeArg
    from .train import TrainStep as TrainStep
    from .train.checkpoint import load as load
    from .train.checkpoint import save as save
    from .train.mixing import fit_mixing as fit_mixing
    from .train.mixing import mix_statistics as mix_statistics
    from .train.population import recalibrate as recalibrate
    from .train.trainer import Trainer as Trainer

_HOMES = {
    "normengine.compat.creation": ("bernoulli", "rand", "rand_like", "randn", "randn_like"),
    "normengine.compat.functions": ("cat",),
    "normengine.deployment": ("deploy",),
    "normengine.nn.random": ("manual_seed",),
    "normengine.nn.trace": ("no_grad",),
    "normengine.runtime.threads": ("get_num_threads", "set_num_threads"),
    "normengine.session": ("InferenceSession", "NodeArg"),
    "normengine.options": (
        "ExecutionMode", "ExecutionOrder", "GraphOptimizationLevel", "ModelMetadata", "RunOptions", "SessionOptions",
        "get_all_providers", "get_available_providers", "get_device", "set_default_logger_severity",
        "set_default_logger_verbosity",
    ),
    "normengine.binding": ("IOBinding", "OrtValue"),
    "normengine.nn.tensor": ("Tensor",),
    "normengine.train": ("TrainStep",),
    "normengine.train.checkpoint": ("load", "save"),
    "normengine.train.mixing": ("fit_mixing", "mix_statistics"),
    "normengine.train.population": ("recalibrate",),
    "normengine.train.trainer": ("Trainer",),
}  # fmt: skip
"""Where the public names are defined; nothing of it is imported before it is used."""

_MODULES = ("analysis", "cli", "data", "nn", "onnx", "optim", "train")
_PORTED_MODULES = ("cuda", "utils")
_PORTED = frozenset((
    "Variable", "abs", "add", "amax", "amin", "arange", "argmax", "argmin", "autograd", "backends", "bmm", "bool",
    "chunk", "clamp", "concat", "concatenate", "device", "div", "einsum", "empty", "enable_grad", "eq", "exp", "eye",
    "flatten", "float", "float32", "from_numpy", "full", "gather", "index_select", "inference_mode", "int64",
    "is_grad_enabled", "is_tensor", "linspace", "log", "log_softmax", "logsumexp", "long", "matmul", "max", "mean",
    "min", "mm", "mul", "neg", "norm", "numel", "ones", "ones_like", "permute", "pow", "prod", "randint", "randperm",
    "relu", "reshape", "rsqrt", "set_grad_enabled", "sigmoid", "softmax", "split", "sqrt", "square", "squeeze", "stack",
    "std", "sub", "sum", "tanh", "tensor", "topk", "transpose", "unbind", "unsqueeze", "var", "where", "zeros",
    "zeros_like",
))  # fmt: skip
"""Names of :mod:`normengine.compat`, for model files and scripts that were written for PyTorch. A table, since what is
asked for an unknown name must load nothing: imports ask for one while they hold their locks."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES or name in _PORTED_MODULES:
        return load_module(f"{__name__}.{name}")
    home = _HOME_OF.get(name, "normengine.compat" if name in _PORTED else None)
    if home is None:
        raise missing("", name)
    found = globals()[name] = getattr(load_module(home), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
