"""Compositions of the catalog, drawn at random, take the same steps however they are run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, reject, settings
from torch import Tensor

import hina_func as hf
from hina_func.testing import strategies
from hina_func.testing.strategies import Written, chains, histories, models, shown

STEPS = 5
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
Tree = dict[str, Tensor]
Gradients = dict[str, Tensor | None]


class Run(NamedTuple):
    """A chain, where it starts, and the gradients it gets, some of them missing or not finite."""

    code: Written
    params: Tree
    grads: list[Gradients]

    def __repr__(self) -> str:
        lines = [f"tx = {self.code}", f"params = {shown(self.params)}"]
        return "\n".join(lines + [f"grads {i} = {shown(each)}" for i, each in enumerate(self.grads, 1)])


@st.composite
def runs(draw: st.DrawFn, params: st.SearchStrategy[Tree], finite: bool = False) -> Run:
    code = draw(chains())
    history = draw(histories(params=params, min_steps=STEPS, max_steps=STEPS))
    grads: list[Gradients] = [dict(each) for each in history.grads]
    places = st.tuples(st.integers(0, STEPS - 1), st.sampled_from(list(history.params)))
    for step, name in draw(st.lists(places, max_size=3)):
        grads[step][name] = None
    if not finite:
        for step, name in draw(st.lists(places, max_size=1)):
            grads[step][name] = torch.full_like(history.params[name], float(draw(st.sampled_from(["nan", "inf"]))))
    return Run(code, history.params, grads)


def functional(tx: hf.GradientTransformation, params: Tree, grads: list[Gradients]) -> list[Tree]:
    """The parameters after each step."""
    state, found = tx.init(params), []
    for each in grads:
        updates, state = tx.update(each, state, params)
        params = hf.apply_updates(params, updates)
        found.append(params)
    return found


def behind_torch(tx: hf.GradientTransformation, params: Tree, grads: list[Gradients], compile: bool) -> list[Tree]:
    live = {name: torch.nn.Parameter(x.clone()) for name, x in params.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is nothing for a rule of adapters to do
        optimizer = hf.Optimizer(live, tx, compile=compile)
    found = []
    for each in grads:
        for name, param in live.items():
            param.grad = each[name]
        optimizer.step()
        found.append({name: param.detach().clone() for name, param in live.items()})
    return found


def expect(found: list[Tree], expected: list[Tree], start: Tree, what: str, tolerance: float) -> None:
    """Equal, to the bit or to a fraction of the distance moved and the rounding of the parameter."""
    moved = 0.0
    for i, (one, other) in enumerate(zip(found, expected, strict=True), 1):
        assert one.keys() == other.keys()
        for name, x in other.items():
            way = (x - start[name]).abs()
            moved = max(moved, float(way[way.isfinite()].max())) if way.isfinite().any() else moved
            room = 0.0 if tolerance == 0 else tolerance * moved + 4 * torch.finfo(x.dtype).eps * x.abs()
            off = (one[name] != x) & ~((one[name] - x).abs() <= room) & ~(one[name].isnan() & x.isnan())
            assert not off.any(), f"{what}, step {i}: {name} is {one[name].tolist()}, not {x.tolist()}"


def draws(config: pytest.Config, share: int = 1) -> Callable[[Any], Any]:
    """As many examples as the command line asks for, or a share of them."""
    number = config.getoption("--chains") // share
    return settings(max_examples=number, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))


def test_drawn_chains_take_the_same_steps_in_every_mode(pytestconfig: pytest.Config) -> None:
    """To the bit, save for a norm of the whole tree, which sums in another order where parameters are not stacked."""

    @draws(pytestconfig)
    @given(runs(models()))
    def agree(run: Run) -> None:
        tx = run.code.build()
        expected = functional(tx, run.params, run.grads)
        tolerance = 1e-12 if "clip_by_global_norm" in run.code else 0.0
        alone = functional(hf.one_by_one(tx), run.params, run.grads)
        expect(alone, expected, run.params, "one by one", tolerance)
        expect(behind_torch(tx, run.params, run.grads, False), expected, run.params, "behind torch.optim", tolerance)

    agree()


@pytest.mark.compile
def test_a_few_drawn_chains_take_the_same_steps_compiled(pytestconfig: pytest.Config) -> None:
    """But for rounding, where rounding decides nothing: the compiler contracts products and sums."""
    small = st.fixed_dictionaries({name: strategies.tensors((2, 3)) for name in "vw"})

    @draws(pytestconfig, share=30)
    @given(runs(small, finite=True))
    def agree(run: Run) -> None:
        tx = run.code.build()
        expected = behind_torch(tx, run.params, run.grads, False)
        hair = functional(tx, run.params, [nudged(each) for each in run.grads])
        try:
            expect(hair, expected, run.params, "a hair beside", 1e-9)
        except AssertionError:
            reject()
        expect(behind_torch(tx, run.params, run.grads, True), expected, run.params, "compiled", 1e-12)

    agree()


def nudged(grads: Gradients) -> Gradients:
    """Each element a hair larger: where that makes a difference, so may rounding."""
    return {name: None if g is None else g + 2.0**-44 for name, g in grads.items()}
