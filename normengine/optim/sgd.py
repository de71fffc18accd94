"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..graph import Value
from ..nn.parameter import Parameter
from ..settings import finite
from .optimizer import Optimizer, Rule


class SGD(Optimizer):
    """Gradient descent with momentum (Sutskever et al., 2013, in PyTorch's form).

    ``g = grad + weight_decay * p``; with momentum ``b = momentum * b + (1 - dampening) * g`` (``b = g`` at a
    parameter's first step) and ``g = b``, or ``g + momentum * b`` with ``nesterov``; then ``p = p - lr * g``.
    ``maximize`` turns the gradient's sign. ``foreach`` and ``fused`` are accepted and change nothing.
    Raises TypeError or ValueError for settings that are negative or no finite numbers, or Nesterov momentum with
    dampening or without momentum.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if differentiable:
            raise ValueError("SGD: an update cannot be differentiated; leave differentiable False")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, group: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError for settings that make no sense."""
        super().check(group)
        if type(group["dampening"]) is not int:
            finite(group["dampening"], self.setting(group, "dampening"))
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum above 0 and dampening 0, "
                f"got momentum {group['momentum']}, dampening {group['dampening']}"
            )

    def variant(self, group: Mapping[str, Any]) -> tuple[Any, ...]:
        """Which form of the update the group's settings ask for."""
        return (
            bool(group["momentum"]),
            bool(group["dampening"]),
            bool(group["weight_decay"]),
            bool(group["nesterov"]),
            bool(group["maximize"]),
        )

    def _has_ages(self, group: Mapping[str, Any]) -> bool:
        return bool(group["momentum"] and group["dampening"])

    def _age(self, parameter: Parameter, group: Mapping[str, Any]) -> object:
        """A first step without its (1 - dampening) needs scalars of its own."""
        return self._has_ages(group) and self.steps_of(parameter) == 0

    def rule(
        self, rule: Rule, group: dict[str, Any], name: str, parameter: Parameter, value: Value, grad: Value
    ) -> Value:
        """The new value of a parameter; the formulas are those of the class."""
        if group["weight_decay"]:
            decay = rule.number("weight_decay", lambda: group["weight_decay"])
            grad = rule.op("add", grad, rule.op("mul", value, decay))
        if group["momentum"]:
            momentum = rule.number("momentum", lambda: group["momentum"])
            added = grad
            if group["dampening"]:
                share = rule.number("share", lambda: 1 - group["dampening"] if self.steps_of(parameter) else 1)
                added = rule.op("mul", grad, share)
            buffer = rule.memory("momentum_buffer", name, parameter)
            velocity = rule.store(buffer, rule.op("add", rule.op("mul", buffer, momentum), added))
            grad = rule.op("add", grad, rule.op("mul", velocity, momentum)) if group["nesterov"] else velocity
        return rule.op("sub", value, rule.op("mul", grad, rule.number("lr", lambda: group["lr"])))
