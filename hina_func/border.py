"""The border between named trees and columns, crossed once per chain.

Inside, transforms are *links*: they see columns and a `Context` and know nothing of names. `transformation` puts a
border around a link, which makes it a `GradientTransformation` on named trees; `link_of` takes it off again, which is
how a chain of ten transforms crosses the border once and not ten times.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .core import Columns, GradientTransformation, State, Tree
from .layout import STACK_LIMIT, Column, Labels, Layout, LeafSpec, Spec, build_layout, is_column_key, key_names, spec_of
from .link import Context, Link
from .state import carried_over, entries, freeze_rows, shown_path
from .tree import flatten, rebuild, tree_leaves


class Border:
    """A link with named trees on its outside: the two functions of a `GradientTransformation`."""

    def __init__(self, link: Link, stack_limit: int = STACK_LIMIT) -> None:
        self.link = link
        self.stack_limit = stack_limit
        self._layouts: dict[Spec, Layout] = {}

    def layout(self, spec: Spec) -> Layout:
        """The layout of parameters with these facts: a pure function of them, remembered because it takes a while."""
        if spec not in self._layouts:
            self._layouts[spec] = build_layout(spec, self._labels, self.link.patterns(), self.stack_limit)
        return self._layouts[spec]

    def _labels(self, leaf: LeafSpec, role: str) -> Labels:
        return self.link.labels(leaf, role, "")

    def __str__(self) -> str:
        return " -> ".join(shown_path(path) for path, _ in self.link.places())

    def __getstate__(self) -> dict[str, Any]:
        return {"link": self.link, "stack_limit": self.stack_limit, "_layouts": {}}

    def init(self, params: Tree) -> State:
        """The state before the first update.

        Raises:
            ValueError: if there is no parameter, two have the same name, or one is sparse, complex or integer.
        """
        leaves = tree_leaves(params)
        check_params(leaves)
        layout = self.layout(spec_of(leaves))
        columns = layout.stack(leaves)
        with torch.no_grad():
            return self.link.init(Context(layout, columns, columns))

    def update(
        self,
        updates: Tree,
        state: State,
        params: Tree | None = None,
        *,
        grads: Tree | None = None,
        hyperparams: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> tuple[Tree, State]:
        """New updates and new state.

        Args:
            updates: gradients, or what an earlier transform returned; None or absent: a parameter without a gradient.
            state: of ``init`` or of the last ``update``.
            params: the parameters now.
            grads: what masks compare with; ``updates`` itself if not given.
            hyperparams: values of `Hyperparam`.
            extra: handed on to transforms written outside this library.

        Raises:
            ValueError: if the trees do not fit each other or the state, or ``params`` is needed and missing.
        """
        given = flatten(updates)
        leaves = None if params is None else tree_leaves(params)
        needy = self.link.needs_params()
        if leaves is None and needy is not None:
            raise ValueError(f"{needy} needs the parameters: call update(updates, state, params)")
        layout = self._layout_for(given, leaves, state)
        compared = given if grads is None else flatten(grads)
        for name, leaf in compared.items():
            if leaf is not None and given.get(name) is not None and leaf.shape != given[name].shape:
                raise ValueError(f"grads {name!r} has shape {tuple(leaf.shape)}, its update {tuple(given[name].shape)}")
        ctx = Context(
            layout,
            None if leaves is None else layout.stack(leaves),
            layout.stack(compared),
            hyperparams or {},
            extra,
            frozenset(name for column in layout.columns for name in column.names if given.get(name) is None),
        )
        present = layout.present(given)
        new, new_state = self.link.update(layout.stack(given), state, ctx)
        if leaves is None:
            new_state = carried_over(new_state, state)
        if present:
            new_state = freeze_rows(present, new_state, state)
        rows = layout.unstack(new)
        return rebuild(updates, {name: rows[name] for name, leaf in given.items() if leaf is not None}), new_state

    def _layout_for(self, given: dict[str, Tensor | None], params: dict[str, Tensor] | None, state: State) -> Layout:
        there = {name: leaf for name, leaf in given.items() if leaf is not None}
        for name, leaf in there.items():
            if leaf.is_sparse:
                raise ValueError(f"the update of {name!r} is sparse; only dense updates are supported")
            if params is not None and (name not in params or params[name].shape != leaf.shape):
                what = f"has shape {tuple(params[name].shape)}" if name in params else "is not among params"
                raise ValueError(
                    f"update {name!r} of shape {tuple(leaf.shape)} has no counterpart: the parameter {what}"
                )
        keys = {entry.key for entry, _ in entries(state) if is_column_key(entry.key)}
        if params is not None:
            layout = self.layout(spec_of(params))
            if not keys <= layout.keys:
                names = {name for key in keys for name in key_names(key)}
                raise ValueError(_misfit(names, set(params)))
            return layout
        layout = self.layout(spec_of(there))
        if keys <= layout.keys:
            return layout
        return _layout_of_state(keys, layout)


def _layout_of_state(keys: set[str], layout: Layout) -> Layout:
    """Without params, parameters that have no gradient are known from the state's columns only."""
    columns = {name: column for column in layout.columns for name in column.names}
    kept = {name for key in keys for name in key_names(key)}
    found: list[Column] = [column for column in layout.columns if not kept.intersection(column.names)]
    for key in sorted(keys):
        known = [columns[name] for name in key_names(key) if name in columns]
        if known:
            found.append(known[0]._replace(key=key, names=key_names(key)))
    return Layout(tuple(found), ())


def _misfit(state: set[str], params: set[str]) -> str:
    missing, foreign = sorted(state - params), sorted(params - state)
    return (
        f"the state was made for other parameters (or shapes): without a counterpart in params {missing or 'none'}, "
        f"without one in the state {foreign or 'none'}; call init(params) again"
    )


def check_params(leaves: Mapping[str, Tensor]) -> None:
    """Refuse what no transform can work on."""
    if not leaves:
        raise ValueError("there are no parameters")
    for name, leaf in leaves.items():
        if "\n" in name:
            raise ValueError(f"a parameter's name must not contain a line break, got {name!r}")
        if leaf.layout != torch.strided or not leaf.is_floating_point():
            kind = "sparse" if leaf.layout != torch.strided else str(leaf.dtype).removeprefix("torch.")
            raise ValueError(f"parameter {name!r} must be a dense floating-point tensor, got {kind}")
        if getattr(leaf, "_fsdp_flattened", False):
            raise ValueError(
                f"parameter {name!r} must be a whole tensor or a DTensor, got a piece of a flat parameter of "
                "FullyShardedDataParallel; shard with torch.distributed.fsdp.fully_shard"
            )


def transformation(link: Link, stack_limit: int = STACK_LIMIT) -> GradientTransformation:
    """A link as a `GradientTransformation` on named trees."""
    border = Border(link, stack_limit)
    return GradientTransformation(border.init, border.update)


def link_of(tx: GradientTransformation) -> Link:
    """The link inside a transformation of this library, or a link around one written elsewhere."""
    if not callable(getattr(tx, "init", None)) or not callable(getattr(tx, "update", None)):
        raise TypeError(f"a GradientTransformation (init, update) is wanted, got {tx!r}")
    border = getattr(tx.update, "__self__", None)
    return border.link if isinstance(border, Border) else Foreign(tx)


def one_by_one(tx: GradientTransformation) -> GradientTransformation:
    """The same transformation without stacking: the plain loop over parameters, slow and obvious.

    Args:
        tx: the transform.

    >>> import hina_func as hf, torch
    >>> w, b = torch.tensor([3.0]), torch.tensor([4.0])
    >>> one_by_one(hf.scale(2.0)).update({"w": w, "b": b}, hf.EmptyState())[0]
    {'w': tensor([6.]), 'b': tensor([8.])}
    """
    return transformation(link_of(tx), stack_limit=-1)


class ForeignState(NamedTuple):
    """The state of a transformation that was not written with this library's lifts."""

    inner: State


@dataclass(frozen=True)
class Foreign(Link):
    """A link around any two functions: it crosses the border alone, with flat trees of the leaves that are there."""

    tx: GradientTransformation
    name: str = "foreign"

    def columnwise(self) -> bool:
        return False

    def init(self, ctx: Context) -> State:
        assert ctx.params is not None
        return ForeignState(self.tx.init(ctx.layout.unstack(ctx.params)))

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        updates = {name: leaf for name, leaf in ctx.layout.unstack(u).items() if name not in ctx.missing}
        params = None if ctx.params is None else ctx.layout.unstack(ctx.params)
        extra = {"grads": ctx.layout.unstack(ctx.grads), "hyperparams": ctx.hyperparams, **ctx.extra}
        new, inner = self.tx.update(updates, state.inner, params, **_accepted(self.tx.update, extra))
        return {**u, **ctx.layout.stack(flatten(new))}, ForeignState(inner)


def _accepted(f: Callable[..., Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Those keyword arguments that ``f`` takes; optax's plain transformations take none."""
    parameters = inspect.signature(f).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return extra
    return {key: value for key, value in extra.items() if key in {parameter.name for parameter in parameters}}
