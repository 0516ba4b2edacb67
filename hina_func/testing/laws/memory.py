"""Laws of memory: what earlier gradients leave behind, in closed forms of simple sequences and in rates."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import torch
from torch import Tensor

from ..checking import Violation, expect_close, law
from ..strategies import History, Pattern, alternating, constant, free, histories, like, nonzero, over, scaled
from ..subjects import Subject, Values, moves

Response = Callable[[Tensor, int], Tensor]
"""The move of step ``t`` (1, 2, ...) for the gradient ``g``."""

TOLERANCE = 1e-9


def _impulse(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    return [draw(like(params, nonzero)), *[over(torch.zeros_like, params)] * (steps - 1)]


def _pause(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    first = draw(like(params, nonzero))
    return [first, over(torch.zeros_like, params), *[scaled(8.0, first)] * (steps - 2)]


def _sequences(pattern: Pattern, min_steps: int = 1) -> st.SearchStrategy[History]:
    return histories(patterns=[pattern], min_steps=min_steps, max_steps=5)


@law(_sequences(constant))
def constant_response(subject: Subject, history: History, *, response: Response) -> None:
    """Under a constant gradient the move of each step is the closed form."""
    _expect_response(subject, history, response, "a constant gradient")


@law(_sequences(constant))
def steady(subject: Subject, history: History) -> None:
    """Under a constant gradient every move is like the first: no average has a bias towards its start."""
    found = moves(subject, *history)
    expect_close(found, found[:1] * len(found), "under a constant gradient", tolerance=TOLERANCE)


@law(_sequences(_impulse))
def impulse_response(subject: Subject, history: History, *, response: Response) -> None:
    """After one gradient, and none but zeros since, the move of each step is the closed form."""
    _expect_response(subject, history, response, "one gradient")


@law(_sequences(alternating))
def alternating_response(subject: Subject, history: History, *, response: Response) -> None:
    """Under a gradient that turns at every step the move of each step is the closed form."""
    _expect_response(subject, history, response, "an alternating gradient")


@law(_sequences(_pause, min_steps=3))
def pause_response(subject: Subject, history: History, *, response: Response) -> None:
    """After one gradient, a step of zeros, and 8 times the gradient from then on, each move is the closed form."""
    _expect_response(subject, history, response, "a gradient that pauses")


def _expect_response(subject: Subject, history: History, response: Response, what: str) -> None:
    steps = range(1, len(history.grads) + 1)
    expected = [over(lambda g, t=t: response(g, t), history.grads[0]) for t in steps]  # type: ignore[misc]
    expect_close(moves(subject, *history), expected, f"under {what}", tolerance=TOLERANCE)


@law(histories(max_steps=3))
def fading(subject: Subject, history: History, *, rate: float) -> None:
    """At gradients of zero a move is the one before times the rate."""
    run = subject.start(history.params)
    for grads in history.grads:
        run.step(grads)
    zeros = over(torch.zeros_like, history.params)
    faded = [run.step(zeros) for _ in range(3)]
    expected = [over(lambda x: rate * x, move) for move in faded[:-1]]
    expect_close(faded[1:], expected, "at gradients of zero", tolerance=TOLERANCE)


@law(histories(max_steps=3))
def waits(subject: Subject, history: History) -> None:
    """Gradients of zero before the first other one move nothing and change nothing."""
    zeros = over(torch.zeros_like, history.params)
    late = moves(subject, history.params, [zeros, zeros, *history.grads])
    expect_close(late, [zeros, zeros, *moves(subject, *history)], "after zeros", tolerance=TOLERANCE)


@law(histories(patterns=[free], max_steps=3))
def superposition(subject: Subject, history: History) -> None:
    """The moves of a sum of gradients are the sums of the moves."""
    shifted = [over(lambda g: 3 - g.flip(-1) if g.ndim else 3 - g, grads) for grads in history.grads]
    both = [{name: g + other[name] for name, g in grads.items()} for grads, other in _pairs(history.grads, shifted)]
    parts = [moves(subject, history.params, grads) for grads in (history.grads, shifted)]
    expected = [{name: x + other[name] for name, x in move.items()} for move, other in _pairs(*parts)]
    expect_close(moves(subject, history.params, both), expected, "of a sum", tolerance=TOLERANCE)


def _pairs(one: list[Values], other: list[Values]) -> list[tuple[Values, Values]]:
    return list(zip(one, other, strict=True))


@law(histories(patterns=[free], min_steps=2, max_steps=3))
def affine_in_the_last_gradient(subject: Subject, history: History) -> None:
    """The last move is affine in the last gradient: what normalises it was there before."""
    *before, last = history.grads

    def final(change: float) -> Values:
        return moves(subject, history.params, [*before, over(lambda g: g + change, last)])[-1]

    up, down = final(1.0), final(-1.0)
    middle = {name: (x + down[name]) / 2 for name, x in up.items()}
    size = max(float(x.abs().max()) for x in up.values())
    expect_close([middle], [final(0.0)], "between two others", tolerance=TOLERANCE, size=size)


@law(histories(min_steps=2, max_steps=6))
def bfloat16_rounds_once(subject: Subject, history: History) -> None:
    """In bfloat16 the moves are those that float32 makes of the same gradients: memory is kept in more bits."""
    low = history.to(torch.bfloat16)
    exact = moves(subject, *low.to(torch.float32))
    rough = [over(lambda x: x.to(torch.float32), move) for move in moves(subject, *low)]
    expect_close(rough, exact, "in bfloat16", tolerance=2.0**-8, size=2.0**-8)


@law(st.tuples(histories(patterns=[free, constant], min_steps=2), st.integers(0, 3)))
def not_finite_is_absence(subject: Subject, example: tuple[History, int], *, together: bool = False) -> None:
    """A gradient that holds a NaN or an infinity is as none at all (together=True: for all parameters)."""
    history, at = example
    at = min(at, len(history.grads) - 1)
    for bad in (torch.nan, torch.inf):
        spoiled, absent = list(history.grads), list[dict[str, Tensor | None]](map(dict, history.grads))
        spoiled[at] = {**spoiled[at], "w": torch.full_like(spoiled[at]["w"], bad)}
        absent[at] = dict.fromkeys(absent[at]) if together else {**absent[at], "w": None}
        expected = moves(subject, history.params, absent)
        expect_close(moves(subject, history.params, spoiled), expected, f"{bad} at step {at + 1}", tolerance=0.0)


@law(histories(max_steps=2))
def nan_shows(subject: Subject, history: History, *, spreads: bool = False) -> None:
    """A NaN in a gradient is one in the move (spreads=True: in all of it): it does not look like standing still."""

    def spoiled(g: Tensor) -> Tensor:
        return torch.cat([g.new_tensor([torch.nan]), g.reshape(-1)[1:]]).reshape(g.shape) if spreads else g * torch.nan

    for i in range(len(history.grads)):
        grads = list(history.grads)
        grads[i] = over(spoiled, grads[i])
        for name, x in moves(subject, history.params, grads)[i].items():
            if not x.isnan().all():
                raise Violation(f"step {i + 1}: the gradient of {name} is NaN and it moved by {x.tolist()}")


@law(histories(max_steps=2))
def nan_is_zero(subject: Subject, history: History) -> None:
    """An element that is NaN moves as a zero does; infinities and all else are left alone."""

    def beginning_with(number: float) -> list[Values]:
        def spoiled(g: Tensor) -> Tensor:
            flat = g.reshape(-1)
            return torch.cat([torch.full_like(flat[:1], number), flat[1:]]).reshape(g.shape)

        return moves(subject, history.params, [over(spoiled, grads) for grads in history.grads])

    expect_close(beginning_with(torch.nan), beginning_with(0.0), "with a NaN", tolerance=0.0)
    for i, move in enumerate(beginning_with(torch.inf), 1):
        for name, x in move.items():
            if x.reshape(-1)[0] != torch.inf:
                raise Violation(f"step {i}: the gradient of {name} begins with inf and it moved by {x.tolist()}")
