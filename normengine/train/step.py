"""The training step: forward, loss, backward and update as one compiled program."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from operator import is_, setitem
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Spec, Value
from ..locks import at_once, is_held, load_module, new_lock
from ..nn import random
from ..nn.array import Scalar
from ..nn.module import Module
from ..nn.tensor import Tensor
from ..nn.trace import Begun, Trace
from ..ops import label_rules
from ..optim import Optimizer
from ..passes import differentiate
from ..recent import Recent
from ..runtime import Counters, Program, compile_graph
from ..runtime.cache import structure as structure_of
from ..settings import compile_options, saved, whole
from .accuracy import is_rated
from .compiled import Bound, Compiled, Last
from .inputs import as_input, as_target, check_parts
from .nonfinite import explain_nonfinite, explain_update
from .watch import Watch, WatchedGroups, Watches

if TYPE_CHECKING:
    from ..runtime.profile import Profile

_FEW, _MANY = 8, 64
_MEMORY = 1 << 30
"""Programs that a step keeps, of those used last: a few always, many while they own less memory than that."""


_OF_THE_PROCESS = ("_compiled", "_bound", "_begun", "_built", "_watches", "_last", "_lock")
"""What a step makes anew where it arrives: attributes that are not pickled."""

_LOOKED = "its Python looks at values that each step changes"


class TrainStep:
    """Trains ``model`` by one step of ``optimizer`` on each call: ``loss = step(x, y)``.

    Args:
        model: the :class:`~normengine.nn.Module` to train; modules in ``eval`` mode behave as they do in PyTorch
            (their batch norms use the running statistics, their dropout does nothing).
        loss: ``loss(model(x), y)`` must be a scalar: a loss module such as ``nn.CrossEntropyLoss()`` or any function
            of ``normengine.nn.functional``.
        optimizer: from :mod:`normengine.optim`; parameters that it does not hold, or whose ``requires_grad`` is
            False, stay as they are.
        seed: of the dropout masks, which are a function of (seed, number of the step, layer, element) alone; by
            default drawn from the generator that ``ne.manual_seed`` sets.
        without_passes: names of passes over the graph to leave out, to see what they bring; results stay the same
            within rounding. The environment variable ``NORMENGINE_PASSES_OFF`` names more.
        kernels: algorithms by operator to use wherever they can be, before those of the environment variable
            ``NORMENGINE_KERNELS``, such as ``{"conv2d": "direct", "conv2d_input_grad": "direct"}`` for sums as they are
            defined (see ``docs/kernels.md``).

    The step is compiled at the first call, and again for a new batch shape or where something makes another computation
    of it. Whatever the Python of ``forward`` and of the loss reads may change between steps: attributes, globals, what
    a closure holds, arrays and containers in place, the model or the loss themselves. The step looks at all that before
    it runs, and where something is not what it was, it calls ``forward`` or the loss anew; numbers and arrays that
    these hand to arithmetic are given to the same program. What draws from Python's or NumPy's generators, or cannot be
    looked at from outside, is called at every step. Learning rates and weight decay are read at every call.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[[Any, Any], Any],
        optimizer: Optimizer,
        *,
        seed: int | None = None,
        without_passes: Collection[str] = (),
        kernels: Mapping[str, str] | None = None,
    ) -> None:
        check_parts("TrainStep", model, loss, optimizer)
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.seed = random.draw_seed() if seed is None else int(seed)
        self.options = compile_options(without_passes, kernels)
        self._rated = False
        """Whether to give the model's output beside the loss, where it says which predictions are right."""
        self._steps = np.zeros((), np.int64)
        self._begin()

    def _begin(self) -> None:
        """What is not copied or pickled: programs, which are compiled anew, and the lock."""
        self._compiled: Recent[tuple[Any, ...], Compiled] = Recent()
        self._bound: dict[tuple[Any, ...], Bound] = {}
        self._begun: Recent[tuple[Any, ...], Begun] = Recent()
        self._built = 0
        self._watches: Watches | None = None
        self._last: Last | None = None
        self._lock = new_lock()

    @property
    def steps(self) -> int:
        """How many steps were done."""
        return int(self._steps)

    @property
    def traced_again(self) -> str:
        """Why ``forward`` or the loss is called in every step, as far as the last one tells; empty where it is called
        only when something that it reads has changed, or before the first step."""
        return "" if self._last is None else self._last.step.again

    @property
    def program(self) -> Program | None:
        """The program used last, to print or to profile; None before the first step."""
        return None if self._last is None else self._last.step.compiled.program

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs that are kept, one for each structure of the graph that the step has met, those used last at the
        end."""
        return tuple(compiled.program for compiled in self._compiled.values())

    def __call__(self, x: np.ndarray, y: np.ndarray) -> float:
        """Train on one batch and return its loss, as it was before the update.

        Args:
            x: ``(N, ...)`` float32, the model's input; float64 and non-contiguous arrays are converted.
            y: the target as the loss expects it; integer labels become int64, floating-point targets float32.

        Raises:
            ValueError: for shapes, dtypes or labels that the model or the loss cannot take.
            FloatingPointError: if the loss is not finite, and the message names the layer where that began; or if
                anything would not be finite that is to be stored, and it names what.
            RuntimeError: if a signal handler or finalizer calls it while it is at work in the same thread.

        Whatever is raised, parameters, running statistics and the optimizer are as they were. A KeyboardInterrupt
        comes before the whole update or after it, when the step counts as done. Steps of several threads take turns.
        """
        return self._train(x, y)[0]

    def _train(self, x: np.ndarray, y: np.ndarray) -> tuple[float, tuple[np.ndarray, np.ndarray] | None]:
        """The step; its loss and, where predictions are to be rated, the model's output and the targets."""
        with self._turn():
            bound, x, y = self._prepare(x, y)
            step = bound.compiled

            def check(loss: np.ndarray) -> None:
                if step.program.finite and math.isfinite(loss):
                    return
                kinds = {name: type(m).__name__ for name, m in self.model.named_modules()}
                feeds = bound.feeds(x, y)
                if math.isfinite(loss):
                    reason = explain_update(step.graph, step.gradients, feeds, kinds, self.options)
                else:
                    reason = explain_nonfinite(step.forward, feeds, kinds, self.options)
                raise FloatingPointError(
                    f"TrainStep: the loss is {float(loss)} at step {self.steps + 1}; {reason}; nothing was updated"
                )

            loss, *scores = step.program.run({"x": x, "y": y}, check, step.counters, bound.kept())
        return Scalar(loss), (scores[0], y) if scores else None

    def state_dict(self) -> dict[str, int]:
        """What dropout masks depend on, as plain numbers: ``seed``, and how many ``steps`` were done.

        Together with the state dicts of model and optimizer it is all that a step needs to go on as if it had never
        stopped.
        """
        return {"seed": self.seed, "steps": self.steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned.

        Raises:
            ValueError: it is something else; nothing is changed then.
            RuntimeError: a signal handler or finalizer calls it while the step is at work in the same thread.
        """
        changes = self._changes(state_dict)
        with self._turn():
            at_once(changes)()

    def _changes(self, state_dict: Mapping[str, Any]) -> list[Callable[[], Any]]:
        """What makes the state that of ``state_dict``, to be done at once."""
        seed, steps = saved(state_dict, ("seed", "steps"), "TrainStep: state_dict")
        seed, steps = whole(seed, "TrainStep: saved seed", None), whole(steps, "TrainStep: saved steps")
        return [partial(setitem, vars(self), "seed", seed), partial(setitem, self._steps, (), steps)]

    def profile(self, x: np.ndarray, y: np.ndarray, *, runs: int = 9) -> Profile:
        """Time each call of the step on this batch, as the median of ``runs`` runs; ``print`` or ``save`` the result.

        Nothing is trained: the runs work on copies, and parameters, running statistics and the optimizer stay as they
        are. Raises as a step does.
        """
        load_module("normengine.runtime.profile")
        from ..runtime.profile import profile_program

        with self._turn():
            bound, x, y = self._prepare(x, y)
            given = ", ".join("x".join(map(str, array.shape)) for array in (x, y))
            what = f"{type(self.model).__name__}, a step on {given}"
            return profile_program(bound.compiled.program, bound.feeds(x, y), what, runs)

    def _turn(self) -> AbstractContextManager[object]:
        """The lock to hold while the step is at work."""
        if is_held(self._lock):
            raise RuntimeError(
                "TrainStep: called by a signal handler or finalizer while this step is at work in the same thread; "
                "note there that it is wanted, and call it when the step has returned"
            )
        return self._lock

    def _prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Bound, np.ndarray, np.ndarray]:
        """The compiled step for a batch, its scalars those of this step, and the batch as it takes it, checked."""
        x = as_input(x, "TrainStep: x")
        y = as_target(y, "TrainStep: y")
        if len(x) != len(y):
            raise ValueError(f"TrainStep: x has {len(x)} samples, y has {len(y)}; give one target for each sample")
        bound = self._compile(x, y)
        step = bound.compiled
        step.update.refresh()
        if bound.traced.counter is not None:
            seed, number = self._counter()
            step.scalars["rng_seed"][()], step.scalars["rng_step"][()] = seed, number
        for rule in step.labels:
            rule.check({"x": x, "y": y} if rule.is_given else bound.feeds(x, y), "TrainStep")
        return bound, x, y

    def _counter(self) -> tuple[np.ndarray, np.ndarray]:
        """What random numbers of this step are a function of, beside layer and element."""
        return np.asarray(self.seed & 0xFFFFFFFF, np.uint32), np.asarray(self.steps & 0xFFFFFFFF, np.uint32)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles take along: everything but the programs, which they compile anew, and the lock."""
        return {name: value for name, value in self.__dict__.items() if name not in _OF_THE_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def _compile(self, x: np.ndarray, y: np.ndarray) -> Bound:
        shapes = x.shape, y.shape, y.dtype
        last, watches = self._last, self._watches
        if (
            last is None
            or watches is None
            or last.shapes != shapes
            or last.step.again
            or not (watches.model.unchanged() and watches.loss.unchanged())
            or self.model is not last.parts[0]
            or self.loss is not last.parts[1]
            or self.optimizer is not last.parts[2]
            or self._optimizer_changed(last)
        ):
            last = self._last = self._find(shapes, Spec.of(x), Spec.of(y))
        return last.step

    def _optimizer_changed(self, last: Last) -> bool:
        """Whether the update is another one; other learning rates are not."""
        if last.groups.changed(self.optimizer.param_groups):
            if self.optimizer.structure() != last.structure:
                return True
            last.groups = WatchedGroups(self.optimizer.param_groups)
        return self.optimizer.ages() != last.ages

    def _find(self, shapes: tuple[Any, ...], x: Spec, y: Spec) -> Last:
        """The step for these shapes and everything that can be read as it is now."""
        parts = self.model, self.loss, self.optimizer
        # Gone until all is done, so that whatever cuts this off leaves nothing that was seen and not acted on.
        watches, self._watches, self._last = self._watches, None, None
        if watches is None or not all(map(is_, watches.parts, parts)):
            check_parts("TrainStep", *parts)
            watches = Watches(parts, Watch([self.model]), Watch([self.loss]))
            self._begun, self._bound = Recent(), {}
        if watches.model.renew():
            self._begun, self._bound = Recent(), {}
        if watches.loss.renew():
            self._bound = {}
        structure = self.optimizer.structure()
        bound = self._bound.get((shapes, structure))
        if bound is None:
            bound = self._trace(watches, shapes, x, y, structure)
        self._keep(bound.compiled)
        with np.errstate(over="ignore"):
            for name, number in bound.traced.numbers.items():
                bound.compiled.scalars[name][()] = number
        groups = WatchedGroups(self.optimizer.param_groups)
        self._watches = watches
        return Last(shapes, parts, groups, structure, self.optimizer.ages(), bound)

    def _trace(self, watches: Watches, shapes: tuple[Any, ...], x: Spec, y: Spec, structure: tuple[Any, ...]) -> Bound:
        """What ``forward`` and the loss do now, with a program that was kept for it or a new one."""
        begun, again = self._begun.use(shapes), ""
        if begun is None:
            with watches.model.looking("forward") as looked:
                modules: list[tuple[str, Module]] = [("", self.model)]
                if isinstance(self.loss, Module):
                    modules.append(("loss", self.loss))
                begun = Begun(lambda a, b: self.model(a), [("x", x), ("y", y)], modules, self._counter)
            again = looked.again or (_LOOKED if begun.looked else "")
            if again:  # so may be what was found for other shapes
                self._begun = Recent()
            else:
                self._begun.keep(shapes, begun, _MANY)
        scores: list[Value] = []

        def computed(output: object, target: Tensor) -> object:
            scores.extend(self._scores(output, target))
            return self.loss(output, target)

        with watches.loss.looking("the loss") as looked:
            traced = begun.finish(computed, ["y"])
        again = again or looked.again or (_LOOKED if traced.looked else "")
        if watches.model.renew():
            self._begun, again = Recent(), again or "the loss changes what forward reads"
        if len(traced.outputs) != 1 or traced.outputs[0].spec.size != 1:
            given = ", ".join(str(v.shape) for v in traced.outputs)
            raise ValueError(f"TrainStep: the loss must be one scalar, got {given or 'nothing'}; take its mean")
        if traced.outputs[0].shape:
            traced.outputs = (traced.builder.add("reshape", traced.outputs[0], shape=()),)
        graph = traced.builder.graph([*traced.outputs, *scores])
        key = structure_of(graph), structure, tuple(traced.parameters.values())
        compiled = self._compiled.use(key)
        if compiled is None:
            compiled = self._build(key, traced, scores)
            self._built += 1
            self._warn()
        bound = Bound(compiled, traced, again)
        if again:
            self._bound = {}
        else:
            self._bound[shapes, structure] = bound
        return bound

    def _warn(self) -> None:
        """Say so where nearly every step is another program."""
        if self._built == _MANY and self.steps < 2 * _MANY:
            warnings.warn(
                f"TrainStep: {self._built} programs were compiled in {self.steps + 1} steps, since shapes, or what "
                "forward and the loss decide, differ from step to step; give batches of one shape, and where a draw "
                "switches blocks on and off multiply by it (x * ne.bernoulli(p))",
                RuntimeWarning,
                stacklevel=5,
            )

    def _keep(self, compiled: Compiled) -> None:
        """Have the program as the one used last, and let go of the first ones, with all that is bound to them."""
        self._compiled.keep(compiled.key, compiled, _MANY)
        while len(self._compiled) > _FEW and sum(c.program.nbytes for c in self._compiled.values()) > _MEMORY:
            self._compiled.drop()
        kept = {id(c) for c in self._compiled.values()}
        self._bound = {key: bound for key, bound in self._bound.items() if id(bound.compiled) in kept}

    def _scores(self, output: object, target: Tensor) -> list[Value]:
        """The model's output, as another one of the program, if predictions are to be rated and each sample has one:
        more of them would cost the step time."""
        if not self._rated or not isinstance(output, Tensor) or output.ndim > 2:
            return []
        if not is_rated(self.loss, output.shape, target.shape, target.dtype):
            return []
        return [output._value] if output._tracer.computes(output) else []

    def _build(self, key: tuple[Any, ...], traced: Trace, scores: Sequence[Value]) -> Compiled:
        builder, (loss,) = traced.builder, traced.outputs
        forward = replace(builder.graph([loss]), updates=())

        held = {id(p) for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad}
        trained = [(n, p, builder.state[n]) for n, p in traced.parameters.items() if id(p) in held]
        if not trained:
            raise ValueError("TrainStep: none of the optimizer's parameters takes part in the loss; "
                             "make the optimizer from this model's parameters()")  # fmt: skip
        grads = differentiate(builder, loss, [v for _, _, v in trained])
        entries = [(n, p, v, g) for (n, p, v), g in zip(trained, grads, strict=True) if g is not None]
        if not entries:
            raise ValueError("TrainStep: the loss does not depend on any of the optimizer's parameters; "
                             "compute it from the model's output, outside of detach() and no_grad()")  # fmt: skip
        update = self.optimizer.emit(builder, entries)
        graph = builder.graph([loss, *scores])
        program = compile_graph(graph, self.options, tried=True)
        gradients = {name: grad for name, _, _, grad in entries}
        counters = Counters([self._steps, *update.counters])
        scalars = {v.name: np.zeros((), v.dtype) for v in forward.inputs if v.name not in ("x", "y")}
        return Compiled(key, program, forward, graph, gradients, update, counters, label_rules(forward), scalars)
