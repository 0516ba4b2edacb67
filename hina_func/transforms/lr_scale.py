"""Learning rates of adapter modules, from their factors. They belong after the moments and before the decay."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from ..adapters import Shape
from ..checks import require_nonnegative, require_positive
from ..core import EmptyState, GradientTransformation, Hyper
from ..modules import Factors, per_module
from ..numerics import any_nonzero, norm, safe_sqrt, total
from ..roles import LOKR_ROLES, LORA_ROLES


def starts_at_zero(factor: Tensor) -> Tensor:
    """Whether each row is all zero."""
    return ~any_nonzero(factor)


def row_gram(x: Tensor) -> Tensor:
    """Inner products of the rows of each factor: ``[modules, r, r]``, small where what it stands for is large."""
    x = rearrange(x, "n r ... -> n r (...)")
    return x @ x.mT


def column_gram(x: Tensor) -> Tensor:
    """Inner products of the columns of each matrix."""
    return x.mT @ x


def lora_row_norms(a: Tensor, b: Tensor) -> Tensor:
    """Norms of the rows of ``b a``, ``[modules, out]``, through the rank x rank Gram matrix of ``a``."""
    b = rearrange(b, "n o r ... -> n o (r ...)")
    squares = ((b @ row_gram(a)) * b).sum(dim=2)
    return safe_sqrt(squares.clamp_min(0))


def lora_factors(p: Factors, s: EmptyState, *, eta: Tensor | float) -> dict[str, Tensor]:
    rows = 1 / (p.each(lora_row_norms, "lora_a", "lora_b") + eta**-2).sqrt()
    return {"lora_a": rows.mean(1, keepdim=True), "lora_b": rows}


def lora_lr_scale(eta: Hyper = 1.0, extra_patterns: Any = ()) -> GradientTransformation:
    r"""ALLoRA: each output row of a LoRA learns at a rate that falls with the norm the row has reached.

    .. math:: s_i = \frac{1}{\sqrt{\|(BA)_i\| + 1/\eta^2}}, \quad u'_{B,i} = s_i u_{B,i}, \quad u'_A =
        \operatorname{mean}(s)\, u_A

    :math:`s = \eta` at :math:`BA = 0`. For :math:`B` the scaling is the paper's; its gradient of :math:`A` is no
    function of
    :math:`A`'s own gradient, so :math:`A` gets the mean. Put it after the moments: before them Adam would divide it
    out.

    | Reads: both factors.  Keeps: nothing.
    | Modules without a pair, and pairs whose product cannot be formed, pass.

    Args:
        eta: :math:`\eta > 0`, the scale of a fresh module.
        extra_patterns: see `hina_func.find_adapters`.

    Raises:
        ValueError: if ``eta`` is not positive; at ``update``, if ``params`` is not given.

    Source: Huang and Balestriero, "ALLoRA", arXiv 2410.09692.

    >>> params = {"q.lora_A.weight": torch.tensor([[3.0]]), "q.lora_B.weight": torch.tensor([[1.0], [0.0]])}
    >>> updates = {"q.lora_A.weight": torch.tensor([[4.0]]), "q.lora_B.weight": torch.tensor([[1.0], [1.0]])}
    >>> u, _ = lora_lr_scale().update(updates, EmptyState(), params)
    >>> u["q.lora_A.weight"], u["q.lora_B.weight"]
    (tensor([[3.]]), tensor([[0.5000],
            [1.0000]]))
    """
    require_positive(eta=eta)
    return per_module(
        "lora_lr_scale", "lora", lora_factors, roles=LORA_ROLES, hypers={"eta": eta}, extra_patterns=extra_patterns
    )


class LoraPlusLrScaleState(NamedTuple):
    """``on_a``: whether A is the factor that started at zero (embeddings), and B did not."""

    on_a: Tensor


def lora_plus_init(p: Factors) -> LoraPlusLrScaleState:
    return LoraPlusLrScaleState(starts_at_zero(p["lora_a"]) & ~starts_at_zero(p["lora_b"]))


def lora_plus_factors(p: Factors, s: LoraPlusLrScaleState, *, ratio: Tensor | float) -> dict[str, Tensor]:
    on_a = s.on_a[:, None]
    one = torch.ones_like(on_a, dtype=p.dtype)
    return {"lora_a": torch.where(on_a, ratio, one), "lora_b": torch.where(on_a, one, ratio)}


def alike_whatever(shapes: Mapping[str, Shape]) -> Hashable:
    """All modules are, to a formula that asks for none of their tensors."""
    return ()


def lora_plus_lr_scale(ratio: Hyper, extra_patterns: Any = ()) -> GradientTransformation:
    r"""LoRA+: the factor that starts at zero learns ``ratio`` times faster.

    .. math:: u'_B = \lambda u_B, \quad u'_A = u_A

    It is B, save where ``init`` found A at zero and B not (embeddings in PEFT and loralib).

    | Reads: both factors, at ``init``.  Keeps: 1 byte per module.
    | A factor without its partner passes.

    Args:
        ratio: :math:`\lambda \ge 0`; the paper starts at 16.
        extra_patterns: see `hina_func.find_adapters`.

    Raises:
        ValueError: if ``ratio`` is negative; at ``update``, if ``params`` is not given.

    Source: Hayou, Ghosh and Yu, "LoRA+", arXiv 2402.12354.

    >>> params = {"q.lora_A.weight": torch.ones(1, 1), "q.lora_B.weight": torch.zeros(1, 1)}
    >>> tx = lora_plus_lr_scale(16.0)
    >>> tx.update({name: torch.ones(1, 1) for name in params}, tx.init(params), params)[0]
    {'q.lora_A.weight': tensor([[1.]]), 'q.lora_B.weight': tensor([[16.]])}
    """
    require_nonnegative(ratio=ratio)
    return per_module(
        "lora_plus_lr_scale",
        "lora",
        lora_plus_factors,
        init=lora_plus_init,
        roles=LORA_ROLES,
        hypers={"ratio": ratio},
        alike=alike_whatever,
        extra_patterns=extra_patterns,
    )


def matrix_norm(x: Tensor) -> Tensor:
    """Frobenius norm, ``[modules, 1]``."""
    return norm(x).reshape(-1, 1)


def norm_from_square(products: Tensor) -> Tensor:
    """The root of the sum over all but the modules, ``[modules, 1]``; rounding may have made the sum negative."""
    return safe_sqrt(total(products).reshape(-1, 1).clamp_min(0))


def product_norm(columns_of_a: Tensor, rows_of_b: Tensor) -> Tensor:
    """Norm of ``a b`` without forming it: from the inner product of two rank x rank Gram matrices."""
    return norm_from_square(columns_of_a * rows_of_b)


def tucker_norm(t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Norm of ``sum_ij t[i, j, ...] a[i, p] b[j, q]`` without forming it, from the Gram matrices of ``a`` and ``b``."""
    t = rearrange(t, "n i j ... -> n (...) i j")
    return norm_from_square((row_gram(a)[:, None] @ t @ row_gram(b)[:, None]) * t)


def side_norm(p: Factors, side: str) -> Tensor:
    """Norm of ``lokr_w1`` or ``lokr_w2``, from whatever factors a module has of it."""
    if side in p:
        return p.each(matrix_norm, side)
    a, b = f"{side}_a", f"{side}_b"
    if side == "lokr_w2" and "lokr_t2" in p:
        return p.each(tucker_norm, "lokr_t2", a, b)
    return product_norm(p.each(column_gram, a), p.each(row_gram, b))


def lokr_norm(p: Factors) -> Tensor:
    """``norm(w1) norm(w2)``, which is the norm of their Kronecker product."""
    return side_norm(p, "lokr_w1") * side_norm(p, "lokr_w2")


class LokrLrScaleState(NamedTuple):
    """``on_a``: whether w2_a is the factor of w2 that started at zero, and w2_b did not."""

    on_a: Tensor


def lokr_init(p: Factors) -> LokrLrScaleState:
    if "lokr_w2" in p:
        return LokrLrScaleState(torch.zeros_like(starts_at_zero(p["lokr_w2"])))
    return LokrLrScaleState(starts_at_zero(p["lokr_w2_a"]) & ~starts_at_zero(p["lokr_w2_b"]))


def lokr_factors(
    p: Factors, s: LokrLrScaleState, *, damping: Tensor | float, ratio: Tensor | float, w2_factor: Tensor | float
) -> dict[str, Tensor]:
    shared = 1 / (1 + damping * lokr_norm(p))
    fast = shared * ratio * w2_factor
    factors: dict[str, Tensor] = dict.fromkeys(p, shared)
    if "lokr_w2" in p:
        factors["lokr_w2"] = fast
    else:
        on_a = s.on_a[:, None]
        factors["lokr_w2_a"] = torch.where(on_a, fast, shared)
        factors["lokr_w2_b"] = torch.where(on_a, shared, fast)
    return factors


def alike_lokr(shapes: Mapping[str, Shape]) -> Hashable:
    """The ranks of the factors whose Gram matrices are multiplied; the norm of a Tucker form is one number as it is."""
    tucker = ("lokr_w2_a",) if "lokr_t2" in shapes else ()
    return tuple((role, shape[-1]) for role, shape in shapes.items() if role.endswith("_a") and role not in tucker)


def lokr_lr_scale(
    damping: Hyper = 0.3, ratio: Hyper = 16.0, w2_factor: Hyper = 0.6, extra_patterns: Any = ()
) -> GradientTransformation:
    r"""A LoKr module learns slower the larger its Kronecker product, and its w2 faster than its w1.

    .. math:: s = \frac{1}{1 + \delta \|w_1\| \|w_2\|}, \quad u'_f = s\, u_f, \quad u'_{w_2} = s\, \lambda \kappa\,
        u_{w_2}

    :math:`\|w_1\| \|w_2\| = \|w_1 \otimes w_2\|`, where :math:`w_1, w_2` are the effective factors:
    :math:`w_{1a} w_{1b}`,
    :math:`w_{2a} w_{2b}` or the Tucker form with :math:`t_2`. Of a factored :math:`w_2` only the part that starts at
    zero gets
    :math:`\lambda\kappa`: w2_b, save where ``init`` found w2_a at zero and w2_b not.

    | Reads: all factors of the module.  Keeps: 1 byte per module.
    | Incomplete modules pass. Neither alpha nor the module's scale enters, as in the guide.

    Args:
        damping: :math:`\delta \ge 0`.
        ratio: :math:`\lambda \ge 0`.
        w2_factor: :math:`\kappa \ge 0`.
        extra_patterns: see `hina_func.find_adapters`.

    Raises:
        ValueError: if an argument is negative; at ``update``, if ``params`` is not given.

    Source: the HinaAdamW LoKr guide; LoKr: arXiv 2309.14859.

    >>> params = {"q.lokr_w1": torch.tensor([[2.0]]), "q.lokr_w2": torch.tensor([[3.0, 4.0]])}
    >>> tx = lokr_lr_scale(damping=0.1, ratio=10.0, w2_factor=0.5)
    >>> tx.update({name: torch.ones_like(p) for name, p in params.items()}, tx.init(params), params)[0]
    {'q.lokr_w1': tensor([[0.5000]]), 'q.lokr_w2': tensor([[2.5000, 2.5000]])}
    """
    require_nonnegative(damping=damping, ratio=ratio, w2_factor=w2_factor)
    return per_module(
        "lokr_lr_scale",
        "lokr",
        lokr_factors,
        init=lokr_init,
        roles=LOKR_ROLES,
        hypers={"damping": damping, "ratio": ratio, "w2_factor": w2_factor},
        alike=alike_lokr,
        extra_patterns=extra_patterns,
    )
