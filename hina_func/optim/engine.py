"""How an optimizer runs a chain: column by column, in pieces that fit a cache, in place, compiled where that pays.

A chain whose links never look across columns (`Link.columnwise`) runs as one function of a piece of one column. Pieces
of equal kind share that function, so that a whole model compiles a handful of them. What modules need from each other,
the factors of their learning rates, is computed before, some modules at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count, repeat
from operator import is_not
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..core import Columns, State
from ..layout import Column, Layout
from ..link import Context, Link
from ..links import Around, Partition
from ..state import map_state, tensors_of
from .homes import Home
from .numbers import Numbers, Slot, unpacked
from .pieces import KEY, PIECE, GatheredRows, Piece, Room, Shape, cut, rows_per_piece
from .program import compiled
from .rows import Rows

LENGTH = 4001
"""About how many elements a row has in examples, if it has two dimensions that may be chosen, or fewer.

From 4096 on the compiler adds up in another way, half as fast.
"""

Step = Callable[[Tensor, Tensor, State, Mapping[str, Any], Mapping[str, Columns]], None]
"""Parameters and gradients of some rows, their state, hyperparameters, factors by path: updates the first and third."""


@runtime_checkable
class ScalesModules(Protocol):
    """A link that multiplies updates with factors of adapter modules, which may be computed before."""

    def factors(self, state: State, ctx: Context) -> Columns: ...


class Rule(NamedTuple):
    """A rule for modules in a chain, where its state is found, and what the partitions around it leave it."""

    path: str
    link: ScalesModules
    find: Callable[[State], State]
    layout: Layout


def module_rules(
    link: Link, layout: Layout, path: str = "", find: Callable[[State], State] = lambda s: s
) -> list[Rule]:
    """Every rule for modules in a link."""
    if isinstance(link, ScalesModules):
        return [Rule(path, link, find, layout)]
    if not isinstance(link, Around):
        return []
    rules = []
    for name, inner in link.links:
        part = layout.part(path, name) if isinstance(link, Partition) else layout
        rules += module_rules(inner, part, f"{path}/{name}", partial(_inner, find, link, name))
    return rules


def _inner(find: Callable[[State], State], link: Around, name: str, state: State) -> State:
    return link.inner_state(find(state), name)


def factors_of(
    rules: Sequence[Rule], state: State, params: Columns, hyperparams: Mapping[str, Any]
) -> dict[str, Columns]:
    """Path of a module rule -> what it multiplies the rows of each column with."""
    return {
        rule.path: rule.link.factors(rule.find(state), Context(rule.layout, params, {}, hyperparams)) for rule in rules
    }


class Engine:
    """A chain over the columns of an optimizer."""

    def __init__(self, link: Link, rows: Rows, compiled: bool) -> None:
        self.link = link
        self.rows = rows
        self.room = Room()
        self.compiled = compiled
        ruled = any(isinstance(inner, ScalesModules) for _, inner in link.places())
        self.adapters = _adapters(rows.layout) if ruled else Layout((), ())
        self.rules = module_rules(link, self.adapters)
        self.homes: dict[str, Home] | None = None
        self.gathered: dict[str, GatheredRows] = {}
        self.pieces: list[Piece] = []
        self._steps: dict[tuple[str, Shape], Step] = {}
        self._programs: dict[Any, Callable[..., Any]] = {}

    def step(self, grads: Sequence[Tensor | None], hyperparams: Mapping[str, Any]) -> None:
        """One update with these gradients, in the order of the rows' parameters."""
        if self.homes is not self.rows.homes:
            self._settle()
        factors = self._factors(hyperparams)
        if not self.pieces:
            shared = {id(rule.find(self.rows.state)) for rule in self.rules}
            shapes = {column.key: self._shape(column, factors) for column in self.rows.layout.columns}
            self.pieces = list(cut(self.rows, shapes, shared, self.room))
        numbers = Numbers(hyperparams)
        for piece in self.pieces:
            self._step(piece, list(map(grads.__getitem__, piece.places)), numbers, factors)

    def _settle(self) -> None:
        """Begin, or go on after parameters were moved away. Compiled, they live side by side: nothing is gathered."""
        if self.homes is None and self.compiled:
            columns = self.rows.layout.columns
            self.rows.house(c for c in columns if len(c.names) > 1 and rows_per_piece(c.shape, at_home=True) > 1)
        self.homes = self.rows.homes
        self.gathered = {c.key: GatheredRows(self.rows, c) for c in self.adapters.columns}
        self.pieces = []

    def _factors(self, hyperparams: Mapping[str, Any]) -> dict[str, Columns]:
        """Path of a module rule -> what it multiplies the rows of each column with."""
        if not self.adapters.columns:
            return {rule.path: {} for rule in self.rules}
        for column in self.gathered.values():
            column.forget()
        return factors_of(self.rules, self.rows.state, self.gathered, hyperparams)  # type: ignore[arg-type]

    def _shape(self, column: Column, factors: Mapping[str, Columns]) -> Shape:
        """The shape that formulas see a row in: its own only if they look at it, else flat.

        Where each first dimension has a factor of its own, what lies behind it is flat.
        """
        if column.shape == () or self.link.reads_shape():
            return column.shape
        first = {f[column.key].shape[1] for f in factors.values() if column.key in f} - {1}
        return (*first, math.prod(column.shape[len(first) :]))

    def _step(self, piece: Piece, grads: list[Any], numbers: Numbers, factors: Mapping[str, Columns]) -> None:
        missing = [] if all(map(is_not, grads, repeat(None))) else [i for i, x in enumerate(grads) if x is None]
        if len(missing) == len(grads):
            return
        scales = {path: f[piece.column.key][piece.rows] for path, f in factors.items() if piece.column.key in f}
        if piece.params_room is None or piece.grads_room is None:
            own, like = piece.params[0].detach(), (1, *piece.shape)
            param = own.contiguous()
            self._run(piece, param.view(like), grads[0].contiguous().to(param.dtype).view(like), numbers, scales)
            if not own.is_contiguous():
                own.copy_(param)
            return
        if missing:
            zero = torch.zeros_like(piece.params[0])
            grads = [zero if grad is None else grad for grad in grads]
        before = [x[missing] for x in piece.lasting] if missing else []
        param, grad = piece.together(piece.params_room), piece.gather(piece.grads_room, grads)
        self._run(piece, param, grad, numbers, scales)
        for x, rows in zip(piece.lasting if missing else (), before, strict=True):
            x[missing] = rows
        piece.land(missing)

    def _run(self, piece: Piece, param: Tensor, grad: Tensor, numbers: Numbers, scales: Mapping[str, Tensor]) -> None:
        column = piece.column
        if not self.compiled:
            step, values = self._eager(piece), numbers.of(column, piece.rows)
            step(param, grad, piece.state, values, self._by_path(scales))
            return
        slots, packed = numbers.packed(column, piece.rows)
        tensors = [param, grad, *piece.kept, *scales.values(), *packed]
        if piece.program is None or piece.slots != slots:
            piece.program, piece.slots = self._program_for(piece, tensors, tuple(scales), slots), slots
        piece.program(*tensors)

    def _program_for(
        self, piece: Piece, tensors: Sequence[Tensor], paths: tuple[str, ...], slots: tuple[Slot, ...]
    ) -> Callable[..., Any]:
        """The program for pieces like this one."""
        column = piece.column
        facts = (
            (column.kind, column.labels, column.dtype, column.device, is_long(piece)),
            tuple(size == 1 for size in piece.shape)
            if self.link.reads_shape()
            else (len(piece.shape), *piece.shape[1:]),
            (piece.shape == (1,), paths, slots),
        )
        if facts not in self._programs:
            self._programs[facts] = self._compiled(piece, tensors, paths, slots)
        return self._programs[facts]

    def _eager(self, piece: Piece) -> Step:
        place = piece.column.key, piece.shape
        if place not in self._steps:
            self._steps[place] = _step_of(self.link, piece.column, piece.shape)
        return self._steps[place]

    def _by_path(self, scales: Mapping[str, Tensor]) -> dict[str, Columns]:
        """Factors as links look for them: nothing for a rule that has none for these rows."""
        paths = [rule.path for rule in self.rules]
        return {path: {KEY: scales[path]} if path in scales else {} for path in paths}

    def _compiled(
        self, piece: Piece, tensors: Sequence[Tensor], paths: Sequence[str], slots: Sequence[Slot]
    ) -> Callable[..., Any]:
        step, fixed = self._eager(piece), () if self.link.reads_shape() else piece.shape[1:]

        def flat(param: Tensor, grad: Tensor, *rest: Tensor) -> tuple[()]:
            assert param.shape[2:] == fixed or not fixed  # what is compared with a number is one, to the compiler
            others = iter(rest)
            state = map_state(lambda entry, old: next(others), piece.state)
            scales = {path: next(others) for path in paths}
            step(param, grad, state, unpacked(slots, list(others)), self._by_path(scales))
            return ()

        return compiled(flat, _example(piece, tensors, fixed), recompute=is_long(piece))


def _step_of(link: Link, column: Column, shape: Shape) -> Step:
    layout = Layout((column._replace(key=KEY, names=("",), shape=shape),), ())

    def step(
        param: Tensor, grad: Tensor, state: State, hyperparams: Mapping[str, Any], factors: Mapping[str, Columns]
    ) -> None:
        ctx = Context(layout, {KEY: param}, {KEY: grad}, hyperparams, factors=factors)
        updates, new = link.update({KEY: grad}, state, ctx)
        # What is overwritten may be part of the result: a state that moves along, an update that is a state.
        olds = tensors_of(state)
        overwritten = [param, *olds]
        changed = [(old, x) for old, x in zip(olds, tensors_of(new), strict=True) if x is not old]
        fresh = [(old, _kept(x, overwritten)) for old, x in changed]
        move = _kept(updates[KEY], overwritten)
        for old, after in fresh:
            old.copy_(after)
        param.add_(move)

    return step


def _kept(x: Tensor, overwritten: list[Tensor]) -> Tensor:
    return x.clone() if any(x is old for old in overwritten) else x


def _example(piece: Piece, tensors: Sequence[Tensor], fixed: Shape) -> list[Tensor]:
    """Tensors like these of other sizes, which tell a compiler what to expect and bind it to nothing.

    Sizes that have nothing to do with each other differ; what is 1 or ``fixed`` stays.
    """
    free = (size for size in (61, 11, 13, 17, 19, 23, 29) if size not in fixed)
    rows = 1 if is_long(piece) else next(free)
    inner = list(fixed) or [next(free) for _ in piece.shape[1:]]
    first = next(size for size in count(max(3, LENGTH // max(1, math.prod(inner)))) if size not in (rows, *inner))
    shape = [first, *inner][: len(piece.shape)]
    shape = [1 if size == 1 else other for size, other in zip(piece.shape, shape, strict=True)]

    def like(x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[0] != len(piece.params):
            return x
        inner = [b if a == c else a for a, b, c in zip(x.shape[1:], shape, piece.shape, strict=False)]
        return x.new_empty(rows, *inner)

    *own, vector = tensors
    return [*map(like, own), vector]


def is_long(piece: Piece) -> bool:
    """Whether it is one row of so many elements that it had better not be stored again."""
    return math.prod(piece.shape) > 2 * PIECE


def _adapters(layout: Layout) -> Layout:
    """The columns and tables of adapters."""
    return Layout(tuple(column for column in layout.columns if column.kind != "regular"), layout.tables)
