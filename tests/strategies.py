"""What the tests draw: float64 tensors, element by element, so that a failure shrinks and replays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import hypothesis.strategies as st
import torch
from torch import Tensor

from hina_func.testing import strategies as shipped

Tree = dict[str, Tensor]
Shape = tuple[int, ...]

SMALLEST, LARGEST = 1e-2, 1e2

signed = st.floats(-LARGEST, LARGEST, allow_subnormal=False)
entries = signed.map(lambda x: x if abs(x) >= SMALLEST else 0.0)
"""Zero, or of a size at which squares neither overflow nor vanish beside each other."""

nonzero = signed.map(lambda x: math.copysign(max(abs(x), SMALLEST), x))
positive = st.floats(SMALLEST, LARGEST)
factors = st.floats(-2, 2).map(lambda x: math.copysign(max(abs(x), 0.25), x))
"""Entries of well-conditioned adapter factors, none of them zero."""

rates = st.sampled_from([0.0, 0.5, 0.9]) | st.floats(0.01, 0.95)
"""Decay rates of averages."""


def upto(largest: float) -> st.SearchStrategy[float]:
    """Zero, or a number of ordinary size: beside the smallest doubles nothing holds to the bit."""
    return st.just(0.0) | st.floats(1e-3, largest)


powers_of_two = st.integers(-6, 6).map(lambda k: 2.0**k)
"""Multiplying by these rounds nothing, so that laws of scale hold to the bit."""

shapes = st.sampled_from([(), (1,), (2,), (3,), (5,), (1, 1), (2, 3), (3, 1), (2, 1, 3), (2, 2, 2)])
several = st.sampled_from([(2,), (3,), (5,), (2, 3), (3, 1), (2, 2, 2)])
"""Shapes of more than one element."""

matrices = st.sampled_from([(1, 2), (2, 3), (3, 1), (3, 3), (2, 1, 3), (2, 2, 2)])


@cache
def tensors(shape: Shape, elements: st.SearchStrategy[float] = entries) -> st.SearchStrategy[Tensor]:
    """A tensor of this shape, each element drawn."""
    return shipped.tensors(shape, elements)


def cut(values: Tensor, shapes: dict[str, Shape]) -> Tree:
    """A vector in pieces of these shapes."""
    pieces = values.split([math.prod(shape) for shape in shapes.values()])
    return {name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


@st.composite
def alike(
    draw: st.DrawFn, n: int, elements: st.SearchStrategy[float] = entries, of: st.SearchStrategy[Shape] = shapes
) -> tuple[Tensor, ...]:
    """``n`` tensors of one shape."""
    return tuple(draw(tensors((n, *draw(of)), elements)))


@st.composite
def histories(
    draw: st.DrawFn,
    elements: st.SearchStrategy[float] = entries,
    of: st.SearchStrategy[Shape] = shapes,
    min_steps: int = 1,
    max_steps: int = 4,
) -> list[Tree]:
    """Gradients of successive steps: trees of three tensors. Those of v and w agree in shape and meet in one column."""
    shape = draw(of)
    shapes = {"b": draw(of), "v": shape, "w": shape}
    steps, size = draw(st.integers(min_steps, max_steps)), sum(map(math.prod, shapes.values()))
    return [cut(row, shapes) for row in draw(tensors((steps, size), elements))]


def trees(
    elements: st.SearchStrategy[float] = entries, of: st.SearchStrategy[Shape] = shapes
) -> st.SearchStrategy[Tree]:
    """One such tree."""
    return histories(elements, of, 1, 1).map(lambda history: history[0])


def tree_pairs(
    elements: st.SearchStrategy[float] = entries, of: st.SearchStrategy[Shape] = shapes
) -> st.SearchStrategy[tuple[Tree, Tree]]:
    """Two trees of the same structure, such as gradients and parameters."""
    return histories(elements, of, 2, 2).map(tuple)


def like(tree: Tree, elements: st.SearchStrategy[float] = entries) -> st.SearchStrategy[Tree]:
    """A tree with the names and shapes of another."""
    shapes = {name: tuple(x.shape) for name, x in tree.items()}
    return tensors((sum(map(math.prod, shapes.values())),), elements).map(lambda values: cut(values, shapes))


def invertible(size: int) -> st.SearchStrategy[Tensor]:
    """A square matrix with a tame inverse: unit triangular times diagonal."""

    def build(parts: tuple[Tensor, Tensor]) -> Tensor:
        below, diagonal = parts
        return (below.tril(-1) + torch.eye(size, dtype=torch.float64)) * diagonal

    ratios = st.sampled_from([-2.0, -0.5, 0.5, 1.0, 3.0])
    return st.tuples(tensors((size, size), st.floats(-1, 1)), tensors((size,), ratios)).map(build)


sides = st.sampled_from([2, 1, 3])
w1_forms = st.sampled_from(["full", "factored"])
w2_forms = st.sampled_from(["full", "factored", "conv", "factored conv", "tucker"])


@st.composite
def lora_modules(draw: st.DrawFn, elements: st.SearchStrategy[float] = factors, key: str = "q") -> Tree:
    """The two factors of a LoRA, of a linear layer or a convolution, under PEFT's names."""
    rank, out, into = draw(sides), draw(sides), draw(sides)
    kernel = draw(st.sampled_from([(), (2, 2)]))
    return {
        f"{key}.lora_A.weight": draw(tensors((rank, into, *kernel), elements)),
        f"{key}.lora_B.weight": draw(tensors((out, rank, *(1 for _ in kernel)), elements)),
    }


@st.composite
def lokr_modules(
    draw: st.DrawFn,
    elements: st.SearchStrategy[float] = factors,
    key: str = "m",
    w1: st.SearchStrategy[str] = w1_forms,
    w2: st.SearchStrategy[str] = w2_forms,
) -> Tree:
    """The factors of a LoKr in any of LyCORIS' forms, under LyCORIS' names."""
    first, second = draw(w1), draw(w2)
    out, into, rows, columns, r1, r2 = (draw(sides) for _ in range(6))
    kernel = (2, 2) if second in ("conv", "factored conv", "tucker") else ()
    shapes: dict[str, Shape]
    shapes = {"lokr_w1": (out, into)} if first == "full" else {"lokr_w1_a": (out, r1), "lokr_w1_b": (r1, into)}
    if second in ("full", "conv"):
        shapes["lokr_w2"] = (rows, columns, *kernel)
    elif second == "tucker":
        shapes |= {"lokr_t2": (r2, r2, *kernel), "lokr_w2_a": (r2, rows), "lokr_w2_b": (r2, columns)}
    else:
        shapes |= {"lokr_w2_a": (rows, r2), "lokr_w2_b": (r2, columns * math.prod(kernel))}
    values = draw(tensors((sum(map(math.prod, shapes.values())),), elements))
    return {f"{key}.{role}": x for role, x in cut(values, shapes).items()}


def roles_of(module: Tree) -> dict[str, Tensor]:
    """The tensors of one module by the last part of their names."""
    return {name.rpartition(".")[2]: x for name, x in module.items()}


def mapped(f: Callable[..., Tensor], *trees: Tree, **fixed: Any) -> Tree:
    """``f`` of corresponding leaves."""
    return {name: f(*(tree[name] for tree in trees), **fixed) for name in trees[0]}
