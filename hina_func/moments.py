"""Running statistics that several formulas share: averages, their bias correction, torque."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .numerics import dot, norm, one_minus_power, over, safe_divide

CANCELLED = 8
"""A momentum shorter than this many rounding errors of the gradient has no direction."""


def average(old: Tensor, new: Tensor, decay: Tensor | float) -> Tensor:
    r""":math:`\beta x + (1-\beta) y`."""
    return decay * old + (1 - decay) * new


def debiased(mean: Tensor, decay: Tensor | float, count: Tensor) -> Tensor:
    r""":math:`x / (1 - \beta^t)` for an average that started at zero, after ``count`` steps per row."""
    return mean / one_minus_power(decay, over(count, mean))


class Torque(NamedTuple):
    """``damping`` in [0, 1] for the incoming gradient, and the smoothed ``alignment`` it comes from."""

    damping: Tensor
    alignment: Tensor


def torque(momentum: Tensor, gradient: Tensor, alignment: Tensor, decay: Tensor | float) -> Torque:
    r"""How well a gradient agrees with the momentum before it, smoothed over time.

    .. math:: S = \cos(m, g), \quad s' = \gamma s + (1-\gamma) S, \quad d = (1 + s')/2

    with :math:`S = 0` where either is zero. So is a momentum within 8 rounding errors of the gradient: where gradients
    have cancelled, its direction is that of their rounding. ``alignment`` is one number per row.
    """
    size, scale = norm(momentum), norm(gradient)
    cosine = safe_divide(dot(momentum, gradient), size * scale).clamp(-1, 1)
    cosine = torch.where(size <= CANCELLED * torch.finfo(cosine.dtype).eps * scale, 0, cosine)
    smoothed = average(over(alignment, cosine), cosine, decay)
    return Torque((1 + smoothed) / 2, smoothed.reshape(alignment.shape))


def no_alignment(param: Tensor) -> Tensor:
    """The alignment before the first gradient: 0 for each row."""
    return torch.zeros(param.shape[0], dtype=param.dtype, device=param.device)
