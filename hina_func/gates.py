"""Links that let updates through now and then: when they are finite, or when enough gradients have come together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .core import Columns, State
from .link import Context
from .links import Around
from .state import map_state


class ApplyIfFiniteState(NamedTuple):
    """Counters as in optax, and the inner state."""

    notfinite_count: Tensor
    last_finite: Tensor
    total_notfinite: Tensor
    inner: State


@dataclass(frozen=True)
class ApplyIfFinite(Around):
    """See `apply_if_finite`."""

    max_consecutive_errors: int = 1

    def columnwise(self) -> bool:
        return False

    def init(self, ctx: Context) -> State:
        device = ctx.layout.columns[0].device if ctx.layout.columns else None
        zero = torch.zeros((), dtype=torch.int64, device=device)
        finite = torch.ones((), dtype=torch.bool, device=device)
        return ApplyIfFiniteState(zero, finite, zero.clone(), self.links[0][1].init(ctx.enter(".inner")))

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        keys = [column.key for column in ctx.layout.columns]
        if not keys:
            return u, state
        device = state.last_finite.device
        finite = torch.stack([(~torch.isfinite(u[key])).sum().to(device) for key in keys]).sum() == 0
        count = torch.where(finite, 0, state.notfinite_count + 1)
        apply = finite | (count > self.max_consecutive_errors)
        new, inner = self.links[0][1].update(u, state.inner, ctx.enter(".inner"))
        kept = {key: torch.where(apply, new[key], 0) for key in keys}
        after = map_state(lambda entry, fresh, old: torch.where(apply, fresh, old), inner, state.inner)
        return {**u, **kept}, ApplyIfFiniteState(count, finite, state.total_notfinite + ~finite, after)


class AccumulateState(NamedTuple):
    """``mini_step``: gradients absorbed since the last real update; ``acc``: their mean."""

    mini_step: Columns
    acc: Columns
    inner: State


@dataclass(frozen=True)
class Accumulate(Around):
    """See `accumulate`."""

    every: int = 1

    def init(self, ctx: Context) -> State:
        steps = {c.key: torch.zeros(len(c.names), dtype=torch.int64, device=c.device) for c in ctx.layout.columns}
        return AccumulateState(
            steps,
            {c.key: torch.zeros_like(ctx.param(c)) for c in ctx.layout.columns},
            self.links[0][1].init(ctx.enter(".inner")),
        )

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        if not ctx.layout.columns:
            return u, state
        means, emits, steps = {}, {}, {}
        for column in ctx.layout.columns:
            key, step = column.key, state.mini_step[column.key]
            means[key] = state.acc[key] + (u[key] - state.acc[key]) / _over(step + 1, u[key]).to(u[key].dtype)
            emits[key] = step + 1 == self.every
            if not ctx.missing.isdisjoint(column.names):
                here = [name not in ctx.missing for name in column.names]
                emits[key] = emits[key] & torch.tensor(here, device=column.device)
            steps[key] = torch.where(emits[key], 0, step + 1)
        ready = {key: torch.where(_over(emits[key], mean), mean, 0) for key, mean in means.items()}
        seen = ctx._replace(grads={**ctx.grads, **ready})
        new, inner = self.links[0][1].update({**u, **ready}, state.inner, seen.enter(".inner"))
        emitted = torch.stack([emit.any() for emit in emits.values()]).any()

        def pick(entry: Any, fresh: Tensor, old: Tensor) -> Tensor:
            return torch.where(_over(emits.get(entry.key, emitted), fresh), fresh, old)

        kept = {key: torch.where(_over(emits[key], new[key]), new[key], 0) for key in means}
        acc = {key: torch.where(_over(emits[key], mean), 0, mean) for key, mean in means.items()}
        return {**u, **kept}, AccumulateState(steps, acc, map_state(pick, inner, state.inner))


def _over(rows: Tensor, like: Tensor) -> Tensor:
    """A mask or counter per row (or for all rows) against ``like``."""
    return rows if rows.ndim == 0 else rows.reshape(-1, *(1,) * (like.ndim - 1))
