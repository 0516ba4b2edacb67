"""The lift for adapter modules: from the formula of one module's factors to a transform of whole trees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .adapters import Shape
from .border import transformation
from .core import Columns, EmptyState, GradientTransformation, Hyper, Hyperparam, State
from .layout import Column, Place, Table
from .lift import ScheduledState, as_patterns, gather_state, row_counts, scatter_state
from .link import Context, Link


class Gathered(Protocol):
    """A column that is nowhere side by side: rows are brought together when somebody asks for them."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def height(self) -> int:
        """How many rows are well brought together at a time."""

    def __getitem__(self, rows: slice) -> Tensor: ...

    def each(self, statistic: Callable[[Tensor], Tensor]) -> Tensor: ...


class Factors(Mapping[str, Tensor]):
    """Role -> stack of that factor of all modules alike; cut out, or brought together, when a formula asks for it."""

    def __init__(self, tables: Sequence[Table], params: Mapping[str, Tensor | Gathered]) -> None:
        self._tables, self._params = tables, params
        self._found: dict[str, Tensor] = {}

    @property
    def dtype(self) -> torch.dtype:
        """What the factors of these modules are computed in."""
        return self._params[_lead(self._tables[0]).key].dtype

    def __getitem__(self, role: str) -> Tensor:
        if role not in self._found:
            places = [table.places[role] for table in self._tables]
            self._found[role] = joined([self._params[at.key][at.start : at.stop] for at in places])
        return self._found[role]

    def each(self, statistic: Callable[..., Tensor], *roles: str) -> Tensor:
        """``statistic(*(self[role] for role in roles))``, for one that looks at each module alone.

        It is computed of some modules at a time, where they are nowhere side by side.
        """
        return joined([self._each(statistic, [table.places[role] for role in roles]) for table in self._tables])

    def _each(self, statistic: Callable[..., Tensor], places: Sequence[Place]) -> Tensor:
        columns = {at: self._params[at.key] for at in places}
        gathered = [column for column in columns.values() if not isinstance(column, Tensor)]
        if len(gathered) == len(places) == 1:
            return gathered[0].each(statistic)[places[0].start : places[0].stop]
        modules = places[0].stop - places[0].start
        height = min([modules, *(column.height for column in gathered)])
        parts = []
        for i in range(0, modules, height):
            rows = (slice(at.start + i, min(at.start + i + height, at.stop)) for at in places)
            parts.append(statistic(*(columns[at][some] for at, some in zip(places, rows, strict=True))))
        return joined(parts)

    def __contains__(self, role: object) -> bool:
        return role in self._tables[0].places

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables[0].places)

    def __len__(self) -> int:
        return len(self._tables[0].places)


def per_module(
    name: str,
    kind: str,
    formula: Callable[..., dict[str, Tensor]],
    *,
    init: Callable[[Factors], Any] | None = None,
    roles: tuple[str, ...],
    hypers: Mapping[str, Hyper],
    alike: Callable[[Mapping[str, Shape]], Hashable] | None = None,
    extra_patterns: Any = (),
) -> GradientTransformation:
    """Lift ``formula(params by role, s, *, <hypers>) -> {role: factor}`` to one that scales adapter modules.

    A factor is one number per module, ``[modules, 1]``, or one per first dimension of the role's tensor. Each member's
    update is multiplied by its role's factor; roles without one, incomplete modules and all other parameters pass.

    Args:
        name: the public name.
        kind: "lora" or "lokr".
        formula: factors of one module, from stacks whose rows are aligned: ``p[role]`` is brought together whole,
            ``p.each(statistic, *roles)`` some modules at a time.
        init: ``init(params by role) -> s`` remembers how a module started: NamedTuples of one number per module.
        roles: the roles the rule acts on.
        hypers: as in `hina_func.lift.per_leaf`; a value per parameter must be the same for all members of a module.
        alike: ``alike(shapes by role)`` is equal for modules that one call of the formula can serve, whatever their
            shapes, as it asks for nothing but statistics of equal shapes. Without it, modules of equal shapes.
        extra_patterns: see `hina_func.find_adapters`.
    """
    return transformation(
        PerModule(name, kind, formula, init, roles, tuple(hypers.items()), alike, as_patterns(extra_patterns))
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
    alike: Callable[[Mapping[str, Shape]], Hashable] | None
    extra_patterns: tuple[tuple[str, str], ...]

    def init(self, ctx: Context) -> State:
        columns = self._lead_columns(ctx)
        own: State = EmptyState()
        if self.init_module is not None:
            pieces: dict[str, list[tuple[int, Any]]] = defaultdict(list)
            for table in self._tables(ctx):
                pieces[_lead(table).key].append((_lead(table).start, self.init_module(_members([table], ctx.params))))
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
        for tables in self._groups(ctx):
            leads = [_lead(table) for table in tables]
            numbers = {
                key: _numbers([self._number(hyper, columns[at.key], state, ctx) for at in leads], leads, columns)
                for key, hyper in self.hypers
            }
            kept = [scatter_state(own, columns[at.key], self.name) for at in leads]
            fields = [[field[at.start : at.stop] for field in s] for s, at in zip(kept, leads, strict=True)]
            s = type(own)(*map(joined, zip(*fields, strict=True)))
            made = self.formula(_members(tables, ctx.params), s, **numbers)
            for role, factor in made.items():
                places = [table.places[role] for table in tables]
                parts = factor.split([at.stop - at.start for at in places])
                for at, part in zip(places, parts, strict=True):
                    pieces[at.key].append((at.start, part))
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

    def _number(self, hyper: Hyper, column: Column, state: State, ctx: Context) -> Tensor | float:
        return ctx.number(hyper, column, state.count[column.key] if self._scheduled() else None)

    def _scheduled(self) -> bool:
        return any(callable(hyper) for _, hyper in self.hypers)

    def _tables(self, ctx: Context) -> list[Table]:
        return [table for table in ctx.layout.tables if table.kind == self.kind]

    def _groups(self, ctx: Context) -> Iterable[list[Table]]:
        """The tables that one call of the formula serves."""
        columns = {column.key: column for column in ctx.layout.columns}
        groups: dict[Hashable, list[Table]] = defaultdict(list)
        for i, table in enumerate(self._tables(ctx)):
            members = {role: columns[place.key] for role, place in table.places.items()}
            key: Hashable = i
            if self.alike is not None:
                kind = self.alike({role: column.shape for role, column in members.items()})
                key = (tuple(members), frozenset((c.dtype, c.device, c.labels) for c in members.values()), kind)
            groups[key].append(table)
        return groups.values()

    def _lead_columns(self, ctx: Context) -> dict[str, Column]:
        leads = {_lead(table).key for table in self._tables(ctx)}
        return {column.key: column for column in ctx.layout.columns if column.key in leads}


def _lead(table: Table) -> Place:
    """Where a module keeps what it remembers: the last of its roles, lora_b or a factor of w2."""
    return table.places[max(table.places)]


def _members(tables: Sequence[Table], params: Columns | None) -> Factors:
    assert params is not None
    return Factors(tables, params)


def _numbers(
    numbers: Sequence[Tensor | float], places: Sequence[Place], columns: Mapping[str, Column]
) -> Tensor | float:
    """One number, or those of each place as ``[modules, 1]``."""
    first, *others = numbers
    if isinstance(first, float) and all(isinstance(number, float) and number == first for number in others):
        return first
    if isinstance(first, Tensor) and not first.ndim and not others:
        return first
    return joined([_rows_of_number(x, at, columns[at.key]) for x, at in zip(numbers, places, strict=True)])


def _rows_of_number(number: Tensor | float, place: Place, column: Column) -> Tensor:
    if not isinstance(number, Tensor):
        number = torch.full((), number, dtype=column.dtype, device=column.device)
    if number.ndim:
        return number[place.start : place.stop].reshape(-1, 1)
    return number.to(column.dtype).expand(place.stop - place.start, 1)


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
    return joined(parts)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Rows of several stacks as one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def scaled(u: Columns, factors: Columns) -> Columns:
    """Each row times its factor, or each of its first dimension times its own."""
    return {key: u[key] * _over(factor, u[key]) for key, factor in factors.items()}


def _over(factor: Tensor, like: Tensor) -> Tensor:
    """``[rows, 1]`` or ``[rows, first]`` against a stack; of 0-d parameters it has no second dimension."""
    return factor.reshape((*factor.shape, *(1,) * (like.ndim - 2))[: like.ndim])
