"""Differential testing: two implementations side by side, until they part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis.strategies import SearchStrategy

from .checking import check
from .laws import equals
from .strategies import History
from .subjects import as_subject


def compare(
    one: Any,
    other: Any,
    *,
    relative: float = 1e-9,
    ulp: float | None = None,
    examples: SearchStrategy[History] | None = None,
    profile: str = "quick",
    seed: int = 0,
) -> None:
    """Look for the fewest steps and elements after which two optimizers or transformations are apart.

    Args:
        one: a `hina_func.GradientTransformation`, a factory ``f(parameters) -> torch.optim.Optimizer``, or a
            transformation of optax.
        other: what it should do: any of these.
        relative: how far moves may differ, relative to the largest so far.
        ulp: how far parameters may differ instead, in units in the last place of their own or of the step.
        examples: parameters and gradients; those of ``hina_func.testing.strategies.histories`` by default.
        profile: "quick", "ci" or "thorough": 40, 300 or 2000 examples.
        seed: another one tries other examples.

    Raises:
        Counterexample: the smallest difference that was found.

    >>> import hina_func as hf
    >>> compare(hf.trace(0.9), hf.chain(hf.ema(0.9, debias=False), hf.scale(10.0)))
    >>> compare(hf.scale_by_rms(0.9, eps=1e-3), hf.scale_by_rms(0.9, eps=1e-3, eps_in_sqrt=False))
    Traceback (most recent call last):
    ...
    hina_func.testing.checking.Counterexample: GradientTransformation(scale_by_rms) breaks the law equals(...
    Another subject moves alike: a fast implementation and the plain loop, a library and the paper's formula.
    params  {w: [0.0]}
    grads 1  {w: [1.0]}
    step 1: against GradientTransformation(scale_by_rms): w[0] is 3.146..., not 3.152...
    """
    law = equals(other=as_subject(other), tolerance=relative, ulp=ulp)
    check(law if examples is None else replace(law, examples=examples), one, profile=profile, seed=seed)
