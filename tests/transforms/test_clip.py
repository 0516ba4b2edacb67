"""Laws of hina_func/transforms/clip.py."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import torch
from laws import close, dot, law, norm, once, same, walk
from strategies import entries, mapped, positive, powers_of_two, trees

import hina_func as hf

bounds = st.sampled_from([0.0, 0.5, 1.0]) | positive
odd = entries | st.sampled_from([math.nan, math.inf, -math.inf])


def whole(tree: dict[str, torch.Tensor]) -> torch.Tensor:
    """All entries in one vector."""
    return torch.cat([tree[name].flatten() for name in sorted(tree)])


# clip_by_value


@law(g=trees(), c=bounds)
def test_no_entry_is_larger_than_the_bound_and_entries_within_it_pass(g, c):
    for name, u in once(hf.clip_by_value(c), g).items():
        x = g[name]
        assert (u.abs() <= c).all()
        same(u[x.abs() <= c], x[x.abs() <= c])
        same(u[x.abs() > c], c * x.sign()[x.abs() > c])


@law(g=trees(), c=bounds)
def test_clipping_twice_is_clipping_once(g, c):
    u = once(hf.clip_by_value(c), g)
    same(once(hf.clip_by_value(c), u), u)
    same(once(hf.clip_by_value(c), mapped(torch.neg, g)), mapped(torch.neg, u))


# clip_by_norm


@law(g=trees(), c=bounds)
def test_no_tensor_is_longer_than_the_bound_and_each_keeps_its_direction(g, c):
    for name, u in once(hf.clip_by_norm(c), g).items():
        x = g[name]
        close(norm(u), norm(x).clamp_max(c))
        close(u * norm(x), x * norm(u), scale=norm(x) * norm(u))
        assert dot(u, x) >= 0
        if norm(x) < c:
            same(u, x)


@law(g=trees(), c=positive, a=powers_of_two)
def test_clipping_by_norm_scales_with_update_and_bound_together(g, c, a):
    u = once(hf.clip_by_norm(c), g)
    same(once(hf.clip_by_norm(a * c), mapped(lambda x: a * x, g)), mapped(lambda x: a * x, u))


@law(g=trees(), c=positive)
def test_clipping_by_norm_treats_each_tensor_for_itself(g, c):
    together = once(hf.clip_by_norm(c), g)
    for name, x in g.items():
        same(together[name], once(hf.clip_by_norm(c), {name: x})[name])


# clip_by_global_norm


@law(g=trees(), c=bounds)
def test_all_tensors_together_are_not_longer_than_the_bound_and_keep_their_direction(g, c):
    u, x = whole(once(hf.clip_by_global_norm(c), g)), whole(g)
    close(norm(u), norm(x).clamp_max(c))
    close(u * norm(x), x * norm(u), scale=norm(x) * norm(u))
    assert dot(u, x) >= 0
    if norm(x) < c * (1 - 1e-12):
        same(u, x)


@law(g=trees(), c=positive)
def test_clipping_by_global_norm_is_clipping_by_norm_of_one_long_tensor(g, c):
    close(whole(once(hf.clip_by_global_norm(c), g)), once(hf.clip_by_norm(c), {"w": whole(g)})["w"])


@law(g=trees(), c=positive, name=st.sampled_from(["b", "v", "w"]))
def test_a_nan_anywhere_is_not_taken_for_a_short_gradient(g, c, name):
    g[name] = torch.full_like(g[name], math.nan)
    for u in once(hf.clip_by_global_norm(c), g).values():
        assert torch.isnan(u).all()
    assert torch.isnan(once(hf.clip_by_norm(c), g)[name]).all()


# zero_nans


@law(g=trees(odd))
def test_only_nans_become_zero(g):
    ((u, _),) = walk(hf.zero_nans(), [g])
    for name, x in g.items():
        same(u[name], torch.where(x != x, 0.0, x))


@law(g=trees(odd), h=trees(odd))
def test_the_state_tells_which_tensors_held_a_nan_last(g, h):
    h = {name: h[name].flatten()[0].expand_as(x) for name, x in g.items()}
    *_, (_, state) = walk(hf.zero_nans(), [g, h])
    same(state["found_nan"], mapped(lambda x: torch.isnan(x).any(), h))
