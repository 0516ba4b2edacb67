"""Laws of conduct: what every optimizer promises by being one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import hypothesis.strategies as st
import torch

from ...state import tensors_of
from ..checking import Violation, expect_close, expect_equal, law
from ..strategies import PATTERNS, History, collinear, histories, over, shown
from ..subjects import Subject, Torch, Transform, TransformRun, Values, moves

ordinary = histories()
pairs = histories(max_steps=3)
"""One or two parameters."""


@law(ordinary)
def determinism(subject: Subject, history: History) -> None:
    """The same gradients from the same start give the same moves, to the bit."""
    expect_equal(moves(subject, *history), moves(subject, *history), "second run")


@law(ordinary)
def separate_runs(subject: Subject, history: History) -> None:
    """Two runs side by side do not know of each other."""
    alone = moves(subject, *history)
    one, other = subject.start(history.params), subject.start(history.params)
    together = []
    for grads in history.grads:
        together.append(one.step(grads))
        other.step(over(lambda g: 3 - g, grads))
    expect_equal(together, alone, "beside another run")


@law(ordinary, of=(Transform, Torch))
def purity(subject: Subject, history: History) -> None:
    """A step leaves the gradients as they are; the update of a transformation leaves all its arguments so."""
    run = subject.start(history.params)
    for i, grads in enumerate(history.grads, 1):
        before = [x.clone() for x in _kept(run)]
        kept = _kept(run)
        run.step(grads)
        after = run.given if isinstance(run, TransformRun) else {n: p.grad for n, p in cast(Any, run).live.items()}
        gone = [name for name in grads if after.get(name) is None]
        if gone:
            raise Violation(f"step {i} took the gradient of {gone[0]} away")
        expect_equal([cast(Values, after)], [grads], f"gradients after step {i}")
        for old, now in zip(before, kept, strict=True):
            if not torch.equal(old, now) and not old.isnan().any():
                raise Violation(f"step {i} wrote into what it was given: {now.tolist()} was {old.tolist()}")


def _kept(run: Any) -> list[torch.Tensor]:
    """What an update must not write to: the parameters and the state of a functional run."""
    return [*run.values.values(), *tensors_of(run.state)] if isinstance(run, TransformRun) else []


@law(histories(of=st.sampled_from([(2,), (1,)]), max_steps=3))
def order_independence(subject: Subject, history: History) -> None:
    """The order in which parameters are given changes no move."""
    backwards = History(_reversed(history.params), [_reversed(grads) for grads in history.grads])
    expect_close(moves(subject, *backwards), moves(subject, *history), "in another order", tolerance=1e-12)


def _reversed(values: Values) -> Values:
    return dict(reversed(values.items()))


@law(pairs)
def company_independence(subject: Subject, history: History) -> None:
    """A parameter moves as if it were the only one."""
    alone = moves(subject, {"w": history.params["w"]}, [{"w": grads["w"]} for grads in history.grads])
    together = [{"w": move["w"]} for move in moves(subject, *history)]
    expect_close(together, alone, "in company", tolerance=1e-9)


@law(st.tuples(histories(min_steps=2), st.integers(0, 3)), of=(Transform, Torch))
def absence(subject: Subject, example: tuple[History, int]) -> None:
    """A step without a gradient is no step: the parameter stays, and goes on later as if nothing had been."""
    history, at = example
    at = min(at, len(history.grads) - 1)
    names = list(history.params)
    nothing: list[Any] = [*history.grads[:at], dict.fromkeys(names), *history.grads[at:]]
    found = moves(subject, history.params, nothing)
    expect_equal([found[at]], [over(torch.zeros_like, history.params)], f"no gradient at step {at + 1}")
    expect_equal(found[:at] + found[at + 1 :], moves(subject, *history), "the other steps")


@law(histories(max_steps=3), of=(Transform, Torch))
def dtype_kept(subject: Subject, history: History) -> None:
    """Parameters keep their dtype and shape, in float32, bfloat16 and float16."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        small = history.to(dtype)
        run = subject.start(small.params)
        for grads in small.grads:
            run.step(grads)
        for name, param in run.params().items():
            if (param.dtype, param.shape) != (dtype, small.params[name].shape):
                raise Violation(f"{name} became {param.dtype} of shape {tuple(param.shape)}")


@law(histories(patterns=[p for p in PATTERNS if p is not collinear], max_steps=3))
def precision(subject: Subject, history: History, *, tolerance: float = 1e-3) -> None:
    """In float32 the moves are those in float64, but for rounding."""
    exact = moves(subject, *history)
    rough = moves(subject, *history.to(torch.float32))
    size = max(float(x.abs().max()) for x in history.params.values()) * 1e-3
    # where gradients cancel, as in a row less its mean, their rounding errors are what is left
    noise = 4 * torch.finfo(torch.float32).eps / tolerance * history.largest()
    expect_close(rough, exact, "in float32", tolerance=tolerance, size=max(size, noise))


@law(ordinary)
def finite(subject: Subject, history: History) -> None:
    """Finite gradients, zeros among them, give finite parameters."""
    for i, move in enumerate(moves(subject, *history), 1):
        for name, x in move.items():
            if not x.isfinite().all():
                raise Violation(f"step {i}: {name} moved by {x.tolist()}")


@law(histories(of=st.sampled_from([(2, 2), (2, 3), (3, 2)]), max_steps=3), of=(Transform, Torch))
def layout_independence(subject: Subject, history: History) -> None:
    """How a matrix lies in memory changes no move: here each is stored by columns."""

    def by_columns(x: torch.Tensor) -> torch.Tensor:
        return x.t().contiguous().t()

    for dtype in (torch.float64, torch.float32):
        same = history.to(dtype)
        found = moves(subject, *same.mapped(by_columns, lambda g: g))
        # sums in another order: where gradients or parameters cancel, their rounding errors are what is left
        largest = max(history.largest(), *(float(p.abs().max()) for p in history.params.values()))
        noise = 4e4 * torch.finfo(dtype).eps * largest
        expect_close(found, moves(subject, *same), "stored by columns", tolerance=1e-4, size=noise)


@law(ordinary, of=Torch)
def closure(subject: Torch, history: History) -> None:
    """A closure gives the same step as gradients that are there, and its value is returned."""
    plain, closed = subject.start(history.params), subject.start(history.params)
    for i, grads in enumerate(history.grads, 1):
        plain.step(grads)

        def evaluate(grads: Values = grads) -> torch.Tensor:
            if not torch.is_grad_enabled():
                raise Violation("the closure runs without gradients")
            closed.hand_over(grads)
            return torch.tensor(2.5)

        for param in closed.live.values():
            param.grad = None
        value = closed.optimizer.step(evaluate)
        if value is None or float(value) != 2.5:
            raise Violation(f"step {i} returned {value}, not the value of the closure")
        expect_equal([closed.params()], [plain.params()], f"step {i} with a closure")


@law(ordinary, of=Torch)
def still_at_zero_lr(subject: Torch, history: History) -> None:
    """With a learning rate of zero nothing moves."""
    run = subject.start(history.params)
    for group in run.optimizer.param_groups:
        group["lr"] = 0.0
    for i, grads in enumerate(history.grads, 1):
        run.step(grads)
        expect_equal([run.params()], [history.params], f"step {i} at lr 0")


@law(ordinary, of=Transform)
def trees_alike(subject: Transform, history: History) -> None:
    """Updates have the names, shapes and dtypes of the parameters, whatever the tree."""
    params = {"a": {"b": history.params["w"]}, "c": [history.params["w"]]}
    state = subject.tx.init(deepcopy(params))
    for grads in history.grads:
        tree = {"a": {"b": grads["w"]}, "c": [grads["w"]]}
        updates, state = subject.tx.update(tree, state, params)
        found = {"a.b": updates["a"]["b"], "c.0": updates["c"][0]}
        for name, x in found.items():
            if (x.shape, x.dtype) != (history.params["w"].shape, history.params["w"].dtype):
                raise Violation(f"the update of {name} is {x.dtype} of shape {tuple(x.shape)}")
        expect_equal([{"two equal leaves": found["a.b"]}], [{"two equal leaves": found["c.0"]}], shown(found))
