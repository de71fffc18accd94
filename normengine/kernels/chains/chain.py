"""Elementwise chains: a description of one loop over memory, the Python source made of it, and its machine code.

A :class:`Chain` reads some inputs, computes steps (scalar functions, see :mod:`.scalars`) and stores some of their
results, for every position of an iteration space of any rank. The last dimension is the inner loop, the others count
rows.
The kernel's 8-byte slots are ::

    input pointers, output pointers, extents (rank), strides of input 0 (rank), ..., strides of output 0 (rank), ...,
    strides of index operand 0 (rank), ..., rows_per_task, block, the first number of each index operand, constants
    (as C doubles), workspace and its stride in bytes (where there are sums)

Strides count elements. A task is ``rows_per_task`` rows, or ``block`` elements where the rank is 1; every row and
every block is computed by itself, so the result has the same bits however the tasks are shared out.

Over activations in blocks of channels (``lanes`` > 0) the last dimension is the lanes of a block, the one before it
its pixels, and a row is all of both, ``block`` elements at a time. What is the same for all pixels of a block of
channels lies in memory ``block`` elements long, repeated, so that it is walked as the rest is. There a chain may also
take sums: of each row, over its pixels, for every lane (an output of stride "sum"), gathered ``block`` wide in a
workspace of :data:`SUM_WIDTH` elements a sum.

No two operands of a chain may overlap in memory, except inputs among themselves and an output with the one input that
``aliases`` says it is, element by element: the code relies on it. Constants are slots, not code, so chains that differ
in them alone share one kernel. Transcendental steps compute in float32 whatever their arguments.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..cache import cache_folder, compile_function, digest, write_entry
from ..code import Code, CodeCache
from .inline import PRIMITIVES, TYPES, Inliner

Ref = tuple[str, int | float]
ELEMENTS_PER_TASK = 16384
SUM_WIDTH = 128
"""Elements that a sum is gathered in: a power of two, the most that ``block`` may be."""


class Operand(NamedTuple):
    """One array: ``stride`` is that of the innermost loop, "zero", "one" or "any"; over lanes, "repeated" says that
    the walk begins anew with each block, and "any" stands for the strides of pixels and of lanes."""

    dtype: str
    stride: str


class Step(NamedTuple):
    """One result: the scalar ``function`` on ``arguments``, converted to ``dtype``.

    A Ref is ``("input", k)``, ``("step", k)`` (an earlier one), ``("constant", number)``, a float32, or
    ``("index", k)``: the k-th index operand, its first number ``+ sum(i_d * stride_d)`` as uint32.
    """

    function: str
    arguments: tuple[Ref, ...]
    dtype: str


class Chain(NamedTuple):
    """A chain; ``results[o]`` is the step that output o stores, ``aliases`` are (output, input) pairs that are the
    same memory element by element. An output of stride "zero" is for an inner extent of 1; of one of stride "sum" the
    rows' sums are stored instead of its elements. ``lanes`` is the number of
    lanes of a block of channels, a power of two, or 0. With ``tries`` there is a last slot, for 0 or the address of an
    int64: the chain then stores no results, and 1 there if one of them is not finite."""

    rank: int
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    results: tuple[int, ...]
    indices: int
    aliases: tuple[tuple[int, int], ...]
    steps: tuple[Step, ...]
    lanes: int = 0
    tries: bool = False

    def constants(self) -> tuple[float, ...]:
        """The values of the constant slots, in order of first use."""
        refs = (ref for step in self.steps for ref in step.arguments)
        found = dict.fromkeys(struct.pack("d", value) for kind, value in refs if kind == "constant")
        return tuple(struct.unpack("d", bits)[0] for bits in found)

    @property
    def workspace(self) -> int:
        """Bytes that each thread needs."""
        return 4 * SUM_WIDTH * sum(operand.stride == "sum" for operand in self.outputs)

    def source(self) -> str:
        """The module that :func:`compile_chain` compiles; chains of equal source share their code."""
        return _Writer(self).source()


def chain_launch(extents: Sequence[int]) -> tuple[int, int, int]:
    """``(tasks, rows_per_task, block)`` for an iteration space, about 16K elements a task."""
    *outer, inner = extents
    if not outer:
        return -(-inner // ELEMENTS_PER_TASK), 1, ELEMENTS_PER_TASK
    rows = int(np.prod(outer, dtype=np.int64)) if inner else 0
    rows_per_task = max(1, ELEMENTS_PER_TASK // max(inner, 1))
    return -(-rows // rows_per_task), rows_per_task, ELEMENTS_PER_TASK


def lane_launch(extents: Sequence[int], block: int) -> tuple[int, int, int]:
    """As :func:`chain_launch`, for an iteration space whose last two extents are pixels and lanes."""
    *outer, pixels, lanes = extents
    rows = int(np.prod(outer, dtype=np.int64)) if pixels else 0
    rows_per_task = max(1, ELEMENTS_PER_TASK // max(pixels * lanes, 1))
    return -(-rows // rows_per_task), rows_per_task, block


def compile_chain(chain: Chain) -> Code:
    """The chain's kernel, from memory, from the disk cache or compiled now."""
    source = _source(chain)
    return _codes.get(source, lambda: _compile(source))


_codes = CodeCache()


@lru_cache(maxsize=512)
def _source(chain: Chain) -> str:
    return chain.source()


def _compile(source: str) -> Code:
    name = digest(source, Path(__file__).parents[1].joinpath("abi.py").read_text(encoding="utf-8"))
    path = cache_folder() / "chains" / f"{name}.code"
    return compile_function(lambda: _function(source, path.with_suffix(".py")), path, {"contract"})


def _function(source: str, path: Path) -> Callable[..., None]:
    """The generated function; its source is kept beside its code."""
    write_entry(path, source.encode())
    # A name of its own: where the file could not be written, Python would take lines of this module for its source.
    space: dict[str, Any] = {"__name__": f"{__name__}.generated"}
    exec(compile(source, str(path), "exec"), space)
    function: Callable[..., None] = space["chain"]
    return function


_STORAGE = {"bool": "uint8"}


class _Writer:
    """Writes the source of one chain. Variables: ``n`` extents, ``i`` positions, ``p`` where an operand's row begins,
    ``s`` inner strides, ``x`` loaded inputs, ``v`` steps, ``k`` constants; ``C`` are the scalar functions' own."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.outer = range(chain.rank - (2 if chain.lanes else 1))
        self.alias = dict(chain.aliases)
        named = [(f"x{k}", k, o) for k, o in enumerate(chain.inputs)]
        count = len(chain.inputs)
        named += [(f"y{k}", count + k, o) for k, o in enumerate(chain.outputs) if k not in self.alias]
        count += len(chain.outputs)
        self.arrays = named
        self.names = [(name, number, o.stride) for name, number, o in named]
        self.names += [(f"index{k}", count + k, "any") for k in range(chain.indices)]
        self.extents = count
        self.strides = count + chain.rank
        self.tail = self.strides + chain.rank * (count + chain.indices)
        self.first_index = self.tail + 2
        self.constants = {struct.pack("d", value): j for j, value in enumerate(chain.constants())}
        self.sums = [k for k, operand in enumerate(chain.outputs) if operand.stride == "sum"]
        self.inliner = Inliner()
        self.trying = False
        assert not (chain.tries and self.sums), "what stores sums cannot be tried"

    def source(self) -> str:
        body = self._body()
        constants = [f"{name} = {value}" for name, value in self.inliner.constants.items()]
        return "\n".join([*self._head(), *constants, "", "", *body, ""])

    def _head(self) -> list[str]:
        chain, rank = self.chain, self.chain.rank
        lines = [
            '"""' + "; ".join(self._summary(j, step) for j, step in enumerate(chain.steps)) + '"""',
            "import numpy as np",
            f"from numba import {', '.join(TYPES)}",
            f"from normengine.kernels.abi import {', '.join(('array', 'double_of', 'row', *PRIMITIVES))}",
            *(["from normengine.kernels.abi import int64_at"] if chain.tries else []),
            "",
        ]
        sizes, count = {}, len(self.arrays) + len(self.sums)
        for turn, (name, _, operand) in enumerate(self.arrays):
            dtype = _STORAGE.get(operand.dtype, operand.dtype)
            sizes[name] = np.dtype(dtype).itemsize
            lines.append(f'load_{name}, store_{name} = array("{dtype}", {turn}, {count})')
        for turn, k in enumerate(self.sums, len(self.arrays)):
            lines.append(f'load_w{k}, store_w{k} = array("float32", {turn}, {count})')
        if self.outer:
            for name, number, _ in self.names:
                pointer, size = (number, sizes[name]) if name in sizes else (-1, 1)
                lines.append(f"row_{name} = row({pointer}, {self.strides + number * rank}, {size})")
        return lines

    def _summary(self, number: int, step: Step) -> str:
        return f"v{number} = {step.function}({', '.join(self._variable(ref) for ref in step.arguments)})"

    def _body(self) -> list[str]:
        chain, rank = self.chain, self.chain.rank
        lines = [f"n{d} = args[{self.extents + d}]" for d in range(rank)]
        for name, number, stride in self.names:
            if stride == "any":
                lines.append(f"s{name} = args[{self.strides + number * rank + rank - 1}]")
                if self.chain.lanes:
                    lines.append(f"q{name} = args[{self.strides + number * rank + rank - 2}]")
        slots = range(self.first_index + chain.indices, self.first_index + chain.indices + len(self.constants))
        lines += [f"k{j} = float32(double_of(args[{slot}]))" for j, slot in enumerate(slots)]
        for turn, k in enumerate(self.sums):
            lines.append(f"pw{k} = args[{slots.stop}] + thread * args[{slots.stop + 1}] + {4 * SUM_WIDTH * turn}")
        if chain.tries:
            lines += [f"tried = args[{slots.stop}]", "if tried != 0:", *_indented(self._trial()), "else:"]
        loops = self._rows() if self.outer else self._blocks()
        lines += _indented(loops) if chain.tries else loops
        return ["def chain(args, begin, end, thread):", *("    " + line for line in lines)]

    def _trial(self) -> list[str]:
        """The loops without stores. The exponent of what is not finite is the largest there is, whatever the sign."""
        self.trying = True
        loops = self._rows() if self.outer else self._blocks()
        self.trying = False
        self.inliner.lines = []
        return ["largest = int32(0)", *loops, "if largest >= int32(0x7F800000):", "    int64_at(tried)[0] = 1"]

    def _blocks(self) -> list[str]:
        lines = [f"p{name} = args[{number}]" for name, number, _ in self.arrays]
        lines += [f"pindex{k} = args[{self.first_index + k}]" for k in range(self.chain.indices)]
        lines += [f"block = args[{self.tail + 1}]", "for task in range(begin, end):"]
        body = ["first = task * block", "last = min(first + block, n0)", *self._inner("range(first, last)")]
        return lines + ["    " + line for line in body]

    def _rows(self) -> list[str]:
        lines = [
            f"rows = args[{self.tail}]",
            *([f"block = args[{self.tail + 1}]"] if self.chain.lanes else []),
            "first = begin * rows",
            f"last = min(end * rows, {' * '.join(f'n{d}' for d in self.outer)})",
        ]
        rest = "first"
        for d in reversed(self.outer):
            lines.append(f"i{d} = {rest} % n{d}" if d else f"i{d} = {rest}")
            rest = f"({rest} // n{d})"
        lines.append("for _ in range(first, last):")
        positions = "".join(f"i{d}, " for d in self.outer)
        body = [f"p{name} = row_{name}(args, ({positions}))" for name, _, _ in self.names]
        body += [f"pindex{k} += args[{self.first_index + k}]" for k in range(self.chain.indices)]
        body += self._lanes() if self.chain.lanes else self._inner(f"range(n{self.chain.rank - 1})")
        indent = ""
        for d in reversed(self.outer):
            body.append(f"{indent}i{d} += 1")
            if d:
                body += [f"{indent}if i{d} == n{d}:", f"{indent}    i{d} = 0"]
                indent += "    "
        return lines + ["    " + line for line in body]

    def _lanes(self) -> list[str]:
        """The pixels and lanes of one row, a block at a time."""
        lines = [f"total = n{self.chain.rank - 2} * {self.chain.lanes}"]
        for k in self.sums:
            lines += [f"for j in range({SUM_WIDTH}):", f"    store_w{k}(pw{k}, j, float32(0))"]
        lines.append("for start in range(0, total, block):")
        lines += ["    " + line for line in self._inner("range(min(block, total - start))")]
        for k in self.sums:
            width = SUM_WIDTH
            while width > self.chain.lanes:
                width //= 2
                fold = f"load_w{k}(pw{k}, j) + load_w{k}(pw{k}, j + {width})"
                lines += [f"for j in range({width}):", f"    store_w{k}(pw{k}, j, {fold})"]
            lines += [f"for j in range({self.chain.lanes}):", f"    store_y{k}(py{k}, j, load_w{k}(pw{k}, j))"]
        return lines

    def _move(self, name: str, stride: str) -> str:
        """Where position j of the inner loop is, from the beginning of an operand's row."""
        if not self.chain.lanes:
            return {"zero": "0", "one": "j", "any": f"j * s{name}"}[stride]
        shift = self.chain.lanes.bit_length() - 1
        pixel, lane = f"((start + j) >> {shift})", f"((start + j) & {self.chain.lanes - 1})"
        return {"zero": "0", "one": "(start + j)", "repeated": "j", "any": f"({pixel} * q{name} + {lane} * s{name})"}[
            stride
        ]

    def _inner(self, positions: str) -> list[str]:
        chain, move = self.chain, self._move
        before: list[str] = []
        body = self.inliner.lines

        for k, operand in enumerate(chain.inputs):
            load = f"load_x{k}(px{k}, {move(f'x{k}', operand.stride)})"
            load = f"{load} != uint8(0)" if operand.dtype == "bool" else load
            (before if operand.stride == "zero" else body).append(f"x{k} = {load}")
        for k in range(chain.indices):
            body.append(f"index{k} = uint32(pindex{k} + {move(f'index{k}', 'any')})")
        for j, step in enumerate(chain.steps):
            result = self.inliner.call(step.function, [self._variable(ref) for ref in step.arguments])
            body.append(f"v{j} = {self._converted(result, step)}")
        for k, operand in enumerate(chain.outputs):
            name = f"x{self.alias[k]}" if k in self.alias else f"y{k}"
            value = f"v{chain.results[k]}"
            if self.trying:
                if operand.dtype == "float32":
                    body.append(f"largest = max(largest, int32(bits_of({value}) & int32(0x7FFFFFFF)))")
                continue
            if operand.stride == "sum":
                body.append(f"store_w{k}(pw{k}, j, load_w{k}(pw{k}, j) + {value})")
                continue
            value = f"uint8({value})" if operand.dtype == "bool" else value
            body.append(f"store_{name}(p{name}, {move(name, operand.stride)}, {value})")
        return [*before, f"for j in {positions}:", *("    " + line for line in body)]

    def _variable(self, ref: Ref) -> str:
        kind, value = ref
        if kind == "constant":
            return f"k{self.constants[struct.pack('d', value)]}"
        return {"input": "x", "step": "v", "index": "index"}[kind] + str(value)

    def _dtype(self, ref: Ref) -> str:
        kind, value = ref
        if kind == "input":
            return self.chain.inputs[int(value)].dtype
        if kind == "step":
            return self.chain.steps[int(value)].dtype
        return "uint32" if kind == "index" else "float32"

    def _converted(self, result: str, step: Step) -> str:
        if step.dtype == "float32" and all(self._dtype(ref) == "float32" for ref in step.arguments):
            return result
        if step.dtype == "bool":
            return result if all(self._dtype(ref) == "bool" for ref in step.arguments) else f"({result}) != 0"
        return f"{step.dtype}({result})"


def _indented(lines: Sequence[str]) -> list[str]:
    return ["    " + line for line in lines]
