"""What hand-made ONNX models in tests are made of."""

import numpy as np
from onnx import helper

node = helper.make_node
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)
