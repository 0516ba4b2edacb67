"""Links: transforms on columns, and what they see. `border` puts named trees around them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .core import Columns, Hyper, Hyperparam, State
from .layout import Column, Labels, Layout, LeafSpec, is_column_key
from .numerics import rowwise


class Context(NamedTuple):
    """What a link sees beside the update: parameters, gradients (what masks compare with), hyperparameters, extras.

    ``missing`` names the parameters without a gradient, whose rows are zero; ``present`` holds ``[rows]`` booleans,
    true where a row takes part, for each column in which some may not; ``path`` is the link's place in its chain, by
    which partitions find their labels; ``factors`` are those of adapter modules that are known already, by path.
    """

    layout: Layout
    params: Columns | None
    grads: Columns
    hyperparams: Mapping[str, Any] = MappingProxyType({})
    extra: Mapping[str, Any] = MappingProxyType({})
    missing: frozenset[str] = frozenset()
    present: Mapping[str, Tensor] = MappingProxyType({})
    path: str = ""
    factors: Mapping[str, Columns] = MappingProxyType({})

    def enter(self, name: str) -> Context:
        """The context of the link called ``name`` inside this one."""
        return self._replace(path=f"{self.path}/{name}")

    def part(self, label: Hashable) -> Context:
        """The context of the columns that carry ``label`` here."""
        return self._replace(layout=self.layout.part(self.path, label))

    def restricted(self, rows: Columns) -> Context:
        """The context in which of these columns only the rows that are true take part."""
        here = {key: mask & self.present[key] if key in self.present else mask for key, mask in rows.items()}
        return self._replace(present={**self.present, **here})

    def counted(self, u: Columns) -> Columns:
        """Updates as one who looks across parameters must see them: zero in rows that take no part."""
        rows = {key: mask for key, mask in self.present.items() if key in u}
        return {**u, **{key: torch.where(rowwise(mask, u[key]), u[key], 0) for key, mask in rows.items()}}

    def param(self, column: Column) -> Tensor:
        assert self.params is not None
        return self.params[column.key]

    def number(self, hyper: Hyper, column: Column, count: Tensor | None) -> Tensor | float:
        """The value in force for a column: a number, or a tensor that broadcasts against it."""
        value: Any = hyper.value(self.hyperparams) if isinstance(hyper, Hyperparam) else hyper
        if isinstance(hyper, Hyperparam) and isinstance(value, Mapping):
            value = self._per_row(hyper, value, column)
        elif callable(value):
            assert count is not None
            value = value(count)
        if not isinstance(value, Tensor):
            if not isinstance(value, Real):
                what = hyper.name if isinstance(hyper, Hyperparam) else "the value of a schedule"
                raise TypeError(f"{what} must be a number or a tensor, got {value!r}")
            return float(value)
        return (
            value.reshape(()) if value.numel() == 1 else value.to(column.dtype).reshape(-1, *(1,) * len(column.shape))
        )

    def _per_row(self, hyper: Hyperparam, values: Mapping[str, Any], column: Column) -> Any:
        """``{parameter name: value}`` or ``{column key: value}`` as one value, or one per row."""
        if column.key in values and is_column_key(column.key):
            value = values[column.key]
            return value if hyper.index is None else value[hyper.index]
        rows = [values.get(name, hyper.default) for name in column.names]
        if hyper.index is not None:
            rows = [row[hyper.index] for row in rows]
        return torch.stack([torch.as_tensor(row, dtype=column.dtype, device=column.device) for row in rows])


class Link:
    """A transform on columns. Links are immutable, picklable and compared by what they hold."""

    name: str

    def init(self, ctx: Context) -> State:
        raise NotImplementedError

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        raise NotImplementedError

    def needs_params(self) -> str | None:
        """The name of a transform in here that cannot do without ``params``."""
        return None

    def columnwise(self) -> bool:
        """Whether the update of a column depends on no other column, but for the factors of adapter modules."""
        return True

    def reads_shape(self) -> bool:
        """Whether some formula in here depends on a parameter's dimensions, and not on its elements alone."""
        return False

    def places(self, path: str = "") -> Iterator[tuple[str, Link]]:
        """The transforms in here with their paths, in order."""
        yield path or f"/{self.name}", self

    def hyperparams(self) -> Iterator[Hyperparam]:
        """Every `Hyperparam` in here."""
        return iter(())

    def labels(self, leaf: LeafSpec, role: str, path: str) -> Labels:
        """What divides columns for this link and those inside it."""
        return ()

    def roles(self) -> frozenset[str]:
        """The adapter roles that some rule in here acts on."""
        return frozenset()

    def module_rules(self) -> Iterator[tuple[str, str]]:
        """Name and kind ("lora", "lokr") of each rule in here that acts on whole adapter modules."""
        return iter(())

    def patterns(self) -> tuple[tuple[str, str], ...]:
        """User patterns (regular expression, role) of the rules in here."""
        return ()
