"""Bugs of the rates of adapter factors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..patching import Mutant

LR = "transforms.lr_scale."
UPDATE = "modules.PerModule.update"


def _size(gram: Tensor) -> Tensor:
    size: Tensor = gram.diagonal(dim1=1, dim2=2).sum(1, keepdim=True).sqrt()
    return size


def row_norms_multiplied(a: Tensor, b: Tensor) -> Tensor:
    """As if nothing cancelled in the product of two factors of a LoRA."""
    rows: Tensor = torch.linalg.vector_norm(b.flatten(2), dim=2)
    size: Tensor = torch.linalg.vector_norm(a.flatten(1), dim=1, keepdim=True)
    return rows * size


def norms_multiplied(columns_of_a: Tensor, rows_of_b: Tensor) -> Tensor:
    """As if nothing cancelled in the product of two factors of one side of a LoKr."""
    return _size(columns_of_a) * _size(rows_of_b)


def partner_of_another(self: Any, statistic: Any, *roles: str) -> Tensor:
    """The factors of a module are taken with those of the next."""
    found: Tensor = statistic(*(self[role].roll(int(role in ("lora_a", "lokr_w1")), 0) for role in roles))
    return found


CORPUS = (
    Mutant("ALLoRA multiplies norms of factors", LR + "lora_row_norms", row_norms_multiplied, ("allora",)),
    Mutant(
        "ALLoRA forgets the root of the norm",
        LR + "lora_row_norms",
        ("safe_sqrt(squares.clamp_min(0))", "squares"),
        ("allora",),
    ),
    Mutant(
        "ALLoRA gives A the rate of the first row",
        LR + "lora_factors",
        ("rows.mean(1, keepdim=True)", "rows[:, :1]"),
        ("allora",),
    ),
    Mutant(
        "ALLoRA gives all rows of B the mean",
        LR + "lora_factors",
        ("'lora_b': rows", "'lora_b': rows.mean(1, keepdim=True)"),
        ("allora",),
    ),
    Mutant(
        "ALLoRA gives rows each other's rates",
        LR + "lora_factors",
        ("'lora_b': rows", "'lora_b': rows.flip(1)"),
        ("allora",),
    ),
    Mutant(
        "ALLoRA learns faster the larger the row",
        LR + "lora_factors",
        ("1 / (p.each", "(p.each"),
        ("allora",),
    ),
    Mutant("ALLoRA takes eta for its square", LR + "lora_factors", ("eta ** (-2)", "eta ** (-1)"), ("allora",)),
    Mutant("ALLoRA forgets its root", LR + "lora_factors", (".sqrt()", ""), ("allora",)),
    Mutant("ALLoRA pairs factors of two modules", "modules.Factors.each", partner_of_another, ("allora",)),
    Mutant(
        "LoRA+ lets A lead",
        LR + "lora_plus_factors",
        (
            "torch.where(on_a, ratio, one), 'lora_b': torch.where(on_a, one, ratio)",
            "torch.where(on_a, one, ratio), 'lora_b': torch.where(on_a, ratio, one)",
        ),
        ("lora plus",),
    ),
    Mutant(
        "LoRA+ lets both factors lead",
        LR + "lora_plus_factors",
        ("'lora_a': torch.where(on_a, ratio, one)", "'lora_a': torch.where(on_a, ratio, ratio)"),
        ("lora plus",),
    ),
    Mutant(
        "LoRA+ overlooks that A is what starts at zero",
        LR + "lora_plus_factors",
        ("'lora_a': torch.where(on_a, ratio, one)", "'lora_a': one"),
        ("lora plus",),
    ),
    Mutant(
        "LoRA+ asks at every step who is zero now",
        LR + "lora_plus_factors",
        ("s.on_a[:, None]", "starts_at_zero(p['lora_a'])[:, None]"),
        ("lora plus",),
    ),
    Mutant(
        "LoRA+ asks one module for all",
        LR + "lora_plus_factors",
        ("s.on_a[:, None]", "s.on_a.any().expand_as(s.on_a)[:, None]"),
        ("lora plus",),
    ),
    Mutant("LoKr multiplies norms of factors", LR + "product_norm", norms_multiplied, ("lokr rates",)),
    Mutant(
        "LoKr adds its norm to the damping",
        LR + "lokr_factors",
        ("1 + damping * lokr_norm(p)", "1 + damping + lokr_norm(p)"),
        ("lokr rates",),
    ),
    Mutant(
        "LoKr learns faster the larger the module",
        LR + "lokr_factors",
        ("1 / (1 + damping * lokr_norm(p))", "1 * (1 + damping * lokr_norm(p))"),
        ("lokr rates",),
    ),
    Mutant(
        "LoKr adds the norms of its two sides",
        LR + "lokr_norm",
        ("side_norm(p, 'lokr_w1') *", "side_norm(p, 'lokr_w1') +"),
        ("lokr rates",),
    ),
    Mutant(
        "LoKr forgets the factor of w2",
        LR + "lokr_factors",
        ("shared * ratio * w2_factor", "shared * ratio"),
        ("lokr rates",),
    ),
    Mutant(
        "LoKr lets both parts of w2 lead",
        LR + "lokr_factors",
        ("torch.where(on_a, fast, shared)", "fast.expand_as(on_a)"),
        ("lokr rates",),
    ),
    Mutant(
        "LoKr lets the wrong part of w2 lead",
        LR + "lokr_init",
        (
            "starts_at_zero(p['lokr_w2_a']) & ~starts_at_zero(p['lokr_w2_b'])",
            "starts_at_zero(p['lokr_w2_b']) & ~starts_at_zero(p['lokr_w2_a'])",
        ),
        ("lokr rates",),
    ),
    Mutant("LoKr takes a square for a norm", LR + "norm_from_square", ("safe_sqrt(", "("), ("lokr rates",)),
    Mutant("LoKr pairs factors of two modules", "modules.Factors.each", partner_of_another, ("lokr rates",)),
    Mutant(
        "A rule for modules doubles what is no module",
        UPDATE,
        ("{**u, **new}", "{**{key: 2 * x for key, x in u.items()}, **new}"),
        ("lora plus", "lokr rates"),
    ),
    Mutant(
        "A rule for modules loses the sign of updates",
        UPDATE,
        ("scaled(u,", "scaled({key: x.abs() for key, x in u.items()},"),
        ("allora",),
    ),
)
