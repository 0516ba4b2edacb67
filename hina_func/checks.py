"""Argument checks for factories: which argument, what is allowed, what came."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from .core import Hyper, Hyperparam

RULES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "finite": ("be a finite number", lambda value: True),
    "nonnegative": ("be >= 0", lambda value: value >= 0),
    "positive": ("be > 0", lambda value: value > 0),
    "decay_rate": ("be in [0, 1)", lambda value: 0 <= value < 1),
    "unit": ("be in [0, 1]", lambda value: 0 <= value <= 1),
}
"""Name of a rule -> what it says, and whether a number keeps it."""


def require_finite(**arguments: Hyper) -> None:
    """Each argument is a finite number (or a schedule, a 0-d tensor or a Hyperparam, whose default is checked)."""
    _require("finite", arguments)


def require_nonnegative(**arguments: Hyper) -> None:
    """Each argument is at least 0."""
    _require("nonnegative", arguments)


def require_positive(**arguments: Hyper) -> None:
    """Each argument is above 0."""
    _require("positive", arguments)


def require_decay_rate(**arguments: Hyper) -> None:
    """Each argument lies in [0, 1), as the decay rate of an average must."""
    _require("decay_rate", arguments)


def require_unit(**arguments: Hyper) -> None:
    """Each argument lies in [0, 1]."""
    _require("unit", arguments)


def require_choice(allowed: tuple[Any, ...], **arguments: Any) -> None:
    """Each argument is one of ``allowed``."""
    for name, value in arguments.items():
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def require_count(**arguments: int) -> None:
    """Each argument is a whole number of at least 1."""
    for name, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")


def require_pair(**arguments: Any) -> None:
    """Each argument is a tuple or list of two numbers."""
    for name, value in arguments.items():
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ValueError(f"{name} must be two numbers, got {value!r}")


def require_value(hyper: Hyperparam, value: Any) -> None:
    """A value for a Hyperparam keeps the rules of the transforms that use it, and has as many parts as its default."""
    for rule in sorted(hyper.rules) or ["finite"]:
        _check(hyper.name, rule, _part(hyper, value), "")


def require_number(hyper: Hyperparam, value: Any) -> None:
    """A value for a Hyperparam is finite and has as many parts as its default; its range is left to schedulers."""
    _check(hyper.name, "finite", _part(hyper, value), "")


def _part(hyper: Hyperparam, value: Any) -> Any:
    """What a value says for this Hyperparam, which may be a part of a tuple."""
    if hyper.index is not None:
        parts = len(hyper.default)
        if not isinstance(value, (tuple, list)) or len(value) != parts:
            raise ValueError(f"{hyper.name} must be {parts} numbers, got {value!r}")
        return value[hyper.index]
    return value


def callers_level(thing: Any) -> int:
    """The ``stacklevel`` of a warning that a method of ``thing`` gives, for the line outside that called it."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and (level == 0 or frame.f_locals.get("self") is thing):
        frame, level = frame.f_back, level + 1
    return level


def _require(rule: str, arguments: dict[str, Hyper]) -> None:
    for name, given in arguments.items():
        value: Any = given
        if isinstance(given, Hyperparam):
            given.rules.add(rule)
            value = given.default if given.index is None else given.default[given.index]
        if not callable(value):
            _check(name, rule, value)


def _check(name: str, rule: str, value: Any, otherwise: str = ", a schedule or a Hyperparam") -> None:
    what, holds = RULES[rule]
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element, got a tensor of shape {tuple(value.shape)}")
        if value.is_complex():
            raise TypeError(f"Tensor {name} must be real, got {value.dtype}")
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must {what}{otherwise}, got {value!r}")
    if not math.isfinite(value) or not holds(value):
        raise ValueError(f"{name} must {what}, got {value!r}")
