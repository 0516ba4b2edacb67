"""Exhibits that put parts together: compositions, gates, recipes, and chains behind ``torch.optim``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import hina_func as hf

from ... import laws
from ..responses import times
from .base import APART, Exhibit, falling, responds


def behind_torch(
    make: Callable[[hf.Hyperparam], hf.GradientTransformation], *, names: bool = False
) -> Callable[[], Any]:
    """An exhibit's build: a factory of optimizers that run the chain, with the names that live modules give or none."""

    def build() -> Callable[[Any], hf.Optimizer]:
        def factory(params: Any) -> hf.Optimizer:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return hf.Optimizer(params, make(hf.Hyperparam("lr", 0.25)), compile=False, discover_names=names)

        return factory

    return build


def adamw(lr: Any) -> hf.GradientTransformation:
    """AdamW as a chain."""
    return hf.chain(hf.scale_by_adam(0.5, 0.75, eps=0.125), hf.add_decayed_weights(0.5), hf.scale_by_learning_rate(lr))


def recipe(**more: Any) -> hf.GradientTransformation:
    """HinaAdamW as published, with Adam for ADOPT, so that the first step moves."""
    numbers = {"use_adopt_stability": False, "use_spd": False, "weight_decay": 0.5, "dynamic_weight_decay": False}
    return hf.hina_adamw(0.25, **{**numbers, **more})


OPTIMIZERS: Mapping[str, Exhibit] = {
    "accumulate": Exhibit(
        lambda: hf.accumulate(hf.trace(0.5), 2), (laws.accumulates(other=hf.trace(0.5)), laws.absence(), APART)
    ),
    "accumulate of three": Exhibit(
        lambda: hf.accumulate(hf.trace(0.5), 3), (laws.accumulates(other=hf.trace(0.5), every=3),)
    ),
    "skip_not_finite": Exhibit(
        lambda: hf.skip_not_finite(hf.trace(0.5)), (laws.not_finite_is_absence(), laws.absence(), APART)
    ),
    "skip_not_finite around a mask": Exhibit(
        lambda: hf.skip_not_finite(hf.chain(hf.clip_by_value(1.0), hf.trace(0.5), hf.cautious_mask())),
        (laws.not_finite_is_absence(),),
    ),
    "skip_not_finite around a norm": Exhibit(
        lambda: hf.skip_not_finite(hf.chain(hf.trace(0.5), hf.clip_by_global_norm(1.0))),
        (laws.not_finite_is_absence(),),
    ),
    "apply_if_finite": Exhibit(
        lambda: hf.apply_if_finite(hf.trace(0.5), 3), (laws.not_finite_is_absence(together=True),)
    ),
    "masked": Exhibit(
        lambda: hf.chain(hf.clip_by_global_norm(1.0), hf.trace(0.5)),
        (laws.mask_is_removal(), laws.chain_identity(), laws.chain_associativity()),
    ),
    "in order": Exhibit(
        lambda: hf.chain(hf.clip_by_value(1.0), hf.scale(4.0)),
        (laws.bounded(limit=4.0), *responds(lambda g, t: 4 * g.clamp(-1, 1))),
    ),
    "seen through a projection": Exhibit(
        lambda: hf.with_gradient(hf.scale(-1.0), hf.chain(hf.scale(2.0), hf.cautious_mask(None))),
        (laws.first_step_descends(), *responds(times(-2.0))),
    ),
    "hina_adamw": Exhibit(recipe, (laws.decoupled_decay(rate=0.125), laws.sign_symmetry(), APART)),
    "hina_adamw without decay": Exhibit(
        lambda: recipe(weight_decay=0.0),
        (laws.never_against_the_gradient(), laws.bounded(limit=0.25 * 4)),
    ),
    "hina_adamw with caution": Exhibit(
        lambda: recipe(weight_decay=0.0, use_grams=False, use_tam=False), (laws.never_against_the_gradient(),)
    ),
    "adamw": Exhibit(
        behind_torch(adamw),
        (laws.decoupled_decay(rate=0.125), laws.linear_in_lr(), laws.absence_of_one(), laws.resume()),
    ),
    "adamw with names": Exhibit(behind_torch(adamw, names=True), (laws.reordered_resume(),)),
    "clipped sgd": Exhibit(
        behind_torch(lambda lr: hf.chain(hf.clip_by_global_norm(1.0), hf.trace(0.5), hf.scale_by_learning_rate(lr))),
        (laws.linear_in_lr(), laws.bounded(limit=0.5)),
    ),
    "centralized sgd": Exhibit(
        behind_torch(lambda lr: hf.chain(hf.centralize(), hf.scale_by_learning_rate(lr))),
        (laws.rows_keep_their_mean(), laws.linear_in_lr()),
    ),
    "spd behind torch": Exhibit(
        behind_torch(lambda lr: hf.chain(hf.scale_by_learning_rate(lr), hf.spd_penalty(1.0))),
        (laws.translation_invariance(),),
    ),
    "scheduled sgd": Exhibit(
        behind_torch(lambda lr: hf.chain(hf.scale_by_schedule(falling), hf.scale_by_learning_rate(lr))),
        (*responds(times(-0.25, divided_by_step=True)), laws.linear_in_lr()),
    ),
}
