"""Laws of hina_func/transforms/scale_by_adopt.py."""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from laws import close, cosine, law, norm, number, once, run, same, walk, weighted
from strategies import histories, like, mapped, nonzero, powers_of_two, rates, several, tensors, trees, upto

import hina_func as hf

MAKERS = {"adopt": hf.scale_by_adopt, "adopt_tam": hf.scale_by_adopt_tam}
makers = st.sampled_from(sorted(MAKERS))
late = st.integers(0, 3)


@law(g=trees(), maker=makers, clipped=st.booleans())
def test_the_first_gradient_fills_the_second_moment_and_moves_nothing(g, maker, clipped):
    ((u, state),) = walk(MAKERS[maker](use_clipping=clipped), [g])
    same(u, mapped(torch.zeros_like, g))
    same(state["mu"], mapped(torch.zeros_like, g))
    same(state["nu"], mapped(lambda x: x * x, g))


@law(history=histories(max_steps=6), name=makers, b1=rates)
def test_no_entry_exceeds_the_fourth_root_of_the_step(history, name, b1):
    for k, u in enumerate(run(MAKERS[name](b1, eps=1e-15), history)):
        for x in u.values():
            assert (x.abs() <= k**0.25 * (1 + 1e-12)).all()


@law(history=histories(min_steps=2, max_steps=5), b1=rates, b2=rates, idle=st.integers(1, 4))
def test_adopt_averages_gradients_over_the_root_of_the_moment_before_them(history, b1, b2, idle):
    """Also where a gradient after the first is zero: it counts."""
    history[0] = mapped(lambda x: x.abs() + 0.1, history[0])
    if idle < len(history) - 1:
        history[idle] = mapped(torch.zeros_like, history[idle])
    u = run(hf.scale_by_adopt(b1, b2), history)[-1]
    for name, x in u.items():
        seen = [g[name] for g in history]
        moments = [seen[0] ** 2]
        for k in range(1, len(seen)):
            moments.append(b2**k * seen[0] ** 2 + weighted([g * g for g in seen[1 : k + 1]], b2))
        clipped = [
            (g / v.sqrt().clamp_min(1e-6)).clamp(-(k**0.25), k**0.25)
            for k, (g, v) in enumerate(zip(seen[1:], moments, strict=False), 1)
        ]
        close(x, weighted(clipped, b1), scale=1)


@law(history=histories(nonzero), c=powers_of_two, name=makers)
def test_adopt_without_eps_does_not_see_the_scale_of_the_gradients(history, c, name):
    tx = MAKERS[name](eps=0.0)
    same(run(tx, [mapped(lambda x: c * x, g) for g in history]), run(tx, history))


@law(data=st.data(), history=histories(nonzero, max_steps=3))
def test_unclipped_adopt_is_affine_in_the_present_gradient(data, history):
    tx = hf.scale_by_adopt(use_clipping=False)
    h = data.draw(like(history[0], nonzero))
    g = data.draw(like(history[0], nonzero))

    def last(sign: float) -> dict[str, torch.Tensor]:
        return run(tx, [*history, mapped(lambda x, d: x + sign * d, g, h)])[-1]

    for name, middle in last(0).items():
        ends = [last(1)[name], last(-1)[name]]
        close(ends[0] + ends[1], 2 * middle, scale=max(norm(end) for end in ends))


@law(g=trees(nonzero), signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=2, max_size=6), b1=rates)
def test_gradients_of_constant_size_are_normalised_to_their_signs(g, signs, b1):
    history = [mapped(lambda x, s=s: s * x, g) for s in signs]
    ones = [number(s) for s in signs[1:]]
    u = run(hf.scale_by_adopt(b1), history)[-1]
    close(u, mapped(lambda x: weighted(ones, b1) * x.sign(), g), scale=1)


@law(history=histories(nonzero), wait=late, name=makers, eps=st.sampled_from([0.0, 1e-6]))
def test_a_tensor_without_gradients_waits_for_its_first_one(history, wait, name, eps):
    tx, zero = MAKERS[name](eps=eps), mapped(torch.zeros_like, history[0])
    alone = [{"v": g["v"]} for g in history]
    waiting = [{"v": zero["v"]}] * wait + alone
    same(run(tx, waiting)[wait:], run(tx, alone))
    same(run(tx, waiting)[:wait], waiting[:wait])


@law(history=histories(nonzero, min_steps=2), wait=st.integers(1, 3), name=makers)
def test_a_tensor_that_waits_does_not_hold_up_another_of_its_shape(history, wait, name):
    tx = MAKERS[name]()
    late = [{**g, "w": torch.zeros_like(g["w"])} if t < wait else g for t, g in enumerate(history)]
    same([u["v"] for u in run(tx, late)], [u["v"] for u in run(tx, history)])


@law(x=tensors((3,), nonzero), g=tensors((3,), nonzero), place=st.integers(0, 2), name=makers)
def test_an_entry_that_started_at_zero_is_held_by_the_clip(x, g, place, name):
    x[place] = 0
    u = run(MAKERS[name](), [{"w": x}, {"w": g}])[-1]["w"]
    assert u.abs().max() <= 0.1 * (1 + 1e-6)
    loose = run(MAKERS[name](use_clipping=False), [{"w": x}, {"w": g}])[-1]["w"]
    assert loose[place].abs() > 100


@law(history=histories(nonzero, max_steps=5), b1=rates, b2=rates)
def test_torque_aware_adopt_that_never_learns_an_alignment_is_half_of_adopt(history, b1, b2):
    half = [mapped(lambda x: x / 2, u) for u in run(hf.scale_by_adopt(b1, b2, eps=0.0), history)]
    same(run(hf.scale_by_adopt_tam(b1, b2, eps=0.0, decay=1.0), history), half)


@law(history=histories(), b2=rates, decay=rates)
def test_torque_does_not_touch_the_second_moment(history, b2, decay):
    ours = walk(hf.scale_by_adopt_tam(b2=b2, decay=decay), history)
    for (_, damped), (_, plain) in zip(ours, walk(hf.scale_by_adopt(b2=b2), history), strict=True):
        same(damped["nu"], plain["nu"])
        same(damped["count"], plain["count"])


@law(g=trees(nonzero), decay=upto(1), steps=st.integers(2, 6))
def test_a_constant_gradient_aligns_with_adopts_momentum_from_the_third_step_on(g, decay, steps):
    *_, (_, state) = walk(hf.scale_by_adopt_tam(decay=decay), [g] * steps)
    close(state["alignment"], mapped(lambda x: number(1 - decay ** (steps - 2)), g), scale=1)


@law(history=histories(nonzero, several, 3, 5), b1=rates, decay=rates, eps=st.sampled_from([0.0, 1e-3]))
def test_torque_compares_the_momentum_with_the_normalised_gradient(history, b1, decay, eps):
    damped = [state for _, state in walk(hf.scale_by_adopt_tam(b1, eps=eps, decay=decay), history)]
    plain = [state for _, state in walk(hf.scale_by_adopt(b1, eps=0.0), history)]
    for name in history[0]:
        cosines = []
        for t in range(1, len(history)):
            m = damped[t - 1]["mu"][name]
            n = (plain[t]["mu"][name] - b1 * plain[t - 1]["mu"][name]) / (1 - b1)
            cosines.append(cosine(m, n))
            entering = damped[t]["mu"][name] - b1 * m
            damping = (1 + damped[t]["alignment"][name]) / 2
            close(entering, (1 - b1) * (damping + eps) * n, scale=norm(m) + norm(n))
        close(damped[-1]["alignment"][name], weighted(cosines, decay), scale=1, tolerance=1e-11)


def test_the_bound_may_be_another_function_of_the_step():
    g = {"w": torch.tensor([1.0], dtype=torch.float64)}
    for make in MAKERS.values():
        tx = make(b1=0.0, eps=0.0, clip_value_fn=lambda step: 0.25 * step)
        u = run(tx, [g, mapped(lambda x: 100 * x, g)])[-1]["w"]
        close(u, torch.tensor([0.25 if make is hf.scale_by_adopt else 0.125]))


def test_moments_without_any_gradient_give_nothing():
    zero = {"w": torch.zeros(2, 3, dtype=torch.float64)}
    for make in MAKERS.values():
        same(run(make(), [zero] * 3), [zero] * 3)
        same(once(make(), zero), zero)
