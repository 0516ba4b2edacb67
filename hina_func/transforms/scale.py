"""Updates multiplied by a number, or by a statistic of themselves."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_finite, require_nonnegative
from ..core import EmptyState, GradientTransformation, Hyper
from ..lift import Leaf, per_leaf, row_counts
from ..numerics import norm, row_numel, safe_divide, total


def scale_leaf(
    u: Tensor, s: EmptyState, leaf: Leaf, *, step_size: Tensor | float, sign: float
) -> tuple[Tensor, EmptyState]:
    return u * (sign * step_size), s


def scale(step_size: Hyper) -> GradientTransformation:
    r"""Multiply by a number.

    .. math:: u' = a u

    | Reads: nothing.  Keeps: nothing (a count per parameter if ``step_size`` is a schedule).

    Args:
        step_size: :math:`a`, any finite number.

    Source: values as in optax.

    >>> scale(0.5).update({"w": torch.tensor([4.0])}, EmptyState())[0]
    {'w': tensor([2.])}
    """
    require_finite(step_size=step_size)
    return per_leaf("scale", scale_leaf, hypers={"step_size": step_size}, sign=1.0)


def scale_by_learning_rate(learning_rate: Hyper, *, flip_sign: bool = True) -> GradientTransformation:
    r"""Multiply by minus the learning rate: the one place where a direction becomes a step downhill.

    .. math:: u' = -\eta u

    | Reads: nothing.  Keeps: nothing (a count per parameter if ``learning_rate`` is a schedule).

    Args:
        learning_rate: :math:`\eta \ge 0`, parameter units per unit of direction.
        flip_sign: False multiplies by :math:`+\eta`.

    Raises:
        ValueError: if ``learning_rate`` is negative or not finite.

    Source: values as in optax.

    >>> scale_by_learning_rate(0.5).update({"w": torch.tensor([4.0])}, EmptyState())[0]
    {'w': tensor([-2.])}
    """
    require_nonnegative(learning_rate=learning_rate)
    return per_leaf(
        "scale_by_learning_rate", scale_leaf, hypers={"step_size": learning_rate}, sign=-1.0 if flip_sign else 1.0
    )


class ScaleByScheduleState(NamedTuple):
    """``count``: updates absorbed."""

    count: Tensor  # type: ignore[assignment]


def schedule_init(param: Tensor) -> ScaleByScheduleState:
    return ScaleByScheduleState(row_counts(param))


def schedule_leaf(
    u: Tensor, s: ScaleByScheduleState, leaf: Leaf, *, step_size: Tensor | float
) -> tuple[Tensor, ScaleByScheduleState]:
    return u * step_size, ScaleByScheduleState(s.count + 1)


def scale_by_schedule(step_size_fn: Hyper) -> GradientTransformation:
    r"""Multiply by a function of the number of updates absorbed before this one.

    .. math:: u'_t = f(t) u_t, \quad t = 0, 1, 2, \dots

    | Reads: nothing.  Keeps: 8 bytes per tensor (its count).

    Args:
        step_size_fn: :math:`f`, a schedule.

    Raises:
        TypeError: if it is not a function.

    Source: values as in optax.

    >>> tx = scale_by_schedule(lambda step: 1.0 / (1 + step))
    >>> state = tx.init({"w": torch.zeros(1)})
    >>> for _ in range(2):
    ...     u, state = tx.update({"w": torch.tensor([4.0])}, state)
    >>> u
    {'w': tensor([2.])}
    """
    if not callable(step_size_fn):
        raise TypeError(f"step_size_fn must be a function of the step, got {step_size_fn!r}")
    return per_leaf("scale_by_schedule", schedule_leaf, init=schedule_init, hypers={"step_size": step_size_fn})


def agr_leaf(u: Tensor, s: EmptyState, leaf: Leaf) -> tuple[Tensor, EmptyState]:
    if row_numel(u) == 1:
        return u, s
    size = u.abs()
    whole = total(size)
    return u * ((whole - size) * safe_divide(torch.ones_like(whole), whole)), s


def scale_by_agr() -> GradientTransformation:
    r"""Adaptive gradient regularisation: damp each entry by its share of the gradient.

    .. math:: u' = \Big(1 - \frac{|u|}{\sum_j |u_j|}\Big) \circ u

    | Reads: nothing.  Keeps: nothing.
    | A tensor of one element (its share is always 1) and a zero gradient pass.

    Source: Jiang et al., "Adaptive Gradient Regularization", arXiv 2407.16944.

    >>> scale_by_agr().update({"w": torch.tensor([3.0, -1.0])}, EmptyState())[0]
    {'w': tensor([ 0.7500, -0.7500])}
    """
    return per_leaf("scale_by_agr", agr_leaf)


def trust_ratio_leaf(
    u: Tensor,
    s: EmptyState,
    leaf: Leaf,
    *,
    min_norm: Tensor | float,
    trust_coefficient: Tensor | float,
    eps: Tensor | float,
) -> tuple[Tensor, EmptyState]:
    param_norm, update_norm = (torch.where(n <= min_norm, min_norm, n) for n in (norm(leaf.param), norm(u)))
    known = (param_norm != 0) & (update_norm != 0)
    ratio = torch.where(known, trust_coefficient * param_norm / torch.where(known, update_norm + eps, 1), 1)
    return u * ratio, s


def scale_by_trust_ratio(
    min_norm: Hyper = 0.0, trust_coefficient: Hyper = 1.0, eps: Hyper = 0.0
) -> GradientTransformation:
    r"""Give each tensor's update a size in proportion to the tensor, as LARS and LAMB do.

    .. math:: u' = c \frac{\|p\|}{\|u\| + \epsilon} u

    | Reads: the parameter.  Keeps: nothing.
    | Where either norm is 0 the update passes.

    Args:
        min_norm: lower bound of both norms, >= 0.
        trust_coefficient: :math:`c \ge 0`.
        eps: :math:`\epsilon \ge 0`.

    Raises:
        ValueError: if an argument is negative; at ``update``, if ``params`` is not given.

    Source: You et al., arXiv 1904.00962; values as in optax.

    >>> params = {"w": torch.tensor([3.0, 4.0])}
    >>> scale_by_trust_ratio().update({"w": torch.tensor([0.0, 2.0])}, EmptyState(), params)[0]
    {'w': tensor([0., 5.])}
    """
    require_nonnegative(min_norm=min_norm, trust_coefficient=trust_coefficient, eps=eps)
    return per_leaf(
        "scale_by_trust_ratio",
        trust_ratio_leaf,
        reads_params=True,
        hypers={"min_norm": min_norm, "trust_coefficient": trust_coefficient, "eps": eps},
    )
