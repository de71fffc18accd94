"""From graph to plan: kernels chosen, memory laid out, arguments written down."""

from .lower import make_plan
from .plan import Accumulate, Call, Memory, PerGroup, Plan, Pointer, ShareEnd

__all__ = ["Accumulate", "Call", "Memory", "PerGroup", "Plan", "Pointer", "ShareEnd", "make_plan"]
