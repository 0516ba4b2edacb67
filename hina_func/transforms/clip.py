"""Bounded updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..border import transformation
from ..checks import require_nonnegative
from ..core import Columns, EmptyState, GradientTransformation, Hyper, Hyperparam, State
from ..lift import Leaf, per_leaf
from ..link import Context, Link
from ..numerics import any_nonzero, dot, norm, safe_sqrt


def clip_by_value_leaf(u: Tensor, s: EmptyState, leaf: Leaf, *, max_delta: Tensor | float) -> tuple[Tensor, EmptyState]:
    return torch.where(u > max_delta, max_delta, torch.where(u < -max_delta, -max_delta, u)), s


def clip_by_value(max_delta: Hyper) -> GradientTransformation:
    r"""Clip each entry.

    .. math:: u' = \min(\max(u, -c), c)

    | Reads: nothing.  Keeps: nothing.

    Args:
        max_delta: :math:`c \ge 0`.

    Raises:
        ValueError: if ``max_delta`` is negative.

    Source: values as ``optax.clip``.

    >>> clip_by_value(1.0).update({"w": torch.tensor([3.0, -0.5])}, EmptyState())[0]
    {'w': tensor([ 1.0000, -0.5000])}
    """
    require_nonnegative(max_delta=max_delta)
    return per_leaf("clip_by_value", clip_by_value_leaf, hypers={"max_delta": max_delta})


def clip_by_norm_leaf(u: Tensor, s: EmptyState, leaf: Leaf, *, max_norm: Tensor | float) -> tuple[Tensor, EmptyState]:
    size = norm(u)
    return u * shrink(size, max_norm), s


def shrink(size: Tensor, max_norm: Tensor | float) -> Tensor:
    """The factor that takes something of this size to at most ``max_norm``."""
    return torch.where(size < max_norm, 1, max_norm / torch.where(size == 0, 1, size))


def clip_by_norm(max_norm: Hyper) -> GradientTransformation:
    r"""Clip the norm of each tensor.

    .. math:: u' = \min(1, c/\|u\|)\, u

    | Reads: nothing.  Keeps: nothing.

    Args:
        max_norm: :math:`c \ge 0`.

    Raises:
        ValueError: if ``max_norm`` is negative.

    Source: values as in optax.

    >>> clip_by_norm(1.0).update({"w": torch.tensor([0.0, 4.0])}, EmptyState())[0]
    {'w': tensor([0., 1.])}
    """
    require_nonnegative(max_norm=max_norm)
    return per_leaf("clip_by_norm", clip_by_norm_leaf, hypers={"max_norm": max_norm})


@dataclass(frozen=True)
class ClipByGlobalNorm(Link):
    """See `clip_by_global_norm`."""

    max_norm: Hyper
    name: str = "clip_by_global_norm"

    def columnwise(self) -> bool:
        return False

    def init(self, ctx: Context) -> State:
        return EmptyState()

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        columns = ctx.layout.columns
        if not columns:
            return u, state
        device = u[columns[0].key].device
        counted = ctx.counted(u)
        squares = torch.stack([dot(counted[c.key], counted[c.key]).sum().to(device) for c in columns])
        size = safe_sqrt(squares.sum())
        clipped = {
            c.key: u[c.key] * shrink(size.to(c.device, c.dtype), ctx.number(self.max_norm, c, None)) for c in columns
        }
        return {**u, **clipped}, state

    def hyperparams(self) -> Iterator[Hyperparam]:
        return iter((self.max_norm,) if isinstance(self.max_norm, Hyperparam) else ())


def clip_by_global_norm(max_norm: float | Tensor | Hyperparam) -> GradientTransformation:
    r"""Clip the norm of all tensors together.

    .. math:: u'_k = \min\Big(1, c \Big/ \sqrt{\textstyle\sum_j \|u_j\|^2}\Big)\, u_k

    | Reads: nothing.  Keeps: nothing.
    | Parameters without a gradient do not count.

    Args:
        max_norm: :math:`c \ge 0`; no schedule.

    Raises:
        ValueError: if ``max_norm`` is negative.
        TypeError: if it is a schedule.

    Source: Pascanu et al., arXiv 1211.5063; values as in optax.

    >>> updates = {"w": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    >>> clip_by_global_norm(10.0).update(updates, EmptyState())[0]
    {'w': tensor([3.]), 'b': tensor([4.])}
    """
    if callable(max_norm):
        raise TypeError("max_norm must be a number or a Hyperparam, not a schedule")
    require_nonnegative(max_norm=max_norm)
    return transformation(ClipByGlobalNorm(max_norm))


class ZeroNansState(NamedTuple):
    """``found_nan``: whether the last update of each tensor held one."""

    found_nan: Tensor


def zero_nans_init(param: Tensor) -> ZeroNansState:
    return ZeroNansState(torch.zeros(param.shape[0], dtype=torch.bool, device=param.device))


def zero_nans_leaf(u: Tensor, s: ZeroNansState, leaf: Leaf) -> tuple[Tensor, ZeroNansState]:
    nan = torch.isnan(u)
    return torch.where(nan, 0, u), ZeroNansState(any_nonzero(nan.to(u.dtype)))


def zero_nans() -> GradientTransformation:
    r"""Replace NaN by 0.

    .. math:: u'_i = 0 \text{ where } u_i \text{ is NaN, else } u_i

    | Reads: nothing.  Keeps: 1 byte per tensor (whether one was found).

    Source: values as in optax.

    >>> tx = zero_nans()
    >>> tx.update({"w": torch.tensor([float("nan"), 1.0])}, tx.init({"w": torch.zeros(2)}))[0]
    {'w': tensor([0., 1.])}
    """
    return per_leaf("zero_nans", zero_nans_leaf, init=zero_nans_init)
