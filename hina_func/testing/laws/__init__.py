"""Named laws. Each is called with its numbers and gives a `Law` that `hina_func.testing.check` can ask about."""

from .adapters import lokr_gauge, lora_gauge
from .bounds import (
    bounded,
    decay_shrinks,
    first_step_descends,
    never_against_the_gradient,
    no_blow_up,
    orthogonal_to_parameter,
    rests_without_gradient,
)
from .composition import (
    chain_associativity,
    chain_identity,
    idempotence,
    mask_is_removal,
    names_do_not_matter,
    partition_of_one,
)
from .conduct import (
    absence,
    closure,
    company_independence,
    determinism,
    dtype_kept,
    finite,
    layout_independence,
    order_independence,
    precision,
    purity,
    separate_runs,
    still_at_zero_lr,
    trees_alike,
)
from .resume import reordered_resume, resume, resume_in_bfloat16, saved_stays, state_dtype_kept
from .robust import finite_after_nan, replicas
from .schedules import monotone_decay, schedule_bounds
from .symmetry import (
    continuity,
    elementwise,
    homogeneity,
    permutation_equivariance,
    rotation_equivariance,
    scale_equivariance,
    shape_independence,
    sign_symmetry,
    translation_invariance,
)
from .twins import accumulates, equals, maximizes

CONDUCT = (
    absence(),
    closure(),
    company_independence(),
    determinism(),
    dtype_kept(),
    finite(),
    layout_independence(),
    order_independence(),
    precision(),
    purity(),
    reordered_resume(),
    replicas(),
    resume(),
    resume_in_bfloat16(),
    saved_stays(),
    separate_runs(),
    state_dtype_kept(),
    still_at_zero_lr(),
    trees_alike(),
)
"""What every optimizer promises by being one: laws of conduct and of resuming."""

COMPOSITION = (chain_associativity(), chain_identity(), mask_is_removal(), names_do_not_matter(), partition_of_one())
"""What every transformation promises: that it composes."""

__all__ = [
    "absence",
    "accumulates",
    "bounded",
    "chain_associativity",
    "chain_identity",
    "closure",
    "company_independence",
    "continuity",
    "decay_shrinks",
    "determinism",
    "dtype_kept",
    "elementwise",
    "equals",
    "finite",
    "finite_after_nan",
    "first_step_descends",
    "homogeneity",
    "idempotence",
    "layout_independence",
    "lokr_gauge",
    "lora_gauge",
    "mask_is_removal",
    "maximizes",
    "monotone_decay",
    "names_do_not_matter",
    "never_against_the_gradient",
    "no_blow_up",
    "order_independence",
    "orthogonal_to_parameter",
    "partition_of_one",
    "permutation_equivariance",
    "precision",
    "purity",
    "reordered_resume",
    "replicas",
    "rests_without_gradient",
    "resume",
    "resume_in_bfloat16",
    "rotation_equivariance",
    "saved_stays",
    "scale_equivariance",
    "schedule_bounds",
    "separate_runs",
    "shape_independence",
    "sign_symmetry",
    "state_dtype_kept",
    "still_at_zero_lr",
    "translation_invariance",
    "trees_alike",
]
