"""How an optimizer runs a chain: column by column, in pieces that fit a cache, in place, compiled where that pays.

A chain whose links never look across columns (`Link.columnwise`) runs as one function of a piece of one column. Pieces
of equal kind share that function, so that a whole model compiles a handful of them. What modules need from each other,
the factors of their learning rates, is computed before, module by module.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..core import Columns, State
from ..layout import Column, Layout
from ..link import Context, Link
from ..state import entries
from .rows import Rows

PIECE = 2**17
"""Elements of a piece: parameter, gradient and two moments of this size fit a core's cache."""

KEY = "\n"
"""The key of the only column that the function of a piece sees."""


@runtime_checkable
class ScalesModules(Protocol):
    """A link that multiplies updates with factors of adapter modules, which may be computed before."""

    def factors(self, state: State, ctx: Context) -> Columns: ...


class Piece(NamedTuple):
    """Consecutive rows of a column, with their state; ``room``: where parameters and gradients are gathered."""

    column: Column
    rows: slice
    params: list[Tensor]
    state: State
    room: tuple[Tensor, Tensor] | None
    all_present: Tensor


class Engine:
    """A chain over the columns of an optimizer."""

    def __init__(self, link: Link, rows: Rows, compiled: bool) -> None:
        self.link = link
        self.rows = rows
        self.compiled = compiled
        self.flat = not link.reads_shape()
        self.modules = [(path, inner) for path, inner in link.places() if isinstance(inner, ScalesModules)]
        adapters = tuple(column for column in rows.layout.columns if column.kind != "regular" and self.modules)
        self.adapters = Layout(adapters, rows.layout.tables)
        self.gathered = {column.key: column.zeros() for column in adapters}
        shared = {id(_state_at(rows.state, path)) for path, _ in self.modules}
        self._programs: dict[Any, Callable[..., None]] = {}
        self._room: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        self.pieces = [piece for column in rows.layout.columns for piece in self._cut(column, shared)]

    def step(self, hyperparams: Mapping[str, Any]) -> None:
        """One update of every parameter that has a gradient."""
        if self.compiled:
            hyperparams = {name: _as_tensors(value) for name, value in hyperparams.items()}
        factors = self._factors(hyperparams)
        for piece in self.pieces:
            self._step(piece, hyperparams, factors)

    def _factors(self, hyperparams: Mapping[str, Any]) -> dict[str, Columns]:
        """Path of a module rule -> what it multiplies the rows of each column with."""
        if not self.modules or not self.adapters.columns:
            return {path: {} for path, _ in self.modules}
        for column in self.adapters.columns:
            rows = [self.rows.params[name] for name in column.names]
            torch.stack(rows, out=self.gathered[column.key].view(len(rows), *column.shape))
        ctx = Context(self.adapters, self.gathered, {}, hyperparams)
        return {path: link.factors(_state_at(self.rows.state, path), ctx) for path, link in self.modules}

    def _step(self, piece: Piece, hyperparams: Mapping[str, Any], factors: Mapping[str, Columns]) -> None:
        grads = [param.grad for param in piece.params]
        missing = [i for i, grad in enumerate(grads) if grad is None]
        if len(missing) == len(grads):
            return
        key, rows = piece.column.key, piece.rows
        numbers = {name: _rows_of(value, key, rows) for name, value in hyperparams.items()}
        scales = {path: {KEY: f[key][rows].clone()} if key in f else {} for path, f in factors.items()}
        run = self._program(piece, tuple(path for path, scale in scales.items() if scale))
        if piece.room is None:
            own, grad = piece.params[0].detach(), grads[0]
            assert grad is not None
            param = own.contiguous()
            run(self._row(param), self._row(grad.contiguous().to(param.dtype)), piece.state, None, numbers, scales)
            if not own.is_contiguous():
                own.copy_(param)
            return
        param, grad = piece.room
        like = len(grads), *piece.params[0].shape
        present = piece.all_present
        if missing:
            zero = torch.zeros_like(piece.params[0])
            grads = [zero if g is None else g for g in grads]
            present = present.clone()
            present[missing] = False
        if key not in self.gathered:
            torch.stack(piece.params, out=param.view(like))
        torch.stack(grads, out=grad.view(like))  # type: ignore[arg-type]
        run(self._rows_of(param), self._rows_of(grad), piece.state, present, numbers, scales)
        landed, params = list(param.view(like).unbind(0)), piece.params
        if missing:
            there = sorted(set(range(len(grads))) - set(missing))
            landed, params = [landed[i] for i in there], [params[i] for i in there]
        torch._foreach_copy_(params, landed)

    def _row(self, x: Tensor) -> Tensor:
        """A tensor as a stack of one."""
        return x.view(1, -1) if self.flat else x[None]

    def _rows_of(self, stack: Tensor) -> Tensor:
        return stack.view(stack.shape[0], -1) if self.flat and stack.ndim > 1 else stack

    def _cut(self, column: Column, shared: set[int]) -> list[Piece]:
        height = max(1, PIECE // max(1, math.prod(column.shape)))
        pieces = []
        for start in range(0, len(column.names), height):
            rows = slice(start, min(start + height, len(column.names)))
            params = [self.rows.params[name] for name in column.names[rows]]
            alone = len(params) == 1 and column.shape != () and params[0].dtype == column.dtype
            state = _state_of(self.rows.state, column.key, rows, shared, self.flat and column.shape != ())
            room = None if alone else self._room_for(column, rows)
            present = torch.ones(len(params), dtype=torch.bool, device=column.device)
            pieces.append(Piece(column, rows, params, state, room, present))
        return pieces

    def _room_for(self, column: Column, rows: slice) -> tuple[Tensor, Tensor]:
        """Two stacks in memory that all pieces share; parameters of adapters have a place of their own."""
        height = rows.stop - rows.start
        size = height * max(1, math.prod(column.shape))
        dtype, device = column.dtype, column.device
        if (dtype, device) not in self._room or self._room[dtype, device][0].numel() < size:
            room = torch.empty(2, max(size, PIECE), dtype=dtype, device=device)
            self._room[dtype, device] = room[0], room[1]
        param, grad = (room[:size].view(height, *column.shape) for room in self._room[dtype, device])
        return self.gathered[column.key][rows] if column.key in self.gathered else param, grad

    def _program(self, piece: Piece, scaled: tuple[str, ...]) -> Callable[..., None]:
        """The function for pieces like this one."""
        column = piece.column
        role = column.role if column.kind == "lora" else column.kind
        fact = (
            role,
            bool(column.shape) if self.flat else len(column.shape),
            column.labels,
            piece.room is None,
            scaled,
            column.dtype,
            column.device,
        )
        if fact not in self._programs:
            shape = (1,) if self.flat and column.shape else column.shape
            layout = Layout((column._replace(key=KEY, names=("",), shape=shape),), ())
            run = _program(self.link, layout)
            self._programs[fact] = _compiled(run, len(self._programs)) if self.compiled else run
        return self._programs[fact]


def _program(link: Link, layout: Layout) -> Callable[..., None]:
    def run(
        param: Tensor,
        grad: Tensor,
        state: State,
        present: Tensor | None,
        hyperparams: Mapping[str, Any],
        factors: Mapping[str, Columns],
    ) -> None:
        ctx = Context(layout, {KEY: param}, {KEY: grad}, hyperparams, {}, frozenset(), "", factors)
        updates, new = link.update({KEY: grad}, state, ctx)
        # What is overwritten may be part of the result: a state that moves along, an update that is a state.
        olds = {entry[:2]: old for entry, old in entries(state)}
        overwritten = [param, *olds.values()]
        changed = {entry[:2]: x for entry, x in entries(new) if x is not olds[entry[:2]]}
        fresh = {place: _kept(x, overwritten) for place, x in changed.items()}
        move = _kept(updates[KEY], overwritten)
        for place, after in fresh.items():
            olds[place].copy_(after if present is None else torch.where(_over(present, after), after, olds[place]))
        param.add_(move if present is None else torch.where(_over(present, param), move, 0))

    return run


def _compiled(run: Callable[..., None], number: int) -> Callable[..., None]:
    """The program as machine code.

    Each has code of its own, for which the compiler keeps its own versions. What it closes over never changes, so only
    the tensors are looked at before a call.
    """
    assert isinstance(run, types.FunctionType)
    code = run.__code__.replace(co_name=f"step_{number}")
    own = types.FunctionType(code, run.__globals__, code.co_name, run.__defaults__, run.__closure__)
    options: dict[str, Any] = {"guard_filter_fn": _tensor_guards}
    compiled: Callable[..., None] = torch.compile(own, dynamic=True, fullgraph=True, options=options)
    return compiled


def _tensor_guards(guards: Sequence[Any]) -> list[bool]:
    return [guard.guard_type in ("TENSOR_MATCH", "SHAPE_ENV") for guard in guards]


def _as_tensors(value: Any) -> Any:
    """Numbers as 0-d tensors, so that a program does not depend on them."""
    if isinstance(value, Mapping):
        return {key: _as_tensors(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_as_tensors(part) for part in value)
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def _kept(x: Tensor, overwritten: list[Tensor]) -> Tensor:
    return x.clone() if any(x is old for old in overwritten) else x


def _over(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *(1,) * (like.ndim - 1))


def _rows_of(value: Any, key: str, rows: slice) -> Any:
    """A hyperparameter's value in force for some rows: one, or one per row."""
    if not isinstance(value, Mapping):
        return value
    value = value[key]
    if isinstance(value, tuple):
        return tuple(part[rows] if isinstance(part, Tensor) and part.ndim else part for part in value)
    return value[rows] if isinstance(value, Tensor) and value.ndim else value


def _state_at(state: State, path: str) -> State:
    """The state of the link at a path."""
    for name in path.split("/")[1:]:
        if isinstance(state, dict):
            state = state[name]
        else:
            field = name.removeprefix(".")
            state = getattr(state, field) if field in state._fields else state.inner[name]
    return state


def _state_of(state: State, key: str, rows: slice, shared: set[int], flat: bool) -> State:
    """The rows of one column of a state, as views in the same structure; nothing of states that are ``shared``."""
    if isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values()):
        if key not in state:
            return {}
        part = state[key][rows]
        return {KEY: part.view(part.shape[0], -1) if flat and part.ndim > 1 else part}
    if isinstance(state, dict):
        return {name: _state_of(inner, key, rows, shared, flat) for name, inner in state.items()}
    if id(state) in shared:
        return type(state)(*({} for _ in state))
    return type(state)(*(_state_of(inner, key, rows, shared, flat) for inner in state))
