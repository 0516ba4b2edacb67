"""NaN and infinity: nothing hides one, two gates keep them out, for all parameters or for each by itself."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from catalog import ROWS, SHAPES, draw
from laws import law, same
from strategies import histories
from torch import Tensor, nn

import hina_func as hf

Tree = dict[str, Tensor]
BAD = (math.nan, math.inf, -math.inf)
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def poisoned(x: Tensor, bad: float = math.nan) -> Tensor:
    """With one bad element, the last."""
    flat = x.clone().reshape(-1)
    flat[-1] = bad
    return flat.reshape(x.shape)


def inner() -> hf.GradientTransformation:
    """Moments, a schedule and an anchor; the global norms make every parameter see the others."""
    rate = hf.scale_by_learning_rate(hf.linear_schedule(0.1, 0.2, 3))
    return hf.chain(
        hf.clip_by_global_norm(1.0), hf.scale_by_adam(), hf.clip_by_global_norm(1.5), rate, hf.spd_penalty(0.1)
    )


def named(state: Any) -> dict[tuple[str, str, str], Tensor]:
    """The tensors of a state by place; the names of a gate around a chain are left out."""
    return {
        (transform.removeprefix("skip_not_finite/"), field, name): x
        for transform, fields in hf.named_state(state).items()
        for field, values in fields.items()
        for name, x in values.items()
        if transform != "skip_not_finite"
    }


# Nothing hides a NaN

HIDES = {"zero_nans", "set_to_zero", "apply_if_finite", "skip_not_finite"}
"""On purpose."""


@rows
def test_a_nan_in_a_gradient_is_a_nan_in_the_update(row):
    """At the third step, as some transforms start or collect before; in every element that is not frozen."""
    params, tx = draw(1), row.build()
    state = tx.init(params)
    for step in range(3):
        _, state = tx.update(draw(10 + step), state, params)
    bad = {name: poisoned(x) for name, x in draw(13).items()}
    updates, _ = tx.update(bad, state, params)
    shown = [name for name, u in updates.items() if u.isnan().any()]
    frozen = [name for name, p in params.items() if row.name == "freeze" and p.ndim > 1]
    masked = [name for name, p in params.items() if row.name == "masked" and p.ndim < 2]
    expected = [name for name in params if name not in frozen and name not in masked]
    assert shown == ([] if row.name in HIDES else expected)


@law(bad=st.sampled_from(BAD))
def test_signs_have_the_nans_of_what_they_are_the_signs_of(bad):
    g = {"w": torch.tensor([2.0, bad, -0.0, -3.0], dtype=torch.float64)}
    expected = torch.tensor([1.0, math.nan if math.isnan(bad) else math.copysign(1, bad), 0.0, -1.0])
    same(hf.scale_by_lion().update(g, hf.scale_by_lion().init(g))[0]["w"], expected.double())
    ones = {"w": torch.ones(4, dtype=torch.float64)}
    same(hf.grams_sign().update(ones, hf.EmptyState(), grads=g)[0]["w"], expected.double())


# Each parameter by itself


@law(
    history=histories(min_steps=3, max_steps=5),
    where=st.lists(st.sets(st.sampled_from("bvw")), min_size=5, max_size=5),
    bad=st.sampled_from(BAD),
)
def test_a_gradient_that_is_not_finite_counts_as_missing(history, where, bad):
    """Updates of the others and all of the state, counters included, are those of a step without that gradient."""
    params = {name: torch.ones_like(g) for name, g in history[0].items()}
    gate, plain = hf.skip_not_finite(inner()), inner()
    state, expected_state, moved = gate.init(params), plain.init(params), params
    for grads, gone in zip(history, where, strict=False):
        given = {name: poisoned(g, bad) if name in gone else g for name, g in grads.items()}
        there = {name: g for name, g in grads.items() if name not in gone}
        updates, state = gate.update(given, state, moved)
        expected, expected_state = plain.update(there, expected_state, moved)
        same(updates, {**{name: torch.zeros_like(g) for name, g in grads.items()}, **expected})
        same(named(state), named(expected_state))
        moved = hf.apply_updates(moved, updates)


def test_a_transformation_written_elsewhere_sees_zeros_where_a_gradient_is_skipped():
    gate = hf.skip_not_finite(
        hf.stateless(lambda u, _: {name: x / sum(y.sum() for y in u.values()) for name, x in u.items()})
    )
    params = {"a": torch.ones(2), "b": torch.ones(2)}
    updates, _ = gate.update(
        {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([1.0, math.nan])}, gate.init(params), params
    )
    same(updates, {"a": torch.tensor([0.25, 0.75]), "b": torch.zeros(2)})


@law(history=histories(min_steps=4), where=st.sets(st.sampled_from("bvw")))
def test_the_state_counts_what_each_parameter_has_skipped(history, where):
    gate = hf.skip_not_finite(hf.trace(0.9))
    state = gate.init(history[0])
    for grads in history:
        _, state = gate.update({n: poisoned(g) if n in where else g for n, g in grads.items()}, state)
    counts = hf.named_state(state)["skip_not_finite"]["total_notfinite"]
    assert {name: int(x) for name, x in counts.items()} == {n: len(history) if n in where else 0 for n in history[0]}


def test_a_gradient_that_is_not_finite_is_found_behind_a_finite_update():
    gate = hf.skip_not_finite(hf.chain(hf.trace(0.5), hf.grams_sign()))
    grads = {"w": torch.tensor([1.0, math.nan]), "b": torch.tensor([1.0])}
    tx = hf.chain(hf.zero_nans(), gate)
    updates, _ = tx.update(grads, tx.init(grads))
    same(updates, {"w": torch.zeros(2), "b": torch.ones(1)})


def test_functions_written_elsewhere_see_zeros_and_their_state_stands_still_too():
    def update(updates: Tree, state: Tree, params: Any = None, *, grads: Tree) -> tuple[Tree, Tree]:
        size = sum(g.abs().sum() for g in grads.values())
        new = {name: u + 0.9 * state[name] + size for name, u in updates.items()}
        return new, {**state, **new}

    tx = hf.skip_not_finite(
        hf.GradientTransformation(lambda params: {n: torch.zeros_like(p) for n, p in params.items()}, update)
    )
    grads = {"v": torch.ones(2), "w": torch.tensor([1.0, math.inf])}
    updates, state = tx.update(grads, tx.init(grads))
    same(updates, {"v": torch.full((2,), 3.0), "w": torch.zeros(2)})
    (fields,) = (fields for name, fields in hf.named_state(state).items() if name.endswith("foreign"))
    (values,) = fields.values()
    same(values, updates)


def test_outside_an_accumulation_a_bad_gradient_does_not_enter_the_mean_and_inside_it_spoils_one():
    ones, bad = {"w": torch.ones(2)}, {"w": torch.tensor([1.0, math.nan])}
    outside, within = (
        hf.skip_not_finite(hf.accumulate(hf.scale(-1.0), 2)),
        hf.accumulate(hf.skip_not_finite(hf.scale(-1.0)), 2),
    )
    for tx, expected in ((outside, [0, 0, -1, 0, -1]), (within, [0, 0, 0, -1, 0])):
        state, found = tx.init(ones), []
        for grads in (ones, bad, ones, ones, ones):
            updates, state = tx.update(grads, state)
            found.append(float(updates["w"][0]))
        assert found == expected


def train_on(
    make: Any, shapes: dict[str, tuple[int, ...]], bad: tuple[str, ...], compile: bool, tolerance: float
) -> None:
    """Behind the gate a bad gradient is a missing one."""
    params, others = ({name: nn.Parameter(x) for name, x in draw(1, shapes=shapes).items()} for _ in range(2))
    gated = hf.Optimizer(params, hf.skip_not_finite(make()), compile=compile)
    plain = hf.Optimizer(others, make(), compile=False)
    for step in range(5):
        for name, g in draw(20 + step, shapes=shapes).items():
            gone = name in bad and step % 2 == 1
            params[name].grad = poisoned(g, BAD[step % 3]) if gone else g
            others[name].grad = None if gone else g
        gated.step()
        plain.step()
        for name, p in params.items():
            torch.testing.assert_close(p, others[name], rtol=tolerance, atol=tolerance)
    skipped = {name: int(gated.state[p]["skip_not_finite/total_notfinite"]) for name, p in params.items()}
    assert skipped == {name: 2 if name in bad else 0 for name in params}


def test_the_optimizer_trains_on_with_the_others():
    """The recipe, to the bit."""
    bad = ("q.lora_A.weight", "b.lokr_w2", "bias", "gain")
    train_on(lambda: hf.hina_adamw(0.1, wd_transition_steps=1), SHAPES, bad, False, 0.0)


@pytest.mark.compile
def test_the_compiled_optimizer_trains_on_with_the_others():
    chain = lambda: hf.chain(hf.scale_by_adam(eps=0.1), hf.scale_by_learning_rate(0.1))  # noqa: E731
    train_on(chain, {"v": (2, 3), "w": (2, 3), "u": (3, 3)}, ("v", "u"), True, 1e-12)


# All parameters at once


def test_a_missing_gradient_is_no_error_and_a_skipped_step_is_none_for_it_either():
    tx = hf.apply_if_finite(hf.chain(hf.scale_by_adam(), hf.scale(-0.1)), 3)
    params = draw(1)
    _, state = tx.update(draw(2), tx.init(params), params)
    some = {name: g for name, g in draw(3).items() if name != "bias"}
    updates, after = tx.update(some, state, params)
    assert updates.keys() == some.keys()
    assert bool(after.last_finite)
    assert (
        int(after.inner["scale_by_adam"].count[next(k for k in after.inner["scale_by_adam"].count if "bias" in k)][0])
        == 1
    )
    updates, skipped = tx.update({**some, "gain": torch.tensor(math.nan, dtype=torch.float64)}, after, params)
    assert not any(u.any() for u in updates.values())
    same(named(skipped.inner), named(after.inner))


def test_the_optimizer_skips_a_whole_step_and_none_of_its_state_moves():
    params = {name: nn.Parameter(x) for name, x in draw(1).items()}
    opt = hf.Optimizer(params, hf.apply_if_finite(hf.chain(hf.scale_by_adam(), hf.scale(-0.1)), 2))
    for step in range(6):
        bad = step in (2, 4)
        before = {name: (p.detach().clone(), counted(opt, p)) for name, p in params.items()}
        for name, g in draw(20 + step).items():
            params[name].grad = poisoned(g) if bad and name == "bias" else g
        opt.step()
        for name, p in params.items():
            assert counted(opt, p) == before[name][1] + (not bad)
            assert torch.equal(p, before[name][0]) == bad
    assert int(opt.state[params["gain"]]["apply_if_finite/total_notfinite"]) == 2


def counted(opt: hf.Optimizer, param: nn.Parameter) -> int:
    """The updates that the moments of a parameter have absorbed."""
    return int(opt.state[param].get("apply_if_finite/scale_by_adam/count", 0))
