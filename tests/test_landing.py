"""A step that ends with a pull lands first, in the parameter's place, and is the same step; others are left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from hina_func.numerics import norm
from hina_func.optim.graph import after, in_place_of
from hina_func.optim.landing import land_first


def toward(p: Tensor, g: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is added, how much of what is taken off."""
    u = -0.1 * norm(g) * g
    landed = (p - anchor) + u
    return u, norm(landed), landed


def toward_nothing(p: Tensor, g: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u = -0.1 * norm(g) * g + 0.01 * p
    landed = p + u
    return u, norm(landed), landed


def from_the_landing(p: Tensor, g: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u = -0.1 * g
    landed = p + u
    return u, norm(landed) * 0.5, landed - anchor


pulling = pytest.mark.parametrize("parts", [toward, toward_nothing, from_the_landing])


def pulled(parts):
    def step(p: Tensor, g: Tensor, anchor: Tensor) -> None:
        u, share, drift = parts(p, g, anchor)
        p.add_(u - share * drift)

    return step


def traced(step, *tensors: Tensor) -> fx.GraphModule:
    def flat(*tensors: Tensor) -> tuple[()]:
        step(*tensors)
        return ()

    return make_fx(flat, tracing_mode="symbolic")(*tensors)


def drawn() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 7, generator=generator, dtype=torch.float64) / 4 for _ in range(3)]


def node_of(graph: fx.Graph, target) -> fx.Node:
    return next(node for node in graph.nodes if node.target == target)


@pulling
def test_it_is_the_same_step(parts):
    graph_module = traced(pulled(parts), *drawn())
    land_first(graph_module.graph)
    graph_module.recompile()
    expected, found = drawn(), drawn()
    pulled(parts)(*expected)
    graph_module(*found)
    for x, y in zip(expected, found, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-14, atol=1e-14)
    assert not torch.equal(expected[0], drawn()[0])


@pulling
def test_what_is_stored_where_the_parameter_lies_is_its_way_from_the_anchor(parts):
    graph = traced(pulled(parts), *drawn()).graph
    land_first(graph)
    landed, place, _ = node_of(graph, in_place_of).args
    assert place is next(iter(graph.nodes))
    *_, output = graph.nodes
    output.args = (landed,)
    (u, _, _), (start, _, anchor) = parts(*drawn()), drawn()
    found = fx.GraphModule({}, graph)(*drawn())
    torch.testing.assert_close(found, start + u - (parts is not toward_nothing) * anchor, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("parts", [toward, toward_nothing])
def test_the_parameter_is_read_when_the_last_sum_before_the_landing_is_known(parts):
    graph = traced(pulled(parts), *drawn()).graph
    land_first(graph)
    param, late = next(iter(graph.nodes)), node_of(graph, after)
    assert set(param.users) == {late, node_of(graph, in_place_of), node_of(graph, torch.ops.aten.copy_.default)}
    assert late.args[1] is node_of(graph, torch.ops.aten.linalg_vector_norm.default)


def without_a_pull(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    p.add_(-0.1 * norm(g) * g)


def with_a_pull_of_each_element(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    u = -0.1 * g
    p.add_(u - g * (p + u))


def toward_twice_the_landing(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    u = -0.1 * g
    p.add_(u - norm(g) * ((p + u) + p))


def with_decay_of_the_parameter_before(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    u = -0.1 * g
    p.add_(u - norm(g) * p)


def toward_what_it_computes(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    u = -0.1 * g
    p.add_(u - norm(g) * ((p + u) - anchor * 2))


def toward_what_it_writes(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    u = -0.1 * g
    move = u - norm(g) * ((p + u) - anchor)
    anchor.copy_(g)
    p.add_(move)


def away(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    u = -0.1 * g
    p.add_(u + norm(g) * (p + u))


def by_a_constant(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    u = -0.1 * g
    p.add_(u - 0.5 * (p + u))


def by_twice_the_pull(p: Tensor, g: Tensor, anchor: Tensor) -> None:
    u = -0.1 * g
    p.add_(torch.sub(u, norm(g) * (p + u), alpha=2))


@pytest.mark.parametrize(
    "step",
    [
        without_a_pull,
        with_a_pull_of_each_element,
        toward_twice_the_landing,
        with_decay_of_the_parameter_before,
        toward_what_it_computes,
        toward_what_it_writes,
        away,
        by_a_constant,
        by_twice_the_pull,
    ],
)
def test_a_graph_that_ends_otherwise_is_left_as_it_is(step):
    graph_module = traced(step, *drawn())
    before = str(graph_module.graph)
    land_first(graph_module.graph)
    assert str(graph_module.graph) == before
