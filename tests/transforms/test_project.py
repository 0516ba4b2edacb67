"""Laws of hina_func/transforms/project.py."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import torch
from hypothesis import assume
from laws import close, dot, law, norm, once, same
from strategies import alike, entries, mapped, matrices, nonzero, positive, powers_of_two, several, tensors, trees

import hina_func as hf


def project(g: torch.Tensor, p: torch.Tensor, **others: torch.Tensor) -> torch.Tensor:
    return once(hf.orthogonal_project(), {"w": g, **others}, {"w": p, **others})["w"]


def apart(g: torch.Tensor, p: torch.Tensor) -> bool:
    """Whether the gradient is far enough from the parameter's line for 1e-12 to be a fair tolerance."""
    size = norm(g) * norm(p)
    return bool(size > 0) and bool(dot(g, p).abs() < 0.999 * size)


# orthogonal_project


@law(pair=alike(2, of=several))
def test_the_projection_is_orthogonal_to_the_parameter_at_the_gradients_size(pair):
    g, p = pair
    assume(apart(g, p))
    q = project(g, p)
    close(dot(q, p), 0.0, scale=norm(q) * norm(p))
    close(norm(q), norm(g))


@law(pair=alike(2, of=several))
def test_the_projection_stays_in_the_plane_of_gradient_and_parameter(pair):
    g, p = pair
    assume(apart(g, p))
    rest = g - dot(g, p) / dot(p, p) * p
    close(project(g, p), rest * norm(g) / norm(rest))


@law(pair=alike(2, of=several), c=powers_of_two, b=powers_of_two)
def test_the_projection_follows_the_scale_of_the_gradient_and_not_of_the_parameter(pair, c, b):
    g, p = pair
    same(project(-b * g, -c * p), -b * project(g, p))


@law(g=tensors((4,), entries), p=tensors((4,), entries), angle=st.floats(0, 2 * math.pi))
def test_the_projection_turns_with_gradient_and_parameter(g, p, angle):
    assume(apart(g, p))
    turn = torch.eye(4, dtype=torch.float64)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    close(project(turn @ g, turn @ p), turn @ project(g, p), tolerance=1e-11)


@law(pair=alike(2, of=several))
def test_projecting_twice_is_projecting_once(pair):
    g, p = pair
    assume(apart(g, p))
    q = project(g, p)
    close(project(q, p), q)


@law(pair=alike(2, of=several), lr=positive)
def test_plain_descent_along_the_projection_never_shrinks_the_parameter(pair, lr):
    g, p = pair
    assume(apart(g, p))
    after = p - lr * project(g, p)
    close(dot(after, after), dot(p, p) + lr**2 * dot(g, g))


@law(pair=alike(2, of=several), c=nonzero)
def test_rounding_noise_of_a_parallel_gradient_is_no_direction(pair, c):
    p, other = pair
    same(project(c * p, p, v=other), torch.zeros_like(p))


@law(g=trees())
def test_the_gradient_of_a_zero_parameter_passes(g):
    zero = mapped(torch.zeros_like, g)
    same(once(hf.orthogonal_project(), g, zero), g)
    same(once(hf.orthogonal_project(), zero, g), zero)


@law(g=trees(of=st.sampled_from([(), (1,), (1, 1)])))
def test_tensors_of_one_element_pass_the_projection(g):
    same(once(hf.orthogonal_project(), g, mapped(torch.ones_like, g)), g)


@law(pair=alike(2, of=several), others=alike(2, of=several))
def test_each_tensor_is_projected_for_itself(pair, others):
    g, p = pair
    extra, _ = others
    together = {"w": g, "v": g.flip(0), "x": extra}, {"w": p, "v": p.flip(0), "x": extra}
    same(once(hf.orthogonal_project(), *together)["w"], project(g, p))


# centralize


@law(g=trees(of=matrices))
def test_centralized_rows_have_no_mean(g):
    for name, u in once(hf.centralize(), g).items():
        close(u.flatten(1).mean(1), torch.zeros(u.shape[0]), scale=norm(g[name]))


@law(g=trees(of=matrices))
def test_centralizing_moves_all_entries_of_a_row_by_one_number(g):
    for name, u in once(hf.centralize(), g).items():
        moved = (g[name] - u).flatten(1)
        close(moved, g[name].flatten(1).mean(1, keepdim=True).expand_as(moved), scale=norm(g[name]))


@law(g=trees(of=matrices))
def test_centralizing_twice_is_centralizing_once(g):
    u = once(hf.centralize(), g)
    for name, twice in once(hf.centralize(), u).items():
        close(twice, u[name], scale=norm(g[name]))


@law(g=trees(of=matrices))
def test_the_optimizer_centralizes_rows_too(g):
    """It may hold tensors flattened, and must not where a formula reads dimensions."""
    params = mapped(lambda x: torch.nn.Parameter(torch.zeros_like(x)), g)
    for name, param in params.items():
        param.grad = g[name]
    hf.Optimizer(params, hf.centralize()).step()
    close(mapped(torch.Tensor.detach, params), once(hf.centralize(), g), scale=1e2)


@law(g=trees(of=st.sampled_from([(), (1,), (2,), (5,)])))
def test_tensors_of_fewer_than_two_dimensions_pass_centralizing(g):
    same(once(hf.centralize(), g), g)
