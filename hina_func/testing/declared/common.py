"""Laws that are declared together."""

from __future__ import annotations

import math
from collections.abc import Callable

from .. import laws
from ..checking import Law

LINEAR = (
    laws.sign_symmetry(),
    laws.scale_equivariance(degree=1),
    laws.homogeneity(),
    laws.rotation_equivariance(),
    laws.continuity(),
)
"""Of maps that are linear in the gradients so far."""

ANYWHERE = (laws.translation_invariance(),)
"""Of what does not read the parameter."""

ELEMENTWISE = (laws.elementwise(), laws.permutation_equivariance(), laws.shape_independence())
"""Of what sees one element at a time."""

WHOLE = (laws.permutation_equivariance(), laws.shape_independence())
"""Of what sees a tensor as a bag of elements."""

QUIET = (laws.rests_without_gradient(), laws.decay_shrinks(sign=-1), laws.decay_shrinks(sign=1))
"""Of what is moved by gradients only."""

ASCENDING = (laws.first_step_descends(sign=1), laws.never_against_the_gradient(sign=1))
"""Of directions, which are subtracted later, that keep the gradient's sign."""

DESCENDING = (laws.first_step_descends(sign=-1), laws.never_against_the_gradient(sign=-1))
"""Of steps that are each against the gradient."""

NOISE = ("precision",)
"""What cancels, a momentum or the way from an anchor, leaves rounding noise; the cosine of noise is 1 or -1."""

STARTS_UP = laws.first_step_descends(sign=1)
STARTS_DOWN = laws.first_step_descends(sign=-1)


def within(limit: float | Callable[[int], float]) -> tuple[Law, ...]:
    """No element moves farther, on fresh adapters or elsewhere."""
    return laws.bounded(limit=limit), laws.no_blow_up(limit=limit)


def adopt_clip(step: int) -> float:
    """ADOPT's bound on what it adds to its momentum, and so on the momentum."""
    return math.pow(step, 0.25)


def adopt_tam_clip(step: int) -> float:
    """The same, and what is lost by the eps in torque-aware momentum's angle."""
    return (1 + 1e-6) * math.pow(step, 0.25)


def twice_adopt_clip(step: int) -> float:
    """The same, doubled."""
    return 2 * math.pow(step, 0.25)


def adam_limit(b1: float, b2: float) -> float:
    """How far Adam goes in the worst case: the inequality of Cauchy and Schwarz between its two averages."""
    return (1 - b1) / math.sqrt((1 - b2) * (1 - b1**2 / b2))


def nadam_limit(b1: float, b2: float) -> float:
    """The same with Nesterov's look ahead, whose newest gradient has the weight 1 - b1^2."""
    older = b1**2 * (b1**2 / b2) / (1 - b1**2 / b2)
    return (1 - b1) * math.sqrt(((1 + b1) ** 2 + older) / (1 - b2))
