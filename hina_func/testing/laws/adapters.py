"""Laws of adapters: what a step does to the weight that the factors stand for."""

from __future__ import annotations

from typing import NamedTuple

import hypothesis.strategies as st
import torch

from ..checking import expect_close, law
from ..strategies import History, free, histories, lokr_modules, lora_modules, powers_of_two
from ..subjects import Subject, Values


class Regauged(NamedTuple):
    """A module and a number by which one factor is multiplied and the other divided."""

    history: History
    c: float

    def __str__(self) -> str:
        return f"{self.history}\nc = {self.c:g}"


def _weight(values: Values) -> torch.Tensor:
    """B A, or the Kronecker product of w1 and w2."""
    at = {name.split(".", 1)[1]: x for name, x in values.items()}
    if "lora_A.weight" in at:
        return at["lora_B.weight"] @ at["lora_A.weight"]
    w2 = at["lokr_w2"] if "lokr_w2" in at else at["lokr_w2_a"] @ at["lokr_w2_b"]
    return torch.kron(at["lokr_w1"], w2)


@law(st.builds(Regauged, histories(params=lora_modules(), patterns=[free], max_steps=3), powers_of_two))
def lora_gauge(subject: Subject, example: Regauged) -> None:
    """B A learns the same when B is c times and A 1/c times as large, to first order in a step."""
    _expect_gauge(subject, example, first="lora_A.weight")


@law(st.builds(Regauged, histories(params=lokr_modules(), patterns=[free], max_steps=3), powers_of_two))
def lokr_gauge(subject: Subject, example: Regauged) -> None:
    """The Kronecker product learns the same when w1 is c times and w2 1/c times as large, to first order in a step."""
    _expect_gauge(subject, example, first="lokr_w1")


def _expect_gauge(subject: Subject, example: Regauged, first: str) -> None:
    history, c = example
    last = {"lora_A.weight": "lora_B.weight", "lokr_w1": "lokr_w2_b" if _factored(history) else "lokr_w2"}[first]

    def scaled(values: Values, up: float, down: float) -> Values:
        by = {first: down, last: up}
        return {name: by.get(name.split(".", 1)[1], 1.0) * x for name, x in values.items()}

    other = History(scaled(history.params, c, 1 / c), [scaled(grads, 1 / c, c) for grads in history.grads])
    expect_close(_learned(subject, other), _learned(subject, history), "in another gauge", tolerance=1e-6)


def _factored(history: History) -> bool:
    return any(name.endswith("lokr_w2_b") for name in history.params)


def _learned(subject: Subject, history: History) -> list[Values]:
    """The change of the weight at each step, to first order: factor by factor, the others kept."""
    run, found = subject.start(history.params), []
    for grads in history.grads:
        params = run.params()
        before, move = _weight(params), run.step(grads)
        parts = [_weight({**params, name: params[name] + x}) - before for name, x in move.items()]
        found.append({"weight": torch.stack(parts).sum(0)})
    return found
