"""What windows that slide over one, two or three axes have in common in files: their numbers, and their padding."""

from __future__ import annotations

from ...graph import Value
from ..import_context import ImportedNode
from ..node import OnnxError

Extents = tuple[int, ...]

LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
_NUMBERS = {1: "one positive integer", 2: "two positive integers", 3: "three positive integers"}
_SIDES = {1: "two integers", 2: "four integers", 3: "six integers"}


def image(call: ImportedNode, index: int = 0) -> Value:
    """An input of one, two or three spatial dimensions."""
    value = call.value(index)
    if value.spec.rank - 2 not in LAYOUTS:
        raise OnnxError(f"its input must be {', '.join(LAYOUTS.values())}, got shape {value.shape}")
    return value


def per_axis(call: ImportedNode, attribute: str, rank: int, required: bool = False) -> Extents:
    """An attribute of a positive integer for each of ``rank`` axes, ones if it may be left out."""
    found = call.node.integers(attribute, None if required else (1,) * rank)
    if len(found) != rank or min(found) < 1:
        raise OnnxError(f"attribute '{attribute}' must be {_NUMBERS[rank]}, got {found}")
    return found


def auto_pad(call: ImportedNode) -> str:
    """``NOTSET``, ``VALID``, ``SAME_UPPER`` or ``SAME_LOWER``."""
    mode = call.node.text("auto_pad", "NOTSET") or "NOTSET"
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise OnnxError(f"attribute 'auto_pad' must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, got {mode!r}")
    return mode


def explicit_padding(call: ImportedNode, rank: int) -> Extents:
    """All that is before, then all that is after, as ``pads`` says."""
    pads = call.node.integers("pads", (0,) * (2 * rank))
    if len(pads) != 2 * rank or min(pads) < 0:
        raise OnnxError(f"attribute 'pads' must be {_SIDES[rank]} that are not negative, got {pads}")
    return pads


def shared_out(totals: Extents, upper: bool) -> Extents:
    """Padding of so much in all along each axis: the odd one is after the image with ``upper``, else before it."""
    small = tuple(t // 2 for t in totals)
    large = tuple(t - t // 2 for t in totals)
    return (*small, *large) if upper else (*large, *small)


def window_padding(call: ImportedNode, size: Extents, kernel: Extents, stride: Extents, dilation: Extents) -> Extents:
    """All that is before, then all that is after, as ``pads`` or ``auto_pad`` say for an input of ``size``."""
    mode = auto_pad(call)
    if mode == "NOTSET":
        return explicit_padding(call, len(size))
    if mode == "VALID":
        return (0,) * (2 * len(size))
    rows = zip(size, kernel, stride, dilation, strict=True)
    return shared_out(
        tuple(max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n) for n, k, s, d in rows), mode == "SAME_UPPER"
    )


def unpadded(call: ImportedNode, fill: float) -> tuple[Value, Extents]:
    """The image before a ``Pad`` node that filled its spatial axes with ``fill``, and what that node added."""
    value = image(call)
    padding = call.padding(0)
    if padding is None or padding.fill != fill or any(padding.before[:2]) or any(padding.after[:2]):
        return value, (0,) * (2 * (value.spec.rank - 2))
    return padding.source, (*padding.before[2:], *padding.after[2:])


def added(a: Extents, b: Extents) -> Extents:
    """The sums of two paddings."""
    return tuple(x + y for x, y in zip(a, b, strict=True))
