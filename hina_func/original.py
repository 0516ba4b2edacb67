"""The quirks of ``formulas="original"``: what the optimizer of the guide computes, number for number.

The parity page lists them. Pair scales alone are read as they stood before the step, where the original reads some half
updated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from .border import transformation
from .checks import require_decay_rate, require_nonnegative, require_positive, require_unit
from .compose import chain, masked, partition, with_gradient
from .core import Columns, EmptyState, GradientTransformation, Hyper, Hyperparam, State
from .layout import Column
from .lift import Leaf, per_leaf
from .link import Context
from .links import Stateless
from .modules import scaled
from .moments import average, torque
from .numerics import dot, norm, one_minus_power, over, safe_divide, safe_sqrt, total
from .transforms.decay import DynamicWdState, decay_multiplier, dynamic_wd_init
from .transforms.mask import cautious_mask, grams_sign
from .transforms.penalty import spd_penalty
from .transforms.scale import scale_by_learning_rate
from .transforms.scale_by_adam import ScaleByAdatamState, adatam_init

CLASSES = {
    "lokr_w1": "lokr_w1",
    "lokr_w2": "lokr_w2",
    "lokr": "lokr_generic",
    "lora_down": "lora_a",
    "lora_a": "lora_a",
    "lora_up": "lora_b",
    "lora_b": "lora_b",
    "w_norm": "w_norm",
    "b_norm": "b_norm",
}
"""The original's classes: the first of these that the lower-cased name contains."""


def original_class(name: str, _: Tensor | None = None) -> str:
    """The class the original gives a parameter.

    >>> original_class("flora_backbone.weight"), original_class("m.lokr_w1_a")
    ('lora_b', 'lokr_w1')
    """
    return next((found for part, found in CLASSES.items() if part in name.lower()), "regular")


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


Place = tuple[int, int]
"""Column number and row of a parameter."""


@dataclass(frozen=True)
class OriginalLrScale(Stateless):
    """The original's learning rates of adapters: pairs by name, a product guessed from shapes, the ratio on orphans."""

    ratio: Hyper
    name: str = "original_lr_scale"

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        return {**u, **scaled(u, ctx.factors.get(ctx.path) or self.factors(state, ctx))}, state

    def factors(self, state: State, ctx: Context) -> Columns:
        """Column key -> what its rows are multiplied with."""
        columns = ctx.layout.columns
        places = {name: (i, row) for i, column in enumerate(columns) for row, name in enumerate(column.names)}
        factors = [torch.ones(len(c.names), dtype=c.dtype, device=c.device) for c in columns]
        lora, lokr = original_lora_pairs(columns), original_lokr_pairs(columns)
        for i, column in enumerate(columns):
            orphans = [
                r for r, n in enumerate(column.names) if original_class(n) == "lora_b" and n not in lora.values()
            ]
            fast = [r for r, n in enumerate(column.names) if original_class(n) == "lokr_w2"]
            ratio = ctx.number(self.ratio, column, None)
            ratios = torch.as_tensor(ratio).to(factors[i]).reshape(-1).expand_as(factors[i])
            factors[i] = _scaled(factors[i], orphans, ratios[orphans])
            factors[i] = _scaled(factors[i], fast, 0.6 * ratios[fast])
        for (i, j), pairs in _aligned(lora, places).items():
            rows, other = ([pair[side] for pair in pairs] for side in (0, 1))
            factors[i] = _scaled(
                factors[i], rows, 1 / (1 + guessed_norm(ctx.param(columns[i])[rows], ctx.param(columns[j])[other]))
            )
        for (i, j), pairs in _aligned(lokr, places).items():
            rows, other = ([pair[side] for pair in pairs] for side in (0, 1))
            norms = norm(ctx.param(columns[i])[rows]).flatten() * norm(ctx.param(columns[j])[other]).flatten()
            factors[i] = _scaled(factors[i], rows, 1 / (1 + 0.3 * norms))
            factors[j] = _scaled(factors[j], other, 1 / (1 + 0.3 * norms))
        return {column.key: factor[:, None] for column, factor in zip(columns, factors, strict=True)}

    def needs_params(self) -> str | None:
        return self.name

    def module_rules(self) -> Iterator[tuple[str, str]]:
        return iter(((self.name, "lora"), (self.name, "lokr")))

    def hyperparams(self) -> Iterator[Hyperparam]:
        return iter((self.ratio,) if isinstance(self.ratio, Hyperparam) else ())

    def roles(self) -> frozenset[str]:
        return frozenset({"lora_a", "lora_b", "lokr_w1", "lokr_w2"})


def _scaled(factor: Tensor, rows: list[int], by: Tensor) -> Tensor:
    index = torch.tensor(rows, dtype=torch.int64, device=factor.device)
    return factor.index_copy(0, index, factor[index] * by) if rows else factor


def _aligned(pairs: dict[str, str], places: dict[str, Place]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Pairs of names as pairs of rows, by the columns they lie in."""
    aligned: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for name, partner in pairs.items():
        (i, row), (j, other) = places[name], places[partner]
        aligned[i, j].append((row, other))
    return aligned


def original_lora_pairs(columns: tuple[Column, ...]) -> dict[str, str]:
    """A -> B, as the original pairs them: equal names up to the marks, and any of four coincidences of shape."""
    shapes = {name: column.shape for column in columns for name in column.names}
    by_base = defaultdict(list)
    for name in (n for n in shapes if original_class(n) == "lora_b" and len(shapes[n]) >= 2):
        by_base[_without(name, "lora_up", "lora_B", ".weight")].append(name)
    pairs = {}
    for a in (n for n in shapes if original_class(n) == "lora_a" and len(shapes[n]) >= 2):
        for b in by_base[_without(a, "lora_down", "lora_A", ".weight")]:
            if set(shapes[a][:2]) & set(shapes[b][:2]):
                pairs[a] = b
                break
    return pairs


def original_lokr_pairs(columns: tuple[Column, ...]) -> dict[str, str]:
    """w1 -> w2 of the same name without the marks; ``x.lokr_w1_a`` is thereby paired with ``x.lokr_w2_a``."""
    w2 = {}
    names = [name for column in columns for name in column.names]
    for name in names:
        if original_class(name) == "lokr_w2":
            w2[_without(name, ".lokr_w2").strip(".")] = name
    bases = {name: _without(name, ".lokr_w1").strip(".") for name in names if original_class(name) == "lokr_w1"}
    return {name: w2[base] for name, base in bases.items() if base in w2}


def _without(name: str, *marks: str) -> str:
    return reduce(lambda left, mark: left.replace(mark, ""), marks, name)


def guessed_norm(a: Tensor, b: Tensor) -> Tensor:
    """Mean row norm of whichever product of the two factors has fitting sides."""
    a, b = a.flatten(2), b.flatten(2)
    (a0, a1), (b0, b1) = a.shape[1:], b.shape[1:]
    if b1 == a0:
        product = b @ a
    elif b0 == a1:
        product = a @ b
    elif b1 == a1:
        product = b @ a.mT
    elif b0 == a0:
        product = b.mT @ a
    else:
        return (norm(a) + norm(b)).flatten() / 2
    rows: Tensor = torch.linalg.vector_norm(product, dim=2)
    return rows.mean(1)


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
    require_decay_rate(b1=b1, b2=b2)
    require_nonnegative(eps=eps, weight_decay=weight_decay)
    first = []
    if orthogonal:
        project = per_leaf("unscaled_orthogonal", unscaled_orthogonal_leaf, reads_params=True)
        first.append(masked(project, _is_matrix))
    if agr:
        first.append(masked(per_leaf("amplified", amplified_leaf), _has_dimensions))
    hypers = {"b1": b1, "b2": b2, "eps": eps}
    if tam_beta is not None:
        require_unit(tam_beta=tam_beta)
        hypers["tam_beta"] = tam_beta
    moments = partial(original_moments_leaf, stale=adopt, damped=tam_beta is not None)
    then = [per_leaf("original_moments", moments, init=adatam_init, hypers=hypers)]
    then += [grams_sign()] * grams + [cautious_mask(rescale=None)] * cautious
    if alora_ratio is not None:
        require_nonnegative(alora_ratio=alora_ratio)
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
        require_positive(wd_transition_steps=transition_steps)
        require_unit(wd_decay_factor=decay_factor, wd_min_ratio=min_ratio)
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
