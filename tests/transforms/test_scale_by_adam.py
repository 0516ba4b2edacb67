"""Laws of hina_func/transforms/scale_by_adam.py, torque included."""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from laws import close, cosine, law, norm, number, once, run, same, walk, weighted, weights
from strategies import (
    entries,
    histories,
    mapped,
    nonzero,
    positive,
    powers_of_two,
    rates,
    several,
    tensors,
    trees,
    upto,
)

import hina_func as hf

betas = st.tuples(rates, st.sampled_from([0.0, 0.5, 0.9]) | st.floats(0.01, 0.99))
small = upto(1)

# scale_by_adam


def mean(values: list[torch.Tensor], decay: float) -> torch.Tensor:
    """The average without the weight that its zero start still has."""
    return weighted(values, decay) / sum(weights(decay, len(values)))


@law(history=histories(), betas=betas, eps=positive, eps_root=small)
def test_adam_divides_the_weighted_mean_by_the_root_of_the_weighted_mean_square(history, betas, eps, eps_root):
    b1, b2 = betas
    for t, u in enumerate(run(hf.scale_by_adam(b1, b2, eps, eps_root), history), 1):
        for name, x in u.items():
            seen = [g[name] for g in history[:t]]
            root = (mean([g * g for g in seen], b2) + eps_root).sqrt()
            close(x, mean(seen, b1) / (root + eps), scale=max(norm(g) for g in seen) / eps)


@law(g=trees(), debias=st.sampled_from(["moments", "step"]))
def test_adam_without_eps_starts_with_the_sign_of_the_gradient(g, debias):
    for name, x in once(hf.scale_by_adam(eps=1e-300, debias=debias), g).items():
        close(x, g[name].sign())


@law(g=trees(nonzero), betas=betas, steps=st.integers(1, 6), debias=st.sampled_from(["moments", "step"]))
def test_adam_maps_a_constant_gradient_to_its_sign_at_every_step(g, betas, steps, debias):
    tx = hf.scale_by_adam(*betas, eps=0.0, debias=debias)
    close(run(tx, [g] * steps), [mapped(torch.sign, g)] * steps)


@law(history=histories(nonzero), c=powers_of_two, nesterov=st.booleans(), debias=st.sampled_from(["moments", "step"]))
def test_adam_without_eps_does_not_see_the_scale_of_the_gradients(history, c, nesterov, debias):
    tx = hf.scale_by_adam(eps=0.0, nesterov=nesterov, debias=debias)
    same(run(tx, [mapped(lambda x: c * x, g) for g in history]), run(tx, history))


@law(history=histories(), nesterov=st.booleans())
def test_adam_follows_the_sign_of_the_gradients(history, nesterov):
    tx = hf.scale_by_adam(nesterov=nesterov)
    same(run(tx, [mapped(torch.neg, g) for g in history]), [mapped(torch.neg, u) for u in run(tx, history)])


@law(history=histories(), eps=positive, eps_root=small, betas=betas)
def test_debias_by_step_is_debias_of_moments_with_a_larger_eps_at_first(history, eps, eps_root, betas):
    b1, b2 = betas
    missing = 1 - b2 ** len(history)
    by_step = run(hf.scale_by_adam(b1, b2, eps, eps_root, debias="step"), history)[-1]
    by_moments = run(hf.scale_by_adam(b1, b2, eps / missing**0.5, eps_root / missing), history)[-1]
    close(by_step, by_moments, scale=1)


@law(g=trees(nonzero), b1=rates, steps=st.integers(1, 5))
def test_nesterov_looks_one_step_ahead_in_the_mean(g, b1, steps):
    u = run(hf.scale_by_adam(b1, 0.5, eps=0.0, nesterov=True), [g] * steps)[-1]
    ahead = b1 * (1 - b1**steps) / (1 - b1 ** (steps + 1)) + (1 - b1) / (1 - b1**steps)
    close(u, mapped(lambda x: ahead * x.sign(), g))


@law(g=trees(nonzero), b1=rates, steps=st.integers(1, 5))
def test_nesterov_with_debias_by_step_mixes_the_gradient_into_the_mean_once_more(g, b1, steps):
    u = run(hf.scale_by_adam(b1, 0.5, eps=0.0, nesterov=True, debias="step"), [g] * steps)[-1]
    ahead = (1 - b1 ** (steps + 1)) / (1 - b1**steps)
    close(u, mapped(lambda x: ahead * x.sign(), g))


@law(history=histories())
def test_nesterov_without_momentum_is_adam_without_momentum(history):
    same(run(hf.scale_by_adam(0.0, nesterov=True), history), run(hf.scale_by_adam(0.0), history))


@law(g=trees(nonzero), betas=betas)
def test_a_first_gradient_of_zero_does_not_make_the_second_step_large(g, betas):
    b1, b2 = betas
    zero = mapped(torch.zeros_like, g)
    first, second = run(hf.scale_by_adam(b1, b2, eps=1e-300), [zero, g])
    same(first, zero)
    close(second, mapped(lambda x: (1 + b2) ** 0.5 / (1 + b1) * x.sign(), g))


@law(history=histories(nonzero), sizes=st.fixed_dictionaries(dict.fromkeys(("b", "v", "w"), powers_of_two)))
def test_learning_rates_of_tensors_are_lost_on_adam_without_eps(history, sizes):
    """So they belong behind it."""
    tx = hf.scale_by_adam(eps=0.0)
    faster = [{name: sizes[name] * x for name, x in g.items()} for g in history]
    same(run(tx, faster), run(tx, history))


@law(history=histories(), betas=betas)
def test_a_rate_may_be_a_tensor(history, betas):
    for make in (hf.scale_by_adam, hf.scale_by_adatam):
        close(run(make(*map(number, betas)), history), run(make(*betas), history), scale=1)


# scale_by_adatam


@law(history=histories(of=several, max_steps=5), decay=upto(1))
def test_alignment_and_damping_stay_in_their_ranges(history, decay):
    for tx in (hf.scale_by_adatam(decay=decay), hf.trace_tam(decay=decay), hf.scale_by_adopt_tam(decay=decay)):
        for _, state in walk(tx, history):
            for s in state["alignment"].values():
                assert -1 <= s <= 1


@law(g=trees(nonzero), decay=upto(1), steps=st.integers(1, 5))
def test_a_constant_gradient_aligns_from_its_second_step_on(g, decay, steps):
    for tx in (hf.scale_by_adatam(decay=decay), hf.trace_tam(decay=decay)):
        *_, (_, state) = walk(tx, [g] * steps)
        close(state["alignment"], mapped(lambda x: number(1 - decay ** (steps - 1)), g), scale=1)


def test_the_damping_of_a_constant_gradient_grows_as_published():
    g = {"w": torch.tensor([3.0, -4.0], dtype=torch.float64)}
    dampings = [(1 + float(state["alignment"]["w"])) / 2 for _, state in walk(hf.scale_by_adatam(), [g] * 4)]
    close(dampings, [0.5, 0.55, 0.595, 0.6355])


@law(history=histories(of=several), decay=upto(1), b1=rates)
def test_alignment_is_the_smoothed_cosine_of_a_gradient_with_the_momentum_before_it(history, decay, b1):
    states = [state for _, state in walk(hf.scale_by_adatam(b1, decay=decay), history)]
    for name in history[0]:
        cosines = [number(0)]
        for state, g in zip(states, history[1:], strict=False):
            cosines.append(cosine(state["mu"][name], g[name]))
        expected = weighted(cosines, decay)
        close(states[-1]["alignment"][name], expected, scale=1)


@law(history=histories(max_steps=4), betas=betas)
def test_adatam_that_never_learns_an_alignment_is_half_of_adam(history, betas):
    half = [mapped(lambda x: x / 2, u) for u in run(hf.scale_by_adam(*betas, eps=1e-300), history)]
    same(run(hf.scale_by_adatam(*betas, eps=1e-300, decay=1.0), history), half)


@law(history=histories(), betas=betas, decay=rates)
def test_adatam_measures_sizes_on_the_undamped_gradient(history, betas, decay):
    ours = walk(hf.scale_by_adatam(*betas, decay=decay), history)
    for (_, damped), (_, plain) in zip(ours, walk(hf.scale_by_adam(*betas), history), strict=True):
        same(damped["nu"], plain["nu"])


@law(history=histories(of=several, min_steps=2), b1=rates, eps=small, decay=rates)
def test_adatam_damps_the_incoming_gradient_and_never_the_momentum(history, b1, eps, decay):
    states = [state for _, state in walk(hf.scale_by_adatam(b1, eps=eps, decay=decay), history)]
    for before, after, g in zip(states, states[1:], history[1:], strict=False):
        for name, x in g.items():
            entering = after["mu"][name] - b1 * before["mu"][name]
            damping = (1 + after["alignment"][name]) / 2
            close(entering, (1 - b1) * (damping + eps) * x, scale=norm(before["mu"][name]))


@law(history=histories(), betas=betas, eps=positive)
def test_adatam_divides_by_the_root_of_its_mean_square_and_eps(history, betas, eps):
    b1, b2 = betas
    for t, (u, state) in enumerate(walk(hf.scale_by_adatam(b1, b2, eps), history), 1):
        for name, x in u.items():
            mu, nu = state["mu"][name] / (1 - b1**t), state["nu"][name] / (1 - b2**t)
            close(x, mu / (nu.sqrt() + eps), scale=norm(mu) / eps)


def test_adatam_has_the_numbers_of_adam_and_forgets_alignments_as_it_forgets_gradients():
    tiny = [{"w": 1e-8 * torch.tensor([3.0, x], dtype=torch.float64)} for x in (1.0, -2.0, 0.5)]
    same(run(hf.scale_by_adatam(), tiny), run(hf.scale_by_adatam(0.9, 0.999, eps=1e-8, decay=0.9), tiny))


@law(history=histories(nonzero), c=powers_of_two)
def test_adatam_without_eps_does_not_see_the_scale_of_the_gradients(history, c):
    tx = hf.scale_by_adatam(eps=0.0)
    scaled = [mapped(lambda x: c * x, g) for g in history]
    same(run(tx, scaled), run(tx, history))
    same([s["alignment"] for _, s in walk(tx, scaled)], [s["alignment"] for _, s in walk(tx, history)])


@law(g=trees(nonzero), b1=rates)
def test_adatam_starts_with_half_the_sign_of_the_gradient(g, b1):
    close(once(hf.scale_by_adatam(b1, eps=0.0), g), mapped(lambda x: x.sign() / 2, g))


@law(history=histories(nonzero, max_steps=5), betas=betas, decay=rates)
def test_adatam_is_adam_fed_with_damped_gradients_over_adams_own_sizes(history, betas, decay):
    b1, b2 = betas
    walked = list(walk(hf.scale_by_adatam(b1, b2, eps=0.0, decay=decay), history))
    for name in history[0]:
        damped = [(1 + s["alignment"][name]) / 2 * g[name] for (_, s), g in zip(walked, history, strict=True)]
        squares = [g[name] ** 2 for g in history]
        close(walked[-1][0][name], mean(damped, b1) / mean(squares, b2).sqrt(), scale=1)


@law(x=tensors((2, 3), entries))
def test_moments_without_any_gradient_give_nothing(x):
    zero = {"w": torch.zeros_like(x)}
    for tx in (hf.scale_by_adam(), hf.scale_by_adam(debias="step"), hf.scale_by_adatam()):
        same(run(tx, [zero, zero]), [zero, zero])
