"""State: NamedTuples of columns (dicts of them in chains), walked, shown and restored by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from .core import State
from .layout import is_column_key, key_names
from .numerics import rowwise
from .tree import children


class Entry(NamedTuple):
    """Where a tensor of a state stands: transform, field, and column key (or leaf name, or "" for the whole tree)."""

    transform: str
    field: str
    key: str


def map_state(f: Callable[..., Tensor], state: State, *others: State) -> State:
    """``f(entry, tensor, *tensors of the others)`` for every tensor; the result has the structure of ``state``."""
    return _map(f, Entry(_own_name(state), "", ""), state, others)


def tensors_of(state: State) -> list[Tensor]:
    """Every tensor of a state, in the order of `entries`."""
    if isinstance(state, Tensor):
        return [state]
    branches = state.values() if isinstance(state, dict) else state
    return [tensor for branch in branches for tensor in tensors_of(branch)]


def entries(state: State) -> Iterator[tuple[Entry, Tensor]]:
    """Every tensor of a state and where it stands, in a stable order."""
    found: list[tuple[Entry, Tensor]] = []

    def collect(entry: Entry, tensor: Tensor) -> Tensor:
        found.append((entry, tensor))
        return tensor

    map_state(collect, state)
    return iter(found)


def named_state(state: State) -> dict[str, dict[str, dict[str, Tensor]]]:
    """A state by name: ``{transform: {field: {parameter name: tensor}}}``.

    A number that belongs to the whole tree and not to a parameter has the name "". The tensors are views of the state.

    Args:
        state: what any ``init`` or ``update`` of this library returned.

    >>> import hina_func as hf, torch
    >>> tx = hf.chain(hf.scale_by_adam(), hf.scale_by_learning_rate(0.1))
    >>> named_state(tx.init({"w": torch.zeros(2), "b": torch.zeros(2)}))["scale_by_adam"]["mu"]["w"]
    tensor([0., 0.])
    """
    named: dict[str, dict[str, dict[str, Tensor]]] = {name: {} for name in _transforms(state, _own_name(state))}
    for entry, tensor in entries(state):
        named.setdefault(entry.transform, {}).setdefault(entry.field, {}).update(rows_of(entry, tensor))
    return named


def load_named_state(state: State, named: Mapping[str, Mapping[str, Mapping[str, Tensor]]]) -> State:
    """A state of the structure of ``state`` that holds the values of ``named``: the inverse of `named_state`.

    The two may have been made under different layouts. dtype is that of the values, device that of ``state``.

    Args:
        state: of the same transform, for the same parameters.
        named: what `named_state` returned.

    Raises:
        ValueError: if a value is missing, or one is there that ``state`` has no place for; lists both.

    >>> import hina_func as hf, torch
    >>> tx = hf.scale_by_adam()
    >>> state = tx.init({"w": torch.zeros(2)})
    >>> _, later = tx.update({"w": torch.ones(2)}, state)
    >>> named_state(load_named_state(state, named_state(later)))["scale_by_adam"]["count"]["w"]
    tensor(1)
    """
    have = {
        (t, f, n): tuple(x.shape)
        for t, fields in named.items()
        for f, values in fields.items()
        for n, x in values.items()
    }
    want = {
        (entry.transform, entry.field, name): tuple(row.shape)
        for entry, tensor in entries(state)
        for name, row in rows_of(entry, tensor).items()
    }
    if have != want:
        raise ValueError(f"the named state does not fit: {differences(have, want)}")

    def fill(entry: Entry, tensor: Tensor) -> Tensor:
        values = named[entry.transform][entry.field]
        if not is_column_key(entry.key):
            return values[entry.key].to(tensor.device)
        rows = [values[name].to(tensor.device) for name in key_names(entry.key)]
        return torch.stack(rows).reshape(tensor.shape)

    return map_state(fill, state)


Shapes: TypeAlias = dict[tuple[str, str, str], tuple[int, ...]]
"""Transform, field and key of the tensors of a state -> their shapes."""


def shapes_of(state: State) -> Shapes:
    """The shapes of a state by place: what it must agree in with another of the same transform and parameters."""
    return {(entry.transform, entry.field, entry.key): tuple(tensor.shape) for entry, tensor in entries(state)}


def differences(have: Shapes, want: Shapes) -> str:
    """How two states differ, in words."""
    missing, foreign = (
        sorted("/".join(place).replace("\n", " ").strip() for place in places)
        for places in (want.keys() - have.keys(), have.keys() - want.keys())
    )
    shapes = [
        f", {'/'.join(place).strip()} of shape {have[place]} where {shape} belongs"
        for place, shape in want.items()
        if have.get(place, shape) != shape
    ]
    return f"missing {missing or 'nothing'}, no place for {foreign or 'nothing'}" + "".join(shapes)


def rows_of(entry: Entry, tensor: Tensor) -> dict[str, Tensor]:
    """Name -> the part of the tensor that belongs to it, as views."""
    if not is_column_key(entry.key):
        return {entry.key: tensor}
    return dict(zip(key_names(entry.key), tensor.unbind(0), strict=True))


def freeze_rows(present: Mapping[str, Tensor], new: State, old: State) -> State:
    """``new``, but ``old`` in the rows of parameters that were not present."""

    def pick(entry: Entry, fresh: Tensor, kept: Tensor) -> Tensor:
        mask = present.get(entry.key)
        if mask is None or fresh is kept:
            return fresh
        return torch.where(rowwise(mask, fresh), fresh, kept)

    return map_state(pick, new, old)


def _own_name(state: State) -> str:
    """``ScaleByAdamState`` is the state of ``scale_by_adam``; a state that only holds other states has no name."""
    if not hasattr(state, "_fields") or _only_wraps(state):
        return ""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(state).__name__.removesuffix("State")).lower()


def _only_wraps(state: State) -> bool:
    return bool(state._fields) and {"inner", "first", "then"}.issuperset(state._fields)


def _is_values(tree: Any) -> bool:
    """Whether a branch holds tensors by column or by name, and is not a state of its own."""
    return isinstance(tree, dict) and all(isinstance(x, Tensor) for x in tree.values())


SILENT = ("own", "inner", "then")
"""Fields for states inside a state that add nothing to the name for a reader; a link calls such a part ``.inner``."""


def _inner_name(transform: str, name: str, state: State) -> str:
    """The transform a branch of a state belongs to."""
    if name in SILENT and hasattr(state, "_fields"):
        return transform
    return f"{transform}/{name}" if transform else name


def shown_path(path: str) -> str:
    """A link's path as the name under which its state is shown."""
    return "/".join(part for part in path.split("/") if part and not part.startswith("."))


def carried_over(new: State, old: State) -> State:
    """``new``, with the columns and states of ``old`` that it says nothing of."""
    if isinstance(new, Tensor):
        return new
    if type(new) is not type(old):
        return old
    if _is_values(old):
        return {**old, **new}
    mapped = {key: carried_over(dict(_branches(new))[key], branch) for key, branch in _branches(old)}
    return mapped if isinstance(old, dict) else type(old)(*mapped.values())


def _map(f: Callable[..., Tensor], at: Entry, state: State, others: tuple[State, ...]) -> State:
    if isinstance(state, Tensor):
        return f(at, state, *others)
    mapped: dict[Any, Any] = {}
    for key, branch in _branches(state):
        if _is_values(state):
            where = at._replace(key=key)
        elif isinstance(branch, Tensor) or _is_values(branch):
            where = at._replace(field=key)
        else:
            where = Entry(_inner_name(at.transform, key, state), "", "")
        mapped[key] = _map(f, where, branch, tuple(dict(_branches(other))[key] for other in others))
    if isinstance(state, dict):
        return mapped
    return type(state)(*mapped.values()) if hasattr(state, "_fields") else type(state)(mapped.values())


def _branches(state: State) -> list[tuple[str, Any]]:
    branches = children(state)
    if branches is None:
        raise TypeError(f"a state holds tensors only, found {type(state).__name__}")
    return list(branches)


def _transforms(state: State, name: str) -> Iterator[str]:
    """Every transform of a state, those that keep nothing included."""
    if hasattr(state, "_fields") and not _only_wraps(state):
        yield name
    for key, branch in _branches(state):
        if not isinstance(branch, Tensor) and not _is_values(branch):
            yield from _transforms(branch, _inner_name(name, key, state))
