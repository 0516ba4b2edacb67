"""Directions from one running average: RMSProp's from squares, Lion's from signs."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_decay_rate, require_nonnegative
from ..core import GradientTransformation, Hyper
from ..lift import Leaf, per_leaf, row_counts
from ..numerics import one_minus_power, over, safe_sqrt, sign


class ScaleByLionState(NamedTuple):
    """``mu``: the momentum."""

    mu: Tensor


def lion_init(param: Tensor) -> ScaleByLionState:
    return ScaleByLionState(torch.zeros_like(param))


def lion_leaf(
    u: Tensor, s: ScaleByLionState, leaf: Leaf, *, b1: Tensor | float, b2: Tensor | float
) -> tuple[Tensor, ScaleByLionState]:
    return sign(b1 * s.mu + (1 - b1) * u), ScaleByLionState(b2 * s.mu + (1 - b2) * u)


def scale_by_lion(b1: Hyper = 0.9, b2: Hyper = 0.99) -> GradientTransformation:
    r"""Lion's direction: the sign of an interpolated momentum.

    .. math:: u' = \operatorname{sign}(\beta_1 m + (1-\beta_1) u), \quad m' = \beta_2 m + (1-\beta_2) u

    | Reads: nothing.  Keeps: 4 bytes per element (:math:`m`).

    Args:
        b1: :math:`\beta_1 \in [0, 1)`, of the direction.
        b2: :math:`\beta_2 \in [0, 1)`, of the momentum.

    Raises:
        ValueError: if a rate is outside [0, 1).

    Source: Chen et al., "Symbolic Discovery of Optimization Algorithms", arXiv 2302.06675; values as in optax.

    >>> tx = scale_by_lion()
    >>> tx.update({"w": torch.tensor([3.0, -0.1])}, tx.init({"w": torch.zeros(2)}))[0]
    {'w': tensor([ 1., -1.])}
    """
    require_decay_rate(b1=b1, b2=b2)
    return per_leaf("scale_by_lion", lion_leaf, init=lion_init, hypers={"b1": b1, "b2": b2})


class ScaleByRmsState(NamedTuple):
    """``count``: updates absorbed; ``nu``: average of squares."""

    count: Tensor  # type: ignore[assignment]
    nu: Tensor


def rms_init(param: Tensor, *, initial_scale: float) -> ScaleByRmsState:
    return ScaleByRmsState(row_counts(param), torch.full_like(param, initial_scale))


def rms_leaf(
    u: Tensor,
    s: ScaleByRmsState,
    leaf: Leaf,
    *,
    decay: Tensor | float,
    eps: Tensor | float,
    eps_in_sqrt: bool,
    bias_correction: bool,
) -> tuple[Tensor, ScaleByRmsState]:
    count = s.count + 1
    nu = decay * s.nu + (1 - decay) * u * u
    size = nu / one_minus_power(decay, over(count, u)) if bias_correction else nu
    denominator = (size + eps).sqrt() if eps_in_sqrt else safe_sqrt(size) + eps
    return u / denominator, ScaleByRmsState(count, nu)


def scale_by_rms(
    decay: Hyper = 0.9,
    eps: Hyper = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformation:
    r"""RMSProp's direction: divide by the root of a running mean of squares.

    .. math:: v' = \beta v + (1-\beta) u^2, \quad u' = u / \sqrt{v' + \epsilon}

    | Reads: nothing.  Keeps: 4 bytes per element (:math:`v`).

    Args:
        decay: :math:`\beta \in [0, 1)`.
        eps: :math:`\epsilon > 0`, under the root, or beside it if ``eps_in_sqrt`` is False.
        initial_scale: :math:`v_0 \ge 0`.
        eps_in_sqrt: where :math:`\epsilon` stands.
        bias_correction: divide :math:`v'` by :math:`1 - \beta^t`.

    Raises:
        ValueError: if an argument is out of range.

    Source: Hinton's lecture 6e; values as in optax.

    >>> tx = scale_by_rms(decay=0.0, eps=0.0)
    >>> tx.update({"w": torch.tensor([3.0, -0.5])}, tx.init({"w": torch.zeros(2)}))[0]
    {'w': tensor([ 1., -1.])}
    """
    require_decay_rate(decay=decay)
    require_nonnegative(eps=eps, initial_scale=initial_scale)
    return per_leaf(
        "scale_by_rms",
        rms_leaf,
        init=partial(rms_init, initial_scale=initial_scale),
        hypers={"decay": decay, "eps": eps},
        eps_in_sqrt=eps_in_sqrt,
        bias_correction=bias_correction,
    )
