"""The one intermediate representation: immutable values, nodes and graphs, with a checker and a printer."""

from .check import GraphError, check
from .graph import Graph, Node, Value
from .spec import DTYPES, Spec

__all__ = ["DTYPES", "Graph", "GraphError", "Node", "Spec", "Value", "check"]
