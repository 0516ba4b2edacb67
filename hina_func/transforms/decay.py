"""Decoupled weight decay: a pull toward zero added to the direction, before the learning rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checks import require_nonnegative, require_positive, require_unit
from ..compose import Mask, masked
from ..core import EmptyState, GradientTransformation, Hyper
from ..lift import Leaf, per_leaf, row_counts
from ..numerics import over
from ..roles import LOKR_ROLES, LORA_ROLES


def decay_leaf(u: Tensor, s: EmptyState, leaf: Leaf, *, weight_decay: Tensor | float) -> tuple[Tensor, EmptyState]:
    return u + weight_decay * leaf.param, s


def add_decayed_weights(weight_decay: Hyper = 0.0, mask: Mask | None = None) -> GradientTransformation:
    r"""Decoupled weight decay.

    .. math:: u' = u + \lambda p

    Before ``scale_by_learning_rate`` this is AdamW's :math:`p \leftarrow p - \eta \lambda p`.

    | Reads: the parameter.  Keeps: nothing.

    Args:
        weight_decay: :math:`\lambda \ge 0`.
        mask: where to decay, like the mask of `hina_func.masked`; None: everywhere.

    Raises:
        ValueError: if ``weight_decay`` is negative; at ``update``, if ``params`` is not given.

    Source: Loshchilov and Hutter, arXiv 1711.05101.

    >>> params = {"w": torch.tensor([4.0])}
    >>> add_decayed_weights(0.5).update({"w": torch.tensor([1.0])}, EmptyState(), params)[0]
    {'w': tensor([3.])}
    """
    require_nonnegative(weight_decay=weight_decay)
    tx = per_leaf("add_decayed_weights", decay_leaf, reads_params=True, hypers={"weight_decay": weight_decay})
    return tx if mask is None else masked(tx, mask)


def cautious_decay_leaf(
    u: Tensor, s: EmptyState, leaf: Leaf, *, weight_decay: Tensor | float
) -> tuple[Tensor, EmptyState]:
    return u + weight_decay * torch.where(u * leaf.param >= 0, leaf.param, 0), s


def add_cautious_decayed_weights(weight_decay: Hyper = 0.0, mask: Mask | None = None) -> GradientTransformation:
    r"""Weight decay where it does not oppose the step.

    .. math:: u' = u + \lambda\, 1(u \circ p \ge 0) \circ p

    | Reads: the parameter.  Keeps: nothing.
    | Entries with :math:`u = 0` are decayed.

    Args:
        weight_decay: :math:`\lambda \ge 0`.
        mask: where to decay; None: everywhere.

    Raises:
        ValueError: if ``weight_decay`` is negative; at ``update``, if ``params`` is not given.

    Source: Chen et al., "Cautious Weight Decay", arXiv 2510.12402.

    >>> params = {"w": torch.tensor([4.0, -4.0])}
    >>> add_cautious_decayed_weights(0.5).update({"w": torch.tensor([1.0, 1.0])}, EmptyState(), params)[0]
    {'w': tensor([3., 1.])}
    """
    require_nonnegative(weight_decay=weight_decay)
    tx = per_leaf(
        "add_cautious_decayed_weights", cautious_decay_leaf, reads_params=True, hypers={"weight_decay": weight_decay}
    )
    return tx if mask is None else masked(tx, mask)


class DynamicWdState(NamedTuple):
    """``count``: updates absorbed."""

    count: Tensor  # type: ignore[assignment]


def dynamic_wd_init(param: Tensor) -> DynamicWdState:
    return DynamicWdState(row_counts(param))


def decay_multiplier(
    count: Tensor,
    kind: str,
    transition_steps: Tensor | float,
    decay_factor: Tensor | float,
    min_ratio: Tensor | float,
) -> Tensor:
    """What is left of the weight decay of a "lora" or "lokr" parameter at its update number ``count``."""
    progress = ((count - transition_steps) / transition_steps).clamp_min(0)
    if kind == "lora":
        floor, left = min_ratio, decay_factor ** progress.clamp_max(2)
    else:
        floor, left = 1.5 * min_ratio, decay_factor ** (0.7 * progress.clamp_max(1.5))
    return torch.where((progress > 0) & (left < floor), floor, left)


def dynamic_wd_leaf(
    u: Tensor,
    s: DynamicWdState,
    leaf: Leaf,
    *,
    weight_decay: Tensor | float,
    transition_steps: Tensor | float,
    decay_factor: Tensor | float,
    min_ratio: Tensor | float,
) -> tuple[Tensor, DynamicWdState]:
    after = DynamicWdState(s.count + 1)
    if leaf.kind not in ("lora", "lokr"):
        return u + weight_decay * leaf.param, after
    left = decay_multiplier(over(after.count, u), leaf.kind, transition_steps, decay_factor, min_ratio)
    return u + weight_decay * left * leaf.param, after


def dynamic_wd(
    weight_decay: Hyper = 1e-2,
    transition_steps: Hyper = 1000,
    decay_factor: Hyper = 0.7,
    min_ratio: Hyper = 0.1,
    extra_patterns: Any = (),
) -> GradientTransformation:
    r"""Weight decay that fades for adapter factors once they have settled.

    .. math:: u' = u + \lambda\, r(t)\, p, \quad q = (t - T)/T, \quad
        r = \begin{cases} 1 & t \le T \text{ or no adapter} \\ \max(\rho, f^{\min(q, 2)}) & \text{LoRA} \\
        \max(1.5 \rho, f^{0.7 \min(q, 1.5)}) & \text{LoKr} \end{cases}

    :math:`t` counts the parameter's own updates, the first being 1. With the defaults the exponents stop at
    :math:`f^2 = 0.49` and :math:`f^{1.05} = 0.69`: the floor :math:`\rho = 0.1` is out of reach.

    | Reads: the parameter and its role.  Keeps: 8 bytes per tensor.

    Args:
        weight_decay: :math:`\lambda \ge 0`.
        transition_steps: :math:`T > 0`, updates.
        decay_factor: :math:`f \in [0, 1]`.
        min_ratio: :math:`\rho \in [0, 1]`.
        extra_patterns: see `hina_func.find_adapters`.

    Raises:
        ValueError: if an argument is out of range; at ``update``, if ``params`` is not given.

    Source: the HinaAdamW LoKr guide.

    >>> params = {"q.lora_A.weight": torch.tensor([[8.0]])}
    >>> tx = dynamic_wd(1.0, transition_steps=1, decay_factor=0.5)
    >>> state = tx.init(params)
    >>> for _ in range(2):
    ...     u, state = tx.update({"q.lora_A.weight": torch.zeros(1, 1)}, state, params)
    >>> u
    {'q.lora_A.weight': tensor([[4.]])}
    """
    require_nonnegative(weight_decay=weight_decay)
    require_positive(transition_steps=transition_steps)
    require_unit(decay_factor=decay_factor, min_ratio=min_ratio)
    return per_leaf(
        "dynamic_wd",
        dynamic_wd_leaf,
        init=dynamic_wd_init,
        reads_params=True,
        roles=(*LORA_ROLES, *LOKR_ROLES),
        extra_patterns=extra_patterns,
        hypers={
            "weight_decay": weight_decay,
            "transition_steps": transition_steps,
            "decay_factor": decay_factor,
            "min_ratio": min_ratio,
        },
    )
