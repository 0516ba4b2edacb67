"""What is known of what reads the parameters: rates of adapters, decays, penalties."""

from __future__ import annotations

from collections.abc import Mapping

import hina_func as hf

from .. import laws
from ..declaring import Declaration
from .common import ANYWHERE, ASCENDING, ELEMENTWISE, LINEAR, NOISE, QUIET, STARTS_UP, WHOLE

RATE = (laws.sign_symmetry(), laws.shape_independence(), laws.continuity(), *QUIET, *ASCENDING)
DECAY = (
    laws.sign_symmetry(),
    laws.homogeneity(),
    laws.rotation_equivariance(),
    laws.continuity(),
    *ELEMENTWISE,
    laws.decay_shrinks(sign=1),
)
PENALTY = (laws.sign_symmetry(), laws.homogeneity(), laws.rotation_equivariance(), *WHOLE, *QUIET)

PARAMETERS: Mapping[str, Declaration] = {
    "lora_lr_scale": Declaration(hf.lora_lr_scale(), RATE),
    "lora_plus_lr_scale": Declaration(
        hf.lora_plus_lr_scale(16.0),
        (*LINEAR, *WHOLE, *QUIET, *ASCENDING, laws.monotone_decay()),
    ),
    "lokr_lr_scale": Declaration(hf.lokr_lr_scale(), RATE),
    "add_decayed_weights": Declaration(hf.add_decayed_weights(0.1), DECAY),
    "add_cautious_decayed_weights": Declaration(
        hf.add_cautious_decayed_weights(0.1),
        (laws.sign_symmetry(), laws.homogeneity(), *ELEMENTWISE, *ASCENDING, laws.decay_shrinks(sign=1)),
    ),
    "dynamic_wd": Declaration(hf.dynamic_wd(0.1, transition_steps=2), DECAY),
    "spd_penalty": Declaration(hf.spd_penalty(0.5, anchor="zero"), (*PENALTY, STARTS_UP), NOISE),
    "spd_penalty (init)": Declaration(
        hf.spd_penalty(0.5),
        (*PENALTY, STARTS_UP, *ANYWHERE, laws.scale_equivariance(degree=1), laws.monotone_decay()),
        NOISE,
    ),
    "spd_penalty (ratio)": Declaration(hf.spd_penalty(0.5, rule="ratio", learning_rate=0.1), PENALTY),
}
