"""Schedules: pure functions from the step to a value, with optax's names, arguments and values.

A schedule takes a step (an integer or floating tensor of any shape, or a Python number) and gives a floating tensor of
that shape. Integer steps are counted in float64, a floating step keeps its dtype. Values, but not lengths, may be 0-d
tensors, into which gradients flow. Schedules can be compared, printed and pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import curves
from .core import Schedule
from .curves import Curve, Number
from .numerics import safe_divide


def constant_schedule(value: Number) -> Curve:
    r"""The same value at every step.

    .. math:: v(t) = c

    Args:
        value: :math:`c`, finite.

    Raises:
        ValueError: if the value is not finite.

    >>> constant_schedule(0.5)(torch.tensor([0, 100]))
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    _check(_VALUE, value=value)
    return Curve("constant_schedule", curves.constant, (value,))


def linear_schedule(
    init_value: Number, end_value: Number, transition_steps: float, transition_begin: float = 0
) -> Curve:
    r"""A straight line from one value to another, constant before and after.

    .. math:: v(t) = I + (E - I)\, \mathrm{clip}\left(\frac{t - B}{T}, 0, 1\right)

    Args:
        init_value: :math:`I`, finite.
        end_value: :math:`E`, finite.
        transition_steps: :math:`T > 0`, steps.
        transition_begin: :math:`B \ge 0`, steps.

    Raises:
        ValueError: if an argument is out of range.

    >>> linear_schedule(1.0, 0.0, transition_steps=4)(torch.tensor([0, 1, 4]))
    tensor([1.0000, 0.7500, 0.0000], dtype=torch.float64)
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def polynomial_schedule(
    init_value: Number, end_value: Number, power: Number, transition_steps: float, transition_begin: float = 0
) -> Curve:
    r"""A power of the way still to go, constant before and after.

    .. math:: v(t) = (I - E) \left(1 - \mathrm{clip}\left(\frac{t - B}{T}, 0, 1\right)\right)^P + E

    Args:
        init_value: :math:`I`, finite.
        end_value: :math:`E`, finite.
        power: :math:`P > 0`.
        transition_steps: :math:`T > 0`, steps.
        transition_begin: :math:`B \ge 0`, steps.

    Raises:
        ValueError: if an argument is out of range.

    >>> polynomial_schedule(1.0, 0.0, power=2, transition_steps=4)(torch.tensor([0, 2, 4]))
    tensor([1.0000, 0.2500, 0.0000], dtype=torch.float64)
    """
    _check(_VALUE, init_value=init_value, end_value=end_value)
    _check(_POSITIVE, power=power)
    _check(_LENGTH, transition_steps=transition_steps)
    _check(_BEGIN, transition_begin=transition_begin)
    return Curve(
        "polynomial_schedule", curves.polynomial, (init_value, end_value, power, transition_steps, transition_begin)
    )


def cosine_decay_schedule(init_value: Number, decay_steps: float, alpha: Number = 0.0, exponent: Number = 1.0) -> Curve:
    r"""Half a cosine from the initial value down to ``alpha`` times it.

    .. math:: v(t) = I \left[ (1 - \alpha) \left( \tfrac12 + \tfrac12 \cos \pi \min(t / T, 1) \right)^p + \alpha \right]

    Args:
        init_value: :math:`I`, finite.
        decay_steps: :math:`T > 0`, steps.
        alpha: :math:`\alpha`, the last value as a fraction of the first, finite.
        exponent: :math:`p > 0`.

    Raises:
        ValueError: if an argument is out of range.

    Source: Loshchilov and Hutter, "SGDR", arXiv 1608.03983.

    >>> cosine_decay_schedule(1.0, decay_steps=4, alpha=0.5)(torch.tensor([0, 2, 4]))
    tensor([1.0000, 0.7500, 0.5000], dtype=torch.float64)
    """
    _check(_VALUE, init_value=init_value, alpha=alpha)
    _check(_POSITIVE, exponent=exponent)
    _check(_LENGTH, decay_steps=decay_steps)
    return Curve("cosine_decay_schedule", curves.cosine, (init_value, decay_steps, alpha, exponent))


def exponential_decay(
    init_value: Number,
    transition_steps: float,
    decay_rate: Number,
    transition_begin: float = 0,
    staircase: bool = False,
    end_value: Number | None = None,
) -> Curve:
    r"""A factor ``decay_rate`` for every ``transition_steps`` steps.

    .. math:: v(t) = I\, r^{\max(t - B, 0) / T}

    Args:
        init_value: :math:`I`, finite.
        transition_steps: :math:`T > 0`, steps.
        decay_rate: :math:`r > 0`.
        transition_begin: :math:`B \ge 0`, steps.
        staircase: round the exponent down to a whole number.
        end_value: where to stop: a lower bound of the value if :math:`r < 1`, else an upper bound. None: never.

    Raises:
        ValueError: if an argument is out of range.

    >>> exponential_decay(1.0, transition_steps=2, decay_rate=0.25, end_value=0.1)(torch.tensor([0, 1, 2, 4]))
    tensor([1.0000, 0.5000, 0.2500, 0.1000], dtype=torch.float64)
    """
    _check(_VALUE, init_value=init_value, **({} if end_value is None else {"end_value": end_value}))
    _check(_POSITIVE, decay_rate=decay_rate)
    _check(_LENGTH, transition_steps=transition_steps)
    _check(_BEGIN, transition_begin=transition_begin)
    return Curve(
        "exponential_decay",
        curves.exponential,
        (init_value, transition_steps, decay_rate, transition_begin, bool(staircase), end_value),
    )


def piecewise_constant_schedule(init_value: Number, boundaries_and_scales: Mapping[int, Number] | None = None) -> Curve:
    r"""Constant pieces: at each boundary the value is multiplied by its scale.

    .. math:: v(t) = I \prod_{b_i \le t} s_i

    Args:
        init_value: :math:`I`, finite.
        boundaries_and_scales: ``{step b_i > 0: scale s_i >= 0}``, in any order. None: no boundaries.

    Raises:
        ValueError: if an argument is out of range.

    >>> piecewise_constant_schedule(1.0, {2: 0.5, 4: 0.5})(torch.tensor([1, 2, 4]))
    tensor([1.0000, 0.5000, 0.2500], dtype=torch.float64)
    """
    _check(_VALUE, init_value=init_value)
    pieces = tuple(sorted(dict(boundaries_and_scales or {}).items()))
    for boundary, scale in pieces:
        _check(_LENGTH, **{"a boundary of boundaries_and_scales": boundary})
        _check(_NONNEGATIVE, **{f"boundaries_and_scales[{boundary!r}]": scale})
    return Curve("piecewise_constant_schedule", curves.piecewise_constant, (init_value, pieces))


def warmup_constant_schedule(init_value: Number, peak_value: Number, warmup_steps: float) -> Curve:
    r"""A straight line up to the peak, which is then kept.

    .. math:: v(t) = I + (P - I) \min(t / W, 1)

    Args:
        init_value: :math:`I`, finite.
        peak_value: :math:`P`, finite.
        warmup_steps: :math:`W > 0`, steps.

    Raises:
        ValueError: if an argument is out of range.

    >>> warmup_constant_schedule(0.0, 1.0, warmup_steps=4)(torch.tensor([0, 1, 9]))
    tensor([0.0000, 0.2500, 1.0000], dtype=torch.float64)
    """
    _check(_VALUE, peak_value=peak_value)
    _check(_LENGTH, warmup_steps=warmup_steps)
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: Number,
    peak_value: Number,
    warmup_steps: float,
    decay_steps: float,
    end_value: Number = 0.0,
    exponent: Number = 1.0,
) -> Curve:
    r"""A straight line up to the peak, then half a cosine down to the end value.

    .. math:: v(t) = \begin{cases} I + (P - I)\, t / W & t < W \\
        (P - E) \left( \tfrac12 + \tfrac12 \cos \pi \min\left(\frac{t - W}{D - W}, 1\right) \right)^p + E & t \ge W
        \end{cases}

    Args:
        init_value: :math:`I`, finite.
        peak_value: :math:`P`, finite. At a peak of 0 the end value is 0 too.
        warmup_steps: :math:`W \ge 0`, steps.
        decay_steps: :math:`D > W`, steps; the whole length, warmup included.
        end_value: :math:`E`, finite.
        exponent: :math:`p > 0`.

    Raises:
        ValueError: if an argument is out of range.

    >>> warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=2, decay_steps=6)(torch.tensor([0, 1, 2, 4, 6]))
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000], dtype=torch.float64)
    """
    _check(_VALUE, peak_value=peak_value, end_value=end_value)
    _check(_BEGIN, warmup_steps=warmup_steps)
    _check(_LENGTH, decay_steps=decay_steps)
    if not decay_steps > warmup_steps:
        raise ValueError(
            f"decay_steps must be > warmup_steps = {warmup_steps!r}, which it includes, got {decay_steps!r}"
        )
    if isinstance(peak_value, Tensor):
        alpha: Number = safe_divide(torch.zeros_like(peak_value) + end_value, peak_value)
    else:
        alpha = end_value / peak_value if peak_value != 0 else 0.0
    decay = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)
    if warmup_steps == 0:
        return decay
    return join_schedules([linear_schedule(init_value, peak_value, warmup_steps), decay], [warmup_steps])


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[float]) -> Curve:
    r"""One schedule after another, each counting from its own boundary.

    .. math:: v(t) = v_i(t - b_i) \quad\text{for } b_i \le t < b_{i+1},\ b_0 = 0

    Args:
        schedules: one or more functions of the step.
        boundaries: the first steps of the second, third, ... schedule: one fewer than schedules, positive, increasing.

    Raises:
        ValueError: if the counts do not match or the boundaries do not increase.

    >>> join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 4)], [10])(torch.tensor([9, 10, 12]))
    tensor([1.0000, 1.0000, 0.5000], dtype=torch.float64)
    """
    schedules, boundaries = tuple(schedules), tuple(boundaries)
    if not schedules or not all(callable(schedule) for schedule in schedules):
        raise ValueError(f"schedules must be one or more functions of the step, got {schedules!r}")
    if len(boundaries) != len(schedules) - 1:
        raise ValueError(f"boundaries must be one fewer than the {len(schedules)} schedules, got {boundaries!r}")
    for boundary in boundaries:
        _check(_LENGTH, **{"a boundary": boundary})
    if any(later <= earlier for earlier, later in pairwise(boundaries)):
        raise ValueError(f"boundaries must increase, got {boundaries!r}")
    return Curve("join_schedules", curves.join, (schedules, boundaries))


class _Rule(NamedTuple):
    what: str
    holds: Callable[[float], bool]
    tensors: bool


_VALUE = _Rule("a finite number or a 0-d tensor", lambda x: True, True)
_POSITIVE = _Rule("a finite number > 0 or a 0-d tensor", lambda x: x > 0, True)
_NONNEGATIVE = _Rule("a finite number >= 0 or a 0-d tensor", lambda x: x >= 0, True)
_LENGTH = _Rule("a number of steps > 0", lambda x: x > 0, False)
_BEGIN = _Rule("a number of steps >= 0", lambda x: x >= 0, False)


def _check(rule: _Rule, **arguments: Any) -> None:
    for name, value in arguments.items():
        if rule.tensors and isinstance(value, Tensor) and value.ndim == 0:
            continue
        if isinstance(value, (bool, str)) or not isinstance(value, Real | Tensor):
            raise TypeError(f"{name} must be {rule.what}, got {value!r}")
        if isinstance(value, Tensor) or not (math.isfinite(value) and rule.holds(float(value))):
            raise ValueError(f"{name} must be {rule.what}, got {value!r}")
