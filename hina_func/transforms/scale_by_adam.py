"""Adam's direction, and with torque-aware momentum."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_choice, require_decay_rate, require_nonnegative, require_unit
from ..core import GradientTransformation, Hyper
from ..lift import Leaf, per_leaf, row_counts
from ..moments import average, debiased, no_alignment, torque
from ..numerics import one_minus_power, over, safe_sqrt


class ScaleByAdamState(NamedTuple):
    """``count``: updates absorbed; ``mu``, ``nu``: averages of the gradient and of its square."""

    count: Tensor  # type: ignore[assignment]
    mu: Tensor
    nu: Tensor


def adam_init(param: Tensor) -> ScaleByAdamState:
    return ScaleByAdamState(row_counts(param), torch.zeros_like(param), torch.zeros_like(param))


def adam_leaf(
    u: Tensor,
    s: ScaleByAdamState,
    leaf: Leaf,
    *,
    b1: Tensor | float,
    b2: Tensor | float,
    eps: Tensor | float,
    eps_root: Tensor | float,
    nesterov: bool,
    debias: str,
) -> tuple[Tensor, ScaleByAdamState]:
    count, mu, nu = s.count + 1, average(s.mu, u, b1), average(s.nu, u * u, b2)
    after = ScaleByAdamState(count, mu, nu)
    if debias == "step":
        ahead = average(mu, u, b1) if nesterov else mu
        step = safe_sqrt(one_minus_power(b2, over(count, u))) / one_minus_power(b1, over(count, u))
        return step * ahead / (safe_sqrt(nu + eps_root) + eps), after
    mean = debiased(mu, b1, count)
    if nesterov:
        mean = average(debiased(mu, b1, count + 1), debiased(u, b1, count), b1)
    return mean / (safe_sqrt(debiased(nu, b2, count) + eps_root) + eps), after


def scale_by_adam(
    b1: Hyper = 0.9,
    b2: Hyper = 0.999,
    eps: Hyper = 1e-8,
    eps_root: Hyper = 0.0,
    *,
    nesterov: bool = False,
    debias: str = "moments",
) -> GradientTransformation:
    r"""Adam's direction: the mean gradient over the root of the mean square.

    .. math::
        m' = \beta_1 m + (1-\beta_1) u, \quad v' = \beta_2 v + (1-\beta_2) u^2, \quad
        u' = \frac{m'/(1-\beta_1^t)}{\sqrt{v'/(1-\beta_2^t) + \epsilon_r} + \epsilon}

    ``debias="step"``: :math:`u' = \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t} \frac{m'}{\sqrt{v' + \epsilon_r} + \epsilon}`,
    so that
    :math:`\epsilon` joins the root of the *biased* moment, as in HF's AdamW, Grams and C-AdamW.

    | Reads: nothing.  Keeps: 8 bytes per element (:math:`m, v`), 8 per tensor.
    | A zero gradient from the start gives zero.

    Args:
        b1: :math:`\beta_1 \in [0, 1)`.
        b2: :math:`\beta_2 \in [0, 1)`.
        eps: :math:`\epsilon \ge 0`, beside the root.
        eps_root: :math:`\epsilon_r \ge 0`, under the root.
        nesterov: look one step ahead in the mean, as NAdam does.
        debias: "moments" (torch, optax) or "step".

    Raises:
        ValueError: if an argument is out of range.

    Source: Kingma and Ba, arXiv 1412.6980; Dozat 2016 for ``nesterov``.

    >>> tx = scale_by_adam(eps=0.0)
    >>> tx.update({"w": torch.tensor([3.0, -0.5])}, tx.init({"w": torch.zeros(2)}))[0]
    {'w': tensor([ 1., -1.])}
    """
    require_decay_rate(b1=b1, b2=b2)
    require_nonnegative(eps=eps, eps_root=eps_root)
    require_choice(("moments", "step"), debias=debias)
    return per_leaf(
        "scale_by_adam",
        adam_leaf,
        init=adam_init,
        hypers={"b1": b1, "b2": b2, "eps": eps, "eps_root": eps_root},
        nesterov=nesterov,
        debias=debias,
    )


class ScaleByAdatamState(NamedTuple):
    """Adam's, and ``alignment``: the smoothed cosine of momentum and gradient."""

    count: Tensor  # type: ignore[assignment]
    mu: Tensor
    nu: Tensor
    alignment: Tensor


def adatam_init(param: Tensor) -> ScaleByAdatamState:
    return ScaleByAdatamState(*adam_init(param), no_alignment(param))


def adatam_leaf(
    u: Tensor,
    s: ScaleByAdatamState,
    leaf: Leaf,
    *,
    b1: Tensor | float,
    b2: Tensor | float,
    eps: Tensor | float,
    decay: Tensor | float,
) -> tuple[Tensor, ScaleByAdatamState]:
    damping, alignment = torque(s.mu, u, s.alignment, decay)
    count, mu, nu = s.count + 1, average(s.mu, (damping + eps) * u, b1), average(s.nu, u * u, b2)
    direction = debiased(mu, b1, count) / (safe_sqrt(debiased(nu, b2, count)) + eps)
    return direction, ScaleByAdatamState(count, mu, nu, alignment)


def scale_by_adatam(
    b1: Hyper = 0.9, b2: Hyper = 0.999, eps: Hyper = 1e-8, decay: Hyper = 0.9
) -> GradientTransformation:
    r"""Adam whose momentum takes in less of a gradient that points against it.

    .. math::
        s' = \gamma s + (1-\gamma) \cos(m, u), \quad d = (1 + s')/2, \quad
        m' = \beta_1 m + (1-\beta_1)(d + \epsilon) u, \quad v' = \beta_2 v + (1-\beta_2) u^2

    and then as `scale_by_adam`; with :math:`d = 1` it *is* Adam. The cosine is of whole tensors, with the momentum
    before this gradient, and 0 where either is zero. :math:`v` sees the undamped gradient.

    | Reads: nothing.  Keeps: 8 bytes per element (:math:`m, v`), 12 per tensor.

    Args:
        b1: :math:`\beta_1 \in [0, 1)`.
        b2: :math:`\beta_2 \in [0, 1)`.
        eps: :math:`\epsilon \ge 0`.
        decay: :math:`\gamma \in [0, 1]`, of the cosine; 1 gives :math:`d = 1/2` for ever.

    Raises:
        ValueError: if an argument is out of range.

    Source: Malviya et al., "Torque-Aware Momentum", arXiv 2412.18790; :math:`(1-\beta_1)` and the bias correction are
    this library's choice, so that step sizes compare with Adam's.

    >>> tx = scale_by_adatam(eps=0.0)
    >>> tx.update({"w": torch.tensor([3.0, -0.5])}, tx.init({"w": torch.zeros(2)}))[0]
    {'w': tensor([ 0.5000, -0.5000])}
    """
    require_decay_rate(b1=b1, b2=b2)
    require_nonnegative(eps=eps)
    require_unit(decay=decay)
    return per_leaf(
        "scale_by_adatam",
        adatam_leaf,
        init=adatam_init,
        hypers={"b1": b1, "b2": b2, "eps": eps, "decay": decay},
    )
