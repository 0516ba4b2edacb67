"""Pulls toward a reference point, on the parameter as the step would leave it; last, after the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..border import transformation
from ..checks import require_choice, require_nonnegative
from ..core import EmptyState, GradientTransformation, Hyper, State, Tree
from ..lift import Leaf, PerLeaf
from ..link import Context
from ..numerics import dot, norm, safe_divide
from ..tree import tree_leaves

PERPENDICULAR = 64
"""A cosine below this many rounding errors has no sign: a projected gradient is perpendicular to its parameter."""


class SpdPenaltyState(NamedTuple):
    """``anchor``: the point of reference."""

    anchor: Tensor


def spd_init(param: Tensor) -> SpdPenaltyState:
    return SpdPenaltyState(param.clone())


def selective_leaf(
    u: Tensor, s: SpdPenaltyState | EmptyState, leaf: Leaf, *, strength: Tensor | float
) -> tuple[Tensor, SpdPenaltyState | EmptyState]:
    before = leaf.param - s.anchor if isinstance(s, SpdPenaltyState) else leaf.param
    landed = before + u
    noise = PERPENDICULAR * torch.finfo(u.dtype).eps * norm(leaf.grad) * norm(before)
    leaving = (dot(leaf.grad, before) > noise).to(u.dtype)
    growth = safe_divide(norm(landed) - norm(before), norm(landed)).clamp(0, 1)
    return u - leaving * growth * strength * landed, s


def ratio_leaf(
    u: Tensor,
    s: SpdPenaltyState | EmptyState,
    leaf: Leaf,
    *,
    strength: Tensor | float,
    learning_rate: Tensor | float,
) -> tuple[Tensor, SpdPenaltyState | EmptyState]:
    landed = leaf.param + u
    drift = landed - s.anchor if isinstance(s, SpdPenaltyState) else landed
    return u - learning_rate * strength * safe_divide(norm(drift), norm(landed)) * drift, s


@dataclass(frozen=True)
class AnchoredPerLeaf(PerLeaf):
    """A `PerLeaf` whose state is a given tree."""

    anchor: Any = None

    def init(self, ctx: Context) -> State:
        anchor = tree_leaves(self.anchor)
        missing = [name for column in ctx.layout.columns for name in column.names if name not in anchor]
        if missing:
            raise ValueError(f"{self.name}: anchor has no leaf for parameter {', '.join(missing)}")
        for column in ctx.layout.columns:
            for name in column.names:
                if tuple(anchor[name].shape) != column.shape:
                    raise ValueError(
                        f"{self.name}: anchor {name!r} has shape {tuple(anchor[name].shape)}, not {column.shape}"
                    )
        ctx_of_anchor = Context(ctx.layout, ctx.layout.stack(anchor), ctx.grads)
        return super().init(ctx_of_anchor)


def spd_penalty(
    strength: Hyper, rule: str = "selective", anchor: str | Tree = "init", learning_rate: Hyper = 1.0
) -> GradientTransformation:
    r"""Selective projection decay: hold a parameter back where the step takes it further from its anchor.

    With :math:`\Delta = p - p_0` and :math:`\tilde\Delta = \Delta + u` after the step, ``rule="selective"`` is

    .. math:: u' = \begin{cases} u - \lambda r \tilde\Delta & \langle g, \Delta \rangle > 0 \\ u & \text{else}
        \end{cases}
        \qquad r = \operatorname{clip}\Big(\frac{\|\tilde\Delta\| - \|\Delta\|}{\|\tilde\Delta\|}, 0, 1\Big)

    (:math:`\lambda = 1` projects back to the radius before the step; a cosine of :math:`g` and :math:`\Delta` within
    rounding of 0 is 0, so that a gradient projected off its parameter never counts as one that leaves), and
    ``rule="ratio"`` the guide's penalty

    .. math:: u' = u - \eta \lambda \frac{\|\tilde\Delta\|}{\|p + u\|} \tilde\Delta

    | Reads: the parameter, the gradient, the step (it comes after ``scale_by_learning_rate``).  Keeps: 4 bytes per
      element (:math:`p_0`), nothing with ``anchor="zero"``.

    Args:
        strength: :math:`\lambda \ge 0`.
        rule: "selective" or "ratio".
        anchor: :math:`p_0`: "init" (the parameters that ``init`` saw), "zero" (right for adapter factors), or a tree.
        learning_rate: :math:`\eta \ge 0`, read by "ratio" only: the same as the chain's.

    Raises:
        ValueError: if an argument is out of range; at ``init``, if the tree lacks a parameter; at ``update``, if
            ``params`` is not given.

    Source: Tian et al., "Rethinking Weight Decay for Robust Fine-Tuning", arXiv 2411.01713; the HinaAdamW LoKr guide.

    >>> import torch
    >>> params = {"w": torch.tensor([3.0, 4.0])}
    >>> tx = spd_penalty(1.0, anchor="zero")
    >>> outward, grads = {"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([1.0, 0.0])}
    >>> tx.update(outward, tx.init(params), params, grads=grads)[0]
    {'w': tensor([0., 0.])}
    """
    require_choice(("selective", "ratio"), rule=rule)
    if isinstance(anchor, str):
        require_choice(("init", "zero"), anchor=anchor)
    require_nonnegative(strength=strength, learning_rate=learning_rate)
    hypers: dict[str, Hyper] = {"strength": strength}
    formula: Any = selective_leaf
    if rule == "ratio":
        hypers["learning_rate"], formula = learning_rate, ratio_leaf
    init = None if isinstance(anchor, str) and anchor == "zero" else spd_init
    fields = ("spd_penalty", formula, init, True, (), tuple(hypers.items()))
    return transformation(PerLeaf(*fields) if isinstance(anchor, str) else AnchoredPerLeaf(*fields, anchor=anchor))
