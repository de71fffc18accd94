# The kernels compiled for avx512; setup.py gives the flags.
include "kernels.pxi"
