"""Pieces: consecutive rows of a column that fit a cache, and the room where their tensors are brought together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core import State
from ..layout import Column
from ..state import tensors_of
from .rows import Rows

PIECE = 2**17
"""Elements of a piece: parameter, gradient and moments of this size stay in a core's cache between the passes."""

PIECE_AT_HOME = 15 * 2**14
"""The same where parameters live side by side: fewer calls count for more where less is copied."""

KEY = "\n"
"""The key of the only column that the function of a piece sees."""

Shape = tuple[int, ...]


@dataclass(eq=False)
class Piece:
    """Some rows of a column: their parameters, the views of their state, and where they are gathered.

    ``places`` are those of the parameters among all rows'. ``shape`` is that of one row as the formulas see it: flat
    where no formula looks at dimensions. ``params_room`` is where the parameters live side by side, if they are
    ``at_home``, and else where they are gathered. It and ``grads_room`` are None for a tensor that stands alone, which
    is used where it lies.
    """

    column: Column
    rows: slice
    shape: Shape
    places: list[int]
    params: list[Tensor]
    state: State
    params_room: Tensor | None = None
    grads_room: Tensor | None = None
    at_home: bool = False
    program: Callable[..., Any] | None = None
    slots: Any = None

    def __post_init__(self) -> None:
        self.kept = tensors_of(self.state)
        """The tensors of the state, in order."""
        self.lasting = list(self.kept)
        """What must stay as it is in the rows of missing gradients."""
        self.landed: list[Tensor] = []
        if self.params_room is not None and self.at_home:
            self.lasting.append(self.params_room)
        elif self.params_room is not None:
            self.landed = list(self.params_room.view(len(self.params), *self.column.shape).unbind(0))

    def together(self, room: Tensor) -> Tensor:
        """The parameters side by side in their room."""
        return room if self.at_home else self.gather(room, self.params)

    def gather(self, room: Tensor, tensors: list[Tensor]) -> Tensor:
        """Tensors of this piece, brought together in a room."""
        torch.stack(tensors, out=room.view(len(tensors), *self.column.shape))
        return room

    def land(self, missing: list[int]) -> None:
        """Have the parameters that had a gradient land: they are written, or, at home, count as written in place."""
        params, landed = self.params, self.landed
        if missing:
            there = sorted(set(range(len(params))) - set(missing))
            params, landed = [params[i] for i in there], [landed[i] for i in there if landed]
        if self.at_home:
            torch.autograd.graph.increment_version(params)
        else:
            torch._foreach_copy_(params, landed)


class Room:
    """Memory that all pieces of a device and dtype share, one after the other."""

    def __init__(self) -> None:
        self._room: dict[tuple[torch.dtype, torch.device, str], Tensor] = {}

    def take(self, column: Column, size: int, use: str) -> Tensor:
        """``size`` elements; those for different uses do not overlap."""
        place = column.dtype, column.device, use
        if place not in self._room or self._room[place].numel() < size:
            self._room[place] = torch.empty(max(size, PIECE), dtype=column.dtype, device=column.device)
        return self._room[place][:size]


class GatheredRows:
    """The parameters of a column as modules' formulas ask for them: some rows, or a statistic of each row."""

    def __init__(self, rows: Rows, column: Column) -> None:
        self._params = [rows.params[name] for name in column.names]
        self._home = rows.homes[column.key].rows if column.key in rows.homes else None
        self._statistics: dict[Callable[[Tensor], Tensor], Tensor] = {}
        self.dtype = column.dtype
        self.height = rows_per_piece(column.shape, self._home is not None)

    def forget(self) -> None:
        """The parameters have changed."""
        self._statistics.clear()

    def __getitem__(self, rows: slice | list[int]) -> Tensor:
        if self._home is not None:
            return self._home[rows]
        wanted = self._params[rows] if isinstance(rows, slice) else [self._params[row] for row in rows]
        return (torch.stack(wanted) if len(wanted) > 1 else wanted[0].detach()[None]).to(self.dtype)

    def each(self, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """Of all rows, piece by piece."""
        if statistic not in self._statistics:
            parts = [statistic(self[at : at + self.height]) for at in range(0, len(self._params), self.height)]
            self._statistics[statistic] = torch.cat(parts)
        return self._statistics[statistic]


def rows_per_piece(shape: Shape, at_home: bool) -> int:
    """How many rows make a piece; with fewer than four a row stands alone, as gathering costs more than a call.

    At home, where gradients alone are gathered, with fewer than three.
    """
    rows = (PIECE_AT_HOME if at_home else PIECE) // max(1, math.prod(shape))
    return rows if rows >= (3 if at_home else 4) else 1


def cut(rows: Rows, shapes: Mapping[str, Shape], shared: set[int], room: Room) -> Iterator[Piece]:
    """The pieces of all columns.

    Args:
        rows: the columns.
        shapes: column key -> the shape that formulas see a row in.
        shared: ids of states that pieces have no part in.
        room: where what lies apart is gathered.
    """
    place = {name: i for i, name in enumerate(rows.params)}
    for column in rows.layout.columns:
        shape = shapes[column.key]
        at_home = column.key in rows.homes
        height = rows_per_piece(column.shape, at_home)
        for start in range(0, len(column.names), height):
            at = slice(start, min(start + height, len(column.names)))
            names = column.names[at]
            params = [rows.params[name] for name in names]
            places = [place[name] for name in names]
            state = _state_of(rows.state, column.key, at, shape, shared)
            params_room = grads_room = None
            if len(params) > 1 or column.shape == () or params[0].dtype != column.dtype:
                size, like = len(params) * math.prod(shape), (len(params), *shape)
                own = rows.homes[column.key].rows[at] if at_home else room.take(column, size, "params")
                params_room, grads_room = own.view(like), room.take(column, size, "grads").view(like)
            yield Piece(column, at, shape, places, params, state, params_room, grads_room, at_home)


def _state_of(state: State, key: str, rows: slice, shape: Shape, shared: set[int]) -> State:
    """The rows of one column of a state, as views in the same structure; nothing of states that are ``shared``."""
    if isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values()):
        if key not in state:
            return {}
        part = state[key][rows]
        return {KEY: part.view(part.shape[0], *shape) if part.ndim > 1 else part}
    if isinstance(state, dict):
        return {name: _state_of(inner, key, rows, shape, shared) for name, inner in state.items()}
    if id(state) in shared:
        return type(state)(*({} for _ in state))
    return type(state)(*(_state_of(inner, key, rows, shape, shared) for inner in state))
