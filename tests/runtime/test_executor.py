"""The executors against kernels that record what they were asked to do: every test runs on both of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numba import cfunc, float32

from normengine.kernels.abi import SIGNATURE, float32_at, int64_at
from normengine.runtime.executor import Executor
from normengine.runtime.intrinsics import FAST_FLOAT, atomic_add, atomic_load, call_system
from normengine.runtime.portable_executor import _system_functions

pytestmark = pytest.mark.usefixtures("backend")


@cfunc(SIGNATURE)
def count_tasks(args: Any, begin: int, end: int, thread: int) -> None:
    """args: counts a task, counts a thread (8 words apart)."""
    tasks, threads = int64_at(args[0]), int64_at(args[1])
    for task in range(begin, end):
        tasks[task] += 1
    threads[8 * thread] += end - begin


@cfunc(SIGNATURE)
def next_of_neighbour(args: Any, begin: int, end: int, thread: int) -> None:
    """args: target, source, size. target[i] = source[i + 1] + 1, around the end."""
    target, source, size = int64_at(args[0]), int64_at(args[1]), args[2]
    for task in range(begin, end):
        target[task] = source[(task + 1) % size] + 1


@cfunc(SIGNATURE)
def shift_left(args: Any, begin: int, end: int, thread: int) -> None:
    """args: a number, a digit. Appends the digit to the number."""
    number = int64_at(args[0])
    number[0] = 10 * number[0] + args[1]


@cfunc(SIGNATURE)
def first_waits_for_others(args: Any, begin: int, end: int, thread: int) -> None:
    """args: counter, tasks, result, yield function. Task 0 gives up after a while, and then leaves the result 0."""
    for task in range(begin, end):
        if task > 0:
            atomic_add(args[0], 1)
            continue
        for _ in range(20_000_000):
            if atomic_load(args[0]) == args[1] - 1:
                int64_at(args[2])[0] = 1
                break
            call_system(args[3], 0)


@cfunc(SIGNATURE)
def multiply(args: Any, begin: int, end: int, thread: int) -> None:
    """args: result, two factors, all float32."""
    result, a, b = float32_at(args[0]), float32_at(args[1]), float32_at(args[2])
    for task in range(begin, end):
        result[task] = float32(a[task] * b[task])


def words(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def executor(rows: Sequence[tuple[Any, np.ndarray, int, int]]) -> Executor:
    return Executor(np.array([(k.address, a.ctypes.data, n, g) for k, a, n, g in rows], np.int64).reshape(-1, 4))


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_every_task_is_done_once_whatever_the_grain(threads: int) -> None:
    counts, by_thread = np.zeros(1000, np.int64), np.zeros(8 * threads, np.int64)
    args = words(address(counts), address(by_thread))
    sizes = [(0, 0), (1, 0), (1, 5), (2, 1), (7, 0), (7, 3), (1000, 0), (1000, 1), (999, 64), (1, 0), (0, 1)]
    ex = executor([(count_tasks, args, tasks, grain) for tasks, grain in sizes])
    expected = sum((np.arange(1000) < tasks).astype(np.int64) for tasks, _ in sizes)
    for run in range(1, 21):
        ex.run(0, len(sizes), threads)
        np.testing.assert_array_equal(counts, run * expected)
    assert by_thread[::8].sum() == counts.sum()


@pytest.mark.parametrize("threads", [2, 5])
def test_calls_for_one_thread_keep_their_order_among_shared_ones(threads: int) -> None:
    size = 257
    a, b = np.arange(size, dtype=np.int64), np.zeros(size, np.int64)
    there, back = words(address(b), address(a), size), words(address(a), address(b), size)
    grains = [size, size + 5, 1, size, 1, 1, size, size, size, 1]
    ex = executor([(next_of_neighbour, back if i % 2 else there, size, grain) for i, grain in enumerate(grains)])
    for _ in range(50):
        ex.run(0, len(grains), threads)
        ex.run(0, 2, threads)
    np.testing.assert_array_equal(a, (np.arange(size) + 50 * 12) % size + 50 * 12)


@pytest.mark.parametrize("threads", [2, 5])
def test_a_call_starts_when_the_one_before_it_has_ended(threads: int) -> None:
    size, calls = 257, 100
    a, b = np.arange(size, dtype=np.int64), np.zeros(size, np.int64)
    there, back = words(address(b), address(a), size), words(address(a), address(b), size)
    ex = executor([(next_of_neighbour, back if call % 2 else there, size, 1) for call in range(calls)])
    for _ in range(10):
        ex.run(0, calls, threads)
    np.testing.assert_array_equal(a, (np.arange(size) + 10 * calls) % size + 10 * calls)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_calls_of_one_task_keep_their_order(threads: int) -> None:
    number, by_thread = words(0), np.zeros(8 * threads, np.int64)
    counts = np.zeros(50, np.int64)
    counting = (count_tasks, words(address(counts), address(by_thread)), 50, 0)
    digits = [(shift_left, words(address(number), digit), 1, 0) for digit in range(1, 10)]
    ex = executor([*digits[:4], counting, *digits[4:8], counting, digits[8]])
    for _ in range(50):
        number[0] = 0
        ex.run(0, 11, threads)
        assert number[0] == 123456789


def test_a_range_of_the_calls_runs_alone() -> None:
    number = words(0)
    ex = executor([(shift_left, words(address(number), digit), 1, 0) for digit in range(1, 6)])
    ex.run(1, 4, 1)
    ex.run(2, 3, 2)
    ex.run(2, 2, 2)
    assert number[0] == 2343


def test_tasks_go_to_whoever_is_free() -> None:
    """Task 0 ends only after all others have: with a fixed share for each thread they would wait behind it."""
    counter, result, tasks = words(0), words(0), 40
    args = words(address(counter), tasks, address(result), _system_functions()[0])
    executor([(first_waits_for_others, args, tasks, 1)]).run(0, 1, 2)
    assert result[0] == 1


def test_the_team_changes_its_size_between_runs() -> None:
    counts, by_thread = np.zeros(64, np.int64), np.zeros(8 * 32, np.int64)
    ex = executor([(count_tasks, words(address(counts), address(by_thread)), 64, 1)] * 3)
    sizes = [2, 8, 3, 1, 32, 2]
    for threads in sizes:
        by_thread[:] = 0
        ex.run(0, 3, threads)
        assert by_thread.sum() == 3 * 64
        assert not by_thread[8 * threads :].any()
    np.testing.assert_array_equal(counts, 3 * len(sizes))


def test_several_python_threads_run_at_once() -> None:
    size, calls, callers = 64, 20, 4
    failures: list[str] = []

    def call(threads: int) -> None:
        a, b = np.arange(size, dtype=np.int64), np.zeros(size, np.int64)
        there, back = words(address(b), address(a), size), words(address(a), address(b), size)
        ex = executor([(next_of_neighbour, back if call % 2 else there, size, 1) for call in range(calls)])
        for _ in range(30):
            ex.run(0, calls, threads)
        if not np.array_equal(a, (np.arange(size) + 30 * calls) % size + 30 * calls):
            failures.append(f"{threads} threads")

    team = [threading.Thread(target=call, args=(1 + i % 3,)) for i in range(callers)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert failures == []


@pytest.mark.skipif(not FAST_FLOAT, reason="this processor's flush-to-zero mode is not known")
@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_are_zero_in_kernels_and_only_there(threads: int) -> None:
    tiny, small = np.full(64, 1e-30, np.float32), np.full(64, 1e-10, np.float32)
    denormal, big = np.full(64, 1e-40, np.float32), np.full(64, 1e20, np.float32)
    from_normal, from_denormal = np.ones(64, np.float32), np.ones(64, np.float32)
    executor(
        [
            (multiply, words(address(from_normal), address(tiny), address(small)), 64, 1),
            (multiply, words(address(from_denormal), address(denormal), address(big)), 64, 1),
        ]
    ).run(0, 2, threads)
    assert not from_normal.any()
    assert not from_denormal.any()
    assert (tiny * small > 0).all()
    assert (denormal * big > 0).all()


def test_profile_does_the_work_and_times_each_call() -> None:
    number = words(0)
    ex = executor([(shift_left, words(address(number), digit), 1, 0) for digit in range(1, 6)])
    for threads in (1, 2):
        number[0] = 0
        seconds = ex.profile(1, 4, threads)
        assert number[0] == 234
        assert seconds.shape == (3,)
        assert seconds.dtype == np.float64
        assert (seconds >= 0).all()
    assert ex.profile(2, 2, 2).shape == (0,)


@pytest.mark.parametrize(
    "calls", [np.zeros((3, 3), np.int64), np.zeros(4, np.int64), np.zeros((1, 4), np.float64)], ids=str
)
def test_the_calls_must_be_a_table_of_four_columns(calls: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"calls must be int64 of shape \(n, 4\), got (int|float)64 of shape"):
        Executor(calls)


def test_a_range_or_team_that_cannot_be_is_an_error() -> None:
    ex = executor([(shift_left, words(0, 0), 0, 0)] * 2)
    for first, last in ((-1, 1), (0, 3), (2, 1)):
        with pytest.raises(ValueError, match=rf"calls {first}\.\.{last} are not within the 2 of this executor"):
            ex.run(first, last, 1)
        with pytest.raises(ValueError, match="are not within"):
            ex.profile(first, last, 1)
    for threads in (0, -1, 1025):
        with pytest.raises(ValueError, match=f"threads must be between 1 and 1024, got {threads}"):
            ex.run(0, 2, threads)
