"""Adam (Kingma and Ba, 2015)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..graph import Value
from ..nn.parameter import Parameter
from ..settings import finite
from .optimizer import Optimizer, Rule


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba, 2015).

    ``g = grad + weight_decay * p``, ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g^2``, and
    at a parameter's step t ``p = p - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)``. ``amsgrad`` divides
    by the largest v so far (Reddi et al., 2018); ``decoupled_weight_decay`` is :class:`AdamW`. ``maximize`` turns the
    gradient's sign. ``foreach`` and ``fused`` are accepted and change nothing.
    Raises TypeError or ValueError for settings that are negative or no finite numbers, or betas outside [0, 1).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if differentiable or capturable:
            raise ValueError(f"{self._name}: leave differentiable and capturable False")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def check(self, group: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError for settings that make no sense."""
        super().check(group)
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"{self.setting(group, 'betas')} must be two numbers in [0, 1), got {betas!r}")
        for beta in betas:
            if not (type(beta) is float and 0 <= beta < 1):
                finite(beta, self.setting(group, "betas"), 0, 1, below=True)

    def variant(self, group: Mapping[str, Any]) -> tuple[Any, ...]:
        """Which form of the update the group's settings ask for."""
        return (
            bool(group["weight_decay"]),
            bool(group["decoupled_weight_decay"]),
            bool(group["amsgrad"]),
            bool(group["maximize"]),
        )

    def _has_ages(self, group: Mapping[str, Any]) -> bool:
        return True

    def _age(self, parameter: Parameter, group: Mapping[str, Any]) -> object:
        return self.steps_of(parameter)

    def rule(
        self, rule: Rule, group: dict[str, Any], name: str, parameter: Parameter, value: Value, grad: Value
    ) -> Value:
        """The new value of a parameter; the formulas are those of the class."""

        def correction(which: int) -> float:
            """1 - beta^t of the coming step t."""
            return 1.0 - float(group["betas"][which]) ** (self.steps_of(parameter) + 1)

        if group["weight_decay"] and group["decoupled_weight_decay"]:
            keep = rule.number("keep", lambda: 1 - group["lr"] * group["weight_decay"])
            value = rule.op("mul", value, keep)
        elif group["weight_decay"]:
            decay = rule.number("weight_decay", lambda: group["weight_decay"])
            grad = rule.op("add", grad, rule.op("mul", value, decay))

        first = self._average(rule, group, 0, "exp_avg", name, parameter, grad)
        second = self._average(rule, group, 1, "exp_avg_sq", name, parameter, rule.op("mul", grad, grad))
        if group["amsgrad"]:
            largest = rule.memory("max_exp_avg_sq", name, parameter)
            second = rule.store(largest, rule.op("maximum", largest, second))
        scale = rule.number("scale", lambda: 1 / math.sqrt(correction(1)))
        root = rule.op("mul", rule.op("sqrt", second), scale)
        divisor = rule.op("add", root, rule.number("eps", lambda: group["eps"]))
        rate = rule.number("rate", lambda: group["lr"] / correction(0))
        return rule.op("sub", value, rule.op("mul", rule.op("div", first, divisor), rate))

    @staticmethod
    def _average(
        rule: Rule, group: dict[str, Any], which: int, what: str, name: str, parameter: Parameter, new: Value
    ) -> Value:
        """The running average ``beta * old + (1 - beta) * new``."""
        old = rule.memory(what, name, parameter)
        beta = rule.number(f"beta{which + 1}", lambda: group["betas"][which])
        rest = rule.number(f"rest{which + 1}", lambda: 1 - group["betas"][which])
        return rule.store(old, rule.op("add", rule.op("mul", old, beta), rule.op("mul", new, rest)))
