"""Dispatch says why it chose."""

from __future__ import annotations

import pytest

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


def test_a_row_of_another_element_type_takes_its_problems_and_no_others() -> None:
    registry = Registry()
    registry.declare(Signature("op", ("x",), ("y",), (), lambda problem: ()))
    launch = lambda problem: Launch((1,), scratch=problem.item_bytes)
    registry.register(Kernel("op", "op_f32_avx2", "avx2", (), launch))
    registry.register(Kernel("op", "op_s8_avx2", "avx2", (), launch, dtype="int8", cost=lambda problem: 0.5))
    shapes, isas = (((1,),), ((1,),)), ("avx2",)
    floats, bytes_ = Problem("op", *shapes, {}), Problem("op", *shapes, {}, dtype="int8")
    assert [k.name for k in registry.supporting(floats, isas)] == ["op_f32_avx2"]
    assert [k.name for k in registry.supporting(bytes_, isas)] == ["op_s8_avx2"]
    assert registry.choose(bytes_, isas).launch(bytes_).scratch == 1
    assert "op_s8_avx2: does not take this problem" in registry.explain(floats, isas)
    with pytest.raises(LookupError, match="no kernel for op with bfloat16 inputs"):
        registry.choose(bytes_._replace(dtype="bfloat16"), isas)


def test_the_user_may_prefer_an_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    registry.declare(Signature("op", ("x",), ("y",), (), lambda problem: ()))
    for name, cost in (("fast", 1.0), ("exact", 2.0)):
        launch = lambda problem: Launch((1,))
        small = lambda problem: problem.inputs[0] == (1,)
        supports = small if name == "exact" else lambda problem: True
        kernel = Kernel("op", f"op_{name}", "avx2", (), launch, supports, lambda problem, c=cost: c, algorithm=name)
        registry.register(kernel)
    small_one, large_one = (Problem("op", (shape,), (shape,), {}) for shape in ((1,), (2,)))
    assert registry.choose(small_one, ("avx2",)).name == "op_fast"
    monkeypatch.setenv("NORMENGINE_KERNELS", " op=exact ")
    assert registry.choose(small_one, ("avx2",)).name == "op_exact"
    assert registry.explain(small_one, ("avx2",)) == ("op_exact costs 2, its algorithm is wanted; op_fast: costs 1")
    assert registry.choose(large_one, ("avx2",)).name == "op_fast"
    monkeypatch.setenv("NORMENGINE_KERNELS", "op=best")
    with pytest.raises(ValueError, match="got 'op=best': op has exact, fast"):
        registry.choose(small_one, ("avx2",))
    monkeypatch.setenv("NORMENGINE_KERNELS", "conv=direct")
    with pytest.raises(ValueError, match="the operators that have a choice are op"):
        registry.choose(small_one, ("avx2",))


def test_what_is_given_comes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    registry.declare(Signature("op", ("x",), ("y",), (), lambda problem: ()))
    for name in ("fast", "exact"):
        registry.register(Kernel("op", f"op_{name}", "avx2", (), lambda problem: Launch((1,)), algorithm=name))
    registry.name("op", "elsewhere")
    assert registry.preferred() == {} == registry.preferred({})
    monkeypatch.setenv("NORMENGINE_KERNELS", "op=fast")
    assert registry.preferred() == {"op": "fast"} and registry.preferred({"op": "exact"}) == {"op": "exact"}
    problem = Problem("op", ((1,),), ((1,),), {})
    assert registry.choose(problem, ("avx2",), preferred={"op": "exact"}).name == "op_exact"
    assert "its algorithm is wanted" in registry.explain(problem, ("avx2",), preferred={"op": "exact"})
    for given, message in (
        ({"op": "best"}, "got 'op': 'best': op has elsewhere, exact, fast"),
        ({"conv": "fast"}, "got 'conv': 'fast': the operators that have a choice are op"),
        ("op=fast", "kernels must be a dict such as .'conv2d': 'direct'.*, got 'op=fast'"),
    ):
        with pytest.raises(ValueError, match=message):
            registry.preferred(given)  # type: ignore[arg-type]
