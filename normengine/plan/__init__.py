"""From graph to plan: kernels chosen, memory laid out, arguments written down."""

from .lower import make_plan
from .plan import Call, Later, Memory, Moving, Plan, Pointer, ShareEnd

__all__ = ["Call", "Later", "Memory", "Moving", "Plan", "Pointer", "ShareEnd", "make_plan"]
