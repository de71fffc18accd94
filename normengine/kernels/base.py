"""What a kernel is: one registered row, one C signature, one list of arguments an operator.

Every kernel is ``void kernel(const int64_t *args, int64_t begin, int64_t end, int64_t thread)`` and does the tasks
``begin..end`` of its work, on no other thread's memory. ``args`` holds 8-byte slots: a pointer for each input and
output of the operator's :class:`Signature` (0 for an optional input that is absent), then ``scratch`` (memory shared
by the kernel's stages), ``workspace`` (memory of one thread at ``workspace + thread * workspace_stride``) and
``workspace_stride`` in bytes, then the parameters; a ``float`` parameter is a C ``double`` in its slot.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..compiling import KERNELS
from .override import preferences

T = TypeVar("T")
Shape = tuple[int, ...]
Parameters = tuple[int | float, ...]


class Problem(NamedTuple):
    """What a kernel is asked to do: an operator on shapes and dtypes. An absent optional input has shape None.

    ``single_thread`` says that one thread does it all while others do the same for other images: it is cut as caches
    want it.
    """

    op: str
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape, ...]
    attrs: Mapping[str, Any]
    single_thread: bool = False

    def __hash__(self) -> int:
        """Of all but the attributes, which are a mapping."""
        return hash((self.op, self.inputs, self.outputs, self.single_thread))


class Signature(NamedTuple):
    """The slots of an operator's kernels, the same for every instruction set.

    ``inputs`` and ``outputs`` name the pointer slots, ``parameters`` the numbers after them, which ``values``
    derives from a problem.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    values: Callable[[Problem], Parameters]

    def slot(self, name: str) -> int:
        """Index of the named slot in ``args``."""
        return (self.inputs + self.outputs + ("scratch", "workspace", "workspace_stride") + self.parameters).index(name)

    def arranged(self, given: Sequence[T], attrs: Mapping[str, Any]) -> tuple[T | None, ...]:
        """The operator's inputs by slot, None for those that are absent: the last ones are, unless ``residual`` in
        ``attrs`` says that the last one given is the last slot's."""
        absent = (None,) * (len(self.inputs) - len(given))
        return (*given[:-1], *absent, given[-1]) if attrs.get("residual") else (*given, *absent)


class Launch(NamedTuple):
    """How one kernel runs one problem: the tasks of each of its stages (a stage starts when the one before it has
    ended), bytes of memory that the stages share, bytes that each thread has for itself, and extra parameters that
    follow the signature's own (block sizes that the kernel chose)."""

    tasks: tuple[int, ...]
    scratch: int = 0
    workspace: int = 0
    extra: Parameters = ()


class Kernel(NamedTuple):
    """One row of the list of kernels.

    ``isa`` is ``"numba"`` for the portable default or the instruction set that the code needs. ``stages`` return
    the addresses of the C functions, compiling on first use where they must. ``cost`` estimates the time of one thread,
    in fused multiply-adds of whole vectors at full rate; the smallest wins. ``packs`` names inputs of which alone the
    first stage's result (in ``scratch``) depends, so that it can run once when they are constant; ``packing`` is its
    part of the cost. ``blocked`` names the inputs and outputs that are held in blocks of ``width`` channels (see
    :mod:`.blocks`). ``tolerance`` is the operator's where it is None. ``algorithm`` tells the kernels of an operator
    and instruction set apart.

    ``partial`` is there where two stages sum over the images of a batch, and says how they do so in groups of images:
    given the problem of one group and a number of chunks, how the first stage runs for each group (``scratch`` are the
    bytes of one chunk's sums, whole lines of a cache; the last of ``extra`` is 0 where those begin anew, 1 where the
    group's are added to them), and how the second stage runs after all groups, over the chunks' sums one after the
    other in the scratch memory. The cost of a problem that is ``single_thread`` is that of its first stage.

    ``asks`` is there where the kernel asks for memory on behalf of what follows it, and returns the address of the
    function that tells it for what. It does so with each of its multiply-adds, of which it has the share ``asking`` of
    those of the direct way. With ``writes_late`` it writes many results at once, and does not ask for where they go.
    """

    op: str
    name: str
    isa: str
    stages: tuple[Callable[[], int], ...]
    launch: Callable[[Problem], Launch]
    supports: Callable[[Problem], bool] = lambda problem: True
    cost: Callable[[Problem], float] = lambda problem: 1.0
    packs: tuple[str, ...] = ()
    packing: Callable[[Problem], float] = lambda problem: 0.0
    blocked: tuple[str, ...] = ()
    width: int = 1
    tolerance: float | None = None
    algorithm: str = ""
    partial: Callable[[Problem, int], tuple[Launch, Launch]] | None = None
    asks: Callable[[], int] | None = None
    asking: float = 0.0
    writes_late: bool = False


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
        rows = [k for k in self.kernels.get(problem.op, ()) if k.isa in isas and k.supports(problem)]
        if not rows:
            raise LookupError(f"no kernel for {problem.op} with inputs {problem.inputs} among {', '.join(isas)}")
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
            elif not kernel.supports(problem):
                reasons.append(f"{kernel.name}: does not take this problem")
            elif kernel is not chosen:
                reasons.append(f"{kernel.name}: costs {kernel.cost(problem) + layout_cost(kernel):.3g}")
        return "; ".join(reasons)


REGISTRY = Registry()
