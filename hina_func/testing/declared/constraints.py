"""What is known of the masks, the projections and the clips."""

from __future__ import annotations

from collections.abc import Mapping

import hina_func as hf

from .. import laws
from ..declaring import Declaration
from .common import ANYWHERE, ASCENDING, ELEMENTWISE, LINEAR, QUIET, STARTS_UP, WHOLE, within

HOMOGENEOUS = (
    laws.sign_symmetry(),
    laws.scale_equivariance(degree=1),
    laws.homogeneity(),
    *ANYWHERE,
    *WHOLE,
    *QUIET,
    *ASCENDING,
)
CLIP = (
    laws.sign_symmetry(),
    laws.continuity(),
    laws.monotone_decay(),
    laws.idempotence(),
    *ANYWHERE,
    *WHOLE,
    *QUIET,
    *ASCENDING,
    *within(0.5),
)
IDENTITY = (*LINEAR, *ELEMENTWISE, *ANYWHERE, *QUIET, *ASCENDING, laws.monotone_decay(), laws.idempotence())

CONSTRAINTS: Mapping[str, Declaration] = {
    "cautious_mask": Declaration(hf.cautious_mask(max_scale=1.5), (*HOMOGENEOUS, laws.monotone_decay())),
    "cautious_mask (behind trace)": Declaration(hf.chain(hf.trace(0.5), hf.cautious_mask()), HOMOGENEOUS),
    # alone it is handed the gradient itself, whose sign is right
    "grams_sign": Declaration(hf.grams_sign(), IDENTITY),
    "grams_sign (behind trace)": Declaration(
        hf.chain(hf.trace(0.5), hf.grams_sign()), (*HOMOGENEOUS, laws.elementwise())
    ),
    "orthogonal_project": Declaration(
        hf.orthogonal_project(),
        (
            laws.sign_symmetry(),
            laws.homogeneity(),
            laws.rotation_equivariance(),
            laws.orthogonal_to_parameter(),
            laws.idempotence(),
            *WHOLE,
            *QUIET,
            STARTS_UP,
        ),
    ),
    "centralize": Declaration(
        hf.centralize(),
        (*LINEAR, *ANYWHERE, *QUIET, STARTS_UP, laws.monotone_decay(), laws.idempotence()),
    ),
    "clip_by_value": Declaration(hf.clip_by_value(0.5), (*CLIP, laws.elementwise())),
    "clip_by_norm": Declaration(hf.clip_by_norm(0.5), (*CLIP, laws.rotation_equivariance())),
    "clip_by_global_norm": Declaration(
        hf.clip_by_global_norm(0.5),
        (*CLIP, laws.rotation_equivariance()),
        breaks=("company_independence",),  # its norm is that of all parameters
    ),
    "zero_nans": Declaration(hf.zero_nans(), (*IDENTITY, laws.finite_after_nan())),
    "identity": Declaration(hf.identity(), IDENTITY),
    "set_to_zero": Declaration(
        hf.set_to_zero(),
        (
            *IDENTITY,
            *within(0.0),
            laws.scale_equivariance(degree=0),
            laws.first_step_descends(sign=-1),
            laws.never_against_the_gradient(sign=-1),
            laws.orthogonal_to_parameter(),
            laws.finite_after_nan(),
            laws.lora_gauge(),
            laws.lokr_gauge(),
        ),
    ),
    "stateless": Declaration(
        hf.stateless(lambda updates, params: {name: 2 * u for name, u in updates.items()}),
        IDENTITY[:-1],
    ),
}
