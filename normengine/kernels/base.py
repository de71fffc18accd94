"""The kernel registry and the calling convention: a kernel is a row of the registry with one C signature; an operator
has one list of arguments, whichever kernel does the work.

Every kernel is ``void kernel(const int64_t *args, int64_t begin, int64_t end, int64_t thread)`` and does the tasks
``begin..end`` of its work, on no other thread's memory. ``args`` holds 8-byte slots: a pointer for each input and
output of the operator's :class:`Signature` (0 for an optional input that is absent), then :class:`SharedMemory`, then
the signature's records of numbers, then the record of what the kernel's :class:`Launch` adds.

A record is a class whose annotated fields are slots: an ``int`` is an int64, a ``float`` a C double; those that Python
fills in as a whole are named tuples. The compiled kernels read them as C structs of the same names, which
:mod:`.structs` makes of the records; portable kernels by the names of their parameters. So no position of a slot is
written down anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

from ..compiling import KERNELS
from .override import preferences

T = TypeVar("T")
Shape = tuple[int, ...]
Parameters = tuple[int | float, ...]
Floats = Annotated[int, "float*"]
"""An address of float32 numbers in a record."""
Prefetcher = Annotated[int, "prefetcher*"]
"""An address of what a kernel prefetches while it multiplies, or 0."""
Bytes = Annotated[int, "char*"]
"""An address in a record."""


class Element(NamedTuple):
    """An element type: its short name, which names of kernels have, and its size."""

    short: str
    nbytes: int


ELEMENTS = {
    "float32": Element("f32", 4),
    "int64": Element("s64", 8),
    "bfloat16": Element("bf16", 2),
    "int8": Element("s8", 1),
}
"""Those of kernels, by dtype."""


class Record(Protocol):
    """Any NamedTuple of numbers, of such records, and at its end of tuples of them."""

    @property
    def _fields(self) -> tuple[str, ...]: ...

    @property
    def _replace(self) -> Callable[..., Record]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Nothing(NamedTuple):
    """The record of a launch that adds nothing."""


class SharedMemory:
    """Memory beside inputs and outputs: ``scratch`` is shared by the kernel's stages, each thread has its own at
    ``workspace + thread * workspace_stride`` bytes."""

    scratch: Floats
    workspace: Bytes
    workspace_stride: int


def numbers_in(record: Iterable[Any]) -> Iterator[int | float]:
    """The slots of a record, one after the other."""
    for value in record:
        if isinstance(value, tuple):
            yield from numbers_in(value)
        else:
            yield value


class Problem(NamedTuple):
    """What a kernel is asked to do: an operator on shapes, with arrays of ``dtype`` (labels are int64 beside them). An
    absent optional input has shape None.

    ``single_thread`` says that one thread does it all while others do the same for other images: it is cut as caches
    want it.
    """

    op: str
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape, ...]
    attrs: Mapping[str, Any]
    single_thread: bool = False
    dtype: str = "float32"

    def __hash__(self) -> int:
        """Of all but the attributes, which are a mapping."""
        return hash((self.op, self.inputs, self.outputs, self.single_thread, self.dtype))

    @property
    def item_bytes(self) -> int:
        """Bytes of an element."""
        return ELEMENTS[self.dtype].nbytes


@cache
def fields_of(record: type) -> tuple[str, ...]:
    """The names of a record's fields, those of what it extends first."""
    return tuple(name for base in reversed(record.__mro__) for name in vars(base).get("__annotations__", ()))


class Signature(NamedTuple):
    """The slots of an operator's kernels, the same for every instruction set.

    ``inputs`` and ``outputs`` name the pointer slots, ``records`` are those of the numbers after them, which
    ``values`` derives from a problem. ``integers`` names the inputs that are int64, whatever the element type.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    records: tuple[type, ...]
    values: Callable[[Problem], Parameters]
    integers: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the numbers."""
        return tuple(name for record in self.records for name in fields_of(record))

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of all slots that the kernels of the operator have in common."""
        return self.inputs + self.outputs + fields_of(SharedMemory) + self.parameters

    def slot(self, name: str) -> int:
        """Index of the named slot in ``args``."""
        return self.slots.index(name)

    def arranged(self, given: Sequence[T], attrs: Mapping[str, Any]) -> tuple[T | None, ...]:
        """The operator's inputs by slot, None for those that are absent: the last ones are, unless ``residual`` in
        ``attrs`` says that the last one given is the last slot's."""
        absent = (None,) * (len(self.inputs) - len(given))
        return (*given[:-1], *absent, given[-1]) if attrs.get("residual") else (*given, *absent)


class Launch(NamedTuple):
    """How one kernel runs one problem: the tasks of each of its stages (a stage starts when the one before it has
    ended), bytes of memory that the stages share, bytes that each thread has for itself, and the record of extra
    numbers that follow the signature's own (block sizes that the kernel chose)."""

    tasks: tuple[int, ...]
    scratch: int = 0
    workspace: int = 0
    extra: Record = Nothing()

    @property
    def numbers(self) -> Parameters:
        """The slots of ``extra``."""
        return tuple(numbers_in(self.extra))

    def slot(self, signature: Signature, name: str) -> int:
        """Index in ``args`` of a number of ``extra`` before which there are only numbers."""
        return len(signature.slots) + self.extra._fields.index(name)


class Packing(NamedTuple):
    """A first stage whose result, in ``scratch``, depends on some inputs alone, so that it can run once when they are
    constant; ``cost`` is its part of the kernel's."""

    inputs: tuple[str, ...]
    cost: Callable[[Problem], float]


class PartialSums(NamedTuple):
    """Two stages that sum over the images of a batch, in groups of images: how they are launched.

    ``group`` is the first stage for one group, given its problem: ``scratch`` are the bytes of the sums of one chunk of
    groups, whole lines of a cache, and ``accumulate`` of its record is 0 where those begin anew, 1 where the group's
    are added to them. ``merge`` is the second one after all groups, given the number of chunks too, over their sums one
    after the other in the scratch memory. The cost of a problem that is ``single_thread`` is that of the first stage.
    """

    group: Callable[[Problem], Launch]
    merge: Callable[[Problem, int], Launch]


class Prefetching(NamedTuple):
    """Software prefetch by a kernel for what follows it: some lines of a cache with each of its multiply-adds, of which
    it has ``share`` of those of the direct way.

    Its record has a ``prefetcher``, the address of what says which lines are left, which the kernel whose address
    ``begin`` returns has filled in (see :mod:`.compiled.prefetch`). With ``writes_late`` the kernel writes
    many results at once, and does not by itself prefetch where they go.
    """

    begin: Callable[[], int]
    share: float
    writes_late: bool


class Kernel(NamedTuple):
    """One row of the list of kernels.

    ``isa`` is ``"numba"`` for the portable default or the instruction set that the code needs. ``stages`` return
    the addresses of the C functions, compiling on first use where they must. ``cost`` estimates the time of one thread,
    in fused multiply-adds of whole vectors at full rate; the smallest wins. ``blocked`` names the inputs and outputs
    that are held in blocks of ``width`` channels (see :mod:`.blocks`). ``tolerance`` is the operator's where it is
    None. ``algorithm`` tells the kernels of an operator, ``dtype`` and instruction set apart. What a kernel need not
    have comes last.
    """

    op: str
    name: str
    isa: str
    stages: tuple[Callable[[], int], ...]
    launch: Callable[[Problem], Launch]
    supports: Callable[[Problem], bool] = lambda problem: True
    cost: Callable[[Problem], float] = lambda problem: 1.0
    blocked: tuple[str, ...] = ()
    width: int = 1
    tolerance: float | None = None
    algorithm: str = ""
    dtype: str = "float32"
    packing: Packing | None = None
    partial_sums: PartialSums | None = None
    prefetch: Prefetching | None = None

    @property
    def packs(self) -> tuple[str, ...]:
        """The inputs that the kernel packs."""
        return self.packing.inputs if self.packing else ()

    def packing_cost(self, problem: Problem) -> float:
        """What of the cost is spent once where those are constant."""
        return self.packing.cost(problem) if self.packing else 0.0


class Registry:
    """The list of kernels that dispatch and tests read, and the signatures they share."""

    def __init__(self) -> None:
        self.signatures: dict[str, Signature] = {}
        self.kernels: dict[str, list[Kernel]] = {}
        self.algorithms: dict[str, set[str]] = {}

    def declare(self, signature: Signature) -> Signature:
        self.signatures[signature.op] = signature
        return signature

    def register(self, kernel: Kernel) -> Kernel:
        if kernel.op not in self.signatures:
            raise KeyError(f"kernel {kernel.name}: operator {kernel.op} has no signature")
        self.kernels.setdefault(kernel.op, []).append(kernel)
        self.name(kernel.op, kernel.algorithm)
        return kernel

    def name(self, op: str, algorithm: str) -> None:
        """Make an algorithm one that users may ask for, whether it was built for this machine or not."""
        self.algorithms.setdefault(op, set()).add(algorithm)

    def supporting(
        self, problem: Problem, isas: Sequence[str], preferred: Mapping[str, str] | None = None
    ) -> list[Kernel]:
        """The kernels that support ``problem`` among those of the instruction sets ``isas``; there is one at least.

        Where the user prefers an algorithm that supports it, only those of that algorithm: ``preferred`` is what
        :meth:`preferred` gave, or, where it is None, gives now.
        """
        rows = [k for k in self.kernels.get(problem.op, ()) if k.isa in isas and _takes(k, problem)]
        if not rows:
            given = f"{problem.dtype} inputs {problem.inputs}"
            raise LookupError(f"no kernel for {problem.op} with {given} among {', '.join(isas)}")
        wanted = (self.preferred() if preferred is None else preferred).get(problem.op)
        return [k for k in rows if k.algorithm == wanted] or rows

    def preferred(self, given: Mapping[str, str] | None = None) -> dict[str, str]:
        """The algorithm that the user wants, by operator (see :mod:`.override`)."""
        return preferences(self.algorithms, given) if given is not None or os.environ.get(KERNELS) else {}

    def choose(
        self,
        problem: Problem,
        isas: Sequence[str],
        layout_cost: Callable[[Kernel], float] = lambda kernel: 0.0,
        preferred: Mapping[str, str] | None = None,
    ) -> Kernel:
        """The cheapest kernel that supports ``problem``; ``layout_cost`` is what a kernel costs beside its own work,
        less what of that is done once and for all."""
        rows = self.supporting(problem, isas, preferred)
        return min(rows, key=lambda k: (k.cost(problem) + layout_cost(k), -isas.index(k.isa)))

    def explain(
        self,
        problem: Problem,
        isas: Sequence[str],
        layout_cost: Callable[[Kernel], float] = lambda kernel: 0.0,
        preferred: Mapping[str, str] | None = None,
    ) -> str:
        """Why :meth:`choose` takes its kernel: what it is preferred to, and what is out of the question."""
        chosen = self.choose(problem, isas, layout_cost, preferred)
        least = chosen.cost(problem) + layout_cost(chosen)
        reasons = [f"{chosen.name} costs least ({least:.3g}) or, of equals, is of the best instruction set"]
        wanted = (self.preferred() if preferred is None else preferred).get(problem.op)
        if wanted and chosen.algorithm == wanted:
            reasons = [f"{chosen.name} costs {least:.3g}, its algorithm is wanted"]
        for kernel in self.kernels[problem.op]:
            if kernel.isa not in isas:
                reasons.append(f"{kernel.name}: {kernel.isa} is not in use")
            elif not _takes(kernel, problem):
                reasons.append(f"{kernel.name}: does not take this problem")
            elif kernel is not chosen:
                reasons.append(f"{kernel.name}: costs {kernel.cost(problem) + layout_cost(kernel):.3g}")
        return "; ".join(reasons)


def _takes(kernel: Kernel, problem: Problem) -> bool:
    return kernel.dtype == problem.dtype and kernel.supports(problem)


REGISTRY = Registry()
