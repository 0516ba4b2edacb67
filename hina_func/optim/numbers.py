"""The hyperparameters of one step, as the formulas of a piece get them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..layout import Column


class Slot(NamedTuple):
    """Where a number goes: a hyperparameter, the part of it if it is a tuple, and whether rows differ in it."""

    name: str
    part: int | None
    per_row: bool


class Numbers:
    """Values by name: numbers, tuples of them, or ``{column key: value}`` where groups differ."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._same_everywhere = not any(isinstance(value, Mapping) for value in values.values())
        self._packed: dict[torch.device, tuple[tuple[Slot, ...], list[Tensor]]] = {}

    def of(self, column: Column, rows: slice) -> Mapping[str, Any]:
        """The values in force for some rows of a column."""
        if self._same_everywhere:
            return self._values
        return {name: _in_force(value, column.key, rows) for name, value in self._values.items()}

    def packed(self, column: Column, rows: slice) -> tuple[tuple[Slot, ...], list[Tensor]]:
        """The same as tensors: those that differ from row to row, and last one float64 vector of all others."""
        if self._same_everywhere and column.device in self._packed:
            return self._packed[column.device]
        found = list(_slots(self.of(column, rows)))
        slots = tuple(slot for slot, _ in found)
        per_row = [value.to(column.dtype) for slot, value in found if slot.per_row]
        packed = slots, [*per_row, _vector([value for slot, value in found if not slot.per_row], column.device)]
        if self._same_everywhere:
            self._packed[column.device] = packed
        return packed


def unpacked(slots: Sequence[Slot], tensors: Sequence[Tensor]) -> dict[str, Any]:
    """The inverse of `Numbers.packed`."""
    *per_row, vector = tensors
    rows, others = iter(per_row), iter(range(len(slots)))
    values: dict[str, Any] = {}
    for name, part, differs in slots:
        value = next(rows) if differs else vector[next(others)]
        values[name] = value if part is None else (*values.get(name, ()), value)
    return values


def _in_force(value: Any, key: str, rows: slice) -> Any:
    if not isinstance(value, Mapping):
        return value
    if isinstance(value[key], tuple):
        return tuple(_of_rows(part, rows) for part in value[key])
    return _of_rows(value[key], rows)


def _of_rows(value: Any, rows: slice) -> Any:
    return value[rows] if isinstance(value, Tensor) and value.ndim else value


def _slots(values: Mapping[str, Any]) -> Iterator[tuple[Slot, Any]]:
    for name, value in values.items():
        parts = enumerate(value) if isinstance(value, (tuple, list)) else [(None, value)]
        for part, number in parts:
            yield Slot(name, part, isinstance(number, Tensor) and number.numel() > 1), number


def _vector(values: Sequence[Any], device: torch.device) -> Tensor:
    """Numbers side by side; those that are tensors are not read by the host."""
    if any(isinstance(value, Tensor) for value in values):
        numbers = [torch.as_tensor(value, dtype=torch.float64).to(device, non_blocking=True) for value in values]
        return torch.stack([number.reshape(()) for number in numbers])
    vector = torch.tensor(values, dtype=torch.float64, pin_memory=device.type == "cuda")
    return vector.to(device, non_blocking=True)
