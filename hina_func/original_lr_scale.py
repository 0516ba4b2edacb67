"""The original's learning rates of adapters: whom it pairs by name, and what it divides by."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from .core import Columns, Hyper, Hyperparam, State
from .layout import Column
from .link import Context
from .links import Stateless
from .modules import scaled
from .numerics import norm
from .transforms.lr_scale import lora_row_norms

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
        for i, j, rows, other in _aligned(lora, places, columns):
            norms = guessed_norm(ctx.param(columns[i])[rows], ctx.param(columns[j])[other])
            factors[i] = _scaled(factors[i], rows, 1 / (1 + norms))
        for i, j, rows, other in _aligned(lokr, places, columns):
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


TOGETHER = 2**18
"""Elements of factors that are brought together at a time."""


def _aligned(
    pairs: dict[str, str], places: dict[str, Place], columns: tuple[Column, ...]
) -> Iterator[tuple[int, int, list[int], list[int]]]:
    """Pairs of names as pairs of rows, by the columns they lie in, not too many at a time."""
    aligned: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for name, partner in pairs.items():
        (i, row), (j, other) = places[name], places[partner]
        aligned[i, j].append((row, other))
    for (i, j), found in aligned.items():
        height = max(1, TOGETHER // max(1, math.prod(columns[i].shape), math.prod(columns[j].shape)))
        for at in range(0, len(found), height):
            part = found[at : at + height]
            yield i, j, [row for row, _ in part], [other for _, other in part]


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
        rows = row_norms(b, a)
    elif b0 == a1:
        rows = row_norms(a, b)
    elif b1 == a1:
        rows = row_norms(b, a.mT)
    elif b0 == a0:
        rows = row_norms(b.mT, a)
    else:
        return (norm(a) + norm(b)).flatten() / 2
    return rows.mean(1)


def row_norms(x: Tensor, y: Tensor) -> Tensor:
    """Norms of the rows of ``x y``, which is formed only where that is less work."""
    if x.shape[2] < y.shape[2]:
        return lora_row_norms(y, x)
    rows: Tensor = torch.linalg.vector_norm(x @ y, dim=2)
    return rows
