"""Homes: memory where the parameters of a column lie side by side, so that none is gathered or written back.

A parameter moves, by ``param.data``, only where nobody can tell: onto a CPU's memory from the same, if nothing else
holds the memory it leaves. Its new storage is its own and of its own size, as the old one was; so it is saved, shared,
copied and compared with others like any parameter. Where one is moved away again, its column has no home any more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import Parameter
from torch.utils.dlpack import from_dlpack
from torch.utils.weak import WeakTensorKeyDictionary

from ..layout import Column

_MOVED = WeakTensorKeyDictionary()
"""Parameter -> the storage it got from a home, which no other optimizer need mistake for somebody's."""


class Home:
    """The memory of a column, and the parameters that live there, one a row."""

    def __init__(self, column: Column, params: Sequence[Tensor]) -> None:
        self.rows = torch.empty(len(params), *column.shape, dtype=column.dtype, device=column.device)
        own = [from_dlpack(row) for row in self.rows.unbind(0)]
        torch._foreach_copy_(own, [param.detach() for param in params])
        for param, row in zip(params, own, strict=True):
            param.data = row
            _MOVED[param] = StorageWeakRef(row.untyped_storage())
        self._params = params
        self._addresses = list(map(Tensor.data_ptr, params))

    def holds(self) -> bool:
        """Whether its parameters are still there."""
        addresses = list(map(Tensor.data_ptr, self._params))
        return addresses == self._addresses and all(map(Tensor.is_contiguous, self._params))


def moved_together(columns: Iterable[Column], params: Mapping[str, Tensor]) -> dict[str, Home]:
    """Column key -> the home of its parameters, for those of the columns whose parameters can all move into one."""
    tenants = {column: [params[name] for name in column.names] for column in columns}
    return {
        column.key: Home(column, own)
        for column, own in tenants.items()
        if all(_movable(param, column) for param in own)
    }


def _movable(param: Tensor, column: Column) -> bool:
    """Whether nobody can tell where a parameter lies: it has all of a storage on the CPU, which has nobody else."""
    plain = type(param) in (Tensor, Parameter) and param.device.type == "cpu" and param.dtype == column.dtype
    if not plain or not param.is_contiguous() or param.is_shared():
        return False
    storage = param.untyped_storage()
    if param.storage_offset() or storage.nbytes() != param.nbytes or not param.nbytes:
        return False
    ours = param in _MOVED and _MOVED[param] == StorageWeakRef(storage)
    del storage
    # Memory that torch did not allocate may be read by whoever did.
    return (ours or param.untyped_storage().resizable()) and _holders(param) == _holders(torch.empty(1))


def _holders(x: Tensor) -> tuple[int, int]:
    """How many tensors lie in the storage of this one, and how many names Python has for it."""
    return torch._C._storage_Use_Count(x.untyped_storage()._cdata), sys.getrefcount(x.untyped_storage())
