"""The base class of optimizers: parameter groups, state, and the rule that a training step takes into its program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import setitem
from typing import Any

import numpy as np

from ..conversion import converted
from ..graph import Spec, Value
from ..locks import at_once
from ..nn.memory import side_by_side
from ..nn.parameter import Parameter
from ..ops import Builder
from ..settings import LARGEST, finite, whole

_PLAIN = (float, int)
Entry = tuple[str, Parameter, Value, Value]
"""Name, parameter, the parameter's state value, its gradient."""


class Update:
    """An optimizer's part in one compiled step.

    ``state`` holds the live arrays of the optimizer by name, as the graph's state values are bound to them;
    ``counters`` are the numbers of the parameters' updates, to be counted up with each step.
    """

    def __init__(self) -> None:
        self.state: dict[str, np.ndarray] = {}
        self._scalars: dict[str, tuple[np.ndarray, Callable[[], float]]] = {}
        self.counters: list[np.ndarray] = []

    @property
    def scalars(self) -> dict[str, np.ndarray]:
        """The float32 scalars of a step by name, the same arrays each time."""
        return {name: array for name, (array, _) in self._scalars.items()}

    def refresh(self) -> None:
        """Make the scalars what ``param_groups`` says now. Raises TypeError or ValueError for one that is no finite
        number."""
        for name, (array, value) in self._scalars.items():
            number = value()
            plain = type(number) is float and abs(number) <= LARGEST
            array[()] = number if plain else finite(number, name)


class Rule:
    """The update of the parameters of one group that are at the same step: what a subclass's ``rule`` works with."""

    def __init__(self, builder: Builder, update: Update, prefix: str, state: dict[Parameter, dict[str, Any]]) -> None:
        self._builder = builder
        self._update = update
        self._prefix = prefix
        self._state = state
        self._inputs: dict[str, Value] = {}

    def op(self, op: str, *values: Value) -> Value:
        """The value of a new node on these inputs."""
        return self._builder.add(op, *values)

    def number(self, what: str, value: Callable[[], float]) -> Value:
        """A float32 scalar that is read anew at every step."""
        if what not in self._inputs:
            name = f"{self._prefix}.{what}"
            self._inputs[what] = self._builder.input(name, Spec(()))
            self._update._scalars[name] = np.zeros((), np.float32), value
        return self._inputs[what]

    def memory(self, what: str, name: str, parameter: Parameter) -> Value:
        """An array like the parameter that the optimizer keeps, zeros at first."""
        arrays = self._state.setdefault(parameter, {})
        if what not in arrays:
            arrays[what] = side_by_side(np.zeros(parameter.shape, np.float32))
        key = f"optimizer.{what}.{name}"
        self._update.state[key] = arrays[what]
        return self._builder.state_value(key, Spec.of(arrays[what]))

    def store(self, old: Value, new: Value) -> Value:
        """Store ``new`` over the state value ``old`` when the step has run; returns ``new``."""
        self._builder.update(old, new)
        return new


class Optimizer:
    """Base of optimizers. ``param_groups`` are dictionaries of settings and ``"params"``; change them at any time.

    An optimizer does not step by itself: ``ne.TrainStep`` and ``ne.Trainer`` make its update part of their program.
    ``state`` maps each parameter to the arrays that belong to it, and ``"step"``, the number of its updates.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Parameter, dict[str, Any]] = {}
        self._active: tuple[Parameter, ...] | None = None
        if isinstance(params, (Parameter, np.ndarray)):
            raise TypeError(f"{self._name}: params must be an iterable of Parameters, got one {type(params).__name__}")
        given = list(params)
        if not given:
            raise ValueError(f"{self._name}: got no parameters")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own; what the group leaves out is as for the optimizer."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"{self._name}: a parameter group is a dict with 'params', got {param_group!r}")
        params = param_group["params"]
        group = {**self.defaults, **param_group}
        group["params"] = [params] if isinstance(params, Parameter) else list(params)
        taken = {id(p) for g in self.param_groups for p in g["params"]}
        for parameter in group["params"]:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{self._name}: can train Parameters only, got {type(parameter).__name__}")
            if id(parameter) in taken:
                raise ValueError(f"{self._name}: a parameter of shape {parameter.shape} is given twice")
            taken.add(id(parameter))
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError for settings that make no sense."""
        for name in ("lr", "weight_decay", "eps", "momentum"):
            value = group.get(name, 0)
            if not (type(value) in _PLAIN and 0 <= value <= LARGEST):
                finite(value, self.setting(group, name), low=0)

    def setting(self, group: Mapping[str, Any], name: str) -> str:
        """What messages call a setting of a group."""
        places = [i for i, known in enumerate(self.param_groups) if known["params"] is group["params"]]
        return f"{self._name}: {name} of group {places[0] if places else len(self.param_groups)}"

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: gradients live inside a step only."""

    def step(self, closure: object = None) -> None:
        """Raises RuntimeError: the update is part of the compiled step."""
        raise RuntimeError(
            f"{self._name}.step() does nothing by itself: call step(x, y) of ne.TrainStep(model, loss, optimizer)"
        )

    # the seam

    def emit(self, builder: Builder, entries: Sequence[Entry]) -> Update:
        """Add to ``builder`` the nodes that update the parameters of ``entries`` and what this optimizer remembers.

        Entries whose parameter is in no group stay as they are. Learning rates and the like become float32 inputs
        ``optimizer.<group>.<what>``; arrays become state ``optimizer.<what>.<name>``.
        """
        update = Update()
        groups = {id(p): index for index, group in enumerate(self.param_groups) for p in group["params"]}
        held = [entry for entry in entries if id(entry[1]) in groups]
        self._active = tuple(parameter for _, parameter, _, _ in held)
        update.counters = [self.state.setdefault(p, {}).setdefault("step", _counter(0)) for p in self._active]
        rules: dict[tuple[int, Any], Rule] = {}
        for name, parameter, value, grad in held:
            index = groups[id(parameter)]
            group = self.param_groups[index]
            key = index, self._age(parameter, group)
            if key not in rules:
                same_group = sum(k[0] == index for k in rules)
                prefix = f"optimizer.{index}" + (f".{same_group}" if same_group else "")
                rules[key] = Rule(builder, update, prefix, self.state)
            if group.get("maximize"):
                grad = builder.add("neg", grad)
            builder.update(value, self.rule(rules[key], group, name, parameter, value, grad))
        return update

    def structure(self) -> tuple[Any, ...]:
        """What the emitted nodes depend on, besides shapes: another result means that a step must be built anew. Raises
        as :meth:`check` does."""
        for group in self.param_groups:
            self.check(group)
        groups = tuple((self.variant(group), tuple(group["params"])) for group in self.param_groups)
        return groups, self.ages()

    def ages(self) -> tuple[Any, ...]:
        """The part of :meth:`structure` that steps change, not settings."""
        return tuple(self._ages(group) for group in self.param_groups)

    def variant(self, group: Mapping[str, Any]) -> tuple[Any, ...]:
        """Which form of the update the group's settings ask for."""
        raise NotImplementedError

    def rule(
        self, rule: Rule, group: dict[str, Any], name: str, parameter: Parameter, value: Value, grad: Value
    ) -> Value:
        """Add the update of one parameter and return its new value."""
        raise NotImplementedError

    def steps_of(self, parameter: Parameter) -> int:
        """How often the parameter was updated."""
        return int(self.state.get(parameter, _NEW).get("step", _NEVER))

    def _has_ages(self, group: Mapping[str, Any]) -> bool:
        """Whether the update of a parameter depends on the number of those before it."""
        return False

    def _age(self, parameter: Parameter, group: Mapping[str, Any]) -> object:
        """What parameters must share for one set of scalars to serve them."""
        return None

    def _ages(self, group: Mapping[str, Any]) -> tuple[int, ...]:
        """How the group's parameters differ in age; empty where they do not."""
        if not self._has_ages(group):
            return ()
        state = self.state
        if len({state.get(p, _NEW).get("step", _NEVER).item() for p in group["params"]}) == 1:
            return ()
        active = None if self._active is None else {id(p) for p in self._active}
        ages = [self._age(p, group) for p in group["params"] if active is None or id(p) in active]
        order = {age: index for index, age in enumerate(dict.fromkeys(ages))}
        return () if len(order) <= 1 else tuple(order[age] for age in ages)

    # saving

    def state_dict(self) -> dict[str, Any]:
        """``state`` by the parameter's number and ``param_groups``, as PyTorch has them; the arrays are not copies."""
        number = {id(p): i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        held = {p: self.steps_of(p) for p in self.state if id(p) in number}
        state = {number[id(p)]: {**self.state[p], "step": steps} for p, steps in held.items() if steps}
        groups = [{**group, "params": [number[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned, here or in PyTorch; raises ValueError and changes nothing else.

        Groups must have as many parameters, and arrays the shapes of their parameters.
        """
        try:
            groups, saved = list(state_dict["param_groups"]), dict(state_dict["state"])
            sizes = [len(group["params"]) for group in groups]
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{self._name}: expected what state_dict() of an optimizer gives, with 'state' and 'param_groups'"
            ) from None
        own = [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            raise ValueError(f"{self._name}: the saved groups have {sizes} parameters, this optimizer's have {own}")
        new_groups = [
            {**mine, **{k: v for k, v in theirs.items() if k in mine and k != "params"}}
            for mine, theirs in zip(self.param_groups, groups, strict=True)
        ]
        for group in new_groups:
            self.check(group)
        by_number = {
            n: p
            for mine, theirs in zip(self.param_groups, groups, strict=True)
            for n, p in zip(theirs["params"], mine["params"], strict=True)
        }
        fresh: dict[Parameter, dict[str, np.ndarray]] = {}
        for number, entries in saved.items():
            parameter = by_number.get(number)
            if parameter is None:
                raise ValueError(f"{self._name}: the saved state has parameter {number}, which is in no saved group")
            fresh[parameter] = self._checked(number, parameter, entries)
        for parameter in self.state:
            fresh.setdefault(parameter, {})
        changes: list[Callable[[], Any]] = [
            partial(mine.update, theirs) for mine, theirs in zip(self.param_groups, new_groups, strict=True)
        ]
        changes += [change for parameter, entries in fresh.items() for change in self._overwrite(parameter, entries)]
        at_once(changes)()

    def _checked(self, number: int, parameter: Parameter, entries: Mapping[str, Any]) -> dict[str, np.ndarray]:
        checked = {"step": _counter(1)}
        for what, given in entries.items():
            if given is None:
                continue
            array = np.asarray(given)
            if what == "step":
                steps = converted(array, np.int64, f"{self._name}: saved step of parameter {number}")
                checked["step"] = _counter(whole(steps.item(), f"{self._name}: saved step of parameter {number}"))
            elif array.shape != parameter.shape:
                raise ValueError(
                    f"{self._name}: saved {what} of parameter {number} has shape {array.shape}, "
                    f"the parameter has shape {parameter.shape}"
                )
            else:
                values = converted(array, np.float32, f"{self._name}: saved {what} of parameter {number}")
                checked[what] = side_by_side(values)
        return checked

    def _overwrite(self, parameter: Parameter, entries: dict[str, np.ndarray]) -> Iterator[Callable[[], Any]]:
        """What puts ``entries`` in the live arrays, which compiled steps are bound to; zeros without one."""
        own = self.state.get(parameter)
        if own is None:
            yield partial(setitem, self.state, parameter, entries)
            return
        for what in {**own, **entries}:
            if what not in own:
                yield partial(setitem, own, what, entries[what])
            elif own[what].flags.writeable:
                yield partial(setitem, own[what], ..., entries.get(what, 0))
            else:
                raise ValueError(f"{self._name}: {what} of a parameter of shape {parameter.shape} is a read-only array")

    def __repr__(self) -> str:
        lines = []
        for index, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {index}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return f"{self._name} (\n" + "\n".join(lines) + "\n)"


def _counter(value: int) -> np.ndarray:
    """A number of updates, which steps count up in place."""
    return np.array(value, np.int64)


_NEW: Mapping[str, Any] = {}
_NEVER = _counter(0)
