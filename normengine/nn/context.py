"""Which trace is under way, known to each thread of control by itself."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trace import Tracer

_grad_enabled: ContextVar[bool] = ContextVar("normengine_grad_enabled", default=True)
"""What the user said of gradients outside of any trace."""
_current: ContextVar[Tracer | None] = ContextVar("normengine_trace", default=None)


def current() -> Tracer | None:
    """The tracer at work, or None outside of any trace."""
    return _current.get()
