"""Laws of hina_func/transforms/trace.py."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from laws import close, cosine, law, norm, number, run, same, walk, weighted
from strategies import histories, mapped, nonzero, powers_of_two, rates, several, trees, upto

import hina_func as hf

# trace


def decaying_sum(values: list[torch.Tensor], decay: float) -> torch.Tensor:
    return sum((decay ** (len(values) - 1 - i) * x for i, x in enumerate(values)), torch.zeros_like(values[0]))


def total_size(history: list[dict[str, torch.Tensor]], name: str) -> float:
    return float(sum(norm(g[name]) for g in history))


@law(history=histories(), decay=rates)
def test_trace_is_the_decaying_sum_of_all_gradients(history, decay):
    for t, u in enumerate(run(hf.trace(decay), history), 1):
        for name, x in u.items():
            close(x, decaying_sum([g[name] for g in history[:t]], decay), scale=total_size(history, name))


@law(history=histories(), decay=rates)
def test_nesterov_adds_the_gradient_to_the_decayed_new_sum(history, decay):
    plain, ahead = run(hf.trace(decay), history), run(hf.trace(decay, nesterov=True), history)
    for g, m, u in zip(history, plain, ahead, strict=True):
        close(u, mapped(lambda x, y: x + decay * y, g, m), scale=1e2)


@law(history=histories(), c=powers_of_two, decay=rates, nesterov=st.booleans())
def test_trace_is_linear_in_the_gradients(history, c, decay, nesterov):
    tx = hf.trace(decay, nesterov)
    same(
        run(tx, [mapped(lambda x: -c * x, g) for g in history]), [mapped(lambda x: -c * x, u) for u in run(tx, history)]
    )


@law(history=histories(), nesterov=st.booleans())
def test_trace_without_decay_passes_the_gradient(history, nesterov):
    same(run(hf.trace(0.0, nesterov), history), history)


# trace_tam


@law(sizes=st.lists(nonzero, min_size=1, max_size=5), b1=rates, decay=upto(1), eps=upto(1))
def test_gradients_orthogonal_to_the_momentum_are_taken_in_by_half(sizes, b1, decay, eps):
    rows = torch.diag(torch.tensor(sizes, dtype=torch.float64))
    history = [{"w": row} for row in rows]
    expected = [mapped(lambda x: (0.5 + eps) * x, u) for u in run(hf.trace(b1), history)]
    close(run(hf.trace_tam(b1, decay, eps), history), expected)


@law(history=histories(), b1=rates)
def test_torque_aware_momentum_that_never_learns_an_alignment_is_half_of_momentum(history, b1):
    half = [mapped(lambda x: x / 2, u) for u in run(hf.trace(b1), history)]
    same(run(hf.trace_tam(b1, decay=1.0, eps=0.0), history), half)


def test_torque_aware_momentum_has_the_papers_numbers():
    history = [{"w": torch.tensor([3.0, x], dtype=torch.float64)} for x in (1.0, -2.0, 0.5)]
    same(run(hf.trace_tam(), history), run(hf.trace_tam(0.9, decay=0.9, eps=1e-8), history))


@law(history=histories(), c=powers_of_two)
def test_torque_aware_momentum_follows_the_scale_of_the_gradients(history, c):
    tx = hf.trace_tam(eps=0.0)
    scaled = list(walk(tx, [mapped(lambda x: c * x, g) for g in history]))
    for (ours, s), (plain, t) in zip(scaled, walk(tx, history), strict=True):
        same(ours, mapped(lambda x: c * x, plain))
        same(s["alignment"], t["alignment"])


@law(history=histories(of=several, min_steps=2), b1=rates, decay=rates, eps=upto(1))
def test_torque_damps_the_incoming_gradient_and_never_the_momentum(history, b1, decay, eps):
    walked = list(walk(hf.trace_tam(b1, decay, eps), history))
    for (before, _), (after, state), g in zip(walked, walked[1:], history[1:], strict=False):
        for name, x in g.items():
            damping = (1 + state["alignment"][name]) / 2
            close(after[name], b1 * before[name] + (damping + eps) * x, scale=norm(before[name]) + norm(x))


@law(history=histories(of=several), decay=upto(1), b1=rates)
def test_alignment_is_the_smoothed_cosine_of_a_gradient_with_the_sum_before_it(history, decay, b1):
    walked = list(walk(hf.trace_tam(b1, decay), history))
    for name in history[0]:
        cosines = [number(0)]
        for (m, _), g in zip(walked, history[1:], strict=False):
            cosines.append(cosine(m[name], g[name]))
        close(walked[-1][1]["alignment"][name], weighted(cosines, decay), scale=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_momentum_that_has_cancelled_points_nowhere(dtype):
    """What is left of it is rounding, and how it was rounded is not to matter."""
    g = {"w": torch.tensor([[3.0, -0.0078125], [-4.0, -0.1], [-48.863, -104.407]], dtype=dtype)}
    tx = hf.trace_tam(0.9, 0.9, eps=0.0)
    state = [state for _, state in walk(tx, [g, mapped(torch.neg, g), g])][-1]
    assert float(state["alignment"]["w"]) == pytest.approx(0.9 * 0.1 * -1, abs=1e-6)


@law(g=trees(nonzero), decay=upto(0.9))
def test_a_gradient_against_the_momentum_is_taken_in_less(g, decay):
    walked = list(walk(hf.trace_tam(0.5, decay, eps=0.0), [g, mapped(torch.neg, g)]))
    close(walked[1][1]["alignment"], mapped(lambda x: number(decay - 1), g), scale=1)
    close(walked[1][0], mapped(lambda x: 0.5 * 0.5 * x - decay / 2 * x, g), scale=1e2)


# ema


@law(history=histories(), decay=rates)
def test_ema_is_the_weighted_mean_of_all_updates(history, decay):
    biased, free = run(hf.ema(decay, debias=False), history), run(hf.ema(decay), history)
    for t in range(len(history)):
        for name, x in biased[t].items():
            mean = weighted([g[name] for g in history[: t + 1]], decay)
            close(x, mean, scale=total_size(history, name))
            close(free[t][name], mean / (1 - decay ** (t + 1)), scale=total_size(history, name))


@law(g=trees(), decay=rates, steps=st.integers(1, 5))
def test_ema_of_a_constant_is_the_constant(g, decay, steps):
    close(run(hf.ema(decay), [g] * steps), [g] * steps)


@law(history=histories(), debias=st.booleans())
def test_ema_without_decay_passes_the_update(history, debias):
    same(run(hf.ema(0.0, debias), history), history)
