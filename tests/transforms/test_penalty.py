"""Laws of hina_func/transforms/penalty.py."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume
from laws import close, delta, dot, law, norm, run, same
from strategies import alike, lokr_modules, nonzero, powers_of_two, roles_of, several, shapes, tensors, trees, upto

import hina_func as hf

strengths = st.sampled_from([0.06, 1.0]) | upto(1)
quadruples = alike(4, of=shapes)
"""Update, parameter, anchor, gradient."""


def spd(u, p, start, g, strength, **options):
    """The update of a parameter at ``p`` that began at ``start``, its anchor if the options name no other."""
    tx = hf.spd_penalty(strength, **options)
    return tx.update({"w": u}, tx.init({"w": start}), {"w": p}, grads={"w": g})[0]["w"]


def leaving(u, p, anchor, g):
    """The same, with signs such that the gradient moves the parameter outward and the step takes it further out."""
    drift = p - anchor
    g = g if dot(g, drift) > 0 else -g
    u = u if norm(drift + u) > norm(drift) else -u
    assume(dot(g, drift) > 1e-12 * norm(g) * norm(drift))
    assume(norm(drift + u) > norm(drift))
    return u, p, anchor, g


# rule="selective"


@law(four=quadruples, strength=strengths)
def test_the_selective_pull_lands_on_the_ray_from_the_anchor_and_never_beyond_it(four, strength):
    u, p, anchor, _ = four
    before, after = p + u - anchor, p + spd(*four, strength) - anchor
    close(after * norm(before), before * norm(after), scale=norm(before) * (norm(before) + norm(p) + norm(anchor)))
    assert dot(after, before) >= -1e-12 * norm(before) * (norm(p) + norm(anchor))
    assert norm(after) <= norm(before) + 1e-12 * (norm(p) + norm(u) + norm(anchor))


@law(two=alike(2, of=shapes), strength=strengths)
def test_a_gradient_projected_off_the_parameter_does_not_leave_it(two, strength):
    g, p = two
    perpendicular = hf.orthogonal_project().update({"w": g}, hf.EmptyState(), {"w": p})[0]["w"]
    assume(abs(dot(g, p)) < 0.5 * norm(g) * norm(p))
    same(spd(p, p, p, perpendicular, strength, anchor="zero"), p)


@law(four=quadruples)
def test_full_strength_holds_the_distance_to_the_anchor(four):
    u, p, anchor, g = leaving(*four)
    after = p + spd(u, p, anchor, g, 1.0) - anchor
    close(norm(after), norm(p - anchor), scale=norm(p) + norm(u) + norm(anchor))


@law(four=quadruples, strength=strengths)
def test_the_selective_pull_is_the_growth_times_the_strength_of_the_new_distance(four, strength):
    u, p, anchor, g = leaving(*four)
    landed, drift = p + u - anchor, p - anchor
    growth = (norm(landed) - norm(drift)) / norm(landed)
    close(spd(u, p, anchor, g, strength), u - strength * growth * landed, scale=norm(u) + norm(p) + norm(anchor))


@law(four=quadruples, strength=strengths)
def test_a_gradient_that_does_not_point_outward_is_not_pulled(four, strength):
    u, p, anchor, g = leaving(*four)
    same(spd(u, p, anchor, -g, strength), u)
    same(spd(u, p, anchor, torch.zeros_like(g), strength), u)


@law(four=quadruples, strength=strengths)
def test_a_step_that_comes_no_further_is_not_pulled(four, strength):
    u, p, anchor, g = leaving(*four)
    for inward in (anchor - p, torch.zeros_like(p)):
        same(spd(inward, p, anchor, g, strength), inward)
    assume(norm(p - anchor - u) < norm(p - anchor))
    same(spd(-u, p, anchor, g, strength), -u)


@law(four=quadruples)
def test_no_strength_is_no_pull(four):
    u, *_ = four
    same(spd(*four, 0.0), u)


@law(three=alike(3), strength=strengths)
def test_the_first_step_is_not_pulled_toward_the_start(three, strength):
    u, p, g = three
    same(spd(u, p, p, g, strength), u)


@law(four=quadruples, shift=st.integers(-8, 8), strength=strengths)
def test_only_the_distance_to_the_anchor_counts(four, shift, strength):
    u, p, anchor, g = leaving(*four)
    moved = spd(u, p + shift, anchor + shift, g, strength)
    close(moved, spd(u, p, anchor, g, strength), scale=norm(u) + norm(p) + norm(anchor) + 8 * p.numel())


@law(four=quadruples, c=powers_of_two, strength=strengths)
def test_the_selection_does_not_see_the_size_of_the_gradient(four, c, strength):
    u, p, anchor, g = four
    same(spd(u, p, anchor, c * g, strength), spd(u, p, anchor, g, strength))


@law(four=quadruples, strength=strengths)
def test_the_selection_reads_the_gradient_and_the_parameter_before_the_step(four, strength):
    _, p, anchor, g = leaving(*four)
    drift = p - anchor
    across = -2.5 * drift  # over the anchor to the other side, where the gradient would point inward
    landed = drift + across
    growth = (norm(landed) - norm(drift)) / norm(landed)
    close(spd(across, p, anchor, g, strength), across - strength * growth * landed, scale=norm(p) + norm(anchor))


@law(three=alike(3), strength=strengths)
def test_a_zero_anchor_is_an_anchor_of_zeros(three, strength):
    u, p, g = three
    same(spd(u, p, p, g, strength, anchor="zero"), spd(u, p, torch.zeros_like(p), g, strength))


@law(four=quadruples, strength=strengths, rule=st.sampled_from(["selective", "ratio"]))
def test_a_given_anchor_is_where_it_was_given(four, strength, rule):
    u, p, anchor, g = four
    same(
        spd(u, p, p, g, strength, rule=rule, anchor={"w": anchor}),
        spd(u, p, anchor, g, strength, rule=rule),
    )


@law(p=trees(), u=trees())
def test_the_anchor_stays_where_init_saw_it(p, u):
    tx = hf.spd_penalty(0.5)
    state = tx.init(p)
    before = hf.named_state(state)["spd_penalty"]["anchor"]
    moved = {name: x + 1 for name, x in p.items()}
    _, after = tx.update({name: torch.ones_like(x) for name, x in p.items()}, state, moved)
    same(hf.named_state(after)["spd_penalty"]["anchor"], before)
    same(before, p)


@law(data=st.data(), module=lokr_modules(), strength=st.floats(0.1, 1))
def test_all_factors_of_a_lokr_module_are_pulled_together_or_not_at_all(data, module, strength):
    """The Euler identity: <gradient, factor> is the same for every factor of a product."""
    factors = {name: x.clone().requires_grad_() for name, x in module.items()}
    change = delta(roles_of(factors))
    weight = data.draw(tensors(tuple(change.shape), nonzero))
    slope = float(dot(weight, change.detach()))
    assume(abs(slope) > 1e-6 * float(norm(weight) * norm(change.detach())))
    grads = dict(zip(factors, torch.autograd.grad((weight * change).sum(), list(factors.values())), strict=True))
    tx = hf.spd_penalty(strength, anchor="zero")
    outward = {name: x / 2 for name, x in module.items()}
    u, _ = tx.update(outward, tx.init(module), module, grads=grads)
    for name, x in module.items():
        close(dot(grads[name], x), slope, scale=norm(grads[name]) * norm(x))
        assert torch.equal(u[name], outward[name]) == (slope < 0)


def test_a_zero_factor_is_not_pulled_on_the_first_step():
    p = {"m.lokr_w1": torch.ones(2, 2), "m.lokr_w2": torch.zeros(2, 2)}
    g = {"m.lokr_w1": torch.zeros(2, 2), "m.lokr_w2": torch.ones(2, 2)}
    tx = hf.spd_penalty(1.0, anchor="zero")
    u = {name: torch.full((2, 2), -0.1) for name in p}
    same(tx.update(u, tx.init(p), p, grads=g)[0], u)


# rule="ratio"


def ratio(u, p, start, strength, lr=1.0, **options):
    return spd(u, p, start, torch.zeros_like(u), strength, rule="ratio", learning_rate=lr, **options)


@law(three=alike(3), strength=strengths, lr=upto(1))
def test_the_ratio_pull_is_lr_strength_and_relative_distance_times_the_distance(three, strength, lr):
    u, p, anchor = three
    landed, drift = p + u, p + u - anchor
    assume(norm(landed) > 1e-3 * (norm(p) + norm(u)))
    pull = lr * strength * norm(drift) / norm(landed) * drift
    close(ratio(u, p, anchor, strength, lr), u - pull, scale=norm(u) + norm(pull) + norm(p) + norm(anchor))


@law(three=alike(3), strength=strengths, c=powers_of_two)
def test_the_ratio_pull_scales_with_the_weights(three, strength, c):
    u, p, anchor = three
    same(ratio(-c * u, -c * p, -c * anchor, strength), -c * ratio(u, p, anchor, strength))


@law(three=alike(3), strength=upto(0.1))
def test_the_ratio_pull_brings_the_landing_nearer_to_the_anchor(three, strength):
    u, p, anchor = three
    landed, drift = p + u, p + u - anchor
    assume(norm(drift) < 9 * norm(landed))
    after = drift + ratio(u, p, anchor, strength) - u
    assert norm(after) <= norm(drift) + 1e-12 * (norm(p) + norm(u) + norm(anchor))


@law(pair=alike(2), strength=strengths)
def test_landing_on_the_anchor_is_not_pulled(pair, strength):
    u, anchor = pair
    zero = torch.zeros_like(u)
    same(ratio(zero, anchor, anchor, strength), zero)


@law(pair=alike(2, of=several), strength=strengths)
def test_a_landing_at_zero_is_not_pulled(pair, strength):
    p, anchor = pair
    same(ratio(-p, p, anchor, strength), -p)


@law(pair=alike(2), strength=strengths, lr=upto(1))
def test_the_ratio_pull_toward_zero_is_weight_decay_of_the_landing(pair, strength, lr):
    u, p = pair
    pull = lr * strength * (p + u)
    close(ratio(u, p, p, strength, lr, anchor="zero"), u - pull, scale=norm(u) + norm(p))


def test_the_ratio_pull_has_a_learning_rate_of_one_unless_told():
    u, p, anchor = torch.tensor([0.5, -0.25]), torch.tensor([1.0, 2.0]), torch.zeros(2)
    same(spd(u, p, anchor, u, 0.5, rule="ratio"), ratio(u, p, anchor, 0.5, lr=1.0))


@pytest.mark.parametrize("rule", ["selective", "ratio"])
def test_each_tensor_has_a_distance_of_its_own(rule):
    p = {name: torch.tensor([3.0 * k, 4.0], dtype=torch.float64) for k, name in enumerate(("v", "w", "x"), 1)}
    u = {name: x / 4 for name, x in p.items()}
    tx = hf.spd_penalty(0.5, rule=rule, anchor="zero")
    (together,) = run(tx, [u], p)
    for name in p:
        same(together[name], run(tx, [{name: u[name]}], {name: p[name]})[0][name])


def test_an_anchor_has_the_tree_of_the_parameters():
    p = torch.tensor([3.0, 4.0])
    tx = hf.spd_penalty(0.5, anchor={"a": {"b": p / 2}})
    nested = {"a": {"b": p}}
    u, _ = tx.update({"a": {"b": p / 8}}, tx.init(nested), nested, grads=nested)
    same(u["a"]["b"], spd(p / 8, p, p / 2, p, 0.5))
