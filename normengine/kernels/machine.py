"""The machine that block sizes and costs are made for: its caches, and what work costs on it.

Results do not depend on the machine that a program runs on, so neither do the sizes by which sums are cut: nothing here
is asked of the system. Kernels and planning say which share of a cache they take.
"""

from __future__ import annotations

from typing import NamedTuple


class Machine(NamedTuple):
    """One core of a CPU, and what it shares with others.

    ``latency`` is that of a fused multiply-add of vectors, in such ones at full rate: so many have to be under way.
    ``meeting`` is what it costs several threads to meet after a call, in single multiply-adds of one thread.
    """

    line_bytes: int
    page_bytes: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    latency: int
    meeting: int


MACHINE = Machine(
    line_bytes=64,
    page_bytes=4096,
    l1_bytes=32 << 10,
    l2_bytes=1 << 20,
    l3_bytes=32 << 20,
    latency=8,
    meeting=100_000,
)
"""A core of AMD Zen 4."""


def whole_lines(nbytes: int) -> int:
    """At least so many bytes, whole lines of a cache."""
    return -(-nbytes // MACHINE.line_bytes) * MACHINE.line_bytes


def l1(share: float) -> int:
    """Bytes of a share of the first-level data cache, which may be more than one where part of them come and go."""
    return int(share * MACHINE.l1_bytes)


def l2(share: float) -> int:
    """The same of the second-level cache."""
    return int(share * MACHINE.l2_bytes)


def l3(share: float) -> int:
    """The same of the cache that cores share."""
    return int(share * MACHINE.l3_bytes)


# What work costs, in fused multiply-adds of whole vectors at full rate, on one thread: fitted by hand to what
# ``tools/bench_kernels.py`` measures on AMD Zen 4, and held against it by ``tools/check_costs.py``.


class TrafficCosts:
    """``value``: one that comes from memory or goes there."""

    value = 2.0


class TileCosts:
    """Register tiles of pixels and vectors of output channels. ``load``: a value, where there are more of them than
    multiply-adds; ``channel``: for some taps, beside what is loaded and multiplied; ``step``: a multiply-add, with what
    cannot be hidden behind it; ``begun`` and ``stored``: a tile, and each of its vectors. ``spanned``: vectors span
    several input channels if that takes this share of the products at most."""

    load = 1.1
    channel = 3
    step = 1.03
    begun = 60
    stored = 2
    spanned = 0.6


class DirectCosts:
    """Direct convolution: a vector that is copied or read, one that is made, a weight that is packed."""

    moved = 4
    made = 4
    packed = 4.0


class FirstCosts:
    """Images of few channels: to begin a row of the copied input, a vector of it, a vector of pixels stored for each of
    the channels of a block."""

    row = 24.0
    vector = 2.5
    transposed = 120.0


class DepthwiseCosts:
    """Depthwise convolution: a vector that comes from or goes to memory, one of results beside its products, a product
    where kernels have code of their own and elsewhere, how much more it is for the weight gradient, a packed weight."""

    moved = 2.0
    pixel = 3.0
    tap = 1.1
    other_tap = 2.0
    weight_tap = 1.25
    packed = 4.0


class OuterCosts:
    """Weight gradients as outer products. ``load``: a value, beside multiply-adds that hide it, by what it takes from
    them; what cannot be hidden of a ``line``, a loop over pixels, of a call of a ``tile``, of a vector of its ``sum``,
    of a vector of x that is copied (``copy``) and of a ``copied_line``; ``value``: one that comes from memory;
    ``packed``: a multiply-add with packed columns, of which many lie in two lines of a cache."""

    load = 0.1
    line = 4.0
    tile = 50.0
    sum = 3.0
    copy = 3.0
    copied_line = 30.0
    value = 1.0
    packed = 1.07


class WinogradCosts:
    """``share_of_peak`` of the products; a register tile, by tile and two blocks of output channels; the points of a
    tile of V input channels, by the points of a side; the outputs of one of V channels, by m and r; the same of the
    weight gradient, a third of the points at a time, of x, and of dy by m; a point of V kernels; ``sum``: adding to a
    vector of the sums that images before have left; ``far``: moving a byte that no cache holds."""

    share_of_peak = 0.9
    register_tile = 5.0
    inputs = {4: 110, 6: 280}
    outputs = {(4, 3): 220, (2, 3): 90, (2, 5): 150}
    gradient_inputs = 340
    gradient_outputs = {4: 280, 2: 150}
    point_of_kernels = 11.0
    sum = 4.0
    far = 0.25


class MatrixCosts:
    """Matrix products: a tile of outer and of dot products beside its terms (its call, its results, sums of lanes); a
    row of few terms, storing a vector of it, each of the vector's terms; a value of the right factor from outside the
    L2 cache; copying a vector as it is, and out of a transpose."""

    tile = 80.0
    dot_tile = 100.0
    row = 20.0
    result = 2.0
    term = 1.2
    value = 0.3
    copy = 5.0
    transposed = 9.0


class PoolCosts:
    """Pooling: a vector that comes from or goes to memory, one of results, and each vector of its window."""

    moved = 2.0
    pixel = 4
    max_tap = 4.0
    max_grad_tap = 8.0
    avg_tap = 1.0
    avg_grad_tap = 2.0


class ResampleCosts:
    """Sums of pixels by tables: a vector that comes from or goes to memory, an entry of the columns' table in a row,
    a vector of such that is permuted, one of the rows' table for a vector of results."""

    moved = 2.0
    column = 3.0
    permuted = 6.0
    row = 1.0
