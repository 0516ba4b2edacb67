"""Exhibits that remember gradients: averages, Adam, ADOPT, torque, Lion, RMSProp."""

from __future__ import annotations

from collections.abc import Mapping

import torch

import hina_func as hf

from ... import laws
from .. import responses as r
from .base import BLIND, DIRECTION, ELEMENTWISE, LINEAR, SIGN, Exhibit, responds

MOMENTS: Mapping[str, Exhibit] = {
    "adam": Exhibit(
        lambda: hf.scale_by_adam(0.5, 0.75, eps=0.125, eps_root=0.0625),
        (
            *responds(
                r.adam(0.5, 0.75, 0.125, 0.0625),
                r.adam_impulse(0.5, 0.75, 0.125, 0.0625),
                r.adam(0.5, 0.75, 0.125, 0.0625, r.TURNING),
            ),
            laws.steady(),
            *ELEMENTWISE,
        ),
    ),
    "adam without eps": Exhibit(
        lambda: hf.scale_by_adam(0.5, 0.75, eps=0.0), (BLIND, laws.diagonal_invariance(), SIGN, laws.elementwise())
    ),
    "adam, b1 tensor": Exhibit(
        lambda: hf.scale_by_adam(torch.tensor(0.5, dtype=torch.float64), 0.75, eps=0.125),
        responds(r.adam(0.5, 0.75, 0.125, 0.0), r.adam_impulse(0.5, 0.75, 0.125, 0.0)),
    ),
    "adam by step": Exhibit(
        lambda: hf.scale_by_adam(0.5, 0.75, eps=0.125, eps_root=0.0625, debias="step"),
        (*responds(r.adam_by_step(0.5, 0.75, 0.125, 0.0625)), *ELEMENTWISE),
    ),
    "nadam": Exhibit(
        lambda: hf.scale_by_adam(0.5, 0.75, eps=0.125, nesterov=True),
        (*responds(r.nadam(0.5, 0.75, 0.125)), *ELEMENTWISE),
    ),
    "nadam by step": Exhibit(
        lambda: hf.scale_by_adam(0.5, 0.75, eps=0.125, nesterov=True, debias="step"),
        (*responds(r.nadam_by_step(0.5, 0.75, 0.125)), *ELEMENTWISE),
    ),
    "adatam": Exhibit(
        lambda: hf.scale_by_adatam(0.5, 0.75, eps=0.125, decay=0.75),
        (
            *responds(
                r.adatam(0.5, 0.75, 0.125, 0.75),
                r.adatam_impulse(0.5, 0.75, 0.125),
                r.adatam(0.5, 0.75, 0.125, 0.75, r.TURNING),
            ),
            *DIRECTION,
        ),
    ),
    "adatam without eps": Exhibit(
        lambda: hf.scale_by_adatam(0.5, 0.75, eps=0.0), (BLIND, laws.permutation_equivariance(), SIGN)
    ),
    "adopt": Exhibit(
        lambda: hf.scale_by_adopt(0.5, 0.75, eps=0.125),
        (
            *responds(r.adopt(0.5, 0.125), None, r.adopt(0.5, 0.125, r.TURNING)),
            laws.waits(),
            laws.fading(rate=0.5),
            *DIRECTION,
        ),
    ),
    "adopt without eps": Exhibit(lambda: hf.scale_by_adopt(0.5, 0.75, eps=0.0), (BLIND, laws.diagonal_invariance())),
    "adopt without clipping": Exhibit(
        lambda: hf.scale_by_adopt(0.5, 0.75, eps=0.125, use_clipping=False),
        (
            *responds(r.adopt(0.5, 0.125)),
            laws.affine_in_the_last_gradient(),
            laws.waits(),
            laws.fading(rate=0.5),
            SIGN,
        ),
    ),
    "adopt without momentum": Exhibit(
        lambda: hf.scale_by_adopt(0.0, 0.75, eps=0.125),
        (
            laws.bounded(limit=lambda t: (t - 1) ** 0.25),
            laws.pause_response(response=r.adopt_after_pause(0.75, 0.125)),
            SIGN,
        ),
    ),
    "adopt, other clip": Exhibit(
        lambda: hf.scale_by_adopt(0.0, 0.75, eps=0.125, clip_value_fn=lambda step: 0.5 * step),
        (laws.bounded(limit=lambda t: 0.5 * (t - 1)),),
    ),
    "adopt with torque": Exhibit(
        lambda: hf.scale_by_adopt_tam(0.5, 0.75, eps=0.125, decay=0.75),
        (
            *responds(r.adopt_tam(0.5, 0.125, 0.75), None, r.adopt_tam(0.5, 0.125, 0.75, r.TURNING)),
            laws.waits(),
            laws.fading(rate=0.5),
            *DIRECTION,
        ),
    ),
    "adopt with torque, without eps": Exhibit(
        lambda: hf.scale_by_adopt_tam(0.5, 0.75, eps=0.0, decay=0.75), (BLIND, laws.diagonal_invariance())
    ),
    "momentum": Exhibit(
        lambda: hf.trace(0.5),
        (
            *responds(r.momentum(0.5), lambda g, t: 0.5 ** (t - 1) * g, r.momentum(0.5, r.TURNING)),
            laws.fading(rate=0.5),
            laws.superposition(),
            laws.rotation_equivariance(),
            LINEAR,
            laws.absence_of_one(),
            *ELEMENTWISE,
        ),
    ),
    "nesterov": Exhibit(
        lambda: hf.trace(0.5, nesterov=True),
        (
            *responds(r.momentum(0.5, nesterov=True), None, r.momentum(0.5, r.TURNING, nesterov=True)),
            laws.fading(rate=0.5),
            laws.superposition(),
            *ELEMENTWISE,
        ),
    ),
    "momentum with torque": Exhibit(
        lambda: hf.trace_tam(0.5, decay=0.75, eps=0.125),
        (
            *responds(
                r.momentum_tam(0.5, 0.75, 0.125),
                lambda g, t: 0.625 * 0.5 ** (t - 1) * g,
                r.momentum_tam(0.5, 0.75, 0.125, r.TURNING),
            ),
            laws.fading(rate=0.5),
            laws.rotation_equivariance(),
            LINEAR,
            *DIRECTION,
        ),
    ),
    "average": Exhibit(
        lambda: hf.ema(0.75),
        (
            *responds(
                r.average(0.75, True),
                lambda g, t: r.lingering(t, 0.75) / (1 - 0.75**t) * g,
                r.average(0.75, True, r.TURNING),
            ),
            laws.steady(),
            laws.superposition(),
            laws.bfloat16_rounds_once(),
            LINEAR,
            *ELEMENTWISE,
        ),
    ),
    "biased average": Exhibit(
        lambda: hf.ema(0.75, debias=False), (*responds(r.average(0.75, False)), laws.fading(rate=0.75), *ELEMENTWISE)
    ),
    "rms": Exhibit(lambda: hf.scale_by_rms(0.75, eps=0.125), (*responds(r.rms(0.75, 0.125)), *ELEMENTWISE)),
    "rms, eps beside": Exhibit(
        lambda: hf.scale_by_rms(0.75, eps=0.125, eps_in_sqrt=False),
        (*responds(r.rms(0.75, 0.125, inside=False)), *ELEMENTWISE),
    ),
    "rms, debiased": Exhibit(
        lambda: hf.scale_by_rms(0.75, eps=0.125, bias_correction=True),
        (*responds(r.rms(0.75, 0.125, debias=True)), laws.steady(), *ELEMENTWISE),
    ),
    "lion": Exhibit(
        lambda: hf.scale_by_lion(0.9, 0.5),
        (
            *responds(r.lion(0.9, 0.5), None, r.lion(0.9, 0.5, r.TURNING)),
            laws.bounded(limit=1.0),
            laws.steady(),
            BLIND,
            laws.nan_shows(),
            *ELEMENTWISE,
        ),
    ),
    "adam in bfloat16": Exhibit(lambda: hf.scale_by_adam(0.5, 0.99, eps=0.125), (laws.bfloat16_rounds_once(),)),
}
