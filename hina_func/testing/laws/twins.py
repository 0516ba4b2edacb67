"""Laws of twins: two ways of saying the same optimizer."""

from __future__ import annotations

from typing import Any

import torch

from ..checking import expect_close, law
from ..strategies import History, histories, scaled
from ..subjects import Subject, as_subject, moves


@law(histories())
def equals(subject: Subject, history: History, *, other: Any, tolerance: float = 1e-9) -> None:
    """Another subject moves alike: a fast implementation and the plain loop, a library and the paper's formula."""
    twin = as_subject(other)
    expected = moves(twin, *history)
    expect_close(moves(subject, *history), expected, f"against {twin.name}", tolerance=tolerance)


@law(histories())
def maximizes(subject: Subject, history: History, *, other: Any) -> None:
    """On negated gradients it moves as the other one does: ``maximize`` is descent on the negative."""
    expected = moves(as_subject(other), *history.mapped(lambda p: p, torch.neg))
    expect_close(moves(subject, *history), expected, "against descent on -g", tolerance=1e-9)


@law(histories(max_steps=3))
def accumulates(subject: Subject, history: History, *, other: Any, every: int = 2) -> None:
    """It moves, every so many gradients, as the other does on their mean."""
    parts = [scaled(float(i + 1), grads) for grads in history.grads for i in range(every)]
    means = [scaled((every + 1) / 2, grads) for grads in history.grads]
    found = moves(subject, history.params, parts)[every - 1 :: every]
    expect_close(found, moves(as_subject(other), history.params, means), "accumulated", tolerance=1e-9)
