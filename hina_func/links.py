"""The links of composition: what `compose` puts together, on columns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .border import Foreign, returned, transformation
from .core import Columns, EmptyState, GradientTransformation, Hyperparam, State, Tree
from .layout import Labels, LeafSpec
from .link import Context, Link


class Stateless(Link):
    """A link that keeps nothing."""

    def init(self, ctx: Context) -> State:
        return EmptyState()


@dataclass(frozen=True)
class Identity(Stateless):
    name: str = "identity"

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        return u, state


@dataclass(frozen=True)
class SetToZero(Stateless):
    name: str = "set_to_zero"

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        zeros = {column.key: torch.zeros_like(u[column.key]) for column in ctx.layout.columns}
        return {**u, **zeros}, state


@dataclass(frozen=True)
class StatelessFunction(Stateless):
    """A function of named updates and parameters; it sees the leaves that are there."""

    name: str
    function: Callable[[Tree, Tree | None], Tree]

    def columnwise(self) -> bool:
        return False

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        updates = {name: leaf for name, leaf in ctx.layout.unstack(u).items() if name not in ctx.missing}
        new = self.function(updates, None if ctx.params is None else ctx.layout.unstack(ctx.params))
        return {**u, **ctx.layout.stack(returned(self.name, new, updates))}, state


@dataclass(frozen=True)
class Around(Link):
    """A link with named links inside; the questions about it are answered by them."""

    name: str
    links: tuple[tuple[str, Link], ...]

    def inner_state(self, state: State, name: str) -> State:
        """The part of the state that belongs to the link of this name."""
        return getattr(state, name.removeprefix("."))

    def columnwise(self) -> bool:
        return all(link.columnwise() for _, link in self.links)

    def reads_shape(self) -> bool:
        return any(link.reads_shape() for _, link in self.links)

    def places(self, path: str = "") -> Iterator[tuple[str, Link]]:
        return (place for name, link in self.links for place in link.places(f"{path}/{name}"))

    def needs_params(self) -> str | None:
        return next((needy for _, link in self.links if (needy := link.needs_params())), None)

    def hyperparams(self) -> Iterator[Hyperparam]:
        return (hyper for _, link in self.links for hyper in link.hyperparams())

    def labels(self, leaf: LeafSpec, role: str, path: str) -> Labels:
        return tuple(label for name, link in self.links for label in link.labels(leaf, role, f"{path}/{name}"))

    def roles(self) -> frozenset[str]:
        return frozenset().union(*(link.roles() for _, link in self.links))

    def module_rules(self) -> Iterator[tuple[str, str]]:
        return (rule for _, link in self.links for rule in link.module_rules())

    def patterns(self) -> tuple[tuple[str, str], ...]:
        return tuple(dict.fromkeys(pattern for _, link in self.links for pattern in link.patterns()))


@dataclass(frozen=True)
class Chain(Around):
    """Links one after the other; the state is a dict by their names."""

    def inner_state(self, state: State, name: str) -> State:
        return state[name]

    def init(self, ctx: Context) -> State:
        return {name: link.init(ctx.enter(name)) for name, link in self.links}

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        after: dict[str, State] = {}
        for name, link in self.links:
            u, after[name] = link.update(u, state[name], ctx.enter(name))
        return u, after


class PartitionState(NamedTuple):
    """The state of each label's transform, by label."""

    inner: dict[str, State]


@dataclass(frozen=True)
class Partition(Around):
    """Each parameter goes through the link of its label and no other."""

    label_of: Callable[[LeafSpec, str], Hashable] = field(default=lambda leaf, role: "")

    def inner_state(self, state: State, name: str) -> State:
        return state.inner[name]

    def init(self, ctx: Context) -> State:
        return PartitionState({label: link.init(ctx.part(label).enter(label)) for label, link in self.links})

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        after: dict[str, State] = {}
        for label, link in self.links:
            u, after[label] = link.update(u, state.inner[label], ctx.part(label).enter(label))
        return u, PartitionState(after)

    def labels(self, leaf: LeafSpec, role: str, path: str) -> Labels:
        label = str(self.label_of(leaf, role))
        links = dict(self.links)
        if label not in links:
            raise ValueError(
                f"{self.name}: the label of {leaf.name!r} must be one of {', '.join(links)}, got {label!r}"
            )
        return ((path, label), *links[label].labels(leaf, role, f"{path}/{label}"))


class WithGradientState(NamedTuple):
    """The states of both parts."""

    first: State
    then: State


@dataclass(frozen=True)
class WithGradient(Around):
    """See `with_gradient`."""

    def init(self, ctx: Context) -> State:
        (_, first), (_, then) = self.links
        return WithGradientState(first.init(ctx.enter("first")), then.init(ctx.enter(".then")))

    def update(self, u: Columns, state: State, ctx: Context) -> tuple[Columns, State]:
        (_, first), (_, then) = self.links
        grads, first_state = first.update(u, state.first, ctx.enter("first"))
        seen = ctx._replace(grads=grads)
        u, then_state = then.update(grads, state.then, seen.enter(".then"))
        return u, WithGradientState(first_state, then_state)


@dataclass(frozen=True)
class Only(Partition):
    """A partition by role."""

    wanted: frozenset[str] = frozenset()
    extra_patterns: tuple[tuple[str, str], ...] = ()

    def roles(self) -> frozenset[str]:
        return super().roles() | self.wanted - {"regular"}

    def patterns(self) -> tuple[tuple[str, str], ...]:
        return (*super().patterns(), *self.extra_patterns)


@dataclass(frozen=True, eq=False)
class LabelsByName:
    """Labels by name or by function."""

    name: str
    table: Any
    boolean: bool = False

    def __call__(self, leaf: LeafSpec, role: str) -> Hashable:
        label: Any
        if callable(self.table):
            label = self.table(leaf.name, torch.empty(leaf.shape, dtype=leaf.dtype, device="meta"))
        elif leaf.name in self.table:
            label = self.table[leaf.name]
        else:
            raise ValueError(f"{self.name}: there is no label for parameter {leaf.name!r}")
        if self.boolean and isinstance(label, Tensor):
            raise TypeError(f"{self.name}: the mask of {leaf.name!r} must be True or False, got {label!r}")
        return ("in" if label else "out") if self.boolean else label


@dataclass(frozen=True)
class InRoles:
    """Label "in" for parameters of these roles."""

    roles: frozenset[str]

    def __call__(self, leaf: LeafSpec, role: str) -> Hashable:
        return "in" if role in self.roles else "out"


def as_chain(link: Link) -> Link:
    """A link inside another, under its own name."""
    return link if isinstance(link, Chain) else Chain("chain", ((link.name, link),))


def as_whole(link: Link) -> Link:
    """A link that is no part of another; a single transform becomes a chain, so that it too has a place of its own."""
    return link if isinstance(link, Around) else as_chain(link)


def hyperparams_of(link: Link) -> dict[str, Any]:
    """Name -> default of every `Hyperparam` in a link."""
    defaults: dict[str, Any] = {}
    for hyper in link.hyperparams():
        if hyper.name in defaults and defaults[hyper.name] != hyper.default:
            raise ValueError(
                f"Hyperparam {hyper.name!r} has two defaults: {defaults[hyper.name]!r} and {hyper.default!r}"
            )
        defaults[hyper.name] = hyper.default
    return defaults


def composed(link: Link) -> GradientTransformation:
    """A composition as a transformation; its parts agree about the numbers they share."""
    hyperparams_of(link)
    return transformation(link)


def has_foreign(link: Link) -> bool:
    """Whether some transform in here was written without this library's lifts."""
    return isinstance(link, Foreign) or (
        isinstance(link, Around) and any(has_foreign(inner) for _, inner in link.links)
    )
