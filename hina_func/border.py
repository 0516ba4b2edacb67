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

from .core import Columns, GradientTransformation, Hyperparam, State, Tree
from .layout import STACK_LIMIT, Column, Labels, Layout, LeafSpec, Spec, build_layout, is_column_key, key_names, spec_of
from .link import Context, Link
from .state import Shapes, carried_over, differences, entries, freeze_rows, shapes_of, shown_path
from .tree import flatten, rebuild, tree_leaves

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What tensors may consist of: torch cannot add what is narrower."""


class Border:
    """A link with named trees on its outside: the two functions of a `GradientTransformation`."""

    def __init__(self, link: Link, stack_limit: int = STACK_LIMIT) -> None:
        self.link = link
        self.stack_limit = stack_limit
        self._layouts: dict[Spec, Layout] = {}
        self._shapes: dict[Spec, Shapes] = {}

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
        return {"link": self.link, "stack_limit": self.stack_limit, "_layouts": {}, "_shapes": {}}

    def init(self, params: Tree) -> State:
        """The state before the first update.

        Raises:
            ValueError: if there is no parameter, two have the same name, or one is sparse, complex or integer.
        """
        leaves = tree_leaves(params)
        check_params(leaves)
        spec = spec_of(leaves)
        layout = self.layout(spec)
        columns = layout.stack(leaves)
        with torch.no_grad():
            state = self.link.init(Context(layout, columns, columns))
        self._shapes[spec] = shapes_of(state)
        return state

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
            TypeError: if a value in ``hyperparams`` is no number.
        """
        given = flatten(updates)
        leaves = None if params is None else tree_leaves(params)
        _check_leaves("parameter", leaves or {})
        _check_leaves("update", given)
        for hyper in self.link.hyperparams():
            _check_value(hyper, (hyperparams or {}).get(hyper.name, hyper.default))
        needy = self.link.needs_params()
        if leaves is None and needy is not None:
            raise ValueError(f"{needy} needs the parameters: call update(updates, state, params)")
        layout = self._layout_for(given, leaves, state)
        compared = given if grads is None else flatten(grads)
        _check_leaves("grads", compared)
        for name, leaf in compared.items():
            if leaf is not None and given.get(name) is not None and leaf.shape != given[name].shape:
                raise ValueError(f"grads {name!r} has shape {tuple(leaf.shape)}, its update {tuple(given[name].shape)}")
            if leaf is not None and given.get(name) is not None and leaf.device != given[name].device:
                raise ValueError(f"grads {name!r} is on {leaf.device}, its update on {given[name].device}")
        if given and all(leaf is None for leaf in given.values()):
            return updates, state  # nobody has a gradient: no step
        present = layout.present(given)
        ctx = Context(
            layout,
            None if leaves is None else layout.stack(leaves),
            layout.stack(compared),
            hyperparams or {},
            extra,
            frozenset(name for column in layout.columns for name in column.names if given.get(name) is None),
            present,
        )
        new, new_state = self.link.update(layout.stack(given), state, ctx)
        if leaves is None:
            new_state = carried_over(new_state, state)
        if present:
            new_state = freeze_rows(present, new_state, state)
        rows = layout.unstack(new)
        return rebuild(updates, {name: rows[name] for name, leaf in given.items() if leaf is not None}), new_state

    def _layout_for(self, given: dict[str, Tensor | None], params: dict[str, Tensor] | None, state: State) -> Layout:
        there = {name: leaf for name, leaf in given.items() if leaf is not None}
        stray = [] if params is None else [name for name in there if name not in params]
        if stray:
            raise ValueError(f"updates {stray} have no counterpart: they are not among params")
        for name, leaf in there.items():
            if params is not None and params[name].shape != leaf.shape:
                raise ValueError(
                    f"update {name!r} of shape {tuple(leaf.shape)} has no counterpart: "
                    f"the parameter has shape {tuple(params[name].shape)}"
                )
            if params is not None and params[name].device != leaf.device:
                raise ValueError(f"update {name!r} is on {leaf.device}, its parameter on {params[name].device}")
        keys = {entry.key for entry, _ in entries(state) if is_column_key(entry.key)}
        spec = spec_of(there if params is None else params)
        layout = self.layout(spec)
        if keys <= layout.keys:
            self._check_state(spec, layout, state)
            return layout
        if params is not None:
            raise ValueError(_misfit({name for key in keys for name in key_names(key)}, set(params)))
        return _layout_of_state(keys, layout)

    def _check_state(self, spec: Spec, layout: Layout, state: State) -> None:
        """Refuse a state that another transform made, or the same one for other tensors."""
        if any(isinstance(link, Foreign) for _, link in self.link.places()):
            return  # what their states look like is their own affair
        if spec not in self._shapes:
            columns = {c.key: torch.empty(len(c.names), *c.shape, dtype=c.dtype, device="meta") for c in layout.columns}
            self._shapes[spec] = shapes_of(self.link.init(Context(layout, columns, columns)))
        held, wanted = shapes_of(state), self._shapes[spec]
        if held != wanted:
            raise ValueError(f"the state does not fit {self}: {differences(held, wanted)}; call init(params) again")


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
    if not missing and not foreign:
        return "the state was made for parameters of other shapes, dtypes or devices; call init(params) again"
    return (
        f"the state was made for other parameters (or shapes): without a counterpart in params {missing or 'none'}, "
        f"without one in the state {foreign or 'none'}; call init(params) again"
    )


def check_params(leaves: Mapping[str, Tensor]) -> None:
    """Refuse what no transform can work on."""
    if not leaves:
        raise ValueError("there are no parameters")
    for name, leaf in leaves.items():
        if not isinstance(name, str):
            raise TypeError(f"a parameter's name must be a string, got {name!r}")
        if "\n" in name:
            raise ValueError(f"a parameter's name must not contain a line break, got {name!r}")
        if getattr(leaf, "_fsdp_flattened", False):
            raise ValueError(
                f"parameter {name!r} must be a whole tensor or a DTensor, got a piece of a flat parameter of "
                "FullyShardedDataParallel; shard with torch.distributed.fsdp.fully_shard"
            )
    _check_leaves("parameter", leaves)


def _check_leaves(what: str, leaves: Mapping[str, Tensor | None]) -> None:
    for name, leaf in leaves.items():
        if leaf is not None and (leaf.layout != torch.strided or leaf.dtype not in DTYPES):
            kind = "sparse" if leaf.layout != torch.strided else str(leaf.dtype).removeprefix("torch.")
            raise ValueError(f"{what} {name!r} must be a dense floating-point tensor, got {kind}")


def _check_value(hyper: Hyperparam, value: Any) -> None:
    """Refuse what is no value, or no value per parameter, of a Hyperparam."""
    if isinstance(value, Mapping):
        for one in value.values():
            _check_value(hyper, one)
    elif hyper.index is not None:
        if not isinstance(value, (tuple, list, Tensor)) or len(value) != len(hyper.default):
            raise TypeError(f"{hyper.name} must be {len(hyper.default)} numbers, got {value!r}")
    elif isinstance(value, Tensor) and value.numel() != 1:
        raise TypeError(f"{hyper.name} must be a number or a 1-element tensor, got one of shape {tuple(value.shape)}")


def returned(name: str, new: Tree, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a function written elsewhere made of the updates it was given: one of the same shape for each."""
    leaves = tree_leaves(new)
    wrong = [f"{key} {tuple(x.shape)}" for key, x in leaves.items() if key not in given or x.shape != given[key].shape]
    if wrong or leaves.keys() != given.keys():
        wanted = ", ".join(f"{key} {tuple(x.shape)}" for key, x in given.items())
        raise ValueError(f"{name} must return updates {wanted}, got {', '.join(wrong or leaves) or repr(new)}")
    return leaves


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
        return {**u, **ctx.layout.stack(returned(self.name, new, updates))}, ForeignState(inner)


def _accepted(f: Callable[..., Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Those keyword arguments that ``f`` takes; optax's plain transformations take none."""
    parameters = inspect.signature(f).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return extra
    return {key: value for key, value in extra.items() if key in {parameter.name for parameter in parameters}}
