"""The generator of elementwise chains: source for the loop that a network really has, compiled by Numba."""

from .chain import Chain, Operand, Ref, Step, chain_launch, compile_chain, lane_launch

__all__ = ["Chain", "Operand", "Ref", "Step", "chain_launch", "compile_chain", "lane_launch"]
