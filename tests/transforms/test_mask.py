"""Laws of hina_func/transforms/mask.py."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from laws import close, dot, law, norm, once, run, same
from strategies import alike, entries, histories, mapped, nonzero, positive, powers_of_two, several, tree_pairs, trees

import hina_func as hf

RESCALES = ["mean", "count", None]
rescales = st.sampled_from(RESCALES)
pairs = tree_pairs(entries)


def cautious(u, g, **options):
    return once(hf.cautious_mask(**options), u, grads=g)


def grams(u, g):
    return once(hf.grams_sign(), u, grads=g)


# cautious_mask


@law(pair=pairs, rescale=rescales)
def test_no_entry_of_a_cautious_update_opposes_the_gradient(pair, rescale):
    u, g = pair
    for name, x in cautious(u, g, rescale=rescale).items():
        assert (x * g[name] >= 0).all()
        assert dot(x, g[name]) >= 0


@law(pair=pairs, rescale=rescales)
def test_what_agrees_is_kept_with_its_sign_and_all_else_is_dropped(pair, rescale):
    u, g = pair
    for name, x in cautious(u, g, rescale=rescale).items():
        agree = u[name].sign() * g[name].sign() == 1
        same(x[~agree], torch.zeros_like(x[~agree]))
        same(x[agree].sign(), u[name][agree].sign())


@law(pair=pairs)
def test_survivors_are_boosted_by_the_share_that_survived(pair):
    u, g = pair
    boosted, counted, plain = (cautious(u, g, rescale=rescale) for rescale in RESCALES)
    for name, x in u.items():
        agree = x * g[name] > 0
        n, kept = x.numel(), int(agree.sum())
        close(boosted[name], x * agree * n / max(kept, 1e-3 * n))
        close(counted[name], x * agree * n / (kept + 1))
        same(plain[name], x * agree)


@law(u=trees(nonzero), c=positive)
def test_an_update_along_the_gradient_is_left_alone(u, c):
    g = mapped(lambda x: c * x, u)
    same(cautious(u, g), u)
    same(cautious(u, g, rescale=None), u)
    close(cautious(u, g, rescale="count"), mapped(lambda x: x * x.numel() / (x.numel() + 1), u))


@law(pair=pairs)
def test_masking_twice_keeps_the_same_entries_and_boosts_them_again(pair):
    u, g = pair
    plain = cautious(u, g, rescale=None)
    same(cautious(plain, g, rescale=None), plain)
    for name, x in cautious(cautious(u, g), g).items():
        share = (plain[name] != 0).to(torch.float64).mean().clamp_min(1e-3)
        close(x, plain[name] / share**2)


@law(pair=pairs, a=powers_of_two, b=powers_of_two, rescale=rescales)
def test_a_cautious_update_follows_the_scale_of_the_update_and_not_of_the_gradient(pair, a, b, rescale):
    u, g = pair
    scaled = cautious(mapped(lambda x: a * x, u), mapped(lambda x: b * x, g), rescale=rescale)
    same(scaled, mapped(lambda x: a * x, cautious(u, g, rescale=rescale)))


@law(data=st.data(), pair=alike(2, of=several), rescale=rescales)
def test_a_cautious_update_does_not_depend_on_the_order_of_entries(data, pair, rescale):
    u, g = (x.flatten() for x in pair)
    order = torch.tensor(data.draw(st.permutations(range(u.numel()))))
    turned = cautious({"w": u[order]}, {"w": g[order]}, rescale=rescale)["w"]
    same(turned, cautious({"w": u}, {"w": g}, rescale=rescale)["w"][order])


@law(u=trees(), rescale=rescales)
def test_an_update_against_the_gradient_is_dropped_whole(u, rescale):
    same(cautious(u, mapped(torch.neg, u), rescale=rescale), mapped(torch.zeros_like, u))


@law(u=trees(), rescale=rescales)
def test_entries_without_a_gradient_are_dropped(u, rescale):
    same(cautious(u, mapped(torch.zeros_like, u), rescale=rescale), mapped(torch.zeros_like, u))


@law(pair=pairs, bound=positive, rescale=st.sampled_from(["mean", "count"]))
def test_the_boost_is_bounded_by_max_scale(pair, bound, rescale):
    u, g = pair
    free = cautious(u, g, rescale=rescale)
    for name, x in cautious(u, g, rescale=rescale, max_scale=bound).items():
        kept = (u[name] * g[name] > 0).to(torch.float64) * u[name]
        held = norm(free[name]) > bound * norm(kept)
        close(x, bound * kept if held else free[name])


@law(g=trees())
def test_cautious_adam_starts_with_adams_step_over_the_share_of_entries_with_a_gradient(g):
    adam = hf.scale_by_adam()
    for name, x in once(hf.chain(adam, hf.cautious_mask()), g).items():
        share = (g[name] != 0).to(torch.float64).mean().clamp_min(1e-3)
        close(x, once(adam, g)[name] / share)


@pytest.mark.parametrize(("rescale", "boost"), [("mean", 16.0), ("count", 8.0), (None, 1.0)])
def test_one_survivor_of_sixteen_is_boosted_as_published(rescale, boost):
    u, g = torch.ones(16, dtype=torch.float64), -torch.ones(16, dtype=torch.float64)
    g[3] = 1
    same(cautious({"w": u}, {"w": g}, rescale=rescale)["w"].max(), torch.tensor(boost, dtype=torch.float64))


def test_the_boost_of_few_survivors_stops_at_a_thousand():
    u, g = torch.ones(4000, dtype=torch.float64), -torch.ones(4000, dtype=torch.float64)
    g[0] = 1
    close(cautious({"w": u}, {"w": g})["w"].max(), 1000.0)


# grams_sign


@law(pair=pairs)
def test_grams_keeps_sizes_and_takes_the_signs_of_the_gradient(pair):
    u, g = pair
    for name, x in grams(u, g).items():
        same(x.abs(), u[name].abs() * (g[name] != 0))
        same(x * (u[name] != 0), x)
        same(x.sign(), g[name].sign() * (u[name] != 0))


@law(pair=pairs)
def test_grams_descends_at_least_as_fast_as_caution_and_that_as_the_update(pair):
    u, g = pair
    masked, signed = cautious(u, g, rescale=None), grams(u, g)
    for name in u:
        slack = 1e-12 * norm(u[name]) * norm(g[name])
        descents = [dot(x[name], g[name]) for x in (signed, masked, u)]
        close(descents[0], (u[name] * g[name]).abs().sum())
        assert descents[0] >= descents[1] - slack
        assert descents[1] >= descents[2] - slack


@law(pair=tree_pairs(nonzero))
def test_grams_reflects_where_caution_drops(pair):
    u, g = pair
    same(grams(u, g), mapped(lambda c, x: 2 * c - x, cautious(u, g, rescale=None), u))


@law(pair=pairs)
def test_grams_twice_is_grams(pair):
    u, g = pair
    same(grams(grams(u, g), g), grams(u, g))


@law(pair=pairs, a=powers_of_two, b=powers_of_two)
def test_grams_follows_the_size_of_the_update_and_not_of_the_gradient(pair, a, b):
    u, g = pair
    scaled = grams(mapped(lambda x: -a * x, u), mapped(lambda x: b * x, g))
    same(scaled, mapped(lambda x: a * x, grams(u, g)))


@law(history=histories())
def test_grams_changes_nothing_in_adam_without_momentum(history):
    adam = hf.scale_by_adam(b1=0.0)
    same(run(hf.chain(adam, hf.grams_sign()), history), run(adam, history))


@law(g=trees())
def test_grams_changes_nothing_in_adams_first_step(g):
    same(once(hf.chain(hf.scale_by_adam(), hf.grams_sign()), g), once(hf.scale_by_adam(), g))


@law(pair=pairs)
def test_caution_changes_nothing_behind_grams(pair):
    u, g = pair
    same(cautious(grams(u, g), g, rescale=None), grams(u, g))
