"""Named trees: any nesting of dict, list, tuple and NamedTuple whose leaves are tensors.

A leaf's name is its path joined by ".", so ``dict(model.named_parameters())`` and a nested tree of it are the same
thing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from .core import Tree


def flatten(tree: Tree, leaf_type: type = Tensor) -> dict[str, Any]:
    """Name -> leaf, in the tree's own order.

    Args:
        tree: a tree.
        leaf_type: what its leaves are, if not None.

    Raises:
        ValueError: if two leaves have the same name.
        TypeError: if a leaf is neither None nor of ``leaf_type``.

    >>> import torch
    >>> list(flatten({"a": {"lokr_w1": torch.zeros(1)}, "b": [torch.zeros(1), None]}))
    ['a.lokr_w1', 'b.0', 'b.1']
    """
    flat: dict[str, Any] = {}
    for name, leaf in _walk(tree, ""):
        if leaf is not None and not isinstance(leaf, leaf_type):
            raise TypeError(f"leaf {name!r} must be a {leaf_type.__name__} or None, got {type(leaf).__name__}")
        if name in flat:
            raise ValueError(f"two leaves of the tree have the same name {name!r}")
        flat[name] = leaf
    return flat


def rebuild(tree: Tree, leaves: Mapping[str, Any]) -> Tree:
    """A tree of the same structure whose leaf called ``name`` is ``leaves[name]``, None where there is none."""
    return _rebuild(tree, "", leaves)


def tree_leaves(tree: Tree) -> dict[str, Tensor]:
    """As `flatten`, without the empty leaves."""
    return {name: leaf for name, leaf in flatten(tree).items() if leaf is not None}


def children(tree: Tree) -> Iterator[tuple[str, Any]] | None:
    """The named branches of a container, None of a leaf."""
    if isinstance(tree, Mapping):
        return ((str(key), value) for key, value in tree.items())
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return zip(tree._fields, tree, strict=True)
    if isinstance(tree, (list, tuple)):
        return ((str(index), value) for index, value in enumerate(tree))
    return None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _walk(tree: Tree, path: str) -> Iterator[tuple[str, Any]]:
    branches = children(tree)
    if branches is None:
        yield path, tree
        return
    for name, branch in branches:
        yield from _walk(branch, _join(path, name))


def _rebuild(tree: Tree, path: str, leaves: Mapping[str, Any]) -> Tree:
    if isinstance(tree, Mapping):
        rebuilt_items = {key: _rebuild(branch, _join(path, str(key)), leaves) for key, branch in tree.items()}
        return OrderedDict(rebuilt_items) if isinstance(tree, OrderedDict) else rebuilt_items
    branches = children(tree)
    if branches is None:
        return leaves.get(path)
    rebuilt = [_rebuild(branch, _join(path, name), leaves) for name, branch in branches]
    if isinstance(tree, list):
        return rebuilt
    return type(tree)(*rebuilt) if hasattr(tree, "_fields") else tuple(rebuilt)


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """``params + updates``, in the dtype and structure of ``params``.

    The sum is formed in the wider of the two dtypes and rounded once. A parameter whose update is None or absent stays.

    Args:
        params: a named tree.
        updates: a tree with the names of some or all of them.

    Raises:
        ValueError: if an update has no parameter of its name and shape.

    >>> import torch
    >>> apply_updates({"w": torch.tensor([1.0]), "b": torch.tensor([1.0])}, {"w": torch.tensor([-0.5])})
    {'w': tensor([0.5000]), 'b': tensor([1.])}
    """
    before, moves = tree_leaves(params), tree_leaves(updates)
    for name, move in moves.items():
        if name not in before or before[name].shape != move.shape:
            raise ValueError(f"update {name!r} of shape {tuple(move.shape)} has no parameter of this name and shape")
        if not (before[name].is_floating_point() and move.is_floating_point()):
            raise ValueError(f"parameter {name!r} and its update must be real, got {before[name].dtype}, {move.dtype}")
    return rebuild(params, {name: (p + moves[name]).to(p.dtype) if name in moves else p for name, p in before.items()})
