"""Laws: properties of the public transforms that can be asked about again, after a formula was broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from hypothesis import Phase, given, settings
from hypothesis.strategies import SearchStrategy
from torch import Tensor

import hina_func as hf

Tree = dict[str, Tensor]


def law(**strategies: SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """A hypothesis property whose ``ask()`` looks for a counterexample afresh, the same way each time."""

    def register(holds: Callable[..., None]) -> Callable[[], None]:
        def ask() -> None:
            hunt = settings(
                max_examples=200,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                report_multiple_bugs=False,
            )
            hunt(given(**strategies)(holds))()

        test = given(**strategies)(holds)
        test.ask = ask
        return test

    return register


def once(tx: hf.GradientTransformation, updates: Tree, params: Tree | None = None, **extra: Any) -> Tree:
    """The first update; ``extra`` goes to it as it is."""
    return tx.update(updates, tx.init(updates if params is None else params), params, **extra)[0]


def walk(
    tx: hf.GradientTransformation, history: Iterable[Tree], params: Tree | None = None
) -> Iterator[tuple[Tree, dict[str, Any]]]:
    """As `run`, each update with the named state after it; of a single transform."""
    state = None
    for grads in history:
        state = tx.init(grads if params is None else params) if state is None else state
        updates, state = tx.update(grads, state, params)
        (fields,) = hf.named_state(state).values()
        yield updates, fields


def run(tx: hf.GradientTransformation, history: Iterable[Tree], params: Tree | None = None) -> list[Tree]:
    """The updates of a sequence of gradients at fixed parameters."""
    state, found = None, []
    for grads in history:
        state = tx.init(grads if params is None else params) if state is None else state
        updates, state = tx.update(grads, state, params)
        found.append(updates)
    return found


def train(tx: hf.GradientTransformation, history: Iterable[Tree], params: Tree) -> list[Tree]:
    """The parameters after each step."""
    state, trajectory = tx.init(params), []
    for grads in history:
        updates, state = tx.update(grads, state, params)
        params = hf.apply_updates(params, updates)
        trajectory.append(params)
    return trajectory


def close(actual: Any, expected: Any, *, scale: float | Tensor = 0.0, tolerance: float = 1e-12) -> None:
    """Equal to a relative 1e-12, tensor by tensor, in the largest norm.

    Args:
        actual: a tensor, a tree, or a list of either.
        expected: of the same form.
        scale: size of what cancelled on the way, where that is larger than the result.
        tolerance: relative to the larger of both sizes.
    """
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected:
            close(actual[name], expected[name], scale=scale, tolerance=tolerance)
        return
    if isinstance(expected, list):
        for a, e in zip(actual, expected, strict=True):
            close(a, e, scale=scale, tolerance=tolerance)
        return
    expected = torch.as_tensor(expected, dtype=torch.float64)
    actual = torch.as_tensor(actual, dtype=torch.float64)
    assert actual.shape == expected.shape
    size = max(float(expected.abs().max()), float(torch.as_tensor(scale).abs().max()))
    error = float((actual - expected).abs().max())
    assert error <= tolerance * size, f"{actual} is not {expected}: off by {error:.1e} at size {size:.1e}"


def same(actual: Any, expected: Any) -> None:
    """Equal to the bit, save the sign of zero."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected:
            same(actual[name], expected[name])
        return
    if isinstance(expected, list):
        for a, e in zip(actual, expected, strict=True):
            same(a, e)
        return
    expected = torch.as_tensor(expected)
    assert actual.shape == expected.shape
    agree = (actual == expected) | (actual.isnan() & expected.isnan())
    assert agree.all(), f"{actual} is not exactly {expected}"


def weights(decay: float, steps: int) -> list[float]:
    """What each of ``steps`` values contributes to an average that started at zero: the recursion written out."""
    return [(1 - decay) * decay ** (steps - 1 - i) for i in range(steps)]


def weighted(values: Sequence[Tensor], decay: float) -> Tensor:
    """That average."""
    return sum((w * x for w, x in zip(weights(decay, len(values)), values, strict=True)), torch.zeros_like(values[0]))


def number(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x)


def dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum()


def cosine(momentum: Tensor, gradient: Tensor) -> Tensor:
    """0 where one of them is zero, which a momentum is within 8 rounding errors of the gradient."""
    if norm(momentum) <= 8 * torch.finfo(momentum.dtype).eps * norm(gradient) or norm(gradient) == 0:
        return torch.zeros((), dtype=momentum.dtype)
    return dot(momentum, gradient) / (norm(momentum) * norm(gradient))


def effective_w1(p: Tree) -> Tensor:
    """The first Kronecker factor of a LoKr module given by role."""
    return p["lokr_w1"] if "lokr_w1" in p else p["lokr_w1_a"] @ p["lokr_w1_b"]


def effective_w2(p: Tree) -> Tensor:
    """The second, with Tucker's core where there is one."""
    if "lokr_w2" in p:
        return p["lokr_w2"]
    if "lokr_t2" in p:
        return torch.einsum("ij...,ip,jq->pq...", p["lokr_t2"], p["lokr_w2_a"], p["lokr_w2_b"])
    return p["lokr_w2_a"] @ p["lokr_w2_b"]


def delta(p: Tree) -> Tensor:
    """The weight change that a LoKr module stands for, up to its scale."""
    w1, w2 = effective_w1(p), effective_w2(p).contiguous()
    return torch.kron(w1.reshape(*w1.shape, *(1 for _ in w2.shape[2:])), w2)
