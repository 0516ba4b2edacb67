"""Exhibits that look at the parameter: decay, pulls toward an anchor, adapter factors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

import hina_func as hf

from ... import laws
from ...checking import Law
from ...strategies import lokr_modules, lora_modules
from .base import ANYWHERE, APART, SIGN, Exhibit, on


def faded(t: int, share: float, steps: int, fastest: float, floor: float) -> float:
    """What is left of an adapter's decay at its update t: nothing is lost before the transition."""
    progress = max(t - steps, 0) / steps
    return max(share ** min(progress, fastest), floor) if progress else 1.0


def pulled(params: str, share: float, fastest: float, floor: float) -> Law:
    """Decay of 0.25 that fades from update 2 on."""
    law = laws.pull(factor=lambda t: 0.25 * faded(t, share, 2, fastest, floor))
    return on(law, lora_modules() if params == "lora" else lokr_modules(), max_steps=8)


def decayed(g: Tensor, p: Tensor) -> Tensor:
    """Decay beside the gradient, of the parameter as it was."""
    return g + 0.25 * p


def spared(g: Tensor, p: Tensor) -> Tensor:
    """Cautious decay: where the step goes outward the parameter is left alone."""
    return g + 0.25 * torch.where(g * p >= 0, p, 0)


def pulled_by_ratio(g: Tensor, p: Tensor) -> Tensor:
    """A half of a half of the way back to where it started, by the share of the step in the landing."""
    landed = (p + g).norm()
    return g - 0.25 * (g.norm() / landed if landed else 0) * g


def allora(weight: Tensor) -> Mapping[str, Tensor | float]:
    """Each row of B by the norm its row of the weight has reached, A by the mean."""
    rows = 1 / (torch.linalg.vector_norm(weight, dim=1, keepdim=True) + 0.25).sqrt()
    return {"lora_A": rows.mean(), "lora_B": rows}


def damped(weight: Tensor) -> Mapping[str, Tensor | float]:
    """Everything by the norm of the weight, the factor that started at zero ratio times as fast."""
    shared = 1 / (1 + 0.5 * weight.norm())
    return {"lokr_w1": shared, "lokr_w2": 6 * shared, "lokr_w2_a": shared, "lokr_w2_b": 6 * shared}


DISTANCE = (laws.holds_distance(), SIGN, APART)
FROM_START = (laws.holds_distance(anchor="start"), ANYWHERE, SIGN, APART)

PARAMETERS: Mapping[str, Exhibit] = {
    "decay": Exhibit(
        lambda: hf.add_decayed_weights(0.25),
        (
            laws.first_response(response=decayed),
            laws.decoupled_decay(rate=-0.25),
            laws.pull(factor=lambda t: 0.25),
            SIGN,
        ),
    ),
    "shrinking": Exhibit(
        lambda: hf.chain(hf.add_decayed_weights(0.25), hf.scale_by_learning_rate(0.5)),
        (laws.decay_shrinks(), laws.decoupled_decay(rate=0.125), laws.pull(factor=lambda t: -0.125), SIGN),
    ),
    "decay of some": Exhibit(
        lambda: hf.add_decayed_weights(0.25, mask=lambda name, _: name == "w"),
        (laws.equals(other=hf.masked(hf.add_decayed_weights(0.25), lambda name, _: name == "w")),),
    ),
    "cautious decay": Exhibit(
        lambda: hf.add_cautious_decayed_weights(0.25),
        (laws.first_response(response=spared), laws.pull(factor=lambda t: 0.25), SIGN, laws.elementwise()),
    ),
    "fading decay of weights": Exhibit(
        lambda: hf.dynamic_wd(0.25, transition_steps=2), (laws.pull(factor=lambda t: 0.25), laws.absence())
    ),
    "fading decay of LoRA": Exhibit(
        lambda: hf.dynamic_wd(0.25, transition_steps=2, decay_factor=0.5, min_ratio=0.3),
        (
            pulled("lora", 0.5, 2.0, 0.3),
            on(laws.first_response(response=decayed), lora_modules(), max_steps=1),
            laws.absence(),
        ),
    ),
    "endless fading of LoRA": Exhibit(
        lambda: hf.dynamic_wd(0.25, transition_steps=2, decay_factor=0.5, min_ratio=0.0),
        (pulled("lora", 0.5, 2.0, 0.0),),
    ),
    "fading decay of LoKr": Exhibit(
        lambda: hf.dynamic_wd(0.25, transition_steps=2, decay_factor=0.5, min_ratio=0.4),
        (pulled("lokr", 0.5**0.7, 1.5, 0.6),),
    ),
    "fast fading of LoKr": Exhibit(
        lambda: hf.dynamic_wd(0.25, transition_steps=2, decay_factor=0.5, min_ratio=0.0),
        (pulled("lokr", 0.5**0.7, 1.5, 0.0),),
    ),
    "spd": Exhibit(lambda: hf.spd_penalty(1.0, anchor="zero"), DISTANCE),
    "spd by half": Exhibit(lambda: hf.spd_penalty(0.5, anchor="zero"), (laws.holds_distance(share=0.5),)),
    "spd from the start": Exhibit(lambda: hf.spd_penalty(1.0), FROM_START),
    "spd, downhill": Exhibit(
        lambda: hf.chain(hf.scale(-1.0), hf.spd_penalty(1.0, anchor="zero")),
        (laws.holds_distance(along=-1.0), laws.rotation_equivariance(), SIGN, APART),
    ),
    "spd by ratio": Exhibit(
        lambda: hf.spd_penalty(0.5, rule="ratio", anchor="zero", learning_rate=0.5),
        (laws.first_response(response=lambda g, p: g - 0.25 * (p + g)), laws.finite(), SIGN, APART),
    ),
    "spd by ratio, from the start": Exhibit(
        lambda: hf.spd_penalty(0.5, rule="ratio", learning_rate=0.5),
        (laws.first_response(response=pulled_by_ratio), laws.finite(), SIGN, APART),
    ),
    "allora": Exhibit(
        lambda: hf.lora_lr_scale(2.0),
        (laws.lora_rates(rates=allora), laws.rate_gauge(), laws.modules_apart(), laws.orphans_pass()),
    ),
    "fresh allora": Exhibit(lambda: hf.lora_lr_scale(1.0), (laws.zero_factor_leads(ratio=1.0), laws.finite())),
    "lora plus": Exhibit(
        lambda: hf.lora_plus_lr_scale(16.0),
        (laws.zero_factor_leads(ratio=16.0, steps=None), laws.modules_apart(), laws.orphans_pass()),
    ),
    "lokr rates": Exhibit(
        lambda: hf.lokr_lr_scale(damping=0.5, ratio=12.0, w2_factor=0.5),
        (
            laws.lokr_rates(rates=damped),
            laws.zero_factor_leads(ratio=6.0, of="lokr"),
            laws.rate_gauge(),
            laws.modules_apart(),
            laws.orphans_pass(),
        ),
    ),
}
