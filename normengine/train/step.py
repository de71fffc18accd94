"""One step of training as one compiled program: forward, loss, backward, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter, setitem
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Graph, Spec, Value
from ..kernels import REGISTRY
from ..locks import at_once, is_held, load_module, new_lock
from ..nn import random
from ..nn.module import Module
from ..nn.tensor import Tensor
from ..nn.trace import Trace, trace
from ..ops import LabelRule, label_rules
from ..optim import Optimizer, Update
from ..passes import differentiate, switched_off
from ..runtime import Counters, Program, compile_graph
from ..settings import saved, whole
from .accuracy import is_rated
from .inputs import as_input, as_target, check_parts
from .nonfinite import explain_nonfinite, explain_update
from .watch import PLAIN, Watch, WatchedList

if TYPE_CHECKING:
    from ..runtime.profile import Profile

_KEPT = 8  # programs of other batch shapes and settings, each with memory of its own


@dataclass
class _Compiled:
    program: Program
    forward: Graph
    graph: Graph
    gradients: dict[str, Value]
    traced: Trace
    update: Update
    counters: Counters
    labels: tuple[LabelRule, ...]
    noise: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        fixed = {**self.update.state, **self.update.scalars, **self.noise}
        names = [*self.traced.parameters, *self.traced.buffers, *fixed]
        place = {name: i for i, name in enumerate(names)}
        self._fixed = tuple(fixed.values())
        self._arranged = itemgetter(*(place[name] for name in self.program.kept))  # a rate and a parameter at least

    def kept(self) -> tuple[np.ndarray, ...]:
        """The live arrays of the program's state and scalars, in its order."""
        arrays: tuple[np.ndarray, ...] = self._arranged((*self.traced.arrays(), *self._fixed))
        return arrays

    def feeds(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """All that the program takes, by name."""
        return {"x": x, "y": y, **dict(zip(self.program.kept, self.kept(), strict=True))}


@dataclass
class _Last:
    """The step that ran last, and what has to be as it was for it to run again."""

    shapes: tuple[Any, ...]
    modules: Watch
    groups: WatchedList
    structure: tuple[Any, ...]
    ages: tuple[Any, ...]
    step: _Compiled


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

    The step is compiled at the first call, and again for a new batch shape or when a setting of a module or of the
    optimizer changes that alters the computation; learning rates and weight decay are read at every call.
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
        switched_off(without_passes)  # raises for unknown names
        self.without_passes = tuple(without_passes)
        REGISTRY.preferred(kernels)  # raises for unknown names
        self.kernels = dict(kernels or {})
        self._rated = False
        """Whether to give the model's output beside the loss, where it says which predictions are right."""
        self._steps = np.zeros((), np.int64)
        self._compiled: dict[tuple[Any, ...], _Compiled] = {}
        self._last: _Last | None = None
        self._lock = new_lock()

    @property
    def steps(self) -> int:
        """How many steps were done."""
        return int(self._steps)

    @property
    def program(self) -> Program | None:
        """The program used last, to print or to profile; None before the first step."""
        return next(reversed(self._compiled.values())).program if self._compiled else None

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
            step, x, y = self._prepare(x, y)

            def check(loss: np.ndarray) -> None:
                if step.program.finite and math.isfinite(loss):
                    return
                kinds = {name: type(m).__name__ for name, m in self.model.named_modules()}
                feeds = step.feeds(x, y)
                if math.isfinite(loss):
                    reason = explain_update(step.graph, step.gradients, feeds, kinds)
                else:
                    reason = explain_nonfinite(step.forward, feeds, kinds)
                raise FloatingPointError(
                    f"TrainStep: the loss is {float(loss)} at step {self.steps + 1}; {reason}; nothing was updated"
                )

            loss, *scores = step.program.run({"x": x, "y": y}, check, step.counters, step.kept())
        return float(loss), (scores[0], y) if scores else None

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
            step, x, y = self._prepare(x, y)
            given = ", ".join("x".join(map(str, array.shape)) for array in (x, y))
            what = f"{type(self.model).__name__}, a step on {given}"
            return profile_program(step.program, step.feeds(x, y), what, runs)

    def _turn(self) -> Any:
        """The lock to hold while the step is at work."""
        if is_held(self._lock):
            raise RuntimeError(
                "TrainStep: called by a signal handler or finalizer while this step is at work in the same thread; "
                "note there that it is wanted, and call it when the step has returned"
            )
        return self._lock

    def _prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[_Compiled, np.ndarray, np.ndarray]:
        """The compiled step for a batch, its scalars those of this step, and the batch as it takes it, checked."""
        x = as_input(x, "TrainStep: x")
        y = as_target(y, "TrainStep: y")
        if len(x) != len(y):
            raise ValueError(f"TrainStep: x has {len(x)} samples, y has {len(y)}; give one target for each sample")
        step = self._compile(x, y)
        step.update.refresh()
        if step.traced.rng:
            step.noise["rng_seed"][()] = self.seed & 0xFFFFFFFF
            step.noise["rng_step"][()] = self.steps & 0xFFFFFFFF
        for rule in step.labels:
            rule.check({"x": x, "y": y} if rule.is_given else step.feeds(x, y), "TrainStep")
        return step, x, y

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles take along: everything but the programs, which they compile anew, and the lock."""
        return {k: v for k, v in self.__dict__.items() if k != "_lock"} | {"_compiled": {}, "_last": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=new_lock())

    def _compile(self, x: np.ndarray, y: np.ndarray) -> _Compiled:
        shapes = x.shape, y.shape, y.dtype
        last = self._last
        if last is None or last.shapes != shapes or last.modules.changed() or self._optimizer_changed(last):
            last = self._last = self._find(shapes, Spec.of(x), Spec.of(y))
        return last.step

    def _optimizer_changed(self, last: _Last) -> bool:
        """Whether the update is another one; other learning rates are not."""
        if last.groups.changed(self.optimizer.param_groups):
            if self.optimizer.structure() != last.structure:
                return True
            last.groups = WatchedList(self.optimizer.param_groups)
        return self.optimizer.ages() != last.ages

    def _find(self, shapes: tuple[Any, ...], x: Spec, y: Spec) -> _Last:
        """The step for these shapes and the settings as they are now, one of those kept or a new one."""
        structure = self.optimizer.structure()
        key = (x, y, self._settings(), structure)
        step = self._compiled.pop(key, None) or self._build(x, y)
        self._compiled[key] = step  # the one used last comes last
        if len(self._compiled) > _KEPT:
            del self._compiled[next(iter(self._compiled))]
        modules = self._modules()
        parameters = (p for m in modules for p in m._parameters.values() if p is not None)
        groups = WatchedList(self.optimizer.param_groups)
        return _Last(shapes, Watch([*modules, *parameters]), groups, structure, self.optimizer.ages(), step)

    def _modules(self) -> list[Module]:
        roots = [self.model, self.loss] if isinstance(self.loss, Module) else [self.model]
        return [module for root in roots for module in root.modules()]

    def _settings(self) -> tuple[Any, ...]:
        """Everything that a module's ``forward`` may look at, so that a change compiles anew."""
        modules = self._modules()
        parameters = tuple((id(p), p.requires_grad) for m in modules for p in m._parameters.values() if p is not None)
        return tuple(map(_settings, modules)), parameters

    def _scores(self, output: Any, target: Tensor) -> list[Value]:
        """The model's output, as another one of the program, if predictions are to be rated and each sample has one:
        more of them would cost the step time."""
        if not self._rated or not isinstance(output, Tensor) or output.ndim > 2:
            return []
        if not is_rated(self.loss, output.shape, target.shape, target.dtype):
            return []
        return [output._value] if any(output._value in node.outputs for node in output._tracer.builder.nodes) else []

    def _build(self, x: Spec, y: Spec) -> _Compiled:
        modules: list[tuple[str, Module]] = [("", self.model)]
        if isinstance(self.loss, Module):
            modules.append(("loss", self.loss))
        scores: list[Value] = []

        def computed(a: Tensor, b: Tensor) -> Any:
            output = self.model(a)
            scores.extend(self._scores(output, b))
            return self.loss(output, b)

        traced = trace(computed, [("x", x), ("y", y)], modules)
        if len(traced.outputs) != 1 or traced.outputs[0].shape != ():
            shapes = ", ".join(str(v.shape) for v in traced.outputs)
            raise ValueError(f"TrainStep: the loss must be one scalar, got {shapes or 'nothing'}; take its mean")
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
        program = compile_graph(graph, self.without_passes, self.kernels, tried=True)
        gradients = {name: grad for name, _, _, grad in entries}
        counters = Counters([self._steps, *update.counters])
        noise = {name: np.zeros((), np.uint32) for name in ("rng_seed", "rng_step")}
        return _Compiled(program, forward, graph, gradients, traced, update, counters, label_rules(forward), noise)


_TABLES = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent"})


def _settings(module: Module) -> tuple[Any, ...]:
    """The attributes of ``module``; of its buffers only their shapes, since each run asks for the arrays."""
    own = vars(module)
    attributes = [v if type(v) in PLAIN else _setting(v) for k, v in own.items() if k not in _TABLES]
    return id(module), *own, *attributes, *(a if a is None else a.shape for a in module._buffers.values())


def _setting(value: Any) -> Any:
    """``value`` as something hashable: numbers and texts as they are, others by identity."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_setting, value))
    if isinstance(value, dict):
        return tuple(value), tuple(map(_setting, value.values()))
    return value if type(value) in PLAIN else id(value)
