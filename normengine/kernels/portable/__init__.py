"""The portable kernels: plain Numba loop nests, the default of every slot. Importing registers their rows."""

from . import conv, grid_sample, linear, loss, norm, pool, reduce, resample, softmax  # noqa: F401
