"""Laws of hina_func/transforms/scale.py."""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from hypothesis import assume
from laws import close, dot, law, norm, once, run, same
from strategies import (
    alike,
    entries,
    histories,
    mapped,
    nonzero,
    positive,
    powers_of_two,
    several,
    tensors,
    tree_pairs,
    trees,
    upto,
)

import hina_func as hf

# scale, scale_by_learning_rate, scale_by_schedule


@law(g=trees(), a=nonzero)
def test_scale_multiplies_each_entry(g, a):
    same(once(hf.scale(a), g), mapped(lambda x: a * x, g))


@law(g=trees(), lr=positive)
def test_the_learning_rate_turns_the_direction_downhill(g, lr):
    same(once(hf.scale_by_learning_rate(lr), g), mapped(lambda x: -(lr * x), g))
    same(once(hf.scale_by_learning_rate(lr, flip_sign=False), g), mapped(lambda x: lr * x, g))


@law(history=histories(), values=st.lists(nonzero, min_size=5, max_size=5))
def test_a_schedule_sees_the_number_of_updates_before_this_one(history, values):
    table = torch.tensor(values, dtype=torch.float64)
    for tx in (hf.scale_by_schedule(lambda step: table[step]), hf.scale(lambda step: table[step])):
        same(run(tx, history), [mapped(lambda x, a=a: a * x, g) for a, g in zip(values, history, strict=False)])


@law(history=histories(), values=st.lists(positive, min_size=5, max_size=5))
def test_a_scheduled_learning_rate_is_the_schedule_times_minus_one(history, values):
    table = torch.tensor(values, dtype=torch.float64)
    same(
        run(hf.scale_by_learning_rate(lambda step: table[step]), history),
        [mapped(lambda x, a=a: -a * x, g) for a, g in zip(values, history, strict=False)],
    )


# scale_by_agr


def share(x: torch.Tensor) -> torch.Tensor:
    return x.abs() / x.abs().sum()


@law(g=trees(nonzero, several))
def test_agr_keeps_signs_and_damps_each_entry_by_its_share(g):
    for x, u in zip(g.values(), once(hf.scale_by_agr(), g).values(), strict=True):
        assert (u * x >= 0).all()
        close(u / x, 1 - share(x))


@law(g=trees(of=several))
def test_agr_takes_the_square_norm_over_the_one_norm_from_the_one_norm(g):
    for x, u in zip(g.values(), once(hf.scale_by_agr(), g).values(), strict=True):
        assume(x.any())
        one_norm, n = x.abs().sum(), x.numel()
        close(u.abs().sum(), one_norm - dot(x, x) / one_norm, scale=one_norm)
        assert u.abs().sum() <= (1 - 1 / n) * one_norm * (1 + 1e-12)


@law(g=trees(), c=powers_of_two)
def test_agr_follows_the_scale_of_the_gradient_and_its_sign(g, c):
    u = once(hf.scale_by_agr(), g)
    same(once(hf.scale_by_agr(), mapped(lambda x: -c * x, g)), mapped(lambda x: -c * x, u))


@law(size=positive, signs=alike(1, st.sampled_from([-1.0, 1.0]), several))
def test_agr_shrinks_a_uniform_gradient_by_one_over_its_size(size, signs):
    x = size * signs[0]
    close(once(hf.scale_by_agr(), {"w": x})["w"], (1 - 1 / x.numel()) * x)


@law(size=nonzero, place=st.integers(0, 4))
def test_agr_maps_a_one_hot_gradient_to_zero(size, place):
    x = torch.zeros(5, dtype=torch.float64)
    x[place] = size
    same(once(hf.scale_by_agr(), {"w": x, "v": torch.ones(5, dtype=torch.float64)})["w"], torch.zeros_like(x))


@law(g=trees(of=st.sampled_from([(), (1,), (1, 1)])))
def test_agr_passes_tensors_of_one_element(g):
    same(once(hf.scale_by_agr(), g), g)


def test_agr_passes_a_zero_gradient():
    g = {"w": torch.zeros(2, 3, dtype=torch.float64)}
    same(once(hf.scale_by_agr(), g), g)


# scale_by_trust_ratio


@law(pair=tree_pairs(nonzero), c=positive, eps=upto(10))
def test_the_trust_ratio_gives_the_update_the_size_of_the_parameter(pair, c, eps):
    g, p = pair
    for name, u in once(hf.scale_by_trust_ratio(0.0, c, eps), g, p).items():
        close(u, c * norm(p[name]) / (norm(g[name]) + eps) * g[name])


@law(pair=tree_pairs(nonzero), c=powers_of_two, a=powers_of_two)
def test_the_trust_ratio_follows_the_scale_of_the_parameter_and_not_of_the_update(pair, c, a):
    g, p = pair
    tx = hf.scale_by_trust_ratio()
    scaled = once(tx, mapped(lambda x: a * x, g), mapped(lambda x: c * x, p))
    same(scaled, mapped(lambda x: c * x, once(tx, g, p)))


@law(pair=tree_pairs(nonzero), floor=positive)
def test_the_trust_ratio_counts_no_norm_below_its_floor(pair, floor):
    g, p = pair
    for name, u in once(hf.scale_by_trust_ratio(floor), g, p).items():
        close(u, norm(p[name]).clamp_min(floor) / norm(g[name]).clamp_min(floor) * g[name])


@law(x=tensors((3,), entries))
def test_the_trust_ratio_passes_updates_of_zero_parameters_and_zero_updates(x):
    zero = torch.zeros_like(x)
    g, p = {"w": x, "v": zero, "u": x}, {"w": zero, "v": x, "u": torch.ones_like(x)}
    u = once(hf.scale_by_trust_ratio(), g, p)
    same({"w": u["w"], "v": u["v"]}, {"w": x, "v": zero})
