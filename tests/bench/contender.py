"""What competes: a way to take a step, and what is known about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, Protocol

from torch.nn import Parameter

NUMBERS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}
"""What every AdamW here is given."""

FEW = 150
"""The longest list of tensors for which a compiler is asked to trace over the whole list."""


class Stepper(Protocol):
    def step(self) -> Any: ...


@dataclass(frozen=True)
class Contender:
    """``build({name: parameter})`` makes an optimizer; each has parameters of its own.

    Attributes:
        name: on the command line.
        label: in tables and pictures.
        family: whose it is.
        build: makes the optimizer.
        equals: what its result must equal: hina_func's plain loop over parameters ("one by one"), torch's ("torch
            loop"), or "moves" where nothing else computes the same: every parameter must move.
        compiled: whether a compiler runs at its first step.
        consumes_grads: whether it takes ``.grad`` away; it is then given copies, before each step.
        most_tensors: what it is not asked to do more than.
        state_of: where the optimizer keeps its state.
    """

    name: str
    label: str
    family: Literal["ours", "torch", "peer"]
    build: Callable[[dict[str, Parameter]], Any]
    equals: Literal["one by one", "torch loop", "moves"]
    compiled: bool = False
    consumes_grads: bool = False
    most_tensors: float = math.inf
    state_of: Callable[[Any], Any] = attrgetter("state")

    def refusal(self, tensors: int) -> str | None:
        """Why it is not run on a list of that length."""
        if tensors <= self.most_tensors:
            return None
        return f"the compiler traces over the list of tensors; not tried on more than {self.most_tensors}"
