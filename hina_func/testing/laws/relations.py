"""Laws of relation: between a move and its gradient and parameter, between two optimizers, between two numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import torch
from torch import Tensor

from ..checking import Violation, expect_close, expect_equal, law
from ..strategies import History, collinear, free, histories, matrices, nonzero, over, powers_of_two, scaled
from ..subjects import Gradients, Subject, Torch, Values, as_subject, moves

ordinary = histories(max_steps=3)
vectors = st.sampled_from([(2,), (3,), (2, 2)])
TOLERANCE = 1e-9


@law(histories(max_steps=1))
def first_response(subject: Subject, history: History, *, response: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The first move of a tensor is the closed form of its gradient and its parameter."""
    grads, params = history.grads[0], history.params
    expected = {name: response(g, params[name]) for name, g in grads.items()}
    expect_close(moves(subject, *history), [expected], "at first", tolerance=TOLERANCE)


@law(histories(max_steps=1), of=Torch)
def linear_in_lr(subject: Torch, history: History) -> None:
    """The first move is in proportion to the learning rate."""
    found = []
    for factor in (1.0, 2.0):
        run = subject.start(history.params)
        for group in run.optimizer.param_groups:
            group["lr"] = factor * group["lr"]
        found.append(run.step(history.grads[0]))
    one, two = found
    expect_close([two], [scaled(2.0, one)], "at twice the rate", tolerance=1e-6, size=_size(history.params) * 1e-6)


def _size(values: Values) -> float:
    return max(float(x.abs().max()) for x in values.values())


@law(histories(max_steps=1))
def decoupled_decay(subject: Subject, history: History, *, rate: float) -> None:
    """The first move is that of a parameter at zero and minus the rate times the parameter."""
    at_zero = moves(subject, over(torch.zeros_like, history.params), history.grads)[0]
    expected = {name: x - rate * history.params[name] for name, x in at_zero.items()}
    expect_close(moves(subject, *history), [expected], "beside a parameter at zero", tolerance=TOLERANCE)


@law(histories(max_steps=6))
def pull(subject: Subject, history: History, *, factor: Callable[[int], float]) -> None:
    """At zero gradients the move of step t is factor(t) times the parameter."""
    run = subject.start(history.params)
    found, expected = [], []
    for t in range(1, len(history.grads) + 1):
        expected.append(scaled(factor(t), run.params()))
        found.append(run.step(over(torch.zeros_like, history.params)))
    expect_close(found, expected, "at zero gradients", tolerance=TOLERANCE)


@law(histories(of=vectors, max_steps=3))
def length_kept(subject: Subject, history: History, *, of: str = "gradient", times: float = 1.0) -> None:
    """A tensor's move is as long as its gradient (of="parameter": as its parameter), times a number.

    Not asked where gradient or parameter is zero, or where one is a multiple of the other.
    """
    run = subject.start(history.params)
    for i, grads in enumerate(history.grads, 1):
        before, move = run.params(), run.step(grads)
        for name, g in grads.items():
            p = before[name]
            free_of_each_other = float((g * p).sum()) ** 2 < (1 - 1e-6) * float((g * g).sum() * (p * p).sum())
            if free_of_each_other:
                wanted, found = times * float((g if of == "gradient" else p).norm()), float(move[name].norm())
                if abs(found - wanted) > 1e-6 * wanted:
                    raise Violation(f"step {i}: the move of {name} has the length {found:.6g}, not {wanted:.6g}")


@law(st.tuples(histories(of=vectors, patterns=[collinear], max_steps=2), st.floats(0.1, 1.0)))
def rests_on_collinear_gradients(subject: Subject, example: tuple[History, float]) -> None:
    """A gradient along the parameter moves nothing, whatever rounding leaves of it."""
    history, c = example
    for dtype, noise in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        run = subject.start(history.to(dtype).params)
        for i, _ in enumerate(history.grads, 1):
            params = run.params()
            for name, x in run.step(scaled(c, params)).items():
                if float(x.norm()) > noise * float(params[name].norm()):
                    raise Violation(f"step {i}: the gradient is {c:.6g} times {name}, which moved by {x.tolist()}")


@law(histories(of=matrices, max_steps=2))
def rows_keep_their_mean(subject: Subject, history: History) -> None:
    """No row of a matrix moves on average."""
    for i, (move, grads) in enumerate(zip(moves(subject, *history), history.grads, strict=True), 1):
        for name, x in move.items():
            mean, size = x.mean(1), float(grads[name].abs().max())
            if (mean.abs() > 1e-9 * size).any():
                raise Violation(f"step {i}: the rows of {name} moved by {mean.tolist()} on average")


@law(ordinary)
def ball(subject: Subject, history: History, *, radius: float, together: bool = False) -> None:
    """A tensor within the ball passes, a longer one lands on it in its own direction (together=True: all as one)."""
    found, landed = moves(subject, *history), []
    for i, (move, grads) in enumerate(zip(found, history.grads, strict=True), 1):
        sizes = {name: float((g * g).sum()) ** 0.5 for name, g in grads.items()}
        if together:
            sizes = dict.fromkeys(grads, sum(size**2 for size in sizes.values()) ** 0.5)
        for name, g in grads.items():
            if sizes[name] < radius and not move[name].equal(g):
                raise Violation(f"step {i}: {name} is {sizes[name]:.6g} long and became {move[name].tolist()}")
        landed.append({name: g * min(1.0, radius / sizes[name]) if sizes[name] else g for name, g in grads.items()})
    expect_close(found, landed, f"beside a ball of {radius:g}", tolerance=TOLERANCE)


@law(ordinary)
def short_passes(subject: Subject, history: History, *, limit: float) -> None:
    """An element within the limit passes; one beyond it becomes the limit, with its sign."""
    expected = [over(lambda g: g.clamp(-limit, limit), grads) for grads in history.grads]
    expect_equal(moves(subject, *history), expected, f"with the limit {limit:g}")


@law(histories(max_steps=4))
def gated(subject: Subject, history: History, *, other: Any, boost: Callable[[int, int], float]) -> None:
    """What goes with the gradient moves as the other's does times boost(kept, of how many); nothing else moves."""

    def passed(x: Tensor, g: Tensor) -> Tensor:
        kept = x * g > 0
        return torch.where(kept, x, 0) * boost(int(kept.sum()), x.numel())

    expected = _beside(passed, moves(as_subject(other), *history), history.grads)
    expect_close(moves(subject, *history), expected, "gated", tolerance=TOLERANCE)


@law(histories(max_steps=4))
def same_sizes(subject: Subject, history: History, *, other: Any) -> None:
    """Where there is a gradient an element moves as far as the other's, whichever way; elsewhere it rests."""
    found = [over(torch.abs, move) for move in moves(subject, *history)]
    expected = _beside(lambda x, g: torch.where(g != 0, x.abs(), 0), moves(as_subject(other), *history), history.grads)
    expect_close(found, expected, "in size", tolerance=TOLERANCE)


def _beside(f: Callable[[Tensor, Tensor], Tensor], one: list[Values], other: list[Values]) -> list[Values]:
    return [{name: f(x, o[name]) for name, x in values.items()} for values, o in zip(one, other, strict=True)]


@law(st.tuples(histories(of=vectors), st.lists(powers_of_two, min_size=4, max_size=4)))
def diagonal_invariance(subject: Subject, example: tuple[History, list[float]]) -> None:
    """Every element may have units of its own: gradients times a number for each change no move."""
    history, numbers = example

    def in_units(g: Tensor) -> Tensor:
        return g * torch.tensor(numbers[: g.numel()], dtype=g.dtype).reshape(g.shape)

    found = moves(subject, *history.mapped(lambda p: p, in_units))
    expect_close(found, moves(subject, *history), f"in units of {numbers}", tolerance=TOLERANCE)


@law(histories(of=vectors, patterns=[free], max_steps=2))
def shares_damped(subject: Subject, history: History, *, total: float = 1.0) -> None:
    """The parts by which the elements of a tensor are damped are not negative and add up to the total."""
    for i, (move, grads) in enumerate(zip(moves(subject, *history), history.grads, strict=True), 1):
        for name, g in grads.items():
            if (g != 0).all():
                parts = 1 - move[name] / g
                if (parts < -TOLERANCE).any() or abs(float(parts.sum()) - total) > TOLERANCE:
                    raise Violation(f"step {i}: {name} is damped by {parts.tolist()}, not by {total:g} in all")


ways = histories(of=vectors, patterns=[free, collinear], max_steps=3)


@law(ways)
def holds_distance(
    subject: Subject, history: History, *, anchor: str = "zero", share: float = 1.0, along: float = 1.0
) -> None:
    """Where the gradient leads away from the anchor, the share of a step's growth in distance is taken back.

    Elsewhere the whole step is taken: ``along`` times the gradient. The anchor is zero, or (anchor="start")
    the parameter at the start.
    """
    run = subject.start(history.params)
    for i, grads in enumerate(history.grads, 1):
        before = run.params()
        run.step(grads)
        for name, now in run.params().items():
            origin = history.params[name] if anchor == "start" else torch.zeros_like(now)
            old, new = before[name] - origin, now - origin
            free_step = old + along * grads[name]
            away = float((grads[name] * old).sum()) > TOLERANCE * float(grads[name].norm() * old.norm())
            growth = max(0.0, float(free_step.norm() - old.norm())) if away else 0.0
            wanted = float(free_step.norm()) - share * growth
            if abs(float(new.norm()) - wanted) > 1e-6 * (wanted + float(before[name].norm())):
                raise Violation(f"step {i}: {name} came to {float(new.norm()):.6g} from its anchor, not {wanted:.6g}")


frozen_beside = histories(of=st.sampled_from([(1,), (2,)]), max_steps=2)


@law(frozen_beside)
def frozen_do_not_matter(subject: Subject, history: History, *, frozen: str = "w") -> None:
    """A frozen parameter neither moves nor has any part in how the others do."""
    found = moves(subject, *history)
    expect_equal([{frozen: move[frozen]} for move in found], [{frozen: 0 * move[frozen]} for move in found], "frozen")
    other = [{**grads, frozen: 8 * grads[frozen] + 1} for grads in history.grads]
    expect_equal(moves(subject, history.params, other), found, "beside another gradient of what is frozen")


one_vector = histories(of=vectors, patterns=[free], min_steps=2, max_steps=3, max_tensors=1)


def with_twin(history: History, c: float) -> History:
    """Beside "w" a "v" of its shape, which has no gradient but zero at first."""
    first, *others = [{**grads, "v": c * grads["w"] + 1} for grads in history.grads]
    params = {**history.params, "v": history.params["w"] - c}
    return History(params, [{**first, "v": torch.zeros_like(first["v"])}, *others])


@law(st.tuples(one_vector, nonzero))
def tensors_apart(subject: Subject, example: tuple[History, float]) -> None:
    """Of two tensors of one shape each moves as if it were alone: no norm, count or moment is shared."""
    twins = with_twin(*example)
    together = moves(subject, *twins)
    for name in ("w", "v"):
        alone = moves(subject, {name: twins.params[name]}, [{name: grads[name]} for grads in twins.grads])
        expect_close([{name: move[name]} for move in together], alone, "beside a twin", tolerance=TOLERANCE)


@law(st.tuples(one_vector, nonzero))
def absence_of_one(subject: Subject, example: tuple[History, float]) -> None:
    """Of two tensors of one shape one has no gradient for a step: it stands still, and the other takes no notice."""
    twins = with_twin(*example)
    first, *others = twins.grads
    paused: Gradients = {"w": None, "v": others[0]["v"]}
    partly: list[Gradients] = [first, paused, *others]
    together = moves(subject, twins.params, partly)
    v = moves(subject, {"v": twins.params["v"]}, [{"v": grads["v"]} for grads in partly])
    w = moves(subject, {"w": twins.params["w"]}, [{"w": grads["w"]} for grads in twins.grads])
    expect_equal([{"w": together[1]["w"]}], [{"w": torch.zeros_like(twins.params["w"])}], "without a gradient")
    expect_close([{"w": move["w"]} for move in (together[0], *together[2:])], w, "after a pause", tolerance=TOLERANCE)
    expect_close([{"v": move["v"]} for move in together], v, "beside a pause", tolerance=TOLERANCE)
