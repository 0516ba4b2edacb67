"""Idioms with a numerical trap inside, on stacks of tensors.

Formulas see *stacks*: a tensor ``[rows, *shape]`` holds ``rows`` parameters of one shape, and every reduction here goes
over ``shape`` only, keeping its dimensions. A number per row is ``[rows, 1, ..., 1]``. One parameter is a stack of one
row; in a stack of 0-d parameters, ``[rows]``, there is nothing to reduce.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def over(per_row: Tensor, like: Tensor) -> Tensor:
    """One number per row, in ``like``'s dtype and shaped to broadcast against it.

    >>> over(torch.tensor([1, 2]), torch.zeros(2, 3, 4)).shape
    torch.Size([2, 1, 1])
    """
    return rowwise(per_row.to(like.dtype), like)


def rowwise(per_row: Tensor, like: Tensor) -> Tensor:
    """A mask or a count per row, or one for all rows, shaped to broadcast against ``like``.

    >>> rowwise(torch.tensor([True, False]), torch.zeros(2, 3)).shape
    torch.Size([2, 1])
    """
    return per_row if per_row.ndim == 0 else per_row.reshape(-1, *(1,) * (like.ndim - 1))


def inner_dims(x: Tensor) -> tuple[int, ...]:
    """All dimensions but the rows."""
    return tuple(range(1, x.ndim))


def row_numel(x: Tensor) -> int:
    """Number of elements of one parameter of the stack."""
    return math.prod(x.shape[1:])


def total(x: Tensor) -> Tensor:
    """Sum of each parameter's elements."""
    return x.sum(dim=inner_dims(x), keepdim=True) if x.ndim > 1 else x


def any_nonzero(x: Tensor) -> Tensor:
    """Whether some element of each parameter is not zero, ``[rows]``; a sum, which sharded tensors know how to form."""
    return total(x.abs()).reshape(-1) != 0


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner product of each parameter with its counterpart."""
    return total(x * y)


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of each parameter; its derivative at zero is zero."""
    if x.ndim == 1:
        return x.abs()
    size: Tensor = torch.linalg.vector_norm(x, dim=inner_dims(x), keepdim=True)
    return size


def sign(x: Tensor) -> Tensor:
    """The sign, and NaN of NaN, where torch's own is zero: what went wrong must not look like standing still."""
    return torch.maximum(x.sign(), x.clamp_max(-2))  # the second is below every sign, or NaN


def safe_sqrt(x: Tensor) -> Tensor:
    """Square root whose derivative at zero is zero, where autograd's own would be infinite times zero."""
    if not torch.is_grad_enabled():
        return x.sqrt()  # the same values: the detour is for derivatives
    zero = x == 0
    return torch.where(zero, 0, torch.where(zero, 1, x).sqrt())


def safe_divide(x: Tensor, y: Tensor) -> Tensor:
    """``x / y``, and 0 where ``y`` is 0, in value and in derivative."""
    zero = y == 0
    return torch.where(zero, 0, x / torch.where(zero, 1, y))


def one_minus_power(base: Tensor | float, exponent: Tensor) -> Tensor:
    """``1 - base**exponent`` without the cancellation: through ``expm1``, in the exponent's floating dtype."""
    if isinstance(base, Tensor):
        return -torch.expm1(exponent * torch.log(base))
    return -torch.expm1(exponent * (math.log(base) if base > 0 else -math.inf))
