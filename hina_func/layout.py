"""Layouts: which parameters share a column, and the way between named trees and columns.

Parameters with the same role, shape, dtype, device and labels are stacked into one *column* ``[rows, *shape]``.
Modules whose members agree in all of these form one *table*: in each column their rows are consecutive and in the same
order, so that pairing A with B, or w1 with w2, is a slice of each and not a search. A layout is a pure function of
static facts (`Spec`); it never sees a value.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .adapters import AdapterMap, find_adapters
from .core import Columns
from .roles import KINDS

STACK_LIMIT = 2**20
"""A tensor with more elements than this keeps a column of its own: stacking it would cost a copy and save nothing."""


class LeafSpec(NamedTuple):
    """The static facts of one parameter. ``dtype`` is the one its update is computed in."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


Spec = tuple[LeafSpec, ...]
Labels = tuple[tuple[str, Hashable], ...]


class Column(NamedTuple):
    """Parameters of equal facts, one per row. ``shape`` is that of one row; a stack of 0-d parameters is ``[rows]``."""

    key: str
    names: tuple[str, ...]
    role: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    labels: Labels

    @property
    def kind(self) -> str:
        """The kind of adapter its role belongs to: "lora", "lokr", "norm" or "regular"."""
        return KINDS.get(self.role, "regular")

    def zeros(self) -> Tensor:
        return torch.zeros(len(self.names), *self.shape, dtype=self.dtype, device=self.device)


class Place(NamedTuple):
    """Consecutive rows of a column."""

    key: str
    start: int
    stop: int


class Table(NamedTuple):
    """Modules of one kind and of equal shapes: role -> the rows that hold it, one per module, in the same order."""

    kind: str
    places: dict[str, Place]


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64 parameters, float32 for all others: what updates and state are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def spec_of(leaves: Mapping[str, Tensor]) -> Spec:
    """The static facts of named tensors."""
    return tuple(LeafSpec(name, tuple(x.shape), compute_dtype(x.dtype), x.device) for name, x in leaves.items())


def column_key(names: Iterable[str]) -> str:
    """The key of a column: its parameters' names, one a line. It names the rows of every tensor stored under it."""
    return "".join(f"{name}\n" for name in names)


def key_names(key: str) -> tuple[str, ...]:
    """The inverse of `column_key`.

    >>> key_names(column_key(["a", "b"]))
    ('a', 'b')
    """
    return tuple(key.split("\n")[:-1])


def is_column_key(key: str) -> bool:
    """Whether a dict key names the rows of a column, and is not a plain name."""
    return key.endswith("\n")


class Layout:
    """Columns and tables of a set of parameters; see the module's text. Build one with `build_layout`."""

    def __init__(self, columns: tuple[Column, ...], tables: tuple[Table, ...]) -> None:
        self.columns = columns
        self.tables = tables
        self.keys = frozenset(column.key for column in columns)
        labels = sorted({item for column in columns for item in column.labels}, key=repr)
        self._parts = {item: self._part(item) for item in labels if not all(item in c.labels for c in columns)}

    def part(self, path: str, label: Hashable) -> Layout:
        """The columns that carry ``label`` at ``path``, and the tables that lie wholly among them."""
        if all((path, label) in column.labels for column in self.columns):
            return self
        return self._parts.get((path, label), EMPTY)

    def _part(self, item: tuple[str, Hashable]) -> Layout:
        columns = tuple(column for column in self.columns if item in column.labels)
        keys = {column.key for column in columns}
        return Layout(
            columns,
            tuple(table for table in self.tables if keys.issuperset(place.key for place in table.places.values())),
        )

    def stack(self, leaves: Mapping[str, Tensor | None]) -> Columns:
        """Named leaves -> columns; a leaf that is missing becomes a row of zeros."""
        return {column.key: _stack(column, [leaves.get(name) for name in column.names]) for column in self.columns}

    def unstack(self, columns: Columns) -> dict[str, Tensor]:
        """Columns -> named leaves, as views."""
        leaves: dict[str, Tensor] = {}
        for column in self.columns:
            rows = columns[column.key].reshape(len(column.names), *column.shape).unbind(0)
            leaves.update(zip(column.names, rows, strict=True))
        return leaves

    def present(self, leaves: Mapping[str, Tensor | None]) -> Columns:
        """For each column with a missing leaf: ``[rows]`` booleans, true where the leaf is there."""
        masks: Columns = {}
        for column in self.columns:
            rows = [leaves.get(name) is not None for name in column.names]
            if not all(rows):
                masks[column.key] = torch.tensor(rows, device=column.device)
        return masks


EMPTY = Layout((), ())


def _stack(column: Column, leaves: list[Tensor | None]) -> Tensor:
    if all(leaf is None for leaf in leaves):
        return column.zeros()
    if len(leaves) == 1 and leaves[0] is not None:
        return leaves[0].to(column.dtype).unsqueeze(0)
    zero = None
    if any(leaf is None for leaf in leaves):
        zero = torch.zeros(column.shape, dtype=column.dtype, device=column.device)
    return torch.stack([zero if leaf is None else leaf for leaf in leaves]).to(column.dtype)  # type: ignore[misc]


def build_layout(
    spec: Spec,
    labels: Callable[[LeafSpec, str], Labels] = lambda leaf, role: (),
    extra_patterns: tuple[tuple[str, str], ...] = (),
    stack_limit: int = STACK_LIMIT,
) -> Layout:
    """The layout of parameters with these facts.

    Args:
        spec: the parameters; their order is irrelevant.
        labels: what divides columns beyond role and shape, asked for each leaf and its role.
        extra_patterns: see `hina_func.find_adapters`.
        stack_limit: parameters with more elements are not stacked; with -1 none is, which is the plain loop.
    """
    leaves = {leaf.name: leaf for leaf in sorted(spec, key=lambda leaf: leaf.name)}
    blank = {name: torch.empty(leaf.shape, device="meta") for name, leaf in leaves.items()}
    adapters = find_adapters(blank, extra_patterns)
    modules = _usable(adapters)
    kinds = {name: kind for kind, module in modules for name in module.values()}
    facts: dict[str, tuple[Any, ...]] = {}
    for name, leaf in leaves.items():
        role = adapters.role(name)
        alone = name if math.prod(leaf.shape) > stack_limit else None
        facts[name] = (role, leaf.shape, leaf.dtype, leaf.device, labels(leaf, role), kinds.get(name), alone)

    alike: dict[tuple[Any, ...], list[dict[str, str]]] = defaultdict(list)
    for kind, module in modules:
        alike[kind, tuple((role, facts[name]) for role, name in module.items())].append(module)
    rows: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    spans: list[tuple[str, dict[str, tuple[tuple[Any, ...], int, int]]]] = []
    for (kind, _), members in alike.items():
        span = {}
        for role, name in members[0].items():
            found = rows[facts[name]]
            span[role] = (facts[name], len(found), len(found) + len(members))
            found += [module[role] for module in members]
        spans.append((kind, span))
    for name in (name for name in leaves if name not in kinds):
        rows[facts[name]].append(name)
    columns = {fact: Column(column_key(names), tuple(names), *fact[:5]) for fact, names in rows.items()}
    tables = [
        Table(kind, {role: Place(columns[fact].key, start, stop) for role, (fact, start, stop) in span.items()})
        for kind, span in spans
    ]
    return Layout(tuple(columns.values()), tuple(tables))


def _usable(adapters: AdapterMap) -> list[tuple[str, dict[str, str]]]:
    """Kind and members by role of the modules that a rule can act on."""
    records = sorted(adapters.modules, key=lambda record: (record.key, record.pair or "", record.kind))
    return [(r.kind, dict(sorted(r.members.items()))) for r in records if r.complete and r.kind != "norm"]
