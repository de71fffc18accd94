"""Elementwise chains: every scalar operator against its reference, and every way of walking memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from normengine.graph import DTYPES, Spec
from normengine.kernels.chains import Chain, Operand, Ref, Step, chain_launch, compile_chain
from normengine.ops import OPS

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
CASES = [
    pytest.param(name, i, id=f"{name}-{i}") for name, op in OPS.items() if op.scalar for i in range(len(op.cases()))
]
KINDS = {0: "zero", 1: "one"}


def chain_args(
    chain: Chain,
    pointers: Sequence[int],
    extents: Sequence[int],
    strides: Sequence[Sequence[int]],
    rows_per_task: int,
    block: int,
) -> np.ndarray:
    """The int64 slots of one call.

    ``pointers`` are the addresses of the inputs, then of the outputs (zeros to be filled in later will do);
    ``strides`` has one entry for each input, output and index operand, in that order.
    """
    operands = len(chain.inputs) + len(chain.outputs)
    assert len(pointers) == operands and len(strides) == operands + chain.indices and len(extents) == chain.rank
    assert all(len(s) == chain.rank for s in strides)
    numbers = [*pointers, *extents, *(s for each in strides for s in each), rows_per_task, block]
    numbers += [0] * chain.indices
    return np.concatenate([np.array(numbers, np.int64), np.array(chain.constants(), np.float64).view(np.int64)])


def run(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    results: Sequence[int],
    index_strides: Sequence[Sequence[int]] = (),
    aliases: Sequence[tuple[int, int]] = (),
    pieces: int = 1,
) -> Chain:
    """Run a chain on arrays of one shape, strides and all; the tasks in ``pieces`` calls from the last to the first."""
    shape = outputs[0].shape
    arrays = [*inputs, *outputs]
    strides = [[s // a.itemsize for s in a.strides] for a in arrays] + [list(s) for s in index_strides]
    operands = [Operand(a.dtype.name, KINDS.get(s[-1], "any")) for a, s in zip(arrays, strides, strict=False)]
    split = len(inputs)
    chain = Chain(
        len(shape),
        tuple(operands[:split]),
        tuple(operands[split:]),
        tuple(results),
        len(index_strides),
        tuple(aliases),
        tuple(steps),
    )
    tasks, rows_per_task, block = chain_launch(shape)
    args = chain_args(chain, [a.ctypes.data for a in arrays], shape, strides, rows_per_task, block)
    kernel = ENTRY(compile_chain(chain))
    edges = [tasks * i // pieces for i in range(pieces + 1)]
    for begin, end in reversed(list(pairwise(edges))):
        kernel(args.ctypes.data, begin, end, 0)
    return chain


def step(function: str, *arguments: Ref, dtype: str = "float32") -> Step:
    return Step(function, arguments, dtype)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X, Y, Z = ("input", 0), ("input", 1), ("input", 2)
FIRST, SECOND = ("step", 0), ("step", 1)


@pytest.mark.parametrize("name, number", CASES)
def test_operator_matches_its_reference(name: str, number: int) -> None:
    op, case = OPS[name], OPS[name].cases()[number]
    assert op.scalar is not None
    arrays = [np.asarray(a) for a in case.arrays(np.random.default_rng(number))]
    with np.errstate(all="ignore"):
        (expected,) = op.reference(arrays, case.attrs)
    shape, index = (expected.size,), []
    arguments: list[Ref] = [("input", k) for k in range(len(arrays))]
    inputs = [np.broadcast_to(a, expected.shape).ravel() for a in arrays]
    if op.scalar.indexed:
        arguments.append(("index", 0))
        index.append([1])
        if case.attrs.get("per_channel"):
            n, c, *space = expected.shape
            shape, index = (n * c, int(np.prod(space))), [[1, 0]]
    arguments += [("constant", float(case.attrs[a])) for a in op.scalar.attrs]
    (made,) = op.infer([Spec.of(a) for a in arrays], case.attrs)
    result = np.full(shape, 7, made.dtype)
    steps = [Step(op.scalar.function, tuple(arguments), result.dtype.name)]
    run(steps, [a.reshape(shape) for a in inputs], [result], [0], index)
    result = result.reshape(expected.shape)
    if expected.dtype.kind != "f":
        assert np.array_equal(result, expected)
        return
    assert np.array_equal(np.isnan(result), np.isnan(expected))
    scale = max(1.0, float(np.abs(np.asarray(expected, np.float64)).max(initial=0.0)))
    np.testing.assert_allclose(result.astype(np.float64), expected, rtol=0, atol=op.tolerance * scale)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("pieces", [1, 3])
def test_ranks_and_broadcasting(rank: int, pieces: int) -> None:
    shape = (2, 3, 2, 3, 5, 37)[6 - rank :] if rank > 1 else (40_001,)
    x, row = draw(*shape), draw(shape[-1], seed=1)
    column = draw(*shape[:-1], 1, seed=2)
    y = np.empty_like(x)
    inputs = [x, np.broadcast_to(row, shape), np.broadcast_to(column, shape)]
    run([step("mul", X, Y), step("add", FIRST, Z)], inputs, [y], [1], pieces=pieces)
    np.testing.assert_allclose(y, x * row + column, rtol=1e-6, atol=1e-6)


def test_strided_inputs_and_outputs() -> None:
    base, target = draw(6, 8, 11), np.zeros((4, 11, 3), np.float32)
    x = base.transpose(0, 2, 1)[::2, :, 1:7:2]
    y = target.transpose(2, 1, 0)[:, :, :3]
    run([step("neg", X)], [x], [y], [0])
    np.testing.assert_array_equal(y, -x)
    assert (target[3] == 0).all()


def test_negative_strides() -> None:
    x, y = draw(5, 9), np.empty((5, 9), np.float32)
    run([step("neg", X)], [x[::-1, ::-1]], [y], [0])
    np.testing.assert_array_equal(y, -x[::-1, ::-1])


def test_outputs_may_be_inputs_overwritten() -> None:
    w, v, g = draw(3, 1000), draw(3, 1000, seed=1), draw(3, 1000, seed=2)
    velocity = np.float32(0.9) * v + g
    weight = w - np.float32(0.1) * velocity
    steps = [
        step("mul", Y, ("constant", 0.9)),
        step("add", FIRST, Z),
        step("mul", SECOND, ("constant", 0.1)),
        step("sub", X, ("step", 2)),
    ]
    run(steps, [w, v, g], [w, v], [3, 1], aliases=[(0, 0), (1, 1)])
    np.testing.assert_allclose(v, velocity, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(w, weight, rtol=1e-6, atol=1e-6)


def test_several_outputs_some_of_them_inner_steps() -> None:
    x = draw(7, 33)
    a, b = np.empty_like(x), np.empty((33, 7), np.float32)
    run([step("relu", X), step("neg", FIRST)], [x], [a, b.T], [0, 1])
    np.testing.assert_array_equal(a, np.maximum(x, 0))
    np.testing.assert_array_equal(b.T, -a)


@pytest.mark.parametrize("given", DTYPES)
def test_cast_between_all_dtypes(given: str) -> None:
    x = np.array([0, 1, 2, 100, 101, 7]).astype(given)
    results = [np.empty(6, made) for made in DTYPES]
    run([step("cast", X, dtype=made) for made in DTYPES], [x], results, range(len(DTYPES)))
    for y in results:
        np.testing.assert_array_equal(y, x.astype(y.dtype))


def test_integers_wrap_in_their_own_width() -> None:
    x = np.array([2**32 - 1, 5], np.uint32)
    y = np.empty(2, np.uint32)
    run([step("add", X, X, dtype="uint32")], [x], [y], [0])
    np.testing.assert_array_equal(y, x + x)
    n = np.array([2**62 + 1], np.int64)
    run([step("count_step", X, dtype="int64")], [n], [n], [0], aliases=[(0, 0)])
    assert n[0] == 2**62 + 2


def test_indices_are_positions_modulo_two_to_the_32() -> None:
    y = np.empty((3, 5), np.uint32)
    run([step("cast", ("index", 0), dtype="uint32")], [], [y], [0], [[2**31, 10]])
    expected = (np.arange(3)[:, None] * 2**31 + 10 * np.arange(5)) % 2**32
    np.testing.assert_array_equal(y, expected)
    line = np.empty(70_000, np.uint32)
    run([step("cast", ("index", 0), dtype="uint32")], [], [line], [0], [[1]], pieces=2)
    np.testing.assert_array_equal(line, np.arange(70_000))


@pytest.mark.parametrize("shape", [(100_003,), (37, 1009), (5, 7, 3, 601)])
@pytest.mark.parametrize("pieces", [2, 5])
def test_any_partition_gives_the_same_bits(shape: tuple[int, ...], pieces: int) -> None:
    x = 3 * draw(*shape)
    seed, now = (np.broadcast_to(np.array(n, np.uint32), shape) for n in (11, 4))
    strides = [int(np.prod(shape[d + 1 :])) for d in range(len(shape))]
    noise = step("uniform_dropout", ("step", 0), Y, Z, ("index", 0), ("constant", 0.3), ("constant", 2.0))
    outputs = [np.empty_like(x) for _ in range(2)]
    for y, count in zip(outputs, (1, pieces), strict=True):
        run([step("gelu", X), noise, step("tanh", SECOND)], [x, seed, now], [y], [2], [strides], pieces=count)
    assert outputs[0].tobytes() == outputs[1].tobytes()


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (1,), (1, 1)])
def test_empty_and_single(shape: tuple[int, ...]) -> None:
    x, y = draw(*shape), np.empty(shape, np.float32)
    run([step("neg", X)], [x], [y], [0])
    np.testing.assert_array_equal(y, -x)


def test_a_scalar_whose_strides_are_all_zero() -> None:
    x, y = np.array([3.0], np.float32), np.empty((), np.float32)
    run([step("mul", X, X)], [np.broadcast_to(x[0], (1,))], [np.lib.stride_tricks.as_strided(y, (1,), (0,))], [0])
    assert y == 9


@pytest.mark.parametrize(
    "extents, tasks",
    [((1,), 1), ((16384,), 1), ((16385,), 2), ((4, 8192), 2), ((3, 100_000), 3), ((0, 4), 0), ((4, 0), 0)],
)
def test_launch(extents: tuple[int, ...], tasks: int) -> None:
    assert chain_launch(extents)[0] == tasks


def test_chains_that_differ_in_constants_share_their_code() -> None:
    x, y = draw(5), np.empty(5, np.float32)
    codes = set()
    for slope in (0.1, 0.25, -0.0, float("inf")):
        chain = run([step("leaky_relu", X, ("constant", slope))], [x], [y], [0])
        np.testing.assert_array_equal(y, np.where(x > 0, x, np.float32(slope) * x))
        codes.add((chain.source(), compile_chain(chain)))
    assert len(codes) == 1


def test_equal_constants_share_a_slot() -> None:
    steps = (
        step("add", X, ("constant", 2.0)),
        step("mul", FIRST, ("constant", 2.0)),
        step("add", SECOND, ("constant", 0.0)),
    )
    one = Operand("float32", "one")
    assert Chain(1, (one,), (one,), (2,), 0, (), steps).constants() == (2.0, 0.0)


def test_a_call_with_the_wrong_number_of_arguments_is_a_mistake() -> None:
    one = Operand("float32", "one")
    with pytest.raises(TypeError, match="scalar function relu takes"):
        Chain(1, (one,), (one,), (0,), 0, (), (step("relu", X, X),)).source()
