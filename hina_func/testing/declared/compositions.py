"""What is known of compositions: of each combinator one, and of the whole recipe."""

from __future__ import annotations

from collections.abc import Mapping

import hina_func as hf

from .. import laws
from ..declaring import Declaration
from .common import (
    ANYWHERE,
    ASCENDING,
    ELEMENTWISE,
    LINEAR,
    QUIET,
    STARTS_DOWN,
    STARTS_UP,
    WHOLE,
    adam_limit,
    twice_adopt_clip,
    within,
)

MOMENTUM = (*LINEAR, *ELEMENTWISE, *ANYWHERE, *QUIET)
MATRICES = (*LINEAR, *ANYWHERE, *QUIET, laws.elementwise(), laws.permutation_equivariance())
"""Of what treats vectors and matrices differently."""

RECIPE = (laws.sign_symmetry(), laws.shape_independence(), laws.decay_shrinks(sign=-1))

COMPOSITIONS: Mapping[str, Declaration] = {
    "chain": Declaration(
        hf.chain(hf.scale_by_adam(b2=0.99, eps=0.1), hf.scale(-0.1)),
        (
            laws.sign_symmetry(),
            laws.continuity(),
            laws.monotone_decay(),
            *ELEMENTWISE,
            *ANYWHERE,
            *QUIET,
            *within(0.1 * adam_limit(0.9, 0.99)),
            STARTS_DOWN,
        ),
    ),
    "named_chain": Declaration(
        hf.named_chain(("momentum", hf.trace(0.9)), ("rate", hf.scale(-0.1))), (*MOMENTUM, STARTS_DOWN)
    ),
    "partition": Declaration(
        hf.partition(
            {"adapter": hf.trace(0.9), "rest": hf.scale(2.0)}, lambda name, x: "adapter" if "lo" in name else "rest"
        ),
        (*MOMENTUM, STARTS_UP),
    ),
    "masked": Declaration(
        hf.masked(hf.trace(0.9), lambda name, x: x.ndim >= 2, otherwise="zero"), (*MATRICES, STARTS_UP)
    ),
    "freeze": Declaration(
        hf.freeze(lambda name, x: x.ndim >= 2),
        (
            *MATRICES,
            *ASCENDING,
            laws.monotone_decay(),
            laws.idempotence(),
            # factors are matrices, and do not move
            laws.no_blow_up(limit=0.0),
            laws.lora_gauge(),
            laws.lokr_gauge(),
        ),
    ),
    "only": Declaration(hf.only(("lora_b", "lokr_w1"), hf.trace(0.9)), (*MOMENTUM, STARTS_UP)),
    "with_gradient": Declaration(
        hf.with_gradient(hf.scale_by_agr(), hf.chain(hf.trace(0.9), hf.cautious_mask())),
        (
            laws.sign_symmetry(),
            laws.scale_equivariance(degree=1),
            laws.homogeneity(),
            *ANYWHERE,
            *WHOLE,
            *QUIET,
            *ASCENDING,
        ),
    ),
    "apply_if_finite": Declaration(
        hf.apply_if_finite(hf.trace(0.9), 3),
        (*MOMENTUM, STARTS_UP, laws.finite_after_nan(), laws.equals(other=hf.trace(0.9))),
    ),
    "skip_not_finite": Declaration(
        hf.skip_not_finite(hf.trace(0.9)),
        (*MOMENTUM, STARTS_UP, laws.finite_after_nan(), laws.equals(other=hf.trace(0.9))),
    ),
    "accumulate": Declaration(
        hf.accumulate(hf.trace(0.9), 2),
        (*MOMENTUM, STARTS_UP, STARTS_DOWN, laws.accumulates(other=hf.trace(0.9), every=2)),
    ),
    "hina_adamw": Declaration(
        hf.hina_adamw(0.1),
        # 0.1 x 16 of ADOPT's clip, and what decay and SPD add at factors of at most 128
        (*RECIPE, laws.no_blow_up(limit=twice_adopt_clip)),
    ),
    "hina_adamw (original)": Declaration(hf.hina_adamw(0.1, formulas="original"), RECIPE),
}
