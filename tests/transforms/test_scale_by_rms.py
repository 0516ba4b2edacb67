"""Laws of hina_func/transforms/scale_by_rms.py."""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from laws import close, law, once, run, same, walk, weighted, weights
from strategies import histories, mapped, nonzero, positive, powers_of_two, rates, trees, upto

import hina_func as hf

# scale_by_lion


@law(history=histories(), b1=rates, b2=rates)
def test_lion_gives_the_sign_of_the_old_momentum_mixed_with_the_gradient(history, b1, b2):
    for t, u in enumerate(run(hf.scale_by_lion(b1, b2), history)):
        for name, x in u.items():
            before = [g[name] for g in history[:t]]
            mix = b1 * weighted(before, b2) + (1 - b1) * history[t][name] if t else (1 - b1) * history[t][name]
            clear = mix.abs() > 1e-9
            same(x[clear], mix.sign()[clear])
            assert torch.isin(x, torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)).all()


@law(g=trees())
def test_lion_starts_with_the_sign_of_the_gradient(g):
    same(once(hf.scale_by_lion(), g), mapped(torch.sign, g))


@law(history=histories(), c=powers_of_two)
def test_lion_does_not_see_the_scale_of_the_gradients(history, c):
    scaled = [mapped(lambda x: c * x, g) for g in history]
    same(run(hf.scale_by_lion(), scaled), run(hf.scale_by_lion(), history))


# scale_by_rms


@law(history=histories(), decay=rates, eps=positive, start=upto(10))
def test_rms_divides_by_the_root_of_the_weighted_mean_square(history, decay, eps, start):
    for inside in (True, False):
        for t, u in enumerate(run(hf.scale_by_rms(decay, eps, start, inside), history)):
            for name, x in u.items():
                mean = weighted([g[name] ** 2 for g in history[: t + 1]], decay) + decay ** (t + 1) * start
                close(x, history[t][name] / ((mean + eps).sqrt() if inside else mean.sqrt() + eps))


@law(history=histories(nonzero), c=powers_of_two, corrected=st.booleans())
def test_rms_without_eps_does_not_see_the_scale_of_the_gradients(history, c, corrected):
    tx = hf.scale_by_rms(eps=0.0, bias_correction=corrected)
    same(run(tx, [mapped(lambda x: c * x, g) for g in history]), run(tx, history))


@law(g=trees(nonzero), decay=rates, steps=st.integers(1, 5))
def test_rms_with_bias_correction_maps_a_constant_gradient_to_its_sign(g, decay, steps):
    tx = hf.scale_by_rms(decay, eps=0.0, bias_correction=True)
    close(run(tx, [g] * steps), [mapped(torch.sign, g)] * steps)


@law(g=trees(nonzero), decay=rates, steps=st.integers(1, 5))
def test_rms_without_bias_correction_starts_too_fast_by_the_root_of_the_missing_weight(g, decay, steps):
    u = run(hf.scale_by_rms(decay, eps=0.0), [g] * steps)[-1]
    close(u, mapped(lambda x: x.sign() / sum(weights(decay, steps)) ** 0.5, g))


def test_rms_leaves_a_zero_gradient_at_zero():
    g = {"w": torch.zeros(3, dtype=torch.float64)}
    for inside in (True, False):
        same(once(hf.scale_by_rms(eps_in_sqrt=inside), g), g)


def test_rms_keeps_its_count_and_mean_square_in_the_state():
    g = {"w": torch.tensor([2.0], dtype=torch.float64)}
    *_, (_, state) = walk(hf.scale_by_rms(0.5, initial_scale=8.0), [g, g])
    assert (int(state["count"]["w"]), float(state["nu"]["w"])) == (2, 5.0)
