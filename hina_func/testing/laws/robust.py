"""Laws of what happens around a run: a broken gradient, other processes."""

from __future__ import annotations

import torch

from ..checking import Violation, expect_equal, law
from ..strategies import History, histories, over
from ..subjects import Subject, moves


@law(histories(max_steps=3))
def finite_after_nan(subject: Subject, history: History) -> None:
    """One NaN in the first gradients of each parameter makes no move that is not finite, then or later."""
    first, *later = history.grads
    broken = [over(_with_nan, first), first, *later]
    for i, move in enumerate(moves(subject, history.params, broken), 1):
        for name, x in move.items():
            if not x.isfinite().all():
                raise Violation(f"step {i}: {name} moved by {x.tolist()} after a NaN at step 1")


def _with_nan(g: torch.Tensor) -> torch.Tensor:
    broken = g.clone()
    broken.view(-1)[0] = torch.nan
    return broken


@law(histories())
def replicas(subject: Subject, history: History) -> None:
    """Replicas that step side by side on the mean of their gradients stay one run on that mean, to the bit."""
    one, other = subject.start(history.params), subject.start(history.params)
    means, found = [], []
    for grads in history.grads:
        parts = over(lambda g: g + 1.5, grads), over(lambda g: g - 1.5, grads)
        means.append({name: (parts[0][name] + parts[1][name]) / 2 for name in grads})
        one.step(over(torch.clone, means[-1]))
        other.step(over(torch.clone, means[-1]))
        expect_equal([other.params()], [one.params()], "the other replica")
        found.append(one.params())
    alone = subject.start(history.params)
    for params, mean in zip(found, means, strict=True):
        alone.step(mean)
        expect_equal([params], [alone.params()], "a run alone")
