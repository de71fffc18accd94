"""Layers and models, with PyTorch's names, signatures and initialization."""

from typing import Any

from ..absent import missing
from . import functional, init, utils
from .activation import *
from .activation import __all__ as _activation
from .containers import *
from .containers import __all__ as _containers
from .conv import *
from .conv import __all__ as _conv
from .conv_transpose import *
from .conv_transpose import __all__ as _conv_transpose
from .dropout import *
from .dropout import __all__ as _dropout
from .flatten import *
from .flatten import __all__ as _flatten
from .group_norm import *
from .group_norm import __all__ as _group_norm
from .linear import *
from .linear import __all__ as _linear
from .linear_units import *
from .linear_units import __all__ as _linear_units
from .local_response_norm import *
from .local_response_norm import __all__ as _local_response_norm
from .loss import *
from .loss import __all__ as _loss
from .module import *
from .module import __all__ as _module
from .norm import *
from .norm import __all__ as _norm
from .norm_variants import *
from .norm_variants import __all__ as _norm_variants
from .padding import *
from .padding import __all__ as _padding
from .parameter import *
from .parameter import __all__ as _parameter
from .pixel_shuffle import *
from .pixel_shuffle import __all__ as _pixel_shuffle
from .pooling import *
from .pooling import __all__ as _pooling
from .rms_norm import *
from .rms_norm import __all__ as _rms_norm
from .unpooling import *
from .unpooling import __all__ as _unpooling
from .upsampling import *
from .upsampling import __all__ as _upsampling

__all__ = [
    *_activation,
    *_containers,
    *_conv,
    *_conv_transpose,
    *_dropout,
    *_flatten,
    *_group_norm,
    *_linear,
    *_linear_units,
    *_local_response_norm,
    *_loss,
    *_module,
    *_norm,
    *_norm_variants,
    *_parameter,
    *_padding,
    *_pixel_shuffle,
    *_pooling,
    *_rms_norm,
    *_unpooling,
    *_upsampling,
    "functional",
    "init",
    "utils",
]


def __getattr__(name: str) -> Any:
    raise missing("nn", name)
