"""Noise in a traced graph: where dropout and its kin enter, what of it reaches a value, and how much it adds to the
variance there, in closed form.

Between one batch norm and the next, values are followed twice: without the noise (``clean``), and with what it adds.
With x the clean input of a dropout whose factors have mean 1 and variance s² (p / (1 - p) for ``Dropout`` and
``GaussianDropout``, beta² / 3 for ``UniformDropout``), the variance that the noise of an element adds is

- (a) behind the dropout itself: s² x²;
- (b) behind a convolution or linear layer with weight w after it: s² Σ w² x²,

which for inputs of mean c and variance v have the means s² (c² + v) and s² Σ w² (c² + v): Li, Chen, Hu and Yang,
"Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift", CVPR 2019, arXiv 1801.05134,
section 3. Branches with noise of their own add up. Numbers that are drawn by themselves, to be added or as a mask,
count with their variance, and with their mean, which is what inference has of them. Where the noise of elements is no
longer independent, or what comes is not linear, there is no closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..graph import Node, Value
from ..ops import OPS, Builder

SEED = "rng_seed"

FACTOR_VARIANCE: Mapping[str, Callable[[Node], float]] = {
    "dropout": lambda node: _odds(node.attrs["p"]),
    "gaussian_dropout": lambda node: _odds(node.attrs["p"]),
    "uniform_dropout": lambda node: float(node.attrs["beta"]) ** 2 / 3.0,
}
"""The variance of the factors of mean 1 that these operators multiply by."""


def _odds(p: float) -> float:
    return p / (1.0 - p) if p < 1.0 else math.inf


def is_noise(node: Node) -> bool:
    """Whether the node draws random numbers that change anything."""
    if node.op in FACTOR_VARIANCE and FACTOR_VARIANCE[node.op](node) == 0.0:
        return False
    return any(value.name == SEED for value in node.inputs)


@dataclass(frozen=True)
class Noise:
    """The noise in a value, beside the clean one.

    ``sources`` are the nodes that drew it, and ``spread`` is the variance of its factors, the largest where there are
    several; None where there is no closed form. Without ``excess`` the value is the clean one with a factor of that
    variance for each element (case a), which is never negative if ``positive``; else ``excess`` is the variance that
    noise adds to each element (case b, or ``mixed`` with what has other noise or none). ``shared`` says that the
    elements of a channel have one factor together, ``independent`` that elements have noise of their own.
    """

    sources: frozenset[Node]
    spread: float | None = None
    excess: Value | None = None
    positive: bool = False
    shared: bool = False
    independent: bool = True
    mixed: bool = False

    @property
    def is_factor(self) -> bool:
        """Whether the value is the clean one times factors."""
        return self.spread is not None and self.excess is None


class NoiseWalk:
    """What noise is in each value of a trace since the last batch norm before it, and the value without.

    ``builder`` is that of the trace and gets the nodes that compute clean values and what noise adds; ``norms`` are the
    layers that are batch norms. ``noise`` holds the values that have any, ``clean`` what they would be.
    """

    def __init__(self, builder: Builder, norms: Mapping[str, object]) -> None:
        self.noise: dict[Value, Noise] = {}
        self.clean: dict[Value, Value] = {}
        self._builder = builder
        for node in list(builder.nodes):
            if not (OPS[node.op].normalizes or node.layer in norms):
                self._visit(node)

    def excess(self, value: Value) -> Value | None:
        """The variance that noise adds to each element of ``value``, None where there is no closed form."""
        noise = self.noise[value]
        if noise.spread is None or noise.excess is not None:
            return noise.excess
        squared = self._squared(self._clean(value))
        return self._builder.add("mul", squared, self._builder.constant(float(noise.spread)))

    def _visit(self, node: Node) -> None:
        given = [self.noise.get(value) for value in node.inputs]
        if is_noise(node):
            self._draw(node, given)
        elif any(given):
            outputs = self._builder.replay(node, [self._clean(value) for value in node.inputs])
            self.clean.update(zip(node.outputs, outputs, strict=True))
            sources = frozenset[Node]().union(*(noise.sources for noise in given if noise))
            rule = _RULES.get(node.op, _moved if OPS[node.op].view or OPS[node.op].passes_on else _unknown)
            known = all(noise is None or noise.spread is not None for noise in given)
            found = rule(self, node, given) if known else None
            for value in node.outputs:
                self.noise[value] = replace(found, sources=sources) if found else Noise(sources)

    def _draw(self, node: Node, given: Sequence[Noise | None]) -> None:
        """A node that draws random numbers."""
        earlier = next((noise for noise in given if noise), None)
        sources = frozenset([node]) | (earlier.sources if earlier else frozenset())
        (output,) = node.outputs
        known = earlier is None or earlier.spread is not None
        if node.op in FACTOR_VARIANCE:
            found = self._multiplied(node, earlier) if known else None
            self.clean[output] = self._clean(node.inputs[0])
        else:
            found = self._drawn(node) if earlier is None else None
        self.noise[output] = replace(found, sources=sources) if found else Noise(sources)

    def _multiplied(self, node: Node, earlier: Noise | None) -> Noise | None:
        """Factors of mean 1 for a clean input, or for one that has noise already."""
        spread = FACTOR_VARIANCE[node.op](node)
        if spread == math.inf:
            return None
        before = earlier or Noise(frozenset(), 0.0, positive=True)
        shared = node.attrs["per_channel"] and math.prod(node.outputs[0].shape[2:]) > 1
        total = (1.0 + spread) * (1.0 + (before.spread or 0.0)) - 1.0
        if before.excess is None:
            positive = before.positive and _is_positive(node)
            return replace(before, spread=total, positive=positive, shared=before.shared or shared)
        squared = self._builder.add("add", self._squared(self._clean(node.inputs[0])), before.excess)
        added = self._builder.add("mul", squared, self._builder.constant(spread))
        excess = self._builder.add("add", before.excess, added)
        return replace(before, spread=total, excess=excess, shared=before.shared or shared, mixed=True)

    def _drawn(self, node: Node) -> Noise:
        """Numbers by themselves: what they are without noise is their mean."""
        (output,) = node.outputs
        if node.op == "bernoulli":
            share = mean = node.inputs[0]
            rest = self._builder.add("sub", self._builder.constant(1.0), share)
            variance = self._builder.add("mul", share, rest)
        else:
            mean, variance = (self._filled(number, output) for number in _MOMENTS[node.op])
        self.clean[output] = mean
        return Noise(frozenset(), math.inf, variance, mixed=True)

    def _filled(self, number: float, like: Value) -> Value:
        return self._builder.add("expand", self._builder.constant(number), shape=like.shape)

    def _clean(self, value: Value) -> Value:
        return self.clean.get(value, value)

    def _squared(self, value: Value) -> Value:
        return self._builder.add("mul", value, value)


_MOMENTS: Mapping[str, tuple[float, float]] = {"random_normal": (0.0, 1.0), "random_uniform": (0.5, 1.0 / 12.0)}
"""Mean and variance of numbers that are drawn."""


def _is_positive(node: Node) -> bool:
    """Whether no factor of the node is negative."""
    return node.op == "dropout" or (node.op == "uniform_dropout" and node.attrs["beta"] <= 1.0)


Given = Sequence["Noise | None"]


def _unknown(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """Of what is not linear."""
    return None


def _passed(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """Nothing happens to the noise, as in a dropout whose rate is zero, or but for its sign."""
    return given[0]


def _moved(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """Elements are moved, and their noise with them."""
    (noise,), (x,), (y,) = given, node.inputs, node.outputs
    if noise is None or (noise.shared and (x.shape[:2] != y.shape[:2] or node.attrs.get("axes", (0, 1))[:2] != (0, 1))):
        return None
    if noise.excess is None:
        return noise
    return replace(noise, excess=walk._builder.replay(node, [noise.excess])[0])


def _rectified(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """What commutes with factors that are not negative."""
    (noise,) = given
    return noise if noise and noise.is_factor and noise.positive else None


def _maximum(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """The largest of pixels commutes with factors that are not negative and that they share."""
    (noise,) = given
    if noise is None or not (noise.is_factor and noise.positive and noise.shared):
        return None
    return replace(noise, shared=math.prod(node.outputs[0].shape[2:]) > 1)


def _averaged(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """Means over windows: a factor that their pixels share stays one; where each has noise of its own, windows of k
    pixels that do not overlap leave a k-th of the variance's mean."""
    (noise,), (x,), (y,) = given, node.inputs, node.outputs
    if noise and noise.shared and noise.is_factor and min(node.attrs.get("axes", (2,))) >= 2:
        return replace(noise, shared=math.prod(y.shape[2:]) > 1)
    excess = walk.excess(x)
    if noise is None or excess is None or noise.shared or not noise.independent or not _are_apart(node):
        return None
    (mean,) = walk._builder.replay(node, [excess])
    share = walk._builder.constant(y.spec.size / x.spec.size)
    return Noise(noise.sources, noise.spread, walk._builder.add("mul", mean, share), mixed=noise.mixed)


def _are_apart(node: Node) -> bool:
    """Whether the windows of a mean are all alike, do not overlap and leave nothing out."""
    image, attrs = node.inputs[0].shape[2:], node.attrs
    window = attrs.get("kernel_size", attrs.get("output_size", ()))
    plain = attrs.get("stride", ()) == attrs.get("kernel_size", ()) and not any(attrs.get("padding", ()))
    return plain and all(n % k == 0 for n, k in zip(image, window))


def _weighted(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """Sums with weights: case (b) where the dropout is right before."""
    noise, *others = given
    if noise is None or any(others) or not noise.independent:
        return None
    x, weight = node.inputs[:2]
    one_each = len(weight.shape) > 2 and math.prod(weight.shape[2:]) == 1
    excess = walk.excess(x)
    if excess is None or (noise.shared and not one_each):
        return None
    (added,) = walk._builder.replay(node, [excess, walk._squared(walk._clean(weight))])
    return Noise(noise.sources, noise.spread, added, independent=False, mixed=noise.mixed)


def _added(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """Sums and differences of two: noise of other sources adds up, a clean side adds nothing."""
    left, right = given
    shape = node.outputs[0].shape
    parts = [(value, noise) for value, noise in zip(node.inputs, given, strict=True) if noise]
    if left and right and left.sources & right.sources:
        return None
    excesses = [excess for value, _ in parts if (excess := walk.excess(value))]
    total = excesses[0] if len(parts) == 1 else walk._builder.add("add", *excesses)
    if total.shape != shape:
        total = walk._builder.add("expand", total, shape=shape)
    noises = [noise for _, noise in parts]
    # A bias, which is the same for all samples, takes nothing from the closed form.
    is_bias = len(parts) == 1 and all(v.shape != shape for v in node.inputs if v is not parts[0][0])
    return _sum_of(noises, total, mixed=not is_bias, independent=all(value.shape == shape for value, _ in parts))


def _sum_of(noises: Sequence[Noise], excess: Value, *, mixed: bool, independent: bool) -> Noise:
    """The noise of several parts, whose sources the caller enters."""
    return Noise(
        frozenset(),
        max(noise.spread or 0.0 for noise in noises),
        excess,
        shared=any(noise.shared for noise in noises),
        independent=independent and all(noise.independent for noise in noises),
        mixed=mixed or any(noise.mixed for noise in noises),
    )


def _scaled(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """A product with a clean side, or a quotient by one."""
    left, right = given
    noise = left or right
    value, other = node.inputs if left else reversed(node.inputs)
    if noise is None or (left and right) or (right and node.op == "div"):
        return None
    is_spread = value.shape != node.outputs[0].shape
    if noise.is_factor:
        return None if is_spread else noise
    excess = walk.excess(value)
    if excess is None:
        return None
    scaled = walk._builder.add(node.op, excess, walk._squared(walk._clean(other)))
    return replace(noise, excess=scaled, independent=noise.independent and not is_spread)


def _joined(walk: NoiseWalk, node: Node, given: Given) -> Noise | None:
    """Branches side by side: those without noise add none."""
    builder, parts = walk._builder, []
    for value, noise in zip(node.inputs, given, strict=True):
        part = walk.excess(value) if noise else builder.add("mul", value, builder.constant(0.0))
        if part is None:
            return None
        parts.append(part)
    noises = [noise for noise in given if noise]
    apart = sum(len(noise.sources) for noise in noises) == len(frozenset().union(*(n.sources for n in noises)))
    return _sum_of(noises, builder.replay(node, parts)[0], mixed=True, independent=apart)


_RULES: Mapping[str, Callable[[NoiseWalk, Node, Given], Noise | None]] = {
    "add": _added,
    "sub": _added,
    "mul": _scaled,
    "div": _scaled,
    "neg": _passed,
    **dict.fromkeys(FACTOR_VARIANCE, _passed),
    "concat": _joined,
    "conv2d": _weighted,
    "linear": _weighted,
    "relu": _rectified,
    "leaky_relu": _rectified,
    "max_pool2d": _maximum,
    "avg_pool2d": _averaged,
    "adaptive_avg_pool2d": _averaged,
    "reduce_mean": _averaged,
}
"""How noise goes through operators; those that only move elements are known by their records."""
