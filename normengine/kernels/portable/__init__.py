"""The portable kernels: plain Numba loop nests, the default of every slot. Importing registers their rows."""
