"""The operators of ONNX by family: how each is read and written. Importing a family fills the registry."""

from . import (
    activation,
    arithmetic,
    control,
    conv,
    group_norm,
    known,
    linear,
    loss,
    norm,
    pool,
    quantize,
    reduce,
    shape,
    softmax,
    unpool,
)

FAMILIES = (
    activation,
    arithmetic,
    control,
    conv,
    group_norm,
    known,
    linear,
    loss,
    norm,
    pool,
    quantize,
    reduce,
    shape,
    softmax,
    unpool,
)
