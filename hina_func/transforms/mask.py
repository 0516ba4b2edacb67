"""Updates gated or re-signed by the gradient, before the learning rate: updates still have the gradient's sign."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import require_choice, require_positive
from ..core import EmptyState, GradientTransformation, Hyper
from ..lift import Leaf, per_leaf
from ..numerics import row_numel, sign, total


def cautious_leaf(
    u: Tensor, s: EmptyState, leaf: Leaf, *, rescale: str | None, max_scale: Tensor | float | None = None
) -> tuple[Tensor, EmptyState]:
    agree = (u * leaf.grad > 0).to(u.dtype)
    if rescale is None:
        return u * agree, s
    n = row_numel(u)
    boost = 1 / (total(agree) / n).clamp_min(1e-3) if rescale == "mean" else n / (total(agree) + 1)
    if max_scale is not None:
        boost = torch.where(boost < max_scale, boost, max_scale)
    return u * agree * boost, s


def cautious_mask(rescale: str | None = "mean", max_scale: Hyper | None = None) -> GradientTransformation:
    r"""Drop the entries of an update that the gradient disagrees with.

    .. math:: \phi = 1(u \circ g > 0), \quad u' = \alpha\, \phi \circ u

    with :math:`\alpha = 1/\max(\operatorname{mean} \phi, 10^{-3})` for ``rescale="mean"`` (C-AdamW),
    :math:`n/(\sum\phi + 1)` for "count" (C-Lion, the paper's first form), 1 for None.

    | Reads: the gradient.  Keeps: nothing.
    | An entry whose gradient is 0 is dropped. On small tensors :math:`\alpha` is large when few entries agree (16 times
      with 1 of 16); ``max_scale`` bounds it.

    Args:
        rescale: "mean", "count" or None.
        max_scale: upper bound of :math:`\alpha`, > 0; None: no bound.

    Raises:
        ValueError: if an argument is out of range.

    Source: Liang et al., "Cautious Optimizers", arXiv 2411.16085.

    >>> grads = {"w": torch.tensor([1.0, -1.0])}
    >>> cautious_mask().update({"w": torch.tensor([3.0, 3.0])}, EmptyState(), grads=grads)[0]
    {'w': tensor([6., 0.])}
    """
    require_choice(("mean", "count", None), rescale=rescale)
    hypers: dict[str, Hyper] = {}
    if max_scale is not None:
        require_positive(max_scale=max_scale)
        hypers["max_scale"] = max_scale
    return per_leaf("cautious_mask", cautious_leaf, hypers=hypers, rescale=rescale)


def grams_leaf(u: Tensor, s: EmptyState, leaf: Leaf) -> tuple[Tensor, EmptyState]:
    return u.abs() * sign(leaf.grad), s


def grams_sign() -> GradientTransformation:
    r"""The size of the update with the sign of the gradient.

    .. math:: u' = |u| \circ \operatorname{sign}(g)

    | Reads: the gradient.  Keeps: nothing.
    | An entry whose gradient is 0 does not move.

    Source: Cao, Li and Song, "Grams", arXiv 2412.17107.

    >>> grads = {"w": torch.tensor([1.0, -1.0])}
    >>> grams_sign().update({"w": torch.tensor([3.0, 3.0])}, EmptyState(), grads=grads)[0]
    {'w': tensor([ 3., -3.])}
    """
    return per_leaf("grams_sign", grams_leaf)
