"""How each family of operators is read from ONNX and written to it; importing a family fills the tables."""

from . import activation, arithmetic, conv, known, linear, loss, norm, pool, reduce, shape, softmax

FAMILIES = (activation, arithmetic, conv, known, linear, loss, norm, pool, reduce, shape, softmax)
