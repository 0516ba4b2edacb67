"""What is known of the scales and the moments."""

from __future__ import annotations

import math
from collections.abc import Mapping

import hina_func as hf

from .. import laws
from ..declaring import Declaration
from .common import (
    ANYWHERE,
    ASCENDING,
    DESCENDING,
    ELEMENTWISE,
    LINEAR,
    NOISE,
    QUIET,
    STARTS_DOWN,
    STARTS_UP,
    WHOLE,
    adam_limit,
    adopt_clip,
    adopt_tam_clip,
    nadam_limit,
    within,
)

NUMBER = (*LINEAR, *ELEMENTWISE, *ANYWHERE, *QUIET, laws.monotone_decay())
MOMENTS = (laws.sign_symmetry(), *ANYWHERE, *ELEMENTWISE, *QUIET, STARTS_UP)
ADAM, NADAM = adam_limit(0.9, 0.99), nadam_limit(0.9, 0.99)

SCALES: Mapping[str, Declaration] = {
    "scale": Declaration(hf.scale(0.5), (*NUMBER, *ASCENDING)),
    "scale_by_learning_rate": Declaration(hf.scale_by_learning_rate(0.1), (*NUMBER, *DESCENDING)),
    "scale_by_schedule": Declaration(
        hf.scale_by_schedule(lambda step: 1 / (1 + step)),
        (*NUMBER, *ASCENDING, laws.schedule_bounds(low=0.0, high=1.0)),
    ),
    "scale_by_adam": Declaration(
        hf.scale_by_adam(),
        (*MOMENTS, *within(adam_limit(0.9, 0.999)), laws.monotone_decay()),
    ),
    "scale_by_adam (large eps)": Declaration(
        hf.scale_by_adam(b2=0.99, eps=0.1),
        (*MOMENTS, *within(ADAM), laws.continuity(), laws.monotone_decay()),
    ),
    "scale_by_adam (no eps)": Declaration(
        hf.scale_by_adam(b2=0.99, eps=0.0),
        (laws.sign_symmetry(), laws.scale_equivariance(degree=0), *ANYWHERE, *ELEMENTWISE),
        breaks=("finite",),  # 0 / 0 where every gradient was zero; where none was, it is Adam
    ),
    "scale_by_adam (nesterov)": Declaration(
        hf.scale_by_adam(b2=0.99, eps=0.1, nesterov=True),
        (*MOMENTS, *within(NADAM), laws.continuity(), laws.monotone_decay()),
    ),
    "scale_by_adam (step)": Declaration(
        hf.scale_by_adam(b2=0.99, eps=0.1, debias="step"),
        (*MOMENTS, *within(ADAM), laws.continuity()),
    ),
    "scale_by_adopt": Declaration(
        hf.scale_by_adopt(),
        (
            laws.sign_symmetry(),
            *ANYWHERE,
            *WHOLE,
            *QUIET,
            *within(adopt_clip),
            STARTS_UP,
            STARTS_DOWN,  # the first gradient moves nothing
        ),
    ),
    "scale_by_adopt_tam": Declaration(
        hf.scale_by_adopt_tam(),
        (laws.sign_symmetry(), *ANYWHERE, *WHOLE, *QUIET, *within(adopt_tam_clip), STARTS_UP, STARTS_DOWN),
    ),
    "scale_by_adatam": Declaration(
        hf.scale_by_adatam(),
        (laws.sign_symmetry(), *ANYWHERE, *WHOLE, *QUIET, *within(adam_limit(0.9, 0.999) * (1 + 1e-8)), STARTS_UP),
        breaks=NOISE,
    ),
    "scale_by_agr": Declaration(
        hf.scale_by_agr(),
        (
            laws.sign_symmetry(),
            laws.scale_equivariance(degree=1),
            laws.homogeneity(),
            laws.continuity(),
            *ANYWHERE,
            *WHOLE,
            *QUIET,
            *ASCENDING,
            laws.monotone_decay(),
        ),
    ),
    "scale_by_lion": Declaration(
        hf.scale_by_lion(0.9, 0.9),
        (*MOMENTS, *within(1.0), laws.scale_equivariance(degree=0), laws.monotone_decay()),
    ),
    "scale_by_rms": Declaration(
        hf.scale_by_rms(),
        (*MOMENTS, *within(math.sqrt(10)), *ASCENDING[1:], laws.monotone_decay()),
    ),
    "scale_by_trust_ratio": Declaration(
        hf.scale_by_trust_ratio(trust_coefficient=0.7),
        (
            laws.sign_symmetry(),
            laws.homogeneity(),
            laws.rotation_equivariance(),
            *WHOLE,
            *QUIET,
            *ASCENDING,
            laws.idempotence(),
        ),
    ),
    "trace": Declaration(hf.trace(0.9), (*LINEAR, *ELEMENTWISE, *ANYWHERE, *QUIET, STARTS_UP)),
    "trace (nesterov)": Declaration(
        hf.trace(0.9, nesterov=True),
        (*LINEAR, *ELEMENTWISE, *ANYWHERE, *QUIET, STARTS_UP),
    ),
    "trace_tam": Declaration(
        hf.trace_tam(0.9),
        (
            laws.sign_symmetry(),
            laws.scale_equivariance(degree=1),
            laws.homogeneity(),
            laws.rotation_equivariance(),
            *ANYWHERE,
            *WHOLE,
            *QUIET,
            STARTS_UP,
        ),
        breaks=NOISE,
    ),
    "ema": Declaration(hf.ema(0.9), (*LINEAR, *ELEMENTWISE, *ANYWHERE, *QUIET, STARTS_UP, laws.monotone_decay())),
}
