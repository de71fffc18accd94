"""Records of numbers that the arguments of kernels are made of, those that several operators have in common."""

from __future__ import annotations

from typing import NamedTuple


class Convolution(NamedTuple):
    """Images ``(n, c, h, w)``, results ``(n, oc, oh, ow)``, kernels ``kh`` by ``kw``."""

    n: int
    c: int
    h: int
    w: int
    oc: int
    oh: int
    ow: int
    kh: int
    kw: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    dilation_h: int
    dilation_w: int
    groups: int

    @property
    def taps(self) -> int:
        return self.kh * self.kw

    @property
    def depthwise(self) -> bool:
        return self.groups == self.c == self.oc


class Clamp:
    """Bounds of the results."""

    low: float
    high: float


class Window:
    """Images, windows and their places."""

    n: int
    c: int
    h: int
    w: int
    oh: int
    ow: int
    kh: int
    kw: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int


class MaxPool(Window):
    """Windows with holes."""

    dilation_h: int
    dilation_w: int


class AvgPool(Window):
    """Windows of which what lies outside the image may count."""

    pad_bottom: int
    pad_right: int
    count_include_pad: int


class AdaptivePool:
    """Images and the size of the results."""

    n: int
    c: int
    h: int
    w: int
    oh: int
    ow: int


class Order:
    """How pixels are counted: along columns, or along rows."""

    column_major: int


class MatrixProduct:
    """Results ``(m, n)``, sums of ``k`` terms."""

    m: int
    n: int
    k: int


class Transposed:
    """Which factors are stored as their transposes."""

    transpose_a: int
    transpose_b: int


class Batches(NamedTuple):
    """Of so many products of matrices, product ``i * inner + j`` has the left factor ``i * a_outer + j * a_inner`` and
    likewise the right one."""

    products: int
    inner: int
    a_outer: int
    a_inner: int
    b_outer: int
    b_inner: int


class Channels(NamedTuple):
    """Images, channels, and pixels of an image."""

    n: int
    c: int
    s: int


class Normalization:
    """What is added to the variance."""

    eps: float


class Groups(NamedTuple):
    """Parts of a batch of so many images each, and groups of so many channels each."""

    parts: int
    images: int
    groups: int
    channels: int


class Reduction:
    """See :func:`reduction_view`."""

    r0: int
    k0: int
    r1: int
    k1: int


class Repeat:
    """Values ``(m, c)``, each ``r`` times."""

    m: int
    c: int
    r: int


class Axis:
    """Extents before an axis, of it and behind it."""

    a: int
    c: int
    b: int


class Indexed:
    """Extents before an axis, of it and behind it, and how many indices there are along it."""

    a: int
    c: int
    b: int
    count: int


class Last:
    """Whether the last of equal elements is meant."""

    last: int


class Largest:
    """How many elements are chosen along an axis, and whether the largest."""

    count: int
    largest: int


class Labels:
    """How losses of labels weigh them; ``reduction`` is one of :data:`REDUCTIONS`."""

    label_smoothing: float
    ignore_index: int
    reduction: int
