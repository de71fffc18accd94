# The kernels compiled for baseline; setup.py gives the flags.
include "kernels.pxi"
