"""Dispatch says why it chose."""

from __future__ import annotations

from normengine.kernels import Kernel, Launch, Problem, Registry, Signature


def test_every_kernel_of_the_operator_has_a_reason() -> None:
    registry = Registry()
    registry.declare(Signature("op", ("x",), ("y",), (), lambda problem: ()))

    def kernel(name: str, isa: str, cost: float, supports: bool = True) -> None:
        launch = lambda problem: Launch((1,))
        registry.register(Kernel("op", name, isa, (), launch, lambda problem: supports, lambda problem: cost))

    kernel("slow", "numba", 100.0)
    kernel("wide", "avx512", 1.0)
    kernel("narrow", "baseline", 1.0)
    kernel("good", "avx2", 1.0)
    kernel("special", "avx2", 0.5, supports=False)
    problem, isas = Problem("op", ((1,),), ((1,),), {}), ("numba", "baseline", "avx2")
    assert registry.choose(problem, isas).name == "good"
    assert registry.explain(problem, isas) == (
        "good costs least (1) or, of equals, is of the best instruction set; slow: costs 100; "
        "wide: avx512 is not in use; narrow: costs 1; special: does not take this problem"
    )
