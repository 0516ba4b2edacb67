"""Updates without one of their components."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import EmptyState, GradientTransformation
from ..lift import Leaf, per_leaf
from ..numerics import dot, norm, row_numel, safe_divide

PARALLEL = 8
"""A remainder below this many rounding errors of the gradient is noise, not a direction."""


def orthogonal_leaf(u: Tensor, s: EmptyState, leaf: Leaf) -> tuple[Tensor, EmptyState]:
    if row_numel(u) == 1:
        return u, s
    rest = u - safe_divide(dot(leaf.param, u), dot(leaf.param, leaf.param)) * leaf.param
    size, rest_size = norm(u), norm(rest)
    is_direction = rest_size > PARALLEL * torch.finfo(u.dtype).eps * size
    return rest * torch.where(is_direction, size / torch.where(is_direction, rest_size, 1), 0), s


def orthogonal_project() -> GradientTransformation:
    r"""The gradient's part orthogonal to the parameter, at the gradient's size.

    .. math:: q = u - \frac{\langle p, u \rangle}{\langle p, p \rangle} p, \quad u' = \frac{\|u\|}{\|q\|} q

    | Reads: the parameter.  Keeps: nothing.
    | A tensor of one element has no orthogonal part and passes; so does everything at a zero parameter. Where :math:`q`
      is rounding noise (gradient parallel to the parameter) it is no direction: :math:`u' = 0`.
    | On a factor of an adapter it blocks the growth of the adapter itself; use it on other parameters.

    Raises:
        ValueError: at ``update``, if ``params`` is not given.

    Source: Prieto et al., "Grokking at the Edge of Numerical Stability", arXiv 2501.04697.

    >>> params = {"w": torch.tensor([1.0, 0.0])}
    >>> orthogonal_project().update({"w": torch.tensor([3.0, 4.0])}, EmptyState(), params)[0]
    {'w': tensor([0., 5.])}
    """
    return per_leaf("orthogonal_project", orthogonal_leaf, reads_params=True)


def centralize_leaf(u: Tensor, s: EmptyState, leaf: Leaf) -> tuple[Tensor, EmptyState]:
    if u.ndim < 3:
        return u, s
    return u - u.mean(dim=tuple(range(2, u.ndim)), keepdim=True), s


def centralize() -> GradientTransformation:
    r"""Remove the mean over all but the first dimension.

    .. math:: u'_{i\dots} = u_{i\dots} - \operatorname{mean}_{j\dots} u_{ij\dots}

    | Reads: nothing.  Keeps: nothing.
    | Tensors with fewer than two dimensions pass.

    Source: Yong et al., "Gradient Centralization", arXiv 2004.01461; values as in optax.

    >>> centralize().update({"w": torch.tensor([[1.0, 3.0]])}, EmptyState())[0]
    {'w': tensor([[-1.,  1.]])}
    """
    return per_leaf("centralize", centralize_leaf, reads_shape=True)
