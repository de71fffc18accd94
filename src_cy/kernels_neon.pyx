# The kernels compiled for neon; setup.py gives the flags.
include "kernels.pxi"
