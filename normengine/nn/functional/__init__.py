"""Functions of layers without state, with PyTorch's names and signatures (``import normengine.nn.functional as F``).

Inside ``forward`` they take tensors and record nodes; elsewhere they take NumPy arrays and return NumPy arrays.
"""

from .activation import *
from .activation import __all__ as _activation
from .attention import *
from .attention import __all__ as _attention
from .conv import *
from .conv import __all__ as _conv
from .conv_transpose import *
from .conv_transpose import __all__ as _conv_transpose
from .dropout import *
from .dropout import __all__ as _dropout
from .group_norm import *
from .group_norm import __all__ as _group_norm
from .interpolate import *
from .interpolate import __all__ as _interpolate
from .linear_units import *
from .linear_units import __all__ as _linear_units
from .local_response_norm import *
from .local_response_norm import __all__ as _local_response_norm
from .loss import *
from .loss import __all__ as _loss
from .norm import *
from .norm import __all__ as _norm
from .padding import *
from .padding import __all__ as _padding
from .pixel_shuffle import *
from .pixel_shuffle import __all__ as _pixel_shuffle
from .pooling import *
from .pooling import __all__ as _pooling
from .rms_norm import *
from .rms_norm import __all__ as _rms_norm
from .unpooling import *
from .unpooling import __all__ as _unpooling
from .vision import *
from .vision import __all__ as _vision

__all__ = [
    *_activation,
    *_attention,
    *_conv,
    *_conv_transpose,
    *_dropout,
    *_group_norm,
    *_interpolate,
    *_linear_units,
    *_local_response_norm,
    *_loss,
    *_norm,
    *_padding,
    *_pixel_shuffle,
    *_pooling,
    *_rms_norm,
    *_unpooling,
    *_vision,
]
