"""What is known of the schedules, each as the factor of `scale_by_schedule`."""

from __future__ import annotations

from collections.abc import Mapping

import hina_func as hf

from .. import laws
from ..checking import Law
from ..declaring import Declaration
from .common import ANYWHERE, ASCENDING, ELEMENTWISE, LINEAR, QUIET, STARTS_DOWN


def _declared(schedule: hf.core.Hyper, low: float, high: float, *more: Law) -> Declaration:
    factor = (*LINEAR, *ELEMENTWISE, *ANYWHERE, *QUIET, *ASCENDING)
    return Declaration(hf.scale_by_schedule(schedule), (*factor, laws.schedule_bounds(low=low, high=high), *more))


FALLS = laws.monotone_decay()

SCHEDULES: Mapping[str, Declaration] = {
    "constant_schedule": _declared(hf.constant_schedule(0.5), 0.5, 0.5, FALLS),
    "linear_schedule": _declared(hf.linear_schedule(1.0, 0.25, 4), 0.25, 1.0, FALLS),
    "linear_schedule (rising)": _declared(hf.linear_schedule(0.25, 1.0, 4), 0.25, 1.0),
    "polynomial_schedule": _declared(hf.polynomial_schedule(1.0, 0.25, 2.0, 4), 0.25, 1.0, FALLS),
    "cosine_decay_schedule": _declared(hf.cosine_decay_schedule(1.0, 4, alpha=0.25), 0.25, 1.0, FALLS),
    "exponential_decay": _declared(hf.exponential_decay(1.0, 4, 0.5), 0.0, 1.0, FALLS),
    "piecewise_constant_schedule": _declared(hf.piecewise_constant_schedule(1.0, {2: 0.5}), 0.5, 1.0, FALLS),
    # from zero: the first step goes nowhere
    "warmup_constant_schedule": _declared(hf.warmup_constant_schedule(0.0, 1.0, 4), 0.0, 1.0, STARTS_DOWN),
    "warmup_cosine_decay_schedule": _declared(hf.warmup_cosine_decay_schedule(0.0, 1.0, 2, 6), 0.0, 1.0, STARTS_DOWN),
    "join_schedules": _declared(
        hf.join_schedules([hf.constant_schedule(1.0), hf.linear_schedule(0.5, 0.25, 2)], [2]), 0.25, 1.0, FALLS
    ),
}
