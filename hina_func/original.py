"""The quirks of ``formulas="original"``: what the optimizer of the guide computes, number for number.

The parity page lists them. Pair scales alone are read as they stood before the step, where the original reads some half
updated.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .border import transformation
from .compose import chain, masked, partition, with_gradient
from .core import EmptyState, GradientTransformation, Hyper
from .lift import Leaf, per_leaf
from .moments import average, torque
from .numerics import dot, norm, one_minus_power, over, safe_divide, safe_sqrt, total
from .original_lr_scale import OriginalLrScale, original_class
from .transforms.decay import DynamicWdState, decay_multiplier, dynamic_wd_init
from .transforms.mask import cautious_mask, grams_sign
from .transforms.penalty import spd_penalty
from .transforms.scale import scale_by_learning_rate
from .transforms.scale_by_adam import ScaleByAdatamState, adatam_init


def amplified_leaf(u: Tensor, s: EmptyState, leaf: Leaf) -> tuple[Tensor, EmptyState]:
    """What the original calls AGR: the gradient times 1 + its signed sum over its norm."""
    return u * (1 + safe_divide(total(u).abs(), norm(u))), s


def unscaled_orthogonal_leaf(u: Tensor, s: EmptyState, leaf: Leaf) -> tuple[Tensor, EmptyState]:
    """Orthogonal projection without the norm given back."""
    return u - safe_divide(dot(leaf.param, u), dot(leaf.param, leaf.param)) * leaf.param, s


def original_moments_leaf(
    u: Tensor,
    s: ScaleByAdatamState,
    leaf: Leaf,
    *,
    b1: Tensor | float,
    b2: Tensor | float,
    eps: Tensor | float,
    tam_beta: Tensor | float = 1.0,
    stale: bool,
    damped: bool,
) -> tuple[Tensor, ScaleByAdatamState]:
    """Adam whose denominator is one step old after the first step ("ADOPT"), times a slow scalar ("TAM")."""
    count, mu, nu = s.count + 1, average(s.mu, u, b1), average(s.nu, u * u, b2)
    t = over(count, u)
    seen = torch.where(t == 1, nu, s.nu) if stale else nu
    step = safe_sqrt(one_minus_power(b2, t)) / one_minus_power(b1, t)
    direction = step * mu / (safe_sqrt(seen) + eps)
    alignment = s.alignment
    if damped:
        damping, alignment = torque(mu, u, s.alignment, tam_beta)
        direction = direction * damping
    return direction, ScaleByAdatamState(count, mu, nu, alignment)


def landed_decay_leaf(
    u: Tensor,
    s: DynamicWdState,
    leaf: Leaf,
    *,
    learning_rate: Tensor | float,
    weight_decay: Tensor | float,
    transition_steps: Tensor | float = 1.0,
    decay_factor: Tensor | float = 1.0,
    min_ratio: Tensor | float = 1.0,
    kind: str | None,
) -> tuple[Tensor, DynamicWdState]:
    """Weight decay of the parameter that the step has already moved."""
    after = DynamicWdState(s.count + 1)
    rate = learning_rate * weight_decay
    if kind is not None:
        rate = rate * decay_multiplier(over(after.count, u), kind, transition_steps, decay_factor, min_ratio)
    return u - rate * (leaf.param + u), after


def original_adamw(
    learning_rate: Hyper,
    *,
    b1: Hyper,
    b2: Hyper,
    eps: Hyper,
    weight_decay: Hyper,
    spd_lambda: Hyper | None,
    cautious: bool,
    orthogonal: bool,
    adopt: bool,
    grams: bool,
    agr: bool,
    tam_beta: Hyper | None,
    alora_ratio: Hyper | None,
    dynamic: tuple[Hyper, Hyper, Hyper] | None,
) -> GradientTransformation:
    """The chain of ``formulas="original"``; None switches a technique off."""
    first = []
    if orthogonal:
        project = per_leaf("unscaled_orthogonal", unscaled_orthogonal_leaf, reads_params=True)
        first.append(masked(project, _is_matrix))
    if agr:
        first.append(masked(per_leaf("amplified", amplified_leaf), _has_dimensions))
    hypers = {"b1": b1, "b2": b2, "eps": eps}
    if tam_beta is not None:
        hypers["tam_beta"] = tam_beta
    moments = partial(original_moments_leaf, stale=adopt, damped=tam_beta is not None)
    then = [per_leaf("original_moments", moments, init=adatam_init, hypers=hypers)]
    then += [grams_sign()] * grams + [cautious_mask(rescale=None)] * cautious
    if alora_ratio is not None:
        then.append(transformation(OriginalLrScale(alora_ratio)))
    then += [scale_by_learning_rate(learning_rate), _landed_decay(learning_rate, weight_decay, dynamic)]
    if spd_lambda is not None:
        then.append(spd_penalty(spd_lambda, rule="ratio", anchor="init", learning_rate=learning_rate))
    return with_gradient(chain(*first), chain(*then))


def _landed_decay(
    learning_rate: Hyper, weight_decay: Hyper, dynamic: tuple[Hyper, Hyper, Hyper] | None
) -> GradientTransformation:
    hypers = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    if dynamic is not None:
        transition_steps, decay_factor, min_ratio = dynamic
        hypers |= {"transition_steps": transition_steps, "decay_factor": decay_factor, "min_ratio": min_ratio}

    def decay(kind: str | None) -> GradientTransformation:
        return per_leaf(
            "landed_decay", landed_decay_leaf, init=dynamic_wd_init, reads_params=True, hypers=hypers, kind=kind
        )

    if dynamic is None:
        return decay(None)
    return partition({"lora": decay("lora"), "lokr": decay("lokr"), "constant": decay(None)}, _decay_kind)


def _decay_kind(name: str, _: Tensor) -> str:
    return {"lora": "lora", "lokr": "lokr"}.get(original_class(name)[:4], "constant")


def _is_matrix(name: str, tensor: Tensor) -> bool:
    return tensor.ndim >= 2


def _has_dimensions(name: str, tensor: Tensor) -> bool:
    return tensor.ndim > 0
