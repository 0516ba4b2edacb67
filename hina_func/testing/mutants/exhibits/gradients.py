"""Exhibits that look at the gradient of the moment: scales, schedules, masks, projections, clips."""

from __future__ import annotations

from collections.abc import Mapping

import hina_func as hf

from ... import laws
from .. import responses as r
from .base import (
    ANYWHERE,
    APART,
    DIRECTION,
    ELEMENTWISE,
    FINITE_AT_ZERO,
    LINEAR,
    LINEAR_AT_FIRST,
    ONE_ELEMENT_PASSES,
    SIGN,
    Exhibit,
    falling,
    responds,
)

GRADIENTS: Mapping[str, Exhibit] = {
    "scale": Exhibit(lambda: hf.scale(0.25), (*responds(r.times(0.25)), LINEAR, *ELEMENTWISE)),
    "learning rate": Exhibit(
        lambda: hf.scale_by_learning_rate(0.25), (*responds(r.times(-0.25)), laws.first_step_descends(), LINEAR)
    ),
    "ascent": Exhibit(
        lambda: hf.scale_by_learning_rate(0.25, flip_sign=False),
        (laws.maximizes(other=hf.scale_by_learning_rate(0.25)), laws.first_step_descends(sign=1)),
    ),
    "schedule": Exhibit(
        lambda: hf.scale_by_schedule(falling), (*responds(r.times(1.0, divided_by_step=True)), laws.absence(), APART)
    ),
    "scheduled learning rate": Exhibit(
        lambda: hf.scale_by_learning_rate(falling),
        (*responds(r.times(-1.0, divided_by_step=True)), laws.absence(), APART),
    ),
    "agr": Exhibit(
        hf.scale_by_agr,
        (laws.shares_damped(), laws.permutation_equivariance(), LINEAR, laws.finite(), *DIRECTION),
    ),
    "agr of one element": Exhibit(hf.scale_by_agr, (ONE_ELEMENT_PASSES,)),
    "trust ratio": Exhibit(
        lambda: hf.scale_by_trust_ratio(trust_coefficient=0.5),
        (laws.length_kept(of="parameter", times=0.5), laws.finite(), APART, laws.rotation_equivariance(), SIGN),
    ),
    "cautious": Exhibit(
        lambda: hf.chain(hf.trace(0.5), hf.cautious_mask()),
        (
            laws.never_against_the_gradient(sign=1),
            laws.gated(other=hf.trace(0.5), boost=lambda kept, n: n / max(kept, 1)),
            laws.permutation_equivariance(),
            laws.finite(),
            LINEAR,
            *DIRECTION,
        ),
    ),
    "cautious, by count": Exhibit(
        lambda: hf.chain(hf.trace(0.5), hf.cautious_mask("count")),
        (laws.gated(other=hf.trace(0.5), boost=lambda kept, n: n / (kept + 1)), APART),
    ),
    "cautious, bounded": Exhibit(
        lambda: hf.chain(hf.trace(0.5), hf.cautious_mask(max_scale=1.25)),
        (laws.gated(other=hf.trace(0.5), boost=lambda kept, n: min(1.25, n / max(kept, 1))),),
    ),
    "cautious, unscaled": Exhibit(
        lambda: hf.chain(hf.trace(0.5), hf.cautious_mask(None)),
        (laws.gated(other=hf.trace(0.5), boost=lambda kept, n: 1.0),),
    ),
    "grams": Exhibit(
        lambda: hf.chain(hf.trace(0.5), hf.grams_sign()),
        (
            laws.never_against_the_gradient(sign=1),
            laws.same_sizes(other=hf.trace(0.5)),
            laws.nan_shows(),
            *DIRECTION,
        ),
    ),
    "orthogonal": Exhibit(
        hf.orthogonal_project,
        (
            laws.orthogonal_to_parameter(),
            laws.length_kept(),
            laws.rests_on_collinear_gradients(),
            laws.rotation_equivariance(),
            FINITE_AT_ZERO,
            LINEAR_AT_FIRST,
            SIGN,
            APART,
        ),
    ),
    "orthogonal, one element": Exhibit(hf.orthogonal_project, (ONE_ELEMENT_PASSES,)),
    "centralize": Exhibit(
        hf.centralize, (laws.rows_keep_their_mean(), laws.elementwise(), laws.superposition(), LINEAR, APART, ANYWHERE)
    ),
    "clip by value": Exhibit(
        lambda: hf.clip_by_value(1.5), (laws.short_passes(limit=1.5), laws.bounded(limit=1.5), laws.elementwise(), SIGN)
    ),
    "clip by norm": Exhibit(
        lambda: hf.clip_by_norm(2.0),
        (laws.ball(radius=2.0), laws.rotation_equivariance(), SIGN, APART, laws.nan_shows(spreads=True)),
    ),
    "clip by global norm": Exhibit(
        lambda: hf.clip_by_global_norm(2.0),
        (laws.ball(radius=2.0, together=True), laws.nan_shows(spreads=True), laws.order_independence()),
    ),
    "clip, the rest frozen": Exhibit(
        lambda: hf.masked(hf.clip_by_global_norm(2.0), lambda name, _: name != "w", "zero"),
        (laws.frozen_do_not_matter(),),
    ),
    "frozen": Exhibit(
        lambda: hf.chain(hf.trace(0.5), hf.freeze(lambda name, _: name == "w")), (laws.frozen_do_not_matter(),)
    ),
    "zero_nans": Exhibit(hf.zero_nans, (laws.constant_response(response=r.times(1.0)), laws.nan_is_zero())),
}
