"""What an optimizer holds between steps: columns of state, and their rows as ``optimizer.state[param]``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, compress
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor

from ..core import State
from ..layout import Column, Layout, Spec, build_layout, compute_dtype, is_column_key, spec_of
from ..link import Context, Link
from ..state import Entry, entries, map_state, rows_of
from .homes import Home, moved_together
from .naming import check_writable
from .sharding import global_arithmetic, is_sharded, settled, sharding_labels, write

ParamState = dict[str, Tensor]


def state_key(entry: Entry, owner: str) -> str:
    """The key of a field in ``optimizer.state[param]``; dots, at which distributed checkpoints split, are quoted."""
    own = is_column_key(entry.key) or entry.key in ("", owner)
    key = "/".join((entry.transform, entry.field, *(() if own else (entry.key,))))
    return key.replace("%", "%25").replace(".", "%2E")


class Rows:
    """Columns over the parameters an optimizer has met, with their state.

    Rows of the state are views of the columns, handed out as ``optimizer.state[param]``: there is one copy of every
    number, and an edit in place of either is an edit of both.
    """

    def __init__(self, link: Link, params: Mapping[str, Tensor], saved: Mapping[Tensor, ParamState]) -> None:
        self.params = dict(params)
        check_writable(self.params)
        self._facts = _facts(self.params.values())
        self.homes: dict[str, Home] = {}
        self._apart, self._apart_facts = list(self.params.values()), self._facts
        self.sharded = any(map(is_sharded, self.params.values()))
        self.layout = build_layout(
            spec_of(self.params),
            lambda leaf, role: (*link.labels(leaf, role, ""), *sharding_labels(self.params[leaf.name])),
            link.patterns(),
        )
        with global_arithmetic(self.sharded):
            columns = self.layout.stack(self.params)
            made = link.init(Context(self.layout, columns, columns))
            self.state: State = map_state(lambda entry, x: _owned(settled(x, columns.get(entry.key))), made)
        self.views: dict[str, ParamState] = {name: {} for name in self.params}
        for entry, tensor in entries(self.state):
            for name, row in rows_of(entry, tensor).items():
                for owner in (name,) if name in self.params else self.params:
                    self.views[owner][state_key(entry, owner)] = row
        self.tracked: dict[str, ParamState] = {}
        self._seen: list[ParamState] = []
        self._given: list[Tensor] = []
        for name, param in self.params.items():
            if param in saved:
                self._restore(name, saved[param])
        self.tensors = dict(entries(self.state))

    def _restore(self, name: str, saved: ParamState) -> None:
        for key, row in self.views[name].items():
            held = saved.get(key)
            if not isinstance(held, Tensor) or held.shape != row.shape:
                got = f"one of shape {tuple(held.shape)}" if isinstance(held, Tensor) else repr(held)
                raise ValueError(
                    f"state {key!r} of parameter {name!r} must be a tensor of shape {tuple(row.shape)}, got {got}; "
                    "without optimizer.state[param] it begins anew"
                )
        write(self.views[name].values(), map(saved.__getitem__, self.views[name]))
        self.track(name)

    def track(self, name: str) -> ParamState:
        """The dict of a parameter's rows, from now on part of the optimizer's state."""
        self._seen = []
        return self.tracked.setdefault(name, dict(self.views[name]))

    def fits(self, state: Mapping[Tensor, ParamState]) -> bool:
        """Whether parameters and state are still those the columns were built for."""
        if not all(home.holds() for home in self.homes.values()):
            self._let_stay({key: home for key, home in self.homes.items() if home.holds()})
        if _facts(self._apart) != self._apart_facts:
            return False
        if len(state) != len(self._seen) or not all(map(is_, state.values(), self._seen)):
            if sum(map(state.__contains__, self.params.values())) != len(self.tracked):
                return False
            if not all(state.get(self.params[name]) is rows for name, rows in self.tracked.items()):
                return False
            self._seen = list(state.values())
            self._given = list(chain.from_iterable(self.views[name].values() for name in self.tracked))
        held = list(chain.from_iterable(map(dict.values, self.tracked.values())))
        return len(held) == len(self._given) and all(map(is_, held, self._given))

    def house(self, columns: Iterable[Column]) -> None:
        """Let the parameters of these columns live side by side, where they can be moved: see ``homes``."""
        self._let_stay(moved_together(columns, self.params))

    def _let_stay(self, homes: dict[str, Home]) -> None:
        """Parameters that have left a home, with others of their column, are looked at again in every step."""
        self.homes = homes
        at_home = {name for column in self.layout.columns if column.key in homes for name in column.names}
        apart = [name not in at_home for name in self.params]
        self._apart = list(compress(self.params.values(), apart))
        shapes, dtypes, devices = self._facts
        self._apart_facts = (
            list(compress(shapes, apart)),
            list(compress(dtypes, apart)),
            list(compress(devices, apart)),
        )

    def check_gradients(self, grads: Sequence[Tensor | None]) -> None:
        """Make sure that gradients, in the order of the parameters, are of the parameters' shapes.

        Raises:
            ValueError: for one that was computed for a tensor of another shape.
        """
        shapes = self._facts[0]
        found = [shape if grad is None else grad.shape for shape, grad in zip(shapes, grads, strict=True)]
        if found != shapes:
            name, shape, got = next(x for x in zip(self.params, shapes, found, strict=True) if x[1] != x[2])
            raise ValueError(
                f"the gradient of {name!r} must have the shape {tuple(shape)} of its parameter and state, "
                f"got {tuple(got)}; a parameter keeps its shape, and after param.data was replaced its gradient "
                "must be computed anew"
            )

    def commit(self, new: State) -> None:
        """Write a new state, of all columns or of some, into the columns."""
        held = set(map(id, self.tensors.values()))
        changed = {entry: x for entry, x in entries(new) if x is not self.tensors[entry]}
        fresh = [x.clone() if id(x) in held else x for x in changed.values()]
        write(map(self.tensors.__getitem__, changed), fresh)


def _facts(tensors: Collection[Tensor]) -> tuple[list[torch.Size], list[torch.dtype], list[int]]:
    """The shapes, dtypes and devices, in a form that is quick to make and to compare."""
    return list(map(_shape, tensors)), list(map(_dtype, tensors)), list(map(Tensor.get_device, tensors))


_shape, _dtype = attrgetter("shape"), attrgetter("dtype")


def _owned(tensor: Tensor) -> Tensor:
    """Memory of the state's own: some inits share one tensor between fields."""
    return tensor.clone(memory_format=torch.contiguous_format)


def expected_rows(link: Link, params: Mapping[str, Tensor]) -> dict[str, ParamState]:
    """Parameter name -> the rows it will have, without values."""
    spec: Spec = tuple(
        leaf._replace(device=torch.device("meta")) for leaf in spec_of({name: p.detach() for name, p in params.items()})
    )
    layout: Layout = build_layout(spec, lambda leaf, role: link.labels(leaf, role, ""), link.patterns())
    blank = {name: torch.empty(p.shape, dtype=compute_dtype(p.dtype), device="meta") for name, p in params.items()}
    columns = layout.stack(blank)
    expected: dict[str, ParamState] = {name: {} for name in params}
    for entry, tensor in entries(link.init(Context(layout, columns, columns))):
        for name, row in rows_of(entry, tensor).items():
            for owner in (name,) if name in params else params:
                expected[owner][state_key(entry, owner)] = row
    return expected


def by_column(layout: Layout, group_of: Mapping[str, int], values: Sequence[Any]) -> Any:
    """A hyperparameter's values per group as one value, or as one per column or row where groups differ."""
    first = values[0]
    if all(_same(value, first) for value in values[1:]):
        return first
    if isinstance(first, (tuple, list)):
        parts = [by_column(layout, group_of, [value[i] for value in values]) for i in range(len(first))]
        keys = [column.key for column in layout.columns]
        return {key: tuple(part[key] if isinstance(part, dict) else part for part in parts) for key in keys}
    columns: dict[str, Any] = {}
    for column in layout.columns:
        rows = [values[group_of[name]] for name in column.names]
        if all(_same(row, rows[0]) for row in rows):
            columns[column.key] = rows[0]
        else:
            numbers = [torch.as_tensor(row, dtype=column.dtype, device=column.device).reshape(()) for row in rows]
            columns[column.key] = torch.stack(numbers)
    return columns


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    return bool(a == b)
