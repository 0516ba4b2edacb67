"""Laws of twins: two ways of saying the same optimizer."""

from __future__ import annotations

from typing import Any

import torch

from ..checking import expect_close, expect_equal, expect_within_ulp, law
from ..strategies import History, histories, over, scaled
from ..subjects import Subject, as_subject, moves, trajectory


@law(histories())
def equals(
    subject: Subject, history: History, *, other: Any, tolerance: float = 1e-9, ulp: float | None = None
) -> None:
    """Another subject moves alike: a fast implementation and the plain loop, a library and the paper's formula."""
    twin = as_subject(other)
    if ulp is None:
        expect_close(moves(subject, *history), moves(twin, *history), f"against {twin}", tolerance=tolerance)
    else:
        expect_within_ulp(trajectory(subject, *history), trajectory(twin, *history), f"against {twin}", ulp=ulp)


@law(histories())
def maximizes(subject: Subject, history: History, *, other: Any) -> None:
    """On negated gradients it moves as the other one does: maximize is descent on the negative."""
    expected = moves(as_subject(other), *history.mapped(lambda p: p, torch.neg))
    expect_close(moves(subject, *history), expected, "against descent on -g", tolerance=1e-9)


@law(histories(max_steps=3))
def accumulates(subject: Subject, history: History, *, other: Any, every: int = 2) -> None:
    """It moves, every so many gradients, as the other does on their mean, and rests in between."""
    parts = [scaled(float(i + 1), grads) for grads in history.grads for i in range(every)]
    means = [scaled((every + 1) / 2, grads) for grads in history.grads]
    found = moves(subject, history.params, parts)
    resting = [move for i, move in enumerate(found, 1) if i % every]
    expect_equal(resting, [over(torch.zeros_like, move) for move in resting], "between two moves")
    expect_close(
        found[every - 1 :: every], moves(as_subject(other), history.params, means), "accumulated", tolerance=1e-9
    )
