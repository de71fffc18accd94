"""The portable kernels: plain Numba loop nests, the default of every slot. Importing registers their rows."""

from . import (  # noqa: F401
    conv,
    gather,
    grid_sample,
    linear,
    loss,
    norm,
    order,
    pool,
    reduce,
    resample,
    softmax,
)
