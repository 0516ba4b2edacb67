"""Laws of symmetry: how moves change when parameters and gradients are changed in a known way."""

from __future__ import annotations

import math
from random import Random

import hypothesis.strategies as st
import torch

from ..checking import expect_close, law
from ..strategies import History, free, histories, matrices, nonzero, over, powers_of_two
from ..subjects import Subject, Values, moves

vectors = st.sampled_from([(2,), (3,), (4,)])


@law(histories())
def sign_symmetry(subject: Subject, history: History) -> None:
    """Parameters and gradients with their signs turned move the opposite way."""
    turned = moves(subject, *history.mapped(torch.neg, torch.neg))
    mirrored = [over(torch.neg, move) for move in moves(subject, *history)]
    expect_close(turned, mirrored, "with all signs turned", tolerance=1e-9)


@law(st.tuples(histories(), powers_of_two))
def scale_equivariance(
    subject: Subject, example: tuple[History, float], *, degree: float, tolerance: float = 1e-6
) -> None:
    """Gradients c times as large give moves c^degree times as large; degree 0 is scale invariance."""
    history, c = example
    found = moves(subject, *history.mapped(lambda p: p, lambda g: c * g))
    expected = [over(lambda x: c**degree * x, move) for move in moves(subject, *history)]
    expect_close(found, expected, f"gradients times {c:g}", tolerance=tolerance)


@law(st.tuples(histories(), powers_of_two))
def homogeneity(subject: Subject, example: tuple[History, float], *, tolerance: float = 1e-6) -> None:
    """Parameters and gradients c times as large move c times as far."""
    history, c = example
    found = moves(subject, *history.mapped(lambda p: c * p, lambda g: c * g))
    expected = [over(lambda x: c * x, move) for move in moves(subject, *history)]
    expect_close(found, expected, f"all times {c:g}", tolerance=tolerance)


@law(st.tuples(histories(), st.integers(-4, 4).map(float)))
def translation_invariance(subject: Subject, example: tuple[History, float]) -> None:
    """Where the parameters are does not matter: shifted ones move alike."""
    history, by = example
    found = moves(subject, *history.mapped(lambda p: p + by, lambda g: g))
    expect_close(found, moves(subject, *history), f"parameters shifted by {by:g}", tolerance=1e-9)


@law(st.tuples(histories(of=vectors, max_tensors=1), st.randoms(use_true_random=False)))
def permutation_equivariance(subject: Subject, example: tuple[History, Random]) -> None:
    """Elements of a tensor in another order move as before, in that order."""
    history, random = example
    orders: dict[int, list[int]] = {}
    for x in history.params.values():
        if x.numel() not in orders:
            orders[x.numel()] = list(range(x.numel()))
            random.shuffle(orders[x.numel()])

    def mixed(x: torch.Tensor) -> torch.Tensor:
        return x.flatten()[orders[x.numel()]].reshape(x.shape)

    found = moves(subject, *history.mapped(mixed, mixed))
    expected = [over(mixed, move) for move in moves(subject, *history)]
    noise = 1e-4 * history.largest()
    expect_close(found, expected, f"elements in the order {list(orders.values())}", tolerance=1e-9, size=noise)


@law(histories(of=vectors, max_tensors=1))
def elementwise(subject: Subject, history: History) -> None:
    """Every element moves as if it were alone: a tensor in two parts moves as in one, zeros beside it do nothing."""
    whole = moves(subject, *history)
    if history.params.keys() == {"w"} and history.params["w"].ndim == 1:
        found = moves(subject, _parted(history.params), [_parted(grads) for grads in history.grads])
        expect_close(found, [_parted(move) for move in whole], "in two parts", tolerance=1e-9)
    beside_zeros = moves(subject, *history.mapped(_first_alone, _first_alone))
    first = [over(_first_alone, move) for move in whole]
    expect_close([over(_first_alone, move) for move in beside_zeros], first, "beside zeros", tolerance=1e-9)


def _parted(values: Values) -> Values:
    return {"v": values["w"][:1], "w": values["w"][1:]}


def _first_alone(x: torch.Tensor) -> torch.Tensor:
    alone = torch.zeros_like(x)
    alone.view(-1)[:1] = x.reshape(-1)[:1]
    return alone


@law(histories(of=vectors, max_tensors=1))
def shape_independence(subject: Subject, history: History) -> None:
    """The same elements as a vector and as a matrix move alike."""
    found = moves(subject, *history.mapped(lambda p: p[None], lambda g: g[None]))
    expected = [over(lambda x: x[None], move) for move in moves(subject, *history)]
    expect_close(found, expected, "as a matrix", tolerance=1e-9)


@law(st.tuples(histories(of=matrices, patterns=[free], max_tensors=1), nonzero))
def rotation_equivariance(subject: Subject, example: tuple[History, float]) -> None:
    """Rotated from the left, parameters and gradients give rotated moves."""
    history, angle = example
    cos, sin = math.cos(angle), math.sin(angle)

    def turned(x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 2 or x.shape[0] == 1:
            return x
        turn = torch.eye(x.shape[0], dtype=torch.float64)
        turn[0, 0], turn[0, 1], turn[1, 0], turn[1, 1] = cos, -sin, sin, cos
        return turn @ x

    found = moves(subject, *history.mapped(turned, turned))
    expected = [over(turned, move) for move in moves(subject, *history)]
    noise = 1e-6 * history.largest()
    expect_close(found, expected, f"rotated by {angle:g}", tolerance=1e-6, size=noise)


@law(st.tuples(histories(patterns=[free]), st.integers(0, 3)))
def continuity(subject: Subject, example: tuple[History, int]) -> None:
    """A gradient changed by a hair changes the moves by little."""
    history, at = example
    at = min(at, len(history.grads) - 1)
    near = list(history.grads)
    near[at] = over(lambda g: g + 2.0**-40, near[at])
    found, hair = moves(subject, history.params, near), 2.0**-20
    expect_close(found, moves(subject, *history), "a hair beside", tolerance=1e-4, size=hair)
