"""The lift for adapter modules: from the formula of one module's factors to a transform of whole trees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .border import transformation
from .core import Columns, EmptyState, GradientTransformation, Hyper, Hyperparam, State
from .layout import Column, Place, Table
from .lift import ScheduledState, as_patterns, gather_state, row_counts, scatter_state
from .link import Context, Link


class Gathered(Protocol):
    """A column that is nowhere side by side: rows are brought together when somebody asks for them."""

    def __getitem__(self, rows: slice) -> Tensor: ...

    def each(self, statistic: Callable[[Tensor], Tensor]) -> Tensor: ...


class Factors(Mapping[str, Tensor]):
    """Role -> stack of that factor of all modules alike; cut out, or brought together, when a formula asks for it."""

    def __init__(self, table: Table, params: Mapping[str, Tensor | Gathered]) -> None:
        self._table, self._params = table, params
        self._found: dict[str, Tensor] = {}

    def __getitem__(self, role: str) -> Tensor:
        if role not in self._found:
            place = self._table.places[role]
            self._found[role] = self._params[place.key][place.start : place.stop]
        return self._found[role]

    def each(self, role: str, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """``statistic(self[role])``, for one that looks at each row alone: whole columns may compute it at once."""
        place = self._table.places[role]
        column = self._params[place.key]
        if isinstance(column, Tensor):
            return statistic(self[role])
        return column.each(statistic)[place.start : place.stop]

    def __contains__(self, role: object) -> bool:
        return role in self._table.places

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.places)

    def __len__(self) -> int:
        return len(self._table.places)


def per_module(
    name: str,
    kind: str,
    formula: Callable[..., dict[str, Tensor]],
    *,
    init: Callable[[Factors], Any] | None = None,
    roles: tuple[str, ...],
    hypers: Mapping[str, Hyper],
    extra_patterns: Any = (),
) -> GradientTransformation:
    """Lift ``formula(params by role, s, *, <hypers>) -> {role: factor}`` to one that scales adapter modules.

    A factor is one number per module, ``[modules, 1]``, or one per first dimension of the role's tensor. Each member's
    update is multiplied by its role's factor; roles without one, incomplete modules and all other parameters pass.

    Args:
        name: the public name.
        kind: "lora" or "lokr".
        formula: factors of one module, from stacks whose rows are aligned.
        init: ``init(params by role) -> s`` remembers how a module started: NamedTuples of one number per module.
        roles: the roles the rule acts on.
        hypers: as in `hina_func.lift.per_leaf`; a value per parameter must be the same for all members of a module.
        extra_patterns: see `hina_func.find_adapters`.
    """
    return transformation(
        PerModule(name, kind, formula, init, roles, tuple(hypers.items()), as_patterns(extra_patterns))
    )


@dataclass(frozen=True)
class PerModule(Link):
    """See `per_module`. What a module's start was is kept in the rows of its output factor (`_lead`)."""

    name: str
    kind: str
    formula: Callable[..., dict[str, Tensor]]
    init_module: Callable[[Factors], Any] | None
    acts_on: tuple[str, ...]
    hypers: tuple[tuple[str, Hyper], ...]
    extra_patterns: tuple[tuple[str, str], ...]

    def init(self, ctx: Context) -> State:
        columns = self._lead_columns(ctx)
        own: State = EmptyState()
        if self.init_module is not None:
            pieces: dict[str, list[tuple[int, Any]]] = defaultdict(list)
            for table in self._tables(ctx):
                pieces[_lead(table).key].append((_lead(table).start, self.init_module(_members(table, ctx.params))))
            own = gather_state({key: _joined(len(columns[key].names), made) for key, made in pieces.items()})
        if not self._scheduled():
            return own
        return ScheduledState({key: row_counts(ctx.param(column)) for key, column in columns.items()}, own)

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        new = scaled(u, ctx.factors[ctx.path] if ctx.path in ctx.factors else self.factors(state, ctx))
        if self._scheduled():
            state = ScheduledState({key: count + 1 for key, count in state.count.items()}, state.own)
        return {**u, **new}, state

    def factors(self, state: State, ctx: Context) -> Columns:
        """Column key -> what its rows are multiplied with."""
        columns = {column.key: column for column in ctx.layout.columns}
        own = state.own if self._scheduled() else state
        pieces: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        for table in self._tables(ctx):
            lead = _lead(table)
            count = state.count[lead.key] if self._scheduled() else None
            numbers = {key: ctx.number(hyper, columns[lead.key], count) for key, hyper in self.hypers}
            at = {key: _rows_of_number(number, lead) for key, number in numbers.items()}
            s = scatter_state(own, columns[lead.key], self.name)
            s = type(s)(*(field[lead.start : lead.stop] for field in s))
            for role, factor in self.formula(_members(table, ctx.params), s, **at).items():
                pieces[table.places[role].key].append((table.places[role].start, factor))
        return {key: side_by_side(len(columns[key].names), found, fill=1) for key, found in pieces.items()}

    def columnwise(self) -> bool:
        return not self._scheduled()

    def needs_params(self) -> str | None:
        return self.name

    def hyperparams(self) -> Iterator[Hyperparam]:
        return (hyper for _, hyper in self.hypers if isinstance(hyper, Hyperparam))

    def roles(self) -> frozenset[str]:
        return frozenset(self.acts_on)

    def patterns(self) -> tuple[tuple[str, str], ...]:
        return self.extra_patterns

    def module_rules(self) -> Iterator[tuple[str, str]]:
        return iter(((self.name, self.kind),))

    def _scheduled(self) -> bool:
        return any(callable(hyper) for _, hyper in self.hypers)

    def _tables(self, ctx: Context) -> list[Table]:
        return [table for table in ctx.layout.tables if table.kind == self.kind]

    def _lead_columns(self, ctx: Context) -> dict[str, Column]:
        leads = {_lead(table).key for table in self._tables(ctx)}
        return {column.key: column for column in ctx.layout.columns if column.key in leads}


def _lead(table: Table) -> Place:
    """Where a module keeps what it remembers: the last of its roles, lora_b or a factor of w2."""
    return table.places[max(table.places)]


def _members(table: Table, params: Columns | None) -> Factors:
    assert params is not None
    return Factors(table, params)


def _rows_of_number(number: Tensor | float, place: Place) -> Tensor | float:
    """A number per row as ``[modules, 1]``."""
    if isinstance(number, Tensor) and number.ndim:
        return number[place.start : place.stop].reshape(-1, 1)
    return number


def _joined(rows: int, made: list[tuple[int, Any]]) -> Any:
    fields = range(len(made[0][1]))
    return type(made[0][1])(*(side_by_side(rows, [(at, s[i]) for at, s in made], fill=0) for i in fields))


def side_by_side(rows: int, pieces: list[tuple[int, Tensor]], fill: int) -> Tensor:
    """Pieces of consecutive rows in their places, ``fill`` in the rows between."""
    parts: list[Tensor] = []
    at = 0
    for start, piece in sorted(pieces, key=lambda place: place[0]):
        if start > at:
            parts.append(piece.new_full((start - at, *piece.shape[1:]), fill))
        parts.append(piece)
        at = start + piece.shape[0]
    if rows > at:
        parts.append(parts[-1].new_full((rows - at, *parts[-1].shape[1:]), fill))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def scaled(u: Columns, factors: Columns) -> Columns:
    """Each row times its factor, or each of its first dimension times its own."""
    return {key: u[key] * _over(factor, u[key]) for key, factor in factors.items()}


def _over(factor: Tensor, like: Tensor) -> Tensor:
    """``[rows, 1]`` or ``[rows, first]`` against a stack; of 0-d parameters it has no second dimension."""
    return factor.reshape((*factor.shape, *(1,) * (like.ndim - 2))[: like.ndim])
