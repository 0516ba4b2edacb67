"""Layouts: which parameters share a column, and the way between named trees and columns.

Parameters with the same role, shape, dtype, device and labels are stacked into one *column* ``[rows, *shape]``. Modules
whose members agree in all of these form one *table*: they keep the same row in each of its columns, so that pairing A
with B, or w1 with w2, is alignment and not search. A layout is a pure function of static facts (`Spec`); it never sees
a value.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .adapters import AdapterMap, find_adapters
from .core import Columns

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
    """Parameters of equal facts, one per row. ``shape`` is that of one row; a 0-d parameter is a row ``[1]``."""

    key: str
    names: tuple[str, ...]
    role: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    labels: Labels

    def zeros(self) -> Tensor:
        return torch.zeros(len(self.names), *(self.shape or (1,)), dtype=self.dtype, device=self.device)


class Table(NamedTuple):
    """Modules of one kind and of equal shapes: role -> key of the column that holds the role, rows aligned."""

    kind: str
    columns: dict[str, str]


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
        return Layout(columns, tuple(table for table in self.tables if keys.issuperset(table.columns.values())))

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
    rows = len(leaves), *(column.shape or (1,))
    if all(leaf is None for leaf in leaves):
        return column.zeros()
    if len(leaves) == 1 and leaves[0] is not None:
        single = leaves[0].to(column.dtype)
        return single.unsqueeze(0) if column.shape else single.reshape(rows)
    zero = None
    if any(leaf is None for leaf in leaves):
        zero = torch.zeros(column.shape, dtype=column.dtype, device=column.device)
    return torch.stack([zero if leaf is None else leaf for leaf in leaves]).to(column.dtype).reshape(rows)  # type: ignore[misc]


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
        stack_limit: parameters with more elements, and modules that hold one, are not stacked; 0 stacks nothing, which
            is the plain loop over parameters.
    """
    leaves = {leaf.name: leaf for leaf in sorted(spec, key=lambda leaf: leaf.name)}
    blank = {name: torch.empty(leaf.shape, device="meta") for name, leaf in leaves.items()}
    adapters = find_adapters(blank, extra_patterns)
    tables: dict[Hashable, list[dict[str, str]]] = defaultdict(list)
    for index, (kind, members) in enumerate(_modules(adapters)):
        facts = tuple((slot, *_facts(leaves[name], adapters.role(name), labels)) for slot, name in members.items())
        large = any(math.prod(leaves[name].shape) > stack_limit for name in members.values())
        tables[kind, facts, index if large else None].append(members)
    columns: list[Column] = []
    aligned: list[Table] = []
    for signature, rows in tables.items():
        kind, facts, _ = cast(tuple[str, tuple[Any, ...], Any], signature)
        by_role: dict[str, str] = {}
        for slot, *fact in facts:
            names = tuple(members[slot] for members in rows)
            by_role[slot] = column_key(names)
            columns.append(Column(by_role[slot], names, *fact))
        if kind:
            aligned.append(Table(kind, by_role))
    return Layout(tuple(columns), tuple(aligned))


def _facts(leaf: LeafSpec, role: str, labels: Callable[[LeafSpec, str], Labels]) -> tuple[Any, ...]:
    """What parameters of one column have in common, in the order of `Column`'s fields."""
    return role, leaf.shape, leaf.dtype, leaf.device, labels(leaf, role)


def _modules(adapters: AdapterMap) -> Iterator[tuple[str, dict[str, str]]]:
    """Kind and members by role of each usable adapter module, then every other parameter as a module of its own."""
    taken: set[str] = set()
    for record in sorted(adapters.modules, key=lambda record: (record.key, record.pair or "", record.kind)):
        if record.complete and record.kind != "norm":
            yield record.kind, dict(sorted(record.members.items()))
            taken.update(record.members.values())
    yield from (("", {"": name}) for name in adapters.names if name not in taken)
