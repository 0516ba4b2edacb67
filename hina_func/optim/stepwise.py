"""How an optimizer runs a chain operation by operation: sharded parameters, and chains that look across columns.

On sharded parameters every operation is DTensor's: elements are computed where they lie, and a sum over a parameter is
a sum over all processes. Numbers of a row are plain tensors, the same on every process, and so are the factors of
modules, which are computed before from whole parameters: products of shards would need most of them anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core import Columns
from ..layout import Layout
from ..link import Context, Link
from ..state import freeze_rows
from .engine import factors_of, module_rules
from .rows import Rows
from .sharding import check_meshes, global_arithmetic, placed_like, whole, write


class Stepwise:
    """A chain over the columns of an optimizer: one column after the other, or all at once if they need each other."""

    def __init__(self, link: Link, rows: Rows) -> None:
        self.link = link
        self.rows = rows
        alone = link.columnwise()
        check_meshes(rows.layout, rows.params, together=not alone)
        self.parts = [Layout((column,), ()) for column in rows.layout.columns] if alone else [rows.layout]
        self.rules = module_rules(link, rows.layout)

    def step(self, grads: Sequence[Tensor | None], hyperparams: Mapping[str, Any]) -> None:
        """One update with these gradients, in the order of the rows' parameters."""
        named = dict(zip(self.rows.params, grads, strict=True))
        with global_arithmetic(self.rows.sharded):
            factors = self._factors(hyperparams)
            for part in self.parts:
                self._step(part, named, hyperparams, factors)

    def _factors(self, hyperparams: Mapping[str, Any]) -> dict[str, Columns]:
        """Path of a module rule -> what it multiplies the rows of each column with."""
        return factors_of(self.rules, self.rows.state, Stacks(self.rows), hyperparams)

    def _step(
        self,
        part: Layout,
        grads: Mapping[str, Tensor | None],
        hyperparams: Mapping[str, Any],
        factors: Mapping[str, Columns],
    ) -> None:
        rows = self.rows
        names = [name for column in part.columns for name in column.names]
        there = [name for name in names if grads[name] is not None]
        if not there:
            return
        params = part.stack(rows.params)
        u = part.stack({name: _gradient(rows.params[name], grads[name]) for name in names})
        missing = frozenset(names) - set(there)
        scales = {path: {key: f[key] for key in part.keys & f.keys()} for path, f in factors.items()}
        present = part.present(grads)
        ctx = Context(part, params, u, hyperparams, {}, missing, present, "", scales)
        updates, state = self.link.update(u, rows.state, ctx)
        landed = part.unstack({key: placed_like(params[key], params[key] + updates[key]) for key in part.keys})
        rows.commit(freeze_rows(present, state, rows.state) if present else state)
        write([rows.params[name] for name in there], [landed[name] for name in there])


class Stacks(dict[str, Tensor]):
    """The columns of the parameters, whole on every process; each is brought together when somebody asks for it."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self._rows = rows

    def __missing__(self, key: str) -> Tensor:
        column = next(column for column in self._rows.layout.columns if column.key == key)
        self[key] = whole(Layout((column,), ()).stack(self._rows.params)[key])
        return self[key]


def _gradient(param: Tensor, grad: Tensor | None) -> Tensor:
    return torch.zeros_like(param) if grad is None else placed_like(param, grad)
