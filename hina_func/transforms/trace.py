"""Momentum: running sums and averages of the update itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_decay_rate, require_nonnegative, require_unit
from ..core import GradientTransformation, Hyper
from ..lift import Leaf, per_leaf, row_counts
from ..moments import average, debiased, no_alignment, torque


class TraceState(NamedTuple):
    """``trace``: the decaying sum of updates."""

    trace: Tensor


def trace_init(param: Tensor) -> TraceState:
    return TraceState(torch.zeros_like(param))


def trace_leaf(
    u: Tensor, s: TraceState, leaf: Leaf, *, decay: Tensor | float, nesterov: bool
) -> tuple[Tensor, TraceState]:
    summed = u + decay * s.trace
    return (u + decay * summed if nesterov else summed), TraceState(summed)


def trace(decay: Hyper, nesterov: bool = False) -> GradientTransformation:
    r"""Momentum as a decaying sum, as SGD has it.

    .. math:: m' = u + \beta m, \quad u' = m' \;\text{ or, with Nesterov, }\; u + \beta m'

    | Reads: nothing.  Keeps: 4 bytes per element (:math:`m`).

    Args:
        decay: :math:`\beta \in [0, 1)`.
        nesterov: whether to look ahead.

    Raises:
        ValueError: if ``decay`` is outside [0, 1).

    Source: Polyak 1964; values as in optax.

    >>> tx = trace(0.5)
    >>> state = tx.init({"w": torch.zeros(1)})
    >>> for _ in range(2):
    ...     u, state = tx.update({"w": torch.tensor([2.0])}, state)
    >>> u
    {'w': tensor([3.])}
    """
    require_decay_rate(decay=decay)
    return per_leaf("trace", trace_leaf, init=trace_init, hypers={"decay": decay}, nesterov=nesterov)


class TraceTamState(NamedTuple):
    """``trace``: the momentum; ``alignment``: the smoothed cosine of momentum and gradient."""

    trace: Tensor
    alignment: Tensor


def trace_tam_init(param: Tensor) -> TraceTamState:
    return TraceTamState(torch.zeros_like(param), no_alignment(param))


def trace_tam_leaf(
    u: Tensor,
    s: TraceTamState,
    leaf: Leaf,
    *,
    b1: Tensor | float,
    decay: Tensor | float,
    eps: Tensor | float,
) -> tuple[Tensor, TraceTamState]:
    damping, alignment = torque(s.trace, u, s.alignment, decay)
    summed = b1 * s.trace + (damping + eps) * u
    return summed, TraceTamState(summed, alignment)


def trace_tam(b1: Hyper = 0.9, decay: Hyper = 0.9, eps: Hyper = 1e-8) -> GradientTransformation:
    r"""Torque-aware momentum: take in less of a gradient that points against the momentum.

    .. math:: s' = \gamma s + (1-\gamma) \cos(m, u), \quad d = (1 + s')/2, \quad m' = \beta m + (d + \epsilon) u, \quad
        u' = m'

    The cosine is of whole tensors, with the momentum before this gradient, and 0 where either is zero. Gradients that
    are always orthogonal to the momentum give :math:`d = 1/2`: twice SGD's learning rate is a fair start.

    | Reads: nothing.  Keeps: 4 bytes per element (:math:`m`), 4 per tensor.

    Args:
        b1: :math:`\beta \in [0, 1)`, of the momentum.
        decay: :math:`\gamma \in [0, 1]`, of the cosine.
        eps: :math:`\epsilon \ge 0`.

    Raises:
        ValueError: if an argument is out of range.

    Source: Malviya et al., "Torque-Aware Momentum", arXiv 2412.18790.

    >>> tx = trace_tam(eps=0.0)
    >>> tx.update({"w": torch.tensor([2.0])}, tx.init({"w": torch.zeros(1)}))[0]
    {'w': tensor([1.])}
    """
    require_decay_rate(b1=b1)
    require_unit(decay=decay)
    require_nonnegative(eps=eps)
    return per_leaf("trace_tam", trace_tam_leaf, init=trace_tam_init, hypers={"b1": b1, "decay": decay, "eps": eps})


class EmaState(NamedTuple):
    """``count``: updates absorbed; ``ema``: their average."""

    count: Tensor  # type: ignore[assignment]
    ema: Tensor


def ema_init(param: Tensor) -> EmaState:
    return EmaState(row_counts(param), torch.zeros_like(param))


def ema_leaf(u: Tensor, s: EmaState, leaf: Leaf, *, decay: Tensor | float, debias: bool) -> tuple[Tensor, EmaState]:
    count, mean = s.count + 1, average(s.ema, u, decay)
    return (debiased(mean, decay, count) if debias else mean), EmaState(count, mean)


def ema(decay: Hyper, debias: bool = True) -> GradientTransformation:
    r"""Exponential moving average of the updates.

    .. math:: m' = \beta m + (1-\beta) u, \quad u' = m'/(1 - \beta^t)

    | Reads: nothing.  Keeps: 4 bytes per element (:math:`m`), 8 per tensor.

    Args:
        decay: :math:`\beta \in [0, 1)`.
        debias: False leaves out the division.

    Raises:
        ValueError: if ``decay`` is outside [0, 1).

    Source: values as in optax.

    >>> tx = ema(0.5)
    >>> tx.update({"w": torch.tensor([2.0])}, tx.init({"w": torch.zeros(1)}))[0]
    {'w': tensor([2.])}
    """
    require_decay_rate(decay=decay)
    return per_leaf("ema", ema_leaf, init=ema_init, hypers={"decay": decay}, debias=debias)
