"""The portable kernels: plain Numba loop nests, the default of every slot. Importing registers their rows."""

from . import conv, linear, loss, norm, pool, reduce, softmax  # noqa: F401
