"""Laws of adapter factors: what a rule for modules may look at, and what it multiplies the factors' updates with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import hypothesis.strategies as st
import torch
from torch import Tensor

from ..checking import expect_close, expect_equal, law
from ..strategies import (
    History,
    free,
    fresh_modules,
    histories,
    lokr_modules,
    lora_modules,
    powers_of_two,
    scaled,
)
from ..subjects import Subject, Values, moves

TOLERANCE = 1e-6

Rates = Callable[[Tensor], Mapping[str, Tensor | float]]
"""The weight that a module stands for -> role -> what the updates of that factor are multiplied with."""


def _role(name: str) -> str:
    return name.split(".", 1)[1].removesuffix(".weight")


def _of(params: st.SearchStrategy[Values], max_steps: int = 1) -> st.SearchStrategy[History]:
    return histories(params=params, patterns=[free], max_steps=max_steps)


@law(_of(lora_modules()))
def lora_rates(subject: Subject, history: History, *, rates: Rates) -> None:
    """The updates of A and B are multiplied with numbers that the product B A alone decides."""
    at = {_role(name): x for name, x in history.params.items()}
    _expect_rates(subject, history, rates(at["lora_B"] @ at["lora_A"]))


@law(_of(lokr_modules()))
def lokr_rates(subject: Subject, history: History, *, rates: Rates) -> None:
    """The updates of a LoKr's factors are multiplied with numbers that the Kronecker product alone decides."""
    at = {_role(name): x for name, x in history.params.items()}
    w2 = at["lokr_w2"] if "lokr_w2" in at else at["lokr_w2_a"] @ at["lokr_w2_b"]
    _expect_rates(subject, history, rates(torch.kron(at["lokr_w1"], w2)))


def _expect_rates(subject: Subject, history: History, rates: Mapping[str, Tensor | float]) -> None:
    (move,) = moves(subject, *history)
    expected = {name: rates[_role(name)] * g for name, g in history.grads[0].items()}
    for name in move:
        expect_close([{name: move[name]}], [{name: expected[name]}], "of this weight", tolerance=TOLERANCE)


modules = st.one_of(lora_modules(), lokr_modules())


@law(st.tuples(_of(modules), powers_of_two))
def rate_gauge(subject: Subject, example: tuple[History, float]) -> None:
    """With one factor c times and the other 1/c times as large, the same gradients move each factor alike."""
    history, c = example
    first, *_, last = history.params
    other = {**history.params, first: history.params[first] * c, last: history.params[last] / c}
    found = moves(subject, other, history.grads)
    expect_close(found, moves(subject, *history), f"in the gauge of {c:g}", tolerance=TOLERANCE)


@law(_of(modules, max_steps=2))
def modules_apart(subject: Subject, history: History) -> None:
    """A module moves as if it were the only one, whatever others of its shapes there are and in which order."""
    first = next(iter(history.params))
    before = "a", {**history.params, first: torch.zeros_like(history.params[first])}
    after = "z", scaled(3.0, history.params)
    params = {
        f"{key}.{_tail(n)}": x for key, module in (after, ("q", history.params), before) for n, x in module.items()
    }
    grads = [{n: (2 if n[0] == "z" else 1) * g[_own(n, g)] for n in params} for g in history.grads]
    alone = moves(subject, *history)
    together = [{n: move[f"q.{_tail(n)}"] for n in history.params} for move in moves(subject, params, grads)]
    expect_close(together, alone, "beside two others", tolerance=1e-9)


def _tail(name: str) -> str:
    return name.split(".", 1)[1]


def _own(name: str, grads: Values) -> str:
    return next(other for other in grads if _tail(other) == _tail(name))


@law(st.tuples(_of(modules), st.integers(0, 2)))
def orphans_pass(subject: Subject, example: tuple[History, int]) -> None:
    """Factors of a module that lacks one move by their gradients."""
    (params, grads), which = example
    lost = list(params)[which % len(params)]
    left = [{name: g for name, g in each.items() if name != lost} for each in grads]
    found = moves(subject, {name: p for name, p in params.items() if name != lost}, left)
    expect_equal(found, left, f"without {lost}")


@st.composite
def fresh_pairs(draw: st.DrawFn) -> Values:
    """A LoRA and a LoKr as libraries make them, one factor of each at zero."""
    lora = draw(fresh_modules(st.sampled_from(["kohya lora", "peft lora embedding", "loralib lora"])))
    lokr = draw(fresh_modules(st.sampled_from(["lycoris lokr factored", "lycoris lokr"])))
    return lora | lokr


@law(_of(fresh_pairs(), max_steps=3))
def zero_factor_leads(
    subject: Subject, history: History, *, ratio: float, of: str = "lora", steps: int | None = 1
) -> None:
    """The factor that a fresh module has at zero moves ratio times its gradient, everything else by its gradient.

    Asked of the modules of a kind ("lora", "lokr") for so many steps, None: for all; the other kind always passes.
    """
    leads = {name: ratio for name, p in history.params.items() if of in name and not p.any()}
    for move, grads in list(zip(moves(subject, *history), history.grads, strict=True))[:steps]:
        expected = {name: leads.get(name, 1.0) * g for name, g in grads.items()}
        expect_close([move], [expected], "of a fresh module", tolerance=1e-9)
