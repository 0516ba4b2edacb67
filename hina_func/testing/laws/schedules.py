"""Laws of schedules: what a factor that changes with the steps does to a gradient that does not."""

from __future__ import annotations

from ..checking import Violation, law
from ..strategies import History, constant, histories
from ..subjects import Subject, Values, moves

ROUNDING = 1e-9
steady = histories(patterns=[constant], min_steps=2, max_steps=12, max_tensors=1)


@law(steady)
def schedule_bounds(subject: Subject, history: History, *, low: float, high: float) -> None:
    """At a constant gradient every move is between low and high times the gradient, ends included."""
    grads = history.grads[0]
    for i, move in enumerate(_steadily(subject, history), 1):
        for name, x in move.items():
            g, slack = grads[name], ROUNDING * grads[name].abs()
            ends = low * g, high * g
            outside = ~((x >= ends[0].minimum(ends[1]) - slack) & (x <= ends[0].maximum(ends[1]) + slack))
            if outside.any():
                at = tuple(outside.nonzero()[0].tolist())
                raise Violation(f"step {i}: {name}{list(at)} has the gradient {g[at]:g} and moved by {x[at]:g}")


@law(steady)
def monotone_decay(subject: Subject, history: History) -> None:
    """At a constant gradient no element moves farther than at the step before."""
    before = None
    for i, move in enumerate(_steadily(subject, history), 1):
        for name, x in move.items():
            if before is not None and not (x.abs() <= before[name].abs() * (1 + ROUNDING)).all():
                raise Violation(f"step {i}: {name} moved by {x.tolist()}, farther than by {before[name].tolist()}")
        before = move


def _steadily(subject: Subject, history: History) -> list[Values]:
    """Moves at the first gradient over and over."""
    return moves(subject, history.params, history.grads[:1] * len(history.grads))
