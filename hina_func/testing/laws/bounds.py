"""Laws of size and direction: how far a step may go, and where to."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import torch

from ...compose import chain
from ...transforms.scale import scale
from ..checking import Violation, law
from ..strategies import History, growing, histories, lokr_modules, lora_modules, over, vanishing, zero_first
from ..subjects import Subject, Transform, Values, moves

ROUNDING, ROUNDING_OF_SQUARES = 1e-9, 1e-13

Limit = float | Callable[[int], float]
"""How far an element may go: at any step, or at step 1, 2, ..."""


def far_histories(params: st.SearchStrategy[Values] | None = None) -> st.SearchStrategy[History]:
    """What may move an element far: anything for a few steps, or gradients that grow for many."""
    return histories(params=params, max_steps=6) | histories(params=params, patterns=[growing], max_steps=24)


@law(far_histories())
def bounded(subject: Subject, history: History, *, limit: Limit) -> None:
    """No element ever moves farther than the limit.

    A limit may be a function of the step, 1 at first.
    """
    _expect_bounded(subject, history, limit)


def _expect_bounded(subject: Subject, history: History, limit: Limit) -> None:
    for i, move in enumerate(moves(subject, *history), 1):
        here = limit(i) if callable(limit) else limit
        for name, x in move.items():
            size = float(x.abs().max())
            if not size <= here * (1 + ROUNDING):
                raise Violation(f"step {i}: {name} moved by {size:.6g}, farther than {here:g}")


fresh_adapters = st.one_of(lokr_modules(fresh=True), lora_modules(fresh=True))


@law(histories(params=fresh_adapters, patterns=[zero_first, vanishing], min_steps=2, max_steps=4))
def no_blow_up(subject: Subject, history: History, *, limit: Limit) -> None:
    """Fresh adapter factors, whose partners start without a gradient, never move farther than the limit."""
    _expect_bounded(subject, history, limit)


@law(histories(max_steps=1))
def first_step_descends(subject: Subject, history: History, *, sign: int = -1) -> None:
    """The first move does not go up the gradient (with sign=1: not down, for directions)."""
    (move,) = moves(subject, history.params, history.grads[:1])
    inner = sum(float((x * history.grads[0][name]).sum()) for name, x in move.items())
    square = sum(float((g * g).sum()) for g in history.grads[0].values())
    if not sign * inner >= -ROUNDING_OF_SQUARES * square:
        raise Violation(f"the inner product of move and gradient is {inner:.6g}")


@law(histories())
def never_against_the_gradient(subject: Subject, history: History, *, sign: int = -1) -> None:
    """At no step does any element move against its own gradient; what cautious masks and Grams promise."""
    for i, (move, grads) in enumerate(zip(moves(subject, *history), history.grads, strict=True), 1):
        for name, x in move.items():
            against = ~(sign * x * grads[name] >= 0)
            if against.any():
                at = tuple(against.nonzero()[0].tolist())
                g, by = grads[name][at].item(), x[at].item()
                raise Violation(f"step {i}: {name}{list(at)} has the gradient {g:g} and moved by {by:g}")


@law(histories())
def rests_without_gradient(subject: Subject, history: History) -> None:
    """From the start on, zero gradients move nothing."""
    for i, move in enumerate(moves(subject, history.params, _zeros(history)), 1):
        for name, x in move.items():
            if x.any():
                raise Violation(f"step {i}: {name} moved by {x.tolist()} at zero gradients")


@law(histories())
def decay_shrinks(subject: Subject, history: History, *, sign: int = -1) -> None:
    """At zero gradients no element grows in size (with sign=1: of a transformation whose moves are subtracted)."""
    downhill = Transform(chain(subject.tx, scale(-1.0))) if sign > 0 and isinstance(subject, Transform) else subject
    run = downhill.start(history.params)
    before = run.params()
    for i, grads in enumerate(_zeros(history), 1):
        run.step(grads)
        for name, x in run.params().items():
            if not (x.abs() <= before[name].abs() * (1 + ROUNDING)).all():
                raise Violation(f"step {i}: {name} grew from {before[name].tolist()} to {x.tolist()}")
        before = run.params()


def _zeros(history: History) -> list[dict[str, torch.Tensor]]:
    return [over(torch.zeros_like, history.params) for _ in history.grads]


@law(histories(of=st.sampled_from([(2,), (3,), (2, 2)])))
def orthogonal_to_parameter(subject: Subject, history: History) -> None:
    """Moves are orthogonal to the parameter they start from."""
    params = history.params
    run = subject.start(params)
    for i, grads in enumerate(history.grads, 1):
        for name, x in run.step(grads).items():
            p = params[name]
            inner, noise = float((x * p).sum()), ROUNDING_OF_SQUARES * grads[name].norm()
            if not abs(inner) <= float((1e-6 * x.norm() + noise) * p.norm()):
                raise Violation(f"step {i}: the move of {name} has the inner product {inner:.6g} with it")
        params = run.params()
