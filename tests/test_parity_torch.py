"""Chains follow torch.optim over twenty steps in float64, as functions and behind hf.Optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from strategies import entries, tensors
from torch import Tensor, optim

import hina_func as hf

BOUND = 1e-12
STEPS = 20
SHAPES = {"b": (2,), "s": (), "v": (2, 2), "w": (2, 2)}
few = settings(max_examples=max(1, settings.default.max_examples // 10))

Tree = dict[str, Tensor]


class Case(NamedTuple):
    """An optimizer of torch and the chain that it is."""

    theirs: Callable[[list[Tensor]], optim.Optimizer]
    ours: Callable[[], hf.GradientTransformation]


def step(lr: float, *links: hf.GradientTransformation) -> Callable[[], hf.GradientTransformation]:
    return lambda: hf.chain(*links, hf.scale_by_learning_rate(hf.Hyperparam("lr", lr)))


def case(theirs: Any, ours: Callable[[], hf.GradientTransformation], **options: Any) -> Case:
    return Case(lambda params: theirs(params, **options), ours)


l2, decay = hf.add_decayed_weights(0.1), hf.add_decayed_weights(0.3)
CASES = {
    "Adam": case(optim.Adam, step(1e-2, hf.scale_by_adam()), lr=1e-2),
    "Adam(betas, eps)": case(optim.Adam, step(0.1, hf.scale_by_adam(0.5, 0.8, 0.1)), lr=0.1, betas=(0.5, 0.8), eps=0.1),
    "Adam(weight_decay)": case(optim.Adam, step(1e-2, l2, hf.scale_by_adam()), lr=1e-2, weight_decay=0.1),
    "Adam(maximize)": case(optim.Adam, step(1e-2, hf.scale(-1.0), hf.scale_by_adam()), lr=1e-2, maximize=True),
    "AdamW": case(optim.AdamW, step(1e-2, hf.scale_by_adam(), decay), lr=1e-2, weight_decay=0.3),
    "NAdam": case(
        optim.NAdam, step(1e-2, hf.scale_by_adam(nesterov=True)), lr=1e-2, momentum_decay=1e6
    ),  # so much that torch's schedule of b1 is over before the first step
    "SGD": case(optim.SGD, step(0.1), lr=0.1),
    "SGD(momentum)": case(optim.SGD, step(0.1, hf.trace(0.9)), lr=0.1, momentum=0.9),
    "SGD(nesterov)": case(optim.SGD, step(0.1, hf.trace(0.9, nesterov=True)), lr=0.1, momentum=0.9, nesterov=True),
    "SGD(weight_decay)": case(optim.SGD, step(0.1, l2, hf.trace(0.9)), lr=0.1, momentum=0.9, weight_decay=0.1),
    "RMSprop": case(optim.RMSprop, step(1e-2, hf.scale_by_rms(0.9, eps_in_sqrt=False)), lr=1e-2, alpha=0.9),
    "RMSprop(momentum)": case(
        optim.RMSprop,
        step(1e-2, l2, hf.scale_by_rms(0.9, eps_in_sqrt=False), hf.trace(0.8)),
        lr=1e-2,
        alpha=0.9,
        momentum=0.8,
        weight_decay=0.1,
    ),
}


@st.composite
def trajectories(draw: st.DrawFn) -> tuple[Tree, list[Tree]]:
    """Parameters and twenty gradients: four that are drawn, each five times at another size."""
    params, *few = ({n: draw(tensors(s, entries)) for n, s in SHAPES.items()} for _ in range(5))
    return params, [{n: x * (1 + t) / 8 for n, x in few[t * 7 % 4].items()} for t in range(STEPS)]


def driven(optimizer: optim.Optimizer, params: Tree, gradients: list[Tree]) -> list[Tree]:
    trajectory = []
    for grads in gradients:
        for name, param in params.items():
            param.grad = grads[name].clone()
        optimizer.step()
        trajectory.append({name: param.detach().clone() for name, param in params.items()})
    return trajectory


def functional(tx: hf.GradientTransformation, params: Tree, gradients: list[Tree]) -> list[Tree]:
    state, trajectory = tx.init(params), []
    for grads in gradients:
        updates, state = tx.update(grads, state, params)
        params = hf.apply_updates(params, updates)
        trajectory.append(params)
    return trajectory


def leaves(params: Tree) -> Tree:
    return {name: torch.nn.Parameter(x.clone()) for name, x in params.items()}


def worst_error(ours: list[Tree], theirs: list[Tree]) -> float:
    """Largest difference of parameters, relative to their size or to 1."""
    pairs = ((a[name], b[name]) for a, b in zip(ours, theirs, strict=True) for name in b)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1)) for a, b in pairs)


@pytest.fixture(autouse=True)
def _doubles() -> Iterator[None]:
    """NAdam keeps its product of b1 in torch's default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", CASES)
def test_the_chain_is_the_optimizer_of_torch(name: str, record_property: Callable[[str, object], None]) -> None:
    worst = 0.0

    @few
    @given(trajectories())
    def compare(fed: tuple[Tree, list[Tree]]) -> None:
        nonlocal worst
        params, gradients = fed
        of_torch, of_ours = leaves(params), leaves(params)
        theirs = driven(CASES[name].theirs(list(of_torch.values())), of_torch, gradients)
        tx = CASES[name].ours()
        both = [functional(tx, params, gradients), driven(hf.Optimizer(of_ours, tx), of_ours, gradients)]
        found = max(worst_error(ours, theirs) for ours in both)
        worst = max(worst, found)
        assert found <= BOUND

    try:
        compare()
    finally:
        record_property("worst_error", worst)
        print(f"\n{name}: worst error {worst:.1e}")


def test_a_learning_rate_schedule_of_torch_drives_the_chain_as_it_drives_torch() -> None:
    params = {name: torch.arange(math.prod(shape)).reshape(shape) / 4 - 0.3 for name, shape in SHAPES.items()}
    gradients = [{n: (x + 0.1) * (t - 7) for n, x in params.items()} for t in range(STEPS)]
    trajectories = []
    for make in (CASES["AdamW"].theirs, lambda ps: hf.Optimizer(ps, CASES["AdamW"].ours())):
        moved = leaves(params)
        optimizer = make(list(moved.values()) if make is CASES["AdamW"].theirs else moved)
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        trajectory = []
        for grads in gradients:
            trajectory += driven(optimizer, moved, [grads])
            schedule.step()
        trajectories.append(trajectory)
    assert worst_error(*trajectories) <= BOUND
