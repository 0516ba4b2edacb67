"""Gates: updates pass when they are finite, all of them or each for itself, or when enough have come together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .border import link_of
from .checks import require_count
from .core import Columns, GradientTransformation, State
from .layout import Layout
from .link import Context
from .links import Around, as_chain, composed, has_foreign
from .numerics import any_nonzero, rowwise
from .state import Entry, map_state


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
        counted = ctx.counted(u)
        finite = torch.stack([(~torch.isfinite(counted[key])).sum().to(device) for key in keys]).sum() == 0
        count = torch.where(finite, 0, state.notfinite_count + 1)
        apply = finite | (count > self.max_consecutive_errors)
        new, inner = self.links[0][1].update(u, state.inner, ctx.enter(".inner"))
        kept = {key: torch.where(apply, new[key], 0) for key in keys}
        after = map_state(lambda entry, fresh, old: torch.where(apply, fresh, old), inner, state.inner)
        return {**u, **kept}, ApplyIfFiniteState(count, finite, state.total_notfinite + ~finite, after)


class SkipNotFiniteState(NamedTuple):
    """``total_notfinite``: updates each parameter has skipped; and the inner state."""

    total_notfinite: Columns
    inner: State


@dataclass(frozen=True)
class SkipNotFinite(Around):
    """See `skip_not_finite`."""

    def init(self, ctx: Context) -> State:
        skipped = {c.key: torch.zeros(len(c.names), dtype=torch.int64, device=c.device) for c in ctx.layout.columns}
        return SkipNotFiniteState(skipped, self.links[0][1].init(ctx.enter(".inner")))

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        keys = [column.key for column in ctx.layout.columns]
        finite = {key: _finite_rows(u[key]) & _finite_rows(ctx.grads[key]) for key in keys}
        seen = ctx.restricted(finite)._replace(grads={**ctx.grads, **_where(finite, ctx.grads)})
        new, inner = self.links[0][1].update({**u, **_where(finite, u)}, state.inner, seen.enter(".inner"))
        rows = {**finite, **(_by_name(ctx.layout, finite) if has_foreign(self) else {})}

        def pick(entry: Entry, fresh: Tensor, old: Tensor) -> Tensor:
            return torch.where(rowwise(rows[entry.key], fresh), fresh, old) if entry.key in rows else fresh

        skipped = {key: state.total_notfinite[key] + ~finite[key] for key in keys}
        return {**u, **_where(finite, new)}, SkipNotFiniteState(skipped, map_state(pick, inner, state.inner))


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
            means[key] = state.acc[key] + (u[key] - state.acc[key]) / rowwise(step + 1, u[key]).to(u[key].dtype)
            emits[key] = step + 1 == self.every
            if key in ctx.present:
                emits[key] = emits[key] & ctx.present[key]
            steps[key] = torch.where(emits[key], 0, step + 1)
        ready = {key: torch.where(rowwise(emits[key], mean), mean, 0) for key, mean in means.items()}
        seen = ctx.restricted(emits)._replace(grads={**ctx.grads, **ready})
        new, inner = self.links[0][1].update({**u, **ready}, state.inner, seen.enter(".inner"))
        emitted = torch.stack([emit.any() for emit in emits.values()]).any()

        def pick(entry: Entry, fresh: Tensor, old: Tensor) -> Tensor:
            return torch.where(rowwise(emits.get(entry.key, emitted), fresh), fresh, old)

        kept = {key: torch.where(rowwise(emits[key], new[key]), new[key], 0) for key in means}
        acc = {key: torch.where(rowwise(emits[key], mean), 0, mean) for key, mean in means.items()}
        return {**u, **kept}, AccumulateState(steps, acc, map_state(pick, inner, state.inner))


def _finite_rows(x: Tensor) -> Tensor:
    """Whether all elements of each parameter are finite, ``[rows]``."""
    return ~any_nonzero((~torch.isfinite(x)).to(x.dtype))


def _by_name(layout: Layout, rows: Columns) -> dict[str, Tensor]:
    """What is one number per row, by the parameters' names: by these, functions written elsewhere keep their state."""
    return {name: x for c in layout.columns for name, x in zip(c.names, rows[c.key].unbind(0), strict=True)}


def _where(rows: Columns, columns: Columns) -> Columns:
    """The columns, zero but in these rows."""
    return {key: torch.where(rowwise(mask, columns[key]), columns[key], 0) for key, mask in rows.items()}


def apply_if_finite(tx: GradientTransformation, max_consecutive_errors: int) -> GradientTransformation:
    """Skip an update that holds a NaN or an infinity, state included, as optax does.

    After ``max_consecutive_errors`` such updates in a row the next is let through, so that a broken run shows.
    Parameters without a gradient do not count.

    Args:
        tx: the transform.
        max_consecutive_errors: how many in a row are skipped, >= 1.

    >>> import hina_func as hf, torch
    >>> tx = apply_if_finite(hf.scale(2.0), max_consecutive_errors=3)
    >>> tx.update({"w": torch.tensor([float("nan")])}, tx.init({"w": torch.zeros(1)}))[0]
    {'w': tensor([0.])}
    """
    require_count(max_consecutive_errors=max_consecutive_errors)
    return composed(ApplyIfFinite("apply_if_finite", ((".inner", as_chain(link_of(tx))),), max_consecutive_errors))


def skip_not_finite(tx: GradientTransformation) -> GradientTransformation:
    """Skip the parameters whose update or gradient holds a NaN or an infinity; the others train on.

    Such a parameter counts as one without a gradient at this step: its update is zero and none of its state moves, but
    for ``total_notfinite``, which counts how often that was so. It looks at what comes in, so it stands outermost:
    behind `clip_by_global_norm` one NaN is everywhere. `apply_if_finite` skips all parameters at once.

    Args:
        tx: the transform. Functions written elsewhere see a zero gradient in the place of what is skipped.

    >>> import hina_func as hf, torch
    >>> tx = skip_not_finite(hf.scale(2.0))
    >>> params = {"w": torch.zeros(2), "b": torch.zeros(1)}
    >>> grads = {"w": torch.tensor([1.0, float("nan")]), "b": torch.tensor([1.0])}
    >>> updates, state = tx.update(grads, tx.init(params))
    >>> updates
    {'w': tensor([0., 0.]), 'b': tensor([2.])}
    >>> hf.named_state(state)["skip_not_finite"]["total_notfinite"]["w"]
    tensor(1)
    """
    return composed(SkipNotFinite("skip_not_finite", ((".inner", as_chain(link_of(tx))),)))


def accumulate(tx: GradientTransformation, every: int) -> GradientTransformation:
    """Feed ``tx`` with the mean of ``every`` gradients; zero updates in between (optax's ``MultiSteps``).

    A parameter counts its own gradients: one without a gradient waits, and nothing of it is lost.

    Args:
        tx: the transform.
        every: gradients per update, >= 1.

    >>> import hina_func as hf, torch
    >>> tx = accumulate(hf.scale(-1.0), every=2)
    >>> u, state = tx.update({"w": torch.tensor([1.0])}, tx.init({"w": torch.zeros(1)}))
    >>> tx.update({"w": torch.tensor([3.0])}, state)[0]
    {'w': tensor([-2.])}
    """
    require_count(every=every)
    return composed(Accumulate("accumulate", ((".inner", as_chain(link_of(tx))),), every))
