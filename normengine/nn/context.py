"""The current trace, a context variable: each thread, and each task of a thread, has its own."""

from __future__ import annotations

from contextvars import ContextVar

from .recorder import Recorder
from .tensor import Tensor

_grad_enabled: ContextVar[bool] = ContextVar("normengine_grad_enabled", default=True)
"""What the user said of gradients outside of any trace."""
_current: ContextVar[Recorder[Tensor] | None] = ContextVar("normengine_trace", default=None)


def current() -> Recorder[Tensor] | None:
    """What records the trace under way, or None outside of any trace."""
    return _current.get()
