"""The runtime: planned graphs in memory, and their running."""

from .cache import ProgramCache
from .executor import Counters
from .program import Program, compile_graph
from .threads import get_num_threads, set_num_threads

__all__ = ["Counters", "Program", "ProgramCache", "compile_graph", "get_num_threads", "set_num_threads"]
