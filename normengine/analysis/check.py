"""The linter: dropout and other noise that comes before a batch norm, found in the network alone, without data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..graph import Node, Spec, Value
from ..nn.conv import Convolution
from ..nn.linear import Linear
from ..nn.mode import kept_mode
from ..nn.module import Module
from ..nn.norm import BatchNorm
from ..nn.trace import Trace
from ..ops import OPS, OperatorError
from ..shapes import sample_shape
from .noise import NoiseWalk, is_noise
from .probe import Site, batch_norms, node_name, sites_of, traced_with
from .report import Report, ruled

_WHAT = "check"
_SIZES = (28, 32, 8, 64, 16, 224, 96, 128, 299, 48)
"""Heights and widths of images that are tried where no shape is given."""

REMEDIES = (
    "move it behind the last batch norm",
    "take nn.UniformDropout(beta=0.1) (Uout) in its place, for which the share is 3 / (3 + beta^2) = 0.997",
    "after training, compute the statistics anew without the noise: ne.recalibrate(model, data)",
)
"""What helps against a shift, the surest first."""


@dataclass(frozen=True)
class Finding:
    """A layer of noise that comes before a batch norm.

    ``noise`` names it, ``kind`` says what it is; ``through`` names what lies between, on the shortest way, and
    ``direct`` says that no other batch norm does. ``expected`` is the variance in inference as a share of that in
    training, for inputs of the dropout with mean zero that are not correlated: 1 - p for ``Dropout``, 3 / (3 + beta²)
    for ``UniformDropout``. It is exact directly behind the dropout and behind one convolution or linear layer after it;
    where branches without the noise come in as well (``is_bound``) the share lies between it and 1; elsewhere there is
    no closed form (None). A mean that is not zero, as behind ReLU, makes the share smaller, correlated inputs of a wide
    layer bring it nearer to 1.
    """

    noise: str
    kind: str
    batch_norm: str
    through: tuple[str, ...]
    direct: bool
    expected: float | None
    is_bound: bool = False

    @property
    def shift(self) -> str:
        """``expected`` in words."""
        if self.expected is None:
            return "no closed form"
        return f"{self.expected:.3g} to 1" if self.is_bound else f"{self.expected:.3g}"


class Check(Report[Finding]):
    """What :func:`check` found: a :class:`Finding` for each pair of a noise layer and a batch norm behind it. Without
    any it is false. ``print`` it: pairs with another batch norm between them have a line for each noise layer."""

    key = "noise"

    @property
    def remedies(self) -> tuple[str, ...]:
        """What helps, the surest first; nothing where nothing was found."""
        return REMEDIES if self.records else ()

    def __str__(self) -> str:
        if not self:
            return "no dropout or other noise comes before a batch norm"
        head = ("noise", "what it is", "batch norm", "through", "variance in inference / training")
        rows = [(f.noise, f.kind, f.batch_norm, ", ".join(f.through) or "-", f.shift) for f in self if f.direct]
        lines = [ruled(head, rows, left=4)]
        for noise in dict.fromkeys(f.noise for f in self):
            behind = [f.batch_norm for f in self if f.noise == noise and not f.direct]
            if behind:
                lines.append(f"{noise} also comes before {', '.join(behind)}, with another batch norm between")
        return "\n".join([*lines, "What helps:", *(f"- {remedy}" for remedy in self.remedies)])


def check(model: Module, input_shape: Sequence[int] | None = None) -> Check:
    """Each dropout or other random layer of ``model`` that comes before a batch norm: there the batch norm remembers a
    variance that inference does not have (Li, Chen, Hu and Yang, CVPR 2019, arXiv 1801.05134).

    The network is traced in training mode, and every way that values go in it is followed, through branches too. No
    data is needed and nothing is computed. Rates of zero are no noise.

    Args:
        model: the network.
        input_shape: the extents of one sample, such as ``(3, 32, 32)``. Without it the channels of the first
            convolution with common sizes of images are tried, or the features of a first linear layer.

    Returns:
        A :class:`Check` of :class:`Finding` records, false where there are none.

    Raises:
        ValueError: the model has no batch norm, or no input of this shape (or, without one, of those that were tried)
            goes through it.
        TypeError: ``model`` is no module.
    """
    if not isinstance(model, Module):
        raise TypeError(f"{_WHAT}: model must be an nn.Module, got {type(model).__name__}")
    with kept_mode(model, training=True):
        traced = _traced(model, input_shape)
    sites = sites_of(model, traced, _WHAT)
    nodes = list(traced.builder.nodes)
    norms, modules = batch_norms(model), dict(model.named_modules())
    walk = NoiseWalk(traced.builder, norms)
    found = []
    for source in filter(is_noise, nodes):
        ways = _ways(source, nodes, norms, modules)
        found += [_finding(source, site, ways[site.input], walk, modules) for site in sites if site.input in ways]
    return Check(tuple(found))


class _Way(NamedTuple):
    """How noise comes to a value: how many batch norms it passes, and which layers."""

    norms: int
    through: tuple[str, ...]


def _ways(
    source: Node, nodes: Iterable[Node], norms: Mapping[str, Module], modules: Mapping[str, Module]
) -> dict[Value, _Way]:
    """The way from ``source`` to each value that it reaches: with the fewest batch norms, and then the shortest."""
    ways = dict.fromkeys(source.outputs, _Way(0, ()))
    for node in nodes:
        reached = [ways[value] for value in node.inputs if value in ways]
        if not reached:
            continue
        passed, through = min(reached, key=lambda way: (way.norms, len(way.through)))
        name = node_name(node, modules)
        if name not in (through[-1:] or (node_name(source, modules),)):
            through = (*through, name)
        is_norm = OPS[node.op].normalizes or node.layer in norms
        ways.update(dict.fromkeys(node.outputs, _Way(passed + is_norm, through)))
    return ways


def _finding(source: Node, site: Site, way: _Way, walk: NoiseWalk, modules: Mapping[str, Module]) -> Finding:
    noise = walk.noise.get(site.input)
    spread = noise.spread if noise and not way.norms else None
    return Finding(
        node_name(source, modules),
        _kind(source, modules),
        site.name,
        way.through,
        not way.norms,
        None if spread is None else 1.0 / (1.0 + spread),
        noise is not None and noise.mixed,
    )


def _kind(source: Node, modules: Mapping[str, Module]) -> str:
    """The layer with its settings, or the operator with its own."""
    module = modules.get(source.layer)
    if node_name(source, modules) == source.layer and module is not None:
        return f"{type(module).__name__}({module.extra_repr()})"
    settings = [f"{key}={source.attrs[key]}" for key in ("p", "beta") if key in source.attrs]
    return f"{source.op}({', '.join(settings)})"


def _traced(model: Module, input_shape: Sequence[int] | None) -> Trace:
    """The model on an input of two samples."""
    if input_shape is not None:
        return traced_with(model, Spec((2, *sample_shape(input_shape))))
    for shape in _guesses(model):
        try:
            return traced_with(model, Spec((2, *shape)))
        except OperatorError:
            continue
    raise ValueError(f"{_WHAT}: no common size of images goes through the model; give input_shape, such as (3, 32, 32)")


def _guesses(model: Module) -> Iterator[tuple[int, ...]]:
    """Shapes of a sample that the first layer may take."""
    for module in model.modules():
        if isinstance(module, Convolution):
            yield from ((module.in_channels, *(size,) * module.rank) for size in _SIZES)
        elif isinstance(module, Linear):
            yield (module.in_features,)
            side = math.isqrt(module.in_features)
            yield (1, side, side)
        elif isinstance(module, BatchNorm):
            yield (module.num_features,)
            yield from ((module.num_features, size, size) for size in _SIZES)
        else:
            continue
        return
