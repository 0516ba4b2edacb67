"""Functional, optax-style gradient transformations for PyTorch, for LoRA and LoKr adapters and everything else."""

from .adapters import AdapterMap, AdapterModule, find_adapters
from .border import one_by_one
from .compose import (
    chain,
    freeze,
    identity,
    masked,
    named_chain,
    only,
    partition,
    set_to_zero,
    stateless,
    with_gradient,
)
from .core import EmptyState, GradientTransformation, Hyperparam
from .gates import accumulate, apply_if_finite, skip_not_finite
from .optim.hina import HinaAdamW, presets
from .optim.optimizer import Optimizer
from .optim.report import LoadReport
from .optim.saving import Checkpoint, load_checkpoint, save_checkpoint
from .optim.transfer import adamw_state_dict, load_adamw_state_dict
from .recipes import hina_adamw
from .roles import ADAPTER_ROLES, ROLES
from .schedules import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    join_schedules,
    linear_schedule,
    piecewise_constant_schedule,
    polynomial_schedule,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
)
from .state import load_named_state, named_state
from .transforms.clip import clip_by_global_norm, clip_by_norm, clip_by_value, zero_nans
from .transforms.decay import add_cautious_decayed_weights, add_decayed_weights, dynamic_wd
from .transforms.lr_scale import lokr_lr_scale, lora_lr_scale, lora_plus_lr_scale
from .transforms.mask import cautious_mask, grams_sign
from .transforms.penalty import spd_penalty
from .transforms.project import centralize, orthogonal_project
from .transforms.scale import (
    scale,
    scale_by_agr,
    scale_by_learning_rate,
    scale_by_schedule,
    scale_by_trust_ratio,
)
from .transforms.scale_by_adam import scale_by_adam, scale_by_adatam
from .transforms.scale_by_adopt import scale_by_adopt, scale_by_adopt_tam
from .transforms.scale_by_rms import scale_by_lion, scale_by_rms
from .transforms.trace import ema, trace, trace_tam
from .tree import apply_updates

__all__ = [
    "ADAPTER_ROLES",
    "ROLES",
    "AdapterMap",
    "AdapterModule",
    "Checkpoint",
    "EmptyState",
    "GradientTransformation",
    "HinaAdamW",
    "Hyperparam",
    "LoadReport",
    "Optimizer",
    "accumulate",
    "adamw_state_dict",
    "add_cautious_decayed_weights",
    "add_decayed_weights",
    "apply_if_finite",
    "apply_updates",
    "cautious_mask",
    "centralize",
    "chain",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "constant_schedule",
    "cosine_decay_schedule",
    "dynamic_wd",
    "ema",
    "exponential_decay",
    "find_adapters",
    "freeze",
    "grams_sign",
    "hina_adamw",
    "identity",
    "join_schedules",
    "linear_schedule",
    "load_adamw_state_dict",
    "load_checkpoint",
    "load_named_state",
    "lokr_lr_scale",
    "lora_lr_scale",
    "lora_plus_lr_scale",
    "masked",
    "named_chain",
    "named_state",
    "one_by_one",
    "only",
    "orthogonal_project",
    "partition",
    "piecewise_constant_schedule",
    "polynomial_schedule",
    "presets",
    "save_checkpoint",
    "scale",
    "scale_by_adam",
    "scale_by_adatam",
    "scale_by_adopt",
    "scale_by_adopt_tam",
    "scale_by_agr",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_rms",
    "scale_by_schedule",
    "scale_by_trust_ratio",
    "set_to_zero",
    "skip_not_finite",
    "spd_penalty",
    "stateless",
    "trace",
    "trace_tam",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "with_gradient",
    "zero_nans",
]
