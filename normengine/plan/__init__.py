"""From graph to plan: kernels chosen, memory laid out, arguments written down."""

from .arguments import Accumulate, Memory, PerGroup, Pointer, ShareEnd
from .call import Call, DepthFirstCall, KernelCall, MergedCall, Work
from .lower import make_plan
from .plan import Plan

__all__ = [
    "Accumulate",
    "Call",
    "DepthFirstCall",
    "KernelCall",
    "Memory",
    "MergedCall",
    "PerGroup",
    "Plan",
    "Pointer",
    "ShareEnd",
    "Work",
    "make_plan",
]
