"""Sharded tensors (DTensor) in an optimizer: which columns they may share, what is kept sharded, writing into them.

``torch.distributed.tensor`` is imported by those who shard; some builds of torch have none.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

from ..layout import Labels, Layout

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor lives on a mesh of processes."""
    sharded = sys.modules.get("torch.distributed.tensor")
    return sharded is not None and isinstance(tensor, sharded.DTensor)


def sharding_labels(tensor: Tensor) -> Labels:
    """What divides columns: a stack lies on one mesh, in one way."""
    return (("sharding", (tensor.device_mesh, tensor.placements)),) if is_sharded(tensor) else ()


@contextmanager
def global_arithmetic(sharded: bool) -> Iterator[None]:
    """Within, operations see whole tensors; a plain tensor beside a sharded one counts as the same on every process."""
    if not sharded:
        yield
        return
    from torch.distributed.tensor.experimental import implicit_replication

    with warnings.catch_warnings(), implicit_replication():
        # DTensor warns of what is asked for here, if the plain tensor has one element
        warnings.filterwarnings("ignore", "Found a non-scalar tensor with numel=1", UserWarning)
        yield


def whole(tensor: Tensor) -> Tensor:
    """A plain tensor, gathered from all processes if it was sharded."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def settled(tensor: Tensor, column: Tensor | None) -> Tensor:
    """A tensor of a state as it is kept: numbers are plain, what has the shape of its column lies where that lies."""
    if tensor.ndim == (0 if column is None else 1):
        return whole(tensor)
    return tensor if column is None or tensor.shape != column.shape else placed_like(column, tensor)


def placed_like(target: Tensor, tensor: Tensor) -> Tensor:
    """The same tensor where ``target`` lies: whole, or divided over the same processes in the same way."""
    if not is_sharded(target):
        return whole(tensor)
    if not is_sharded(tensor):
        from torch.distributed.tensor import DTensor, Replicate

        everywhere = [Replicate()] * target.device_mesh.ndim
        tensor = DTensor.from_local(tensor, target.device_mesh, everywhere, run_check=False)
    if tensor.placements == target.placements:
        return tensor
    return tensor.redistribute(target.device_mesh, target.placements)


def write(targets: Iterable[Tensor], tensors: Iterable[Tensor]) -> None:
    """Overwrite each target, every process its own part."""
    pairs = [(_here(old), _here(placed_like(old, new))) for old, new in zip(targets, tensors, strict=True)]
    if pairs:
        olds, news = zip(*pairs, strict=True)
        torch._foreach_copy_(list(olds), list(news))


def _here(tensor: Tensor) -> Tensor:
    return tensor.to_local() if is_sharded(tensor) else tensor


def check_meshes(layout: Layout, params: Mapping[str, Tensor], together: bool) -> None:
    """Refuse what no operation can bring together: parameters on different meshes that a chain has to compare.

    Args:
        layout: the columns.
        params: the parameters by name.
        together: whether the chain looks across all columns, and not only at the factors of a module.
    """
    names = {column.key: column.names[0] for column in layout.columns}
    sets = [[place.key for place in table.places.values()] for table in layout.tables]
    for keys in [*sets, list(names)] if together else sets:
        found = {p.device_mesh: names[key] for key in keys if is_sharded(p := params[names[key]])}
        if len(found) > 1:
            raise ValueError(
                f"the chain has to see {' and '.join(map(repr, found.values()))} together, so they must lie on one "
                f"device mesh, got {', '.join(map(str, found))}"
            )
