"""The formulas behind the schedules; what their arguments mean and may be is said in `hina_func.schedules`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .core import Schedule

Number: TypeAlias = float | Tensor


@dataclass(frozen=True, repr=False)
class Curve:
    """A formula of the step count with its other arguments filled in: data that can be called."""

    name: str
    formula: Callable[..., Tensor]
    arguments: tuple[Any, ...]

    def __call__(self, step: Tensor | float) -> Tensor:
        """The value at each step."""
        return self.formula(_count(step), *self.arguments)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.arguments))})"


def constant(count: Tensor, value: Number) -> Tensor:
    """The value, whatever the count."""
    return torch.zeros_like(count) + value


def polynomial(
    count: Tensor,
    init_value: Number,
    end_value: Number,
    power: Number,
    transition_steps: float,
    transition_begin: float,
) -> Tensor:
    """``(I - E) left^P + E``, where ``left`` is the part of the way still to go."""
    left = 1 - (count - transition_begin).clamp(0, transition_steps) / transition_steps
    return (init_value - end_value) * left**power + end_value


def cosine(count: Tensor, init_value: Number, decay_steps: float, alpha: Number, exponent: Number) -> Tensor:
    """``I ((1 - alpha) falling^p + alpha)``, where ``falling`` is half a cosine from 1 to 0."""
    falling = 0.5 * (1 + torch.cos(math.pi * count.clamp(max=decay_steps) / decay_steps))
    return init_value * ((1 - alpha) * falling**exponent + alpha)


def exponential(
    count: Tensor,
    init_value: Number,
    transition_steps: float,
    decay_rate: Number,
    transition_begin: float,
    staircase: bool,
    end_value: Number | None,
) -> Tensor:
    """``I r^periods``, stopped at the end value."""
    periods = (count - transition_begin).clamp(min=0) / transition_steps
    value = init_value * decay_rate ** (periods.floor() if staircase else periods)
    if end_value is None:
        return value
    end, rate = constant(value, end_value), constant(value, decay_rate)
    return torch.where(rate < 1, torch.maximum(value, end), torch.minimum(value, end))


def piecewise_constant(
    count: Tensor, init_value: Number, boundaries_and_scales: tuple[tuple[float, Number], ...]
) -> Tensor:
    """The initial value times the scale of every boundary that has been reached."""
    value = constant(count, init_value)
    for boundary, scale in boundaries_and_scales:
        value = torch.where(count < boundary, value, scale * value)
    return value


def join(count: Tensor, schedules: tuple[Schedule, ...], boundaries: tuple[float, ...]) -> Tensor:
    """The schedule whose turn it is, at the count since its turn began."""
    value = constant(count, schedules[0](count))
    for boundary, schedule in zip(boundaries, schedules[1:], strict=True):
        value = torch.where(count < boundary, value, schedule(count - boundary))
    return value


def _count(step: Tensor | float) -> Tensor:
    if not isinstance(step, Tensor):
        return torch.tensor(step, dtype=torch.float64)
    if step.is_floating_point():
        return step
    # float32 cannot tell whole numbers above 2**24 apart, but MPS has nothing wider
    return step.to(torch.float32 if step.device.type == "mps" else torch.float64)
