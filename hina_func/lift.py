"""The lift: from the formula of one parameter to a transform of whole trees.

A formula sees a stack ``[rows, *shape]`` and reduces through `numerics`, which never mixes rows; so it reads, and is
tested, as the formula of one tensor (a stack of one row). This file is the only one that applies formulas to columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .border import transformation
from .core import Columns, EmptyState, GradientTransformation, Hyper, Hyperparam, State
from .layout import Column
from .link import Context, Link


class Leaf(NamedTuple):
    """What a formula may read beside its update and state, for the same rows: parameter, gradient, kind of adapter.

    ``param`` is there for transforms that said they read it (``reads_params``).
    """

    param: Tensor
    grad: Tensor
    kind: str = "regular"


class ScheduledState(NamedTuple):
    """A state, and the number of updates each parameter has absorbed, which is the step its schedules see."""

    count: Columns  # type: ignore[assignment]
    own: State


def per_leaf(
    name: str,
    formula: Callable[..., tuple[Tensor, Any]],
    *,
    init: Callable[[Tensor], Any] | None = None,
    reads_params: bool = False,
    reads_shape: bool = False,
    roles: tuple[str, ...] = (),
    hypers: Mapping[str, Hyper] | None = None,
    extra_patterns: Any = (),
    **static: Any,
) -> GradientTransformation:
    """Lift ``formula(u, s, leaf, *, <hypers>, <static>) -> (u, s)`` to a transformation of named trees.

    Args:
        name: the public name, used in errors and in `hina_func.named_state`.
        formula: one parameter's update; ``s`` is the NamedTuple that ``init`` made, of stacks.
        init: ``init(param) -> s``, for a stack of parameters; None: nothing is kept.
        reads_params: whether the formula reads ``leaf.param``.
        reads_shape: whether it depends on dimensions; if not, it may be given its rows flattened.
        roles: adapter roles that the formula treats in a way of their own.
        hypers: numbers that may be schedules or `Hyperparam`; the formula gets their value in force.
        extra_patterns: see `hina_func.find_adapters`.
        static: keyword arguments handed to the formula as they are.
    """
    bound = partial(formula, **static) if static else formula
    return transformation(
        PerLeaf(
            name,
            bound,
            init,
            reads_params,
            roles,
            tuple((hypers or {}).items()),
            as_patterns(extra_patterns),
            reads_shape,
        )
    )


@dataclass(frozen=True)
class PerLeaf(Link):
    """See `per_leaf`."""

    name: str
    formula: Callable[..., tuple[Tensor, Any]]
    init_leaf: Callable[[Tensor], Any] | None
    reads_params: bool
    acts_on: tuple[str, ...]
    hypers: tuple[tuple[str, Hyper], ...] = ()
    extra_patterns: tuple[tuple[str, str], ...] = ()
    dimensional: bool = False

    def init(self, ctx: Context) -> State:
        made = {} if self.init_leaf is None else {c.key: self.init_leaf(ctx.param(c)) for c in ctx.layout.columns}
        own = gather_state(made)
        if not self._counts(own):
            return own
        return ScheduledState({column.key: row_counts(ctx.param(column)) for column in ctx.layout.columns}, own)

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        counted = isinstance(state, ScheduledState)
        own = state.own if counted else state
        new: Columns = {}
        states: dict[str, Any] = {}
        for column in ctx.layout.columns:
            s = scatter_state(own, column, self.name)
            count = state.count[column.key] if counted else s._asdict().get("count")
            numbers = {key: ctx.number(hyper, column, count) for key, hyper in self.hypers}
            params = ctx.params if self.reads_params else None
            leaf = Leaf(u[column.key] if params is None else params[column.key], ctx.grads[column.key], column.kind)
            new[column.key], states[column.key] = self.formula(u[column.key], s, leaf, **numbers)
        after = gather_state(states)
        if counted:
            after = ScheduledState({c.key: state.count[c.key] + 1 for c in ctx.layout.columns}, after)
        return {**u, **new}, after

    def reads_shape(self) -> bool:
        return self.dimensional

    def needs_params(self) -> str | None:
        return self.name if self.reads_params else None

    def hyperparams(self) -> Iterator[Hyperparam]:
        return (hyper for _, hyper in self.hypers if isinstance(hyper, Hyperparam))

    def roles(self) -> frozenset[str]:
        return frozenset(self.acts_on)

    def patterns(self) -> tuple[tuple[str, str], ...]:
        return self.extra_patterns

    def _counts(self, own: State) -> bool:
        """Whether a schedule needs a count that the formula's own state does not keep."""
        scheduled = any(callable(hyper) for _, hyper in self.hypers)
        return scheduled and "count" not in own._fields


def as_patterns(extra_patterns: Any) -> tuple[tuple[str, str], ...]:
    """Pairs (regular expression, role) in a form that can be compared and kept."""
    for pair in extra_patterns:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"extra_patterns must be pairs (regular expression, role), got {pair!r}")
    return tuple((str(pattern), str(role)) for pattern, role in extra_patterns)


def row_counts(param: Tensor) -> Tensor:
    """A counter per row, at zero."""
    return torch.zeros(param.shape[0], dtype=torch.int64, device=param.device)


def gather_state(states: Mapping[str, Any]) -> State:
    """``{column key: S(stack, ...)} -> S({column key: stack}, ...)``."""
    first = next(iter(states.values()), EmptyState())
    return type(first)(*({key: s[i] for key, s in states.items()} for i in range(len(first))))


def scatter_state(state: State, column: Column, name: str) -> Any:
    """The part of a transform's state that belongs to a column."""
    if any(column.key not in rows for rows in state):
        raise ValueError(
            f"{name}: the state knows no {', '.join(column.names)} of shape {column.shape}; call init(params) again"
        )
    return type(state)(*(rows[column.key] for rows in state))
