"""The one intermediate representation: immutable values, nodes and graphs, with a checker and a printer."""

from .check import GraphError, check
from .graph import Graph, Node, Value
from .memory import MEMORY
from .spec import DTYPES, MAX_RANK, Spec

__all__ = ["DTYPES", "MAX_RANK", "MEMORY", "Graph", "GraphError", "Node", "Spec", "Value", "check"]
