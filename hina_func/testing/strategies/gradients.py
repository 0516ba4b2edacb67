"""Tensors drawn element by element, and gradients as training brings them forth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis.extra import numpy as hnp
from torch import Tensor

from ..subjects import Values

Shape = tuple[int, ...]

SMALLEST, LARGEST = 2.0**-7, 2.0**7

signed = st.integers(-7, 7).map(float) | st.floats(-LARGEST, LARGEST, allow_subnormal=False, width=32)
elements = signed.map(lambda x: x if abs(x) >= SMALLEST else 0.0)
"""Zero, or of a size whose square neither overflows nor vanishes, and exact in float32."""

nonzero = signed.map(lambda x: math.copysign(max(abs(x), SMALLEST), x))
"""The same without zero."""

powers_of_two = st.integers(-4, 6).map(lambda k: 2.0**k)
"""Multiplying by these rounds nothing."""

shapes = st.sampled_from([(1,), (2,), (3,), (2, 2), (2, 3), ()])
"""Few elements: a law that breaks mostly breaks on them."""

matrices = st.sampled_from([(2, 2), (2, 3), (3, 2)])


class History(NamedTuple):
    """Parameters at the start, and the gradients of successive steps."""

    params: Values
    grads: list[Values]

    def mapped(self, params: Callable[[Tensor], Tensor], grads: Callable[[Tensor], Tensor]) -> History:
        """With a function of every parameter, and one of every gradient."""
        return History(over(params, self.params), [over(grads, each) for each in self.grads])

    def to(self, dtype: torch.dtype) -> History:
        """In another dtype."""
        return self.mapped(lambda p: p.to(dtype), lambda g: g.to(dtype))

    def largest(self) -> float:
        """The largest of all gradients in size: what cancels to nothing leaves rounding errors of this."""
        return max(float(g.abs().max()) for grads in self.grads for g in grads.values())

    def __str__(self) -> str:
        lines = [f"params  {shown(self.params)}"]
        return "\n".join(lines + [f"grads {i}  {shown(each)}" for i, each in enumerate(self.grads, 1)])


def over(f: Callable[[Tensor], Tensor], values: Mapping[str, Tensor]) -> Values:
    """``f`` of every tensor."""
    return {name: f(x) for name, x in values.items()}


def scaled(c: float, values: Mapping[str, Tensor]) -> Values:
    """Every tensor times a number."""
    return over(lambda x: c * x, values)


def shown(values: Mapping[str, Tensor | None]) -> str:
    """Tensors in a line, in full."""
    parts = (f"{name}: {None if x is None else x.tolist()}" for name, x in values.items())
    return "{" + ", ".join(parts) + "}"


def tensors(
    shape: Shape, elements: st.SearchStrategy[float] = elements, dtype: torch.dtype = torch.float64
) -> st.SearchStrategy[Tensor]:
    """A tensor, each element drawn."""
    arrays = hnp.arrays(np.float64, shape, elements=elements, fill=st.nothing())
    return arrays.map(lambda array: torch.from_numpy(array).to(dtype))


@st.composite
def trees(
    draw: st.DrawFn,
    of: st.SearchStrategy[Shape] = shapes,
    elements: st.SearchStrategy[float] = elements,
    max_tensors: int = 2,
) -> Values:
    """One or more named tensors."""
    names = "wvu"[: draw(st.integers(1, max_tensors))]
    return {name: draw(tensors(draw(of), elements)) for name in names}


def like(params: Values, elements: st.SearchStrategy[float] = elements) -> st.SearchStrategy[Values]:
    """A tree of the same names, shapes and dtypes."""
    return st.fixed_dictionaries({name: tensors(tuple(x.shape), elements, x.dtype) for name, x in params.items()})


Pattern = Callable[[st.DrawFn, Values, int], list[Values]]


def free(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """Every element of every step for itself."""
    return [draw(like(params)) for _ in range(steps)]


def constant(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """The same gradient at every step."""
    return [draw(like(params))] * steps


def alternating(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """The same gradient, its sign turned at every step."""
    first = draw(like(params, nonzero))
    return [scaled((-1.0) ** i, first) for i in range(steps)]


def zero_first(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """Nothing at first, as for the partner of a factor that starts at zero."""
    late = draw(like(params, nonzero))
    return [over(torch.zeros_like, params), *[late] * (steps - 1)]


def one_hot(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """One element of each tensor at a time, as in rarely used rows of an embedding."""
    grads = [over(torch.zeros_like, params) for _ in range(steps)]
    for each in grads:
        for x in each.values():
            x.view(-1)[draw(st.integers(0, x.numel() - 1))] = draw(nonzero)
    return grads


def sparse(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """Most elements are zero at most steps."""
    some = st.integers(0, 3).flatmap(lambda k: nonzero if k == 3 else st.just(0.0))
    return [draw(like(params, some)) for _ in range(steps)]


def heavy_tailed(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """Ordinary gradients, and one step a thousand times as large."""
    grads = [draw(like(params, nonzero)) for _ in range(steps)]
    burst = draw(st.integers(0, steps - 1))
    grads[burst] = scaled(1024.0, grads[burst])
    return grads


def vanishing(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """A gradient that falls by a factor of 64 at every step."""
    first = draw(like(params, nonzero))
    return [scaled(2.0 ** (-6 * i), first) for i in range(steps)]


def growing(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """A gradient that grows by the same factor at every step, which takes Adam farther than any other."""
    factor = draw(st.sampled_from([2.0, 1.5, 1.25, 1.125]))
    first = draw(like(params, nonzero))
    return [scaled(factor**i, first) for i in range(steps)]


def collinear(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """A multiple of the parameter, which a projection takes away."""
    return [scaled(draw(nonzero), params) for _ in range(steps)]


def adversarial_signs(draw: st.DrawFn, params: Values, steps: int) -> list[Values]:
    """One size for all; at every step, every element turns against the moves so far or goes with them."""
    size = abs(draw(nonzero))
    return [draw(like(params, st.sampled_from([size, -size]))) for _ in range(steps)]


PATTERNS: tuple[Pattern, ...] = (
    free,
    constant,
    alternating,
    zero_first,
    one_hot,
    heavy_tailed,
    vanishing,
    collinear,
    sparse,
    adversarial_signs,
)
"""How gradients may follow each other in a few steps, the simplest to read first."""


@st.composite
def histories(
    draw: st.DrawFn,
    of: st.SearchStrategy[Shape] = shapes,
    *,
    params: st.SearchStrategy[Values] | None = None,
    patterns: Sequence[Pattern] = PATTERNS,
    min_steps: int = 1,
    max_steps: int = 4,
    max_tensors: int = 2,
) -> History:
    """A start and the gradients of some steps.

    Args:
        draw: hypothesis'.
        of: the shapes of the parameters.
        params: the parameters, where they are not drawn freely.
        patterns: what the gradients may look like.
        min_steps: the fewest steps.
        max_steps: the most.
        max_tensors: the most parameters.
    """
    start = draw(trees(of, max_tensors=max_tensors) if params is None else params)
    steps = draw(st.integers(min_steps, max_steps))
    return History(start, draw(st.sampled_from(patterns))(draw, start, steps))
