"""ADOPT's direction, and with torque-aware momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_decay_rate, require_nonnegative, require_unit
from ..core import GradientTransformation, Hyper
from ..lift import Leaf, per_leaf, row_counts
from ..moments import no_alignment, torque
from ..numerics import any_nonzero, over, safe_sqrt

ClipValue = Callable[[Tensor], Tensor]


def fourth_root(step: Tensor) -> Tensor:
    """The paper's bound on a normalised gradient: ``step ** 0.25``."""
    return step**0.25


class ScaleByAdoptState(NamedTuple):
    """``count``: gradients from the first that was not zero on; ``mu``: momentum of normalised ones; ``nu``."""

    count: Tensor  # type: ignore[assignment]
    mu: Tensor
    nu: Tensor


def started(count: Tensor, u: Tensor) -> Tensor:
    """1 for each row that has a second moment to divide by, 0 for one whose first gradient this is."""
    return over(count > 0, u)


def normalised(u: Tensor, on: Tensor, count: Tensor, nu: Tensor, eps: Tensor | float, clip: ClipValue | None) -> Tensor:
    r""":math:`u / \max(\sqrt v, \epsilon)`, clipped; a first gradient is divided by 1."""
    ratio = u / torch.maximum(safe_sqrt(nu), on * eps + (1 - on))
    if clip is None:
        return ratio
    bound = over(clip(count.to(u.dtype)), u)
    return torch.clamp(ratio, -bound, bound)


def accumulated(nu: Tensor, u: Tensor, on: Tensor, b2: Tensor | float) -> Tensor:
    """The second moment after this gradient: the first fills it."""
    return b2 * nu + (on * (1 - b2) + (1 - on)) * (u * u)


def advanced(count: Tensor, u: Tensor) -> Tensor:
    """The counter after this gradient: it starts with the first that is not all zero."""
    return count + ((count > 0) | any_nonzero(u))


def adopt_init(param: Tensor) -> ScaleByAdoptState:
    return ScaleByAdoptState(row_counts(param), torch.zeros_like(param), torch.zeros_like(param))


def adopt_leaf(
    u: Tensor,
    s: ScaleByAdoptState,
    leaf: Leaf,
    *,
    b1: Tensor | float,
    b2: Tensor | float,
    eps: Tensor | float,
    clip: ClipValue | None,
) -> tuple[Tensor, ScaleByAdoptState]:
    on = started(s.count, u)
    mu = b1 * s.mu + on * (1 - b1) * normalised(u, on, s.count, s.nu, eps, clip)
    return mu, ScaleByAdoptState(advanced(s.count, u), mu, accumulated(s.nu, u, on, b2))


def scale_by_adopt(
    b1: Hyper = 0.9,
    b2: Hyper = 0.9999,
    eps: Hyper = 1e-6,
    use_clipping: bool = True,
    clip_value_fn: ClipValue = fourth_root,
) -> GradientTransformation:
    r"""ADOPT: normalise by the *previous* second moment, clip, then average.

    .. math::
        n = \operatorname{clip}\Big(\frac{u}{\max(\sqrt{v}, \epsilon)}, c(k)\Big), \quad
        m' = \beta_1 m + (1-\beta_1) n, \quad v' = \beta_2 v + (1-\beta_2) u^2, \quad u' = m'

    The first gradient (:math:`k = 0`) only fills :math:`v' = u^2` and moves nothing. A tensor whose gradients have all
    been zero is still before its first: the partner of a zero-initialised adapter factor would otherwise be divided by
    :math:`\epsilon`.

    | Reads: nothing.  Keeps: 8 bytes per element (:math:`m, v`), 8 per tensor.

    Args:
        b1: :math:`\beta_1 \in [0, 1)`.
        b2: :math:`\beta_2 \in [0, 1)`.
        eps: :math:`\epsilon \ge 0`, a floor of the root.
        use_clipping: False drops the clip.
        clip_value_fn: :math:`c(k)`, a function of the step; the paper's is :math:`k^{1/4}`.

    Raises:
        ValueError: if an argument is out of range.

    Source: Taniguchi et al., "ADOPT", arXiv 2411.02853.

    >>> tx = scale_by_adopt()
    >>> state = tx.init({"w": torch.zeros(2)})
    >>> for _ in range(2):
    ...     u, state = tx.update({"w": torch.tensor([3.0, -0.5])}, state)
    >>> u
    {'w': tensor([ 0.1000, -0.1000])}
    """
    require_decay_rate(b1=b1, b2=b2)
    require_nonnegative(eps=eps)
    return per_leaf(
        "scale_by_adopt",
        adopt_leaf,
        init=adopt_init,
        hypers={"b1": b1, "b2": b2, "eps": eps},
        clip=_clip(use_clipping, clip_value_fn),
    )


class ScaleByAdoptTamState(NamedTuple):
    """ADOPT's, and ``alignment``: the smoothed cosine of momentum and normalised gradient."""

    count: Tensor  # type: ignore[assignment]
    mu: Tensor
    nu: Tensor
    alignment: Tensor


def adopt_tam_init(param: Tensor) -> ScaleByAdoptTamState:
    return ScaleByAdoptTamState(*adopt_init(param), no_alignment(param))


def adopt_tam_leaf(
    u: Tensor,
    s: ScaleByAdoptTamState,
    leaf: Leaf,
    *,
    b1: Tensor | float,
    b2: Tensor | float,
    eps: Tensor | float,
    decay: Tensor | float,
    clip: ClipValue | None,
) -> tuple[Tensor, ScaleByAdoptTamState]:
    on = started(s.count, u)
    n = normalised(u, on, s.count, s.nu, eps, clip)
    damping, alignment = torque(s.mu, n, s.alignment, decay)
    mu = b1 * s.mu + on * (1 - b1) * (damping + eps) * n
    nu = accumulated(s.nu, u, on, b2)
    return mu, ScaleByAdoptTamState(advanced(s.count, u), mu, nu, alignment)


def scale_by_adopt_tam(
    b1: Hyper = 0.9,
    b2: Hyper = 0.9999,
    eps: Hyper = 1e-6,
    decay: Hyper = 0.9,
    use_clipping: bool = True,
    clip_value_fn: ClipValue = fourth_root,
) -> GradientTransformation:
    r"""ADOPT whose momentum is torque-aware.

    .. math:: m' = \beta_1 m + (1-\beta_1)(d + \epsilon) n, \quad u' = m'

    with :math:`n, v` of `scale_by_adopt` and the damping :math:`d` of `scale_by_adatam`, from the cosine of :math:`m`
    and :math:`n`. The combination is this library's; no paper has it.

    | Reads: nothing.  Keeps: 8 bytes per element (:math:`m, v`), 12 per tensor.

    Args:
        b1: :math:`\beta_1 \in [0, 1)`.
        b2: :math:`\beta_2 \in [0, 1)`.
        eps: :math:`\epsilon \ge 0`.
        decay: :math:`\gamma \in [0, 1]`, of the cosine.
        use_clipping: False drops the clip.
        clip_value_fn: :math:`c(k)`.

    Raises:
        ValueError: if an argument is out of range.

    Source: arXiv 2411.02853 and arXiv 2412.18790.

    >>> tx = scale_by_adopt_tam(eps=0.0)
    >>> state = tx.init({"w": torch.zeros(2)})
    >>> for _ in range(2):
    ...     u, state = tx.update({"w": torch.tensor([3.0, -0.5])}, state)
    >>> u
    {'w': tensor([ 0.0500, -0.0500])}
    """
    require_decay_rate(b1=b1, b2=b2)
    require_nonnegative(eps=eps)
    require_unit(decay=decay)
    return per_leaf(
        "scale_by_adopt_tam",
        adopt_tam_leaf,
        init=adopt_tam_init,
        hypers={"b1": b1, "b2": b2, "eps": eps, "decay": decay},
        clip=_clip(use_clipping, clip_value_fn),
    )


def _clip(use_clipping: bool, clip_value_fn: ClipValue) -> ClipValue | None:
    if not callable(clip_value_fn):
        raise TypeError(f"clip_value_fn must be a function of the step, got {clip_value_fn!r}")
    return clip_value_fn if use_clipping else None
