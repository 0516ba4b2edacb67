"""Promises of optimizers that papers and documentations make, as laws."""

from __future__ import annotations

import math
from typing import Any

from .. import laws
from .library import Claim

ADAM = "https://arxiv.org/abs/1412.6980"
ADOPT = "https://arxiv.org/abs/2411.02853"
CAUTIOUS = "https://arxiv.org/abs/2411.16085"
GRAMS = "https://arxiv.org/abs/2412.17107"
LION = "https://arxiv.org/abs/2302.06675"
TORCH = "https://docs.pytorch.org/docs/stable/optim.html"

MUON_ROUNDS = {
    "precision": "Muon, https://kellerjordan.github.io/posts/muon/: Newton-Schulz runs in bfloat16 by design."
}

BY_POSITION = {
    "reordered_resume": "Documented: load_state_dict of torch.optim.Optimizer matches by position, and keeps names of "
    f"parameters without using them; {TORCH}"
}
INHERITED = {
    "reordered_resume": "Inherited from torch.optim.Optimizer, which documents that it matches by position.",
    "saved_stays": "load_state_dict is inherited from torch.optim.Optimizer.",
}

CONDUCT = "by being an optimizer: a law of conduct or of resuming"

NOT_CLAIMED = (
    laws.sign_symmetry(),
    laws.scale_equivariance(degree=0),
    laws.translation_invariance(),
    laws.permutation_equivariance(),
    laws.elementwise(),
    laws.shape_independence(),
    laws.rotation_equivariance(),
    laws.continuity(),
    laws.first_step_descends(),
    laws.never_against_the_gradient(),
    laws.rests_without_gradient(),
    laws.decay_shrinks(),
)
"""Laws that are knowledge about a method: asked of all, a fault only of those that claim them."""


def adam_bound(lr: float, b1: float = 0.9, b2: float = 0.999) -> Claim:
    """How far Adam's paper says a step may go."""
    limit = lr * max(1.0, (1 - b1) / math.sqrt(1 - b2))
    return Claim(
        laws.bounded(limit=limit),
        f"Adam, {ADAM}, section 2.1: a step is at most lr (1 - b1) / sqrt(1 - b2) where that exceeds lr",
    )


def adamax_bound(lr: float) -> Claim:
    return Claim(laws.bounded(limit=lr), f"AdaMax, {ADAM}, section 7.1: a step is at most lr")


def rms_bound(lr: float, decay: float, source: str) -> Claim:
    limit = lr / math.sqrt(1 - decay)
    return Claim(laws.bounded(limit=limit), f"{source}: g / sqrt(v) with v >= (1 - decay) g^2")


def adopt_bound(lr: float, b1: float = 0.9) -> Claim:
    """What clipping to the fourth root of the step leaves of ADOPT's momentum; its first step only looks."""

    def clipped(step: int) -> float:
        return lr * (1 - b1) * sum(math.pow(b1, step - 1 - past) * math.pow(past, 0.25) for past in range(1, step))

    return Claim(
        laws.bounded(limit=clipped),
        f"ADOPT, {ADOPT}, algorithm 2: the normalised gradient is clipped to t^(1/4), t = 1 at the first update "
        "after v_0 = g_0^2; so does the authors' https://github.com/iShohei220/adopt",
    )


def sign_bound(lr: float, source: str) -> Claim:
    return Claim(laws.bounded(limit=lr), f"{source}: the update is a sign, times lr")


def cautious(source: str) -> Claim:
    return Claim(
        laws.never_against_the_gradient(),
        f"{source}; {CAUTIOUS}, algorithm 1: the update is zero where its sign is not the gradient's",
    )


def grams(source: str) -> Claim:
    return Claim(laws.never_against_the_gradient(), f"{source}; {GRAMS}: the gradient gives the direction of the step")


def scale_invariant(source: str = f"Adam, {ADAM}: steps do not change when gradients are rescaled") -> Claim:
    return Claim(laws.scale_equivariance(degree=0), source)


def scales_with_gradient(source: str) -> Claim:
    return Claim(laws.scale_equivariance(degree=1), f"{source}: linear in the gradients")


def maximizes(other: Any, source: str) -> Claim:
    return Claim(laws.maximizes(other=other), f"{source}: maximize=True is descent on -g")


def equals(other: Any, source: str, tolerance: float = 1e-9) -> Claim:
    return Claim(laws.equals(other=other, tolerance=tolerance), source)
