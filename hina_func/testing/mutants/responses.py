"""Closed forms: the move of step t of an optimizer whose gradients are a constant, an impulse or turn at every step.

Written down from the papers, in numbers of one element; nothing here calls the formulas that are asked about.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Response = Callable[[Tensor, int], Tensor]

STEADY, TURNING = 1.0, -1.0
"""What one gradient is multiplied with to be the next."""


def mean_weight(t: int, b: float, turn: float = STEADY) -> float:
    """The weight of g in its running average after t steps of g, turn g, turn^2 g, ..."""
    return sum((1 - b) * b ** (t - i) * turn ** (i - 1) for i in range(1, t + 1))


def lingering(t: int, b: float) -> float:
    """The weight of g in its running average when it came first, and zeros since."""
    return float((1 - b) * b ** (t - 1))


def adam(b1: float, b2: float, eps: float, eps_root: float, turn: float = STEADY) -> Response:
    """Both moments without their bias."""

    def response(g: Tensor, t: int) -> Tensor:
        return mean_weight(t, b1, turn) / (1 - b1**t) * g / ((g * g + eps_root).sqrt() + eps)

    return response


def adam_impulse(b1: float, b2: float, eps: float, eps_root: float) -> Response:
    """One gradient that is forgotten by b1, and its square by b2."""

    def response(g: Tensor, t: int) -> Tensor:
        mean, square = lingering(t, b1) / (1 - b1**t), lingering(t, b2) / (1 - b2**t)
        size: Tensor = (square * g * g + eps_root).sqrt() + eps
        return mean * g / size

    return response


def adam_by_step(b1: float, b2: float, eps: float, eps_root: float) -> Response:
    """The bias taken from the step size: eps joins the root of the biased moment."""

    def response(g: Tensor, t: int) -> Tensor:
        size = ((1 - b2**t) * g * g + eps_root).sqrt() + eps
        return float((1 - b2**t) ** 0.5 / (1 - b1**t)) * mean_weight(t, b1) * g / size

    return response


def nadam(b1: float, b2: float, eps: float) -> Response:
    """One step ahead in the mean."""

    def response(g: Tensor, t: int) -> Tensor:
        ahead = b1 * (1 - b1**t) / (1 - b1 ** (t + 1)) + (1 - b1) / (1 - b1**t)
        return ahead * g / (g.abs() + eps)

    return response


def nadam_by_step(b1: float, b2: float, eps: float) -> Response:
    """The gradient mixed into the mean once more, the bias taken from the step size."""

    def response(g: Tensor, t: int) -> Tensor:
        ahead = b1 * mean_weight(t, b1) + 1 - b1
        root = float((1 - b2**t) ** 0.5)
        size: Tensor = root * g.abs() + eps
        return root / (1 - b1**t) * ahead * g / size

    return response


def torque_weight(t: int, b1: float, decay: float, eps: float, turn: float, weight: float, first: int = 1) -> float:
    """The weight of g in a torque-aware momentum: every gradient is taken in by (1 + smoothed cosine)/2 + eps."""
    momentum = alignment = 0.0
    for i in range(1, t + 1):
        way = turn ** (i - 1)
        cosine = float((momentum * way > 0) - (momentum * way < 0))
        alignment = decay * alignment + (1 - decay) * cosine
        momentum = b1 * momentum + (weight * ((1 + alignment) / 2 + eps) * way if i >= first else 0.0)
    return momentum


def adatam(b1: float, b2: float, eps: float, decay: float, turn: float = STEADY) -> Response:
    """Adam with torque in its momentum."""

    def response(g: Tensor, t: int) -> Tensor:
        return torque_weight(t, b1, decay, eps, turn, 1 - b1) / (1 - b1**t) * g / (g.abs() + eps)

    return response


def adatam_impulse(b1: float, b2: float, eps: float) -> Response:
    """A first gradient is taken in by half; the zeros after it are no directions."""

    def response(g: Tensor, t: int) -> Tensor:
        mean, square = lingering(t, b1) / (1 - b1**t), lingering(t, b2) / (1 - b2**t)
        size: Tensor = square**0.5 * g.abs() + eps
        return (0.5 + eps) * mean * g / size

    return response


def adopt(b1: float, eps: float, turn: float = STEADY) -> Response:
    """The first gradient moves nothing; the others are divided by the size that was there before them."""

    def response(g: Tensor, t: int) -> Tensor:
        return turn * mean_weight(t - 1, b1, turn) * g / g.abs().clamp_min(eps)

    return response


def adopt_after_pause(b2: float, eps: float) -> Response:
    """Without momentum: a gradient, zeros, and 8 times the gradient, over the size that is left of the first."""

    def response(g: Tensor, t: int) -> Tensor:
        if t < 3:
            return 0 * g
        size = b2
        for _ in range(t - 3):
            size = b2 * size + (1 - b2) * 64
        bound = (t - 1) ** 0.25
        ratio: Tensor = 8 * g / (size**0.5 * g.abs()).clamp_min(eps)
        return ratio.clamp(-bound, bound)

    return response


def adopt_tam(b1: float, eps: float, decay: float, turn: float = STEADY) -> Response:
    """The same with torque in its momentum."""

    def response(g: Tensor, t: int) -> Tensor:
        return torque_weight(t, b1, decay, eps, turn, 1 - b1, first=2) * g / g.abs().clamp_min(eps)

    return response


def momentum(decay: float, turn: float = STEADY, nesterov: bool = False) -> Response:
    """The decaying sum; with Nesterov's step ahead."""

    def response(g: Tensor, t: int) -> Tensor:
        summed = mean_weight(t, decay, turn) / (1 - decay)
        return (turn ** (t - 1) + decay * summed if nesterov else summed) * g

    return response


def momentum_tam(b1: float, decay: float, eps: float, turn: float = STEADY) -> Response:
    """The decaying sum with torque."""

    def response(g: Tensor, t: int) -> Tensor:
        return torque_weight(t, b1, decay, eps, turn, 1.0) * g

    return response


def average(decay: float, debias: bool, turn: float = STEADY) -> Response:
    """The running average, with its bias or without."""

    def response(g: Tensor, t: int) -> Tensor:
        return mean_weight(t, decay, turn) / (1 - decay**t if debias else 1) * g

    return response


def rms(decay: float, eps: float, *, inside: bool = True, debias: bool = False) -> Response:
    """Each gradient over the root of the running mean square."""

    def response(g: Tensor, t: int) -> Tensor:
        square = g * g * (1 if debias else 1 - decay**t)
        return g / ((square + eps).sqrt() if inside else square.sqrt() + eps)

    return response


def lion(b1: float, b2: float, turn: float = STEADY) -> Response:
    """The sign of one mixture, the memory of another."""

    def response(g: Tensor, t: int) -> Tensor:
        kept = mean_weight(t - 1, b2, turn)
        way = b1 * kept + (1 - b1) * turn ** (t - 1)
        return torch.sign(g) * (1 if way > 0 else -1)

    return response


def times(number: float, divided_by_step: bool = False) -> Response:
    """A number times the gradient, or that over the step."""

    def response(g: Tensor, t: int) -> Tensor:
        return number / (t if divided_by_step else 1) * g

    return response
