"""Compile options: what whoever compiles a graph may choose, as a record that is passed down to passes and planning."""

from __future__ import annotations

from typing import NamedTuple

PASSES_OFF = "NORMENGINE_PASSES_OFF"
"""The environment variable that names passes and switches to leave out, separated by commas."""
KERNELS = "NORMENGINE_KERNELS"
"""The environment variable that names an algorithm for operators, see ``kernels/override.py``."""


class CompileOptions(NamedTuple):
    """How a graph is compiled; results are the same within rounding. It is made once, from arguments and environment
    variables, where a training step or a session is made (:func:`normengine.settings.compile_options`).

    The switches are those of planning. Those after ``blocks`` need the compiled executor.
    """

    without: frozenset[str] = frozenset()
    """Names of passes over the graph to leave out."""
    kernels: tuple[tuple[str, str], ...] = ()
    """(operator, algorithm): the algorithm to use wherever it can be, see ``kernels/override.py``."""
    blocks: bool = True
    """Channel-blocked layout: activations may be held in blocks of as many channels as a vector has elements."""
    depth_first: bool = True
    """Depth-first order: what treats images one by one runs for some of them at a time, while they are in a cache."""
    in_place: bool = True
    """In-place results: a group of images is written over what was read for it."""
    prefetch: bool = True
    """Software prefetch: while one group of images is multiplied, the memory of the next is asked for."""
    merged_updates: bool = True
    """Merged (multi-tensor) updates: those that do not depend on each other are one call."""


DEFAULT = CompileOptions()
SWITCHES = tuple(name for name, value in DEFAULT._asdict().items() if value is True)
"""The names of the switches."""
