"""What laws are asked of: transformations and factories of torch optimizers, behind one small face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..core import GradientTransformation
from ..tree import apply_updates

Values = dict[str, Tensor]
"""Tensors by name."""

Gradients = Mapping[str, Tensor | None]
"""Gradients by name; None or absent for a parameter without one."""


class Run(Protocol):
    """One training run: parameters, and whatever is kept between the steps."""

    def step(self, grads: Gradients) -> Values:
        """Take one step; how far each parameter moved."""
        ...

    def params(self) -> Values:
        """The parameters as they are now, as copies."""
        ...

    def saved(self) -> Any:
        """What a checkpoint would hold of the state."""
        ...

    def load(self, saved: Any) -> None:
        """Continue from what another run saved."""
        ...


class Subject(Protocol):
    """Something that turns parameters and gradients into moves."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    def start(self, params: Mapping[str, Tensor]) -> Run:
        """A fresh run that begins at these values."""
        ...


@dataclass(frozen=True)
class Transform:
    """A `GradientTransformation`; its moves are its updates."""

    tx: GradientTransformation
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or repr(self.tx))

    def __str__(self) -> str:
        return self.name

    def start(self, params: Mapping[str, Tensor]) -> TransformRun:
        return TransformRun(self.tx, params)


class TransformRun:
    """Parameters and an explicit state."""

    def __init__(self, tx: GradientTransformation, params: Mapping[str, Tensor]) -> None:
        self.tx = tx
        self.values = {name: param.clone() for name, param in params.items()}
        self.state = tx.init(self.values)
        self.given: dict[str, Tensor | None] = {}
        """The gradients of the last step, as the transformation left them."""

    def step(self, grads: Gradients) -> Values:
        # copies in both directions: what is written into must not be an example, nor a move that was recorded
        self.given = {name: _copy(grads[name]) for name in self.values if name in grads}
        updates, self.state = self.tx.update(self.given, self.state, self.values)
        self.values = apply_updates(self.values, updates)
        there = {name: update.clone() for name, update in updates.items() if update is not None}
        return {name: there.get(name, torch.zeros_like(param)) for name, param in self.values.items()}

    def params(self) -> Values:
        return {name: param.clone() for name, param in self.values.items()}

    def saved(self) -> Any:
        return deepcopy(self.state)

    def load(self, saved: Any) -> None:
        self.state = saved


@dataclass(frozen=True)
class Torch:
    """A factory ``f(parameters) -> torch.optim.Optimizer``; it gets a list, of parameters that a live module owns.

    With ``named`` a list of names and parameters, as from ``module.named_parameters()``.
    """

    factory: Callable[[list[Any]], torch.optim.Optimizer]
    name: str = ""
    named: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or getattr(self.factory, "__name__", repr(self.factory)))

    def __str__(self) -> str:
        return self.name

    def start(self, params: Mapping[str, Tensor], order: Sequence[str] | None = None) -> TorchRun:
        """A fresh run; ``order`` is the one in which the parameters are handed over."""
        return TorchRun(self.factory, params, order or list(params), self.named)


class TorchRun:
    """A live optimizer and the module whose parameters it moves."""

    def __init__(
        self, factory: Callable[..., Any], params: Mapping[str, Tensor], order: Sequence[str], named: bool = False
    ) -> None:
        self.module = nn.Module()
        self.live: dict[str, nn.Parameter] = {}
        for name, param in params.items():
            *path, last = name.split(".")
            owner = self.module
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            # preserve_format keeps strides, which some kernels care for
            self.live[name] = nn.Parameter(param.detach().clone())
            owner.register_parameter(last, self.live[name])
        self.optimizer = factory([(name, self.live[name]) if named else self.live[name] for name in order])

    def step(self, grads: Gradients) -> Values:
        before = self.params()
        self.hand_over(grads)
        numbers = torch.default_generator.get_state()
        try:
            torch.default_generator.manual_seed(0)  # runs of steps that draw numbers can then be compared
            self.optimizer.step()
        finally:
            torch.default_generator.set_state(numbers)
        return {name: param - before[name] for name, param in self.params().items()}

    def hand_over(self, grads: Gradients) -> None:
        """Put gradients where an optimizer looks for them."""
        for name, param in self.live.items():
            param.grad = _copy(grads.get(name))

    def params(self) -> Values:
        return {name: param.detach().clone() for name, param in self.live.items()}

    def saved(self) -> Any:
        return deepcopy(self.optimizer.state_dict())

    def load(self, saved: Any) -> None:
        self.optimizer.load_state_dict(deepcopy(saved))


@dataclass(frozen=True)
class Functional:
    """optax's transformations, or any two such functions of trees of arrays that are taken from numpy and read by it.

    In float64 they compute in it only after ``jax.config.update("jax_enable_x64", True)``.
    """

    tx: Any
    name: str = ""

    def __post_init__(self) -> None:
        function = getattr(self.tx.update, "__qualname__", repr(self.tx))
        object.__setattr__(self, "name", self.name or function.partition(".")[0])

    def __str__(self) -> str:
        return self.name

    def start(self, params: Mapping[str, Tensor]) -> FunctionalRun:
        return FunctionalRun(self.tx, params)


class FunctionalRun:
    """Parameters here, and a state that is the other library's affair."""

    def __init__(self, tx: Any, params: Mapping[str, Tensor]) -> None:
        self.tx = tx
        self.values = {name: param.clone() for name, param in params.items()}
        self.state = tx.init(_arrays(self.values))

    def step(self, grads: Gradients) -> Values:
        updates, self.state = self.tx.update(_arrays(grads), self.state, _arrays(self.values))
        moves = {name: torch.from_numpy(np.array(u)).to(self.values[name].dtype) for name, u in updates.items()}
        self.values = apply_updates(self.values, moves)
        return moves

    def params(self) -> Values:
        return {name: param.clone() for name, param in self.values.items()}

    def saved(self) -> Any:
        return deepcopy(self.state)

    def load(self, saved: Any) -> None:
        self.state = saved


def _copy(grad: Tensor | None) -> Tensor | None:
    return None if grad is None else grad.clone()


def _arrays(values: Gradients) -> dict[str, Any]:
    return {name: None if x is None else x.numpy().copy() for name, x in values.items()}


def as_subject(thing: Any) -> Subject:
    """A subject as it is, a transformation or an optimizer factory behind that face.

    Raises:
        TypeError: if it is none of these.
    """
    if isinstance(thing, (Transform, Torch, Functional)):
        return thing
    if isinstance(thing, GradientTransformation):
        return Transform(thing)
    if callable(getattr(thing, "init", None)) and callable(getattr(thing, "update", None)):
        return Functional(thing)
    if callable(thing):
        return Torch(thing)
    raise TypeError(
        "a law is asked of a GradientTransformation or of a factory f(parameters) -> torch.optim.Optimizer, "
        f"got {type(thing).__name__}"
    )


def moves(subject: Subject, params: Mapping[str, Tensor], grads: Sequence[Gradients]) -> list[Values]:
    """How far each step of a fresh run moves each parameter."""
    run = subject.start(params)
    return [run.step(each) for each in grads]


def trajectory(subject: Subject, params: Mapping[str, Tensor], grads: Sequence[Gradients]) -> list[Values]:
    """The parameters at the start and after each step of a fresh run."""
    run = subject.start(params)
    found = [run.params()]
    for each in grads:
        run.step(each)
        found.append(run.params())
    return found
