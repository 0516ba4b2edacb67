"""One row per public transform. The contract suite runs over these rows: a new transform needs one more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import hina_func as hf


@dataclass(frozen=True)
class Row:
    """``make(number)`` builds the transform with the number that ``hyper`` names; ``bad`` calls must be refused.

    ``other`` is a second value of that number. ``smooth_at_zero``: differentiable in the gradient at a zero gradient.
    ``whole_tree``: one parameter's update may depend on the others'.
    """

    name: str
    make: Callable[[Any], hf.GradientTransformation]
    hyper: str = ""
    value: float = 0.0
    other: float = 0.0
    bad: tuple[tuple[Callable[[], Any], type[Exception], str], ...] = ()
    needs_params: bool = False
    smooth_at_zero: bool = True
    whole_tree: bool = False

    def build(self) -> hf.GradientTransformation:
        return self.make(self.value)

    def tunable(self) -> hf.GradientTransformation:
        return self.make(hf.Hyperparam(self.hyper, self.value))


def out_of_range(make: Callable[[Any], Any], name: str, *values: Any) -> tuple[Any, ...]:
    """Calls with a number that is out of range, of the wrong type or not finite."""
    wrong = (*values, float("nan"), float("inf"))
    return (
        *((lambda value=value: make(value), ValueError, f"{name} must") for value in wrong),
        (lambda: make("1"), TypeError, f"{name} must"),
    )


def double(updates: Any, params: Any) -> Any:
    return {name: 2 * u for name, u in updates.items()}


def is_matrix(name: str, tensor: Tensor) -> bool:
    return tensor.ndim >= 2


def kind(name: str, tensor: Tensor) -> str:
    return "adapter" if "lo" in name else "rest"


def falling(step: Tensor) -> Tensor:
    return 1 / (1 + step)


ROWS = (
    Row("scale", hf.scale, "step_size", 0.5, 2.0, out_of_range(hf.scale, "step_size")),
    Row(
        "scale_by_learning_rate",
        hf.scale_by_learning_rate,
        "learning_rate",
        0.1,
        0.01,
        out_of_range(hf.scale_by_learning_rate, "learning_rate", -1.0),
    ),
    Row(
        "scale_by_schedule",
        lambda _: hf.scale_by_schedule(falling),
        bad=((lambda: hf.scale_by_schedule(0.1), TypeError, "step_size_fn must be a function"),),
    ),
    Row(
        "scale_by_adam",
        lambda b1: hf.scale_by_adam(b1, eps=0.1),
        "b1",
        0.9,
        0.5,
        (
            *out_of_range(hf.scale_by_adam, "b1", 1.0, -0.1),
            *out_of_range(lambda b2: hf.scale_by_adam(b2=b2), "b2", 1.0),
            *out_of_range(lambda eps: hf.scale_by_adam(eps=eps), "eps", -1e-8),
            *out_of_range(lambda eps: hf.scale_by_adam(eps_root=eps), "eps_root", -1e-8),
            (lambda: hf.scale_by_adam(debias="none"), ValueError, "debias must be one of"),
        ),
    ),
    Row("scale_by_adam (nesterov)", lambda b1: hf.scale_by_adam(b1, eps=0.1, nesterov=True), "b1", 0.9, 0.5),
    Row("scale_by_adam (step)", lambda b2: hf.scale_by_adam(b2=b2, eps=0.1, debias="step"), "b2", 0.99, 0.9),
    Row(
        "scale_by_adopt",
        lambda b1: hf.scale_by_adopt(b1, eps=0.1),
        "b1",
        0.9,
        0.5,
        (
            *out_of_range(hf.scale_by_adopt, "b1", 1.0),
            (lambda: hf.scale_by_adopt(clip_value_fn=1.0), TypeError, "clip_value_fn must be a function"),  # type: ignore[arg-type]
        ),
        smooth_at_zero=False,
    ),
    Row(
        "scale_by_adopt_tam",
        lambda decay: hf.scale_by_adopt_tam(eps=0.1, decay=decay),
        "decay",
        0.9,
        0.5,
        out_of_range(lambda decay: hf.scale_by_adopt_tam(decay=decay), "decay", 1.1, -0.1),
        smooth_at_zero=False,
    ),
    Row(
        "scale_by_adatam",
        lambda decay: hf.scale_by_adatam(eps=0.1, decay=decay),
        "decay",
        0.9,
        0.5,
        out_of_range(lambda decay: hf.scale_by_adatam(decay=decay), "decay", 1.1, -0.1),
        smooth_at_zero=False,
    ),
    Row("scale_by_agr", lambda _: hf.scale_by_agr(), smooth_at_zero=False),
    Row(
        "scale_by_lion",
        hf.scale_by_lion,
        "b1",
        0.9,
        0.5,
        out_of_range(hf.scale_by_lion, "b1", 1.0),
        smooth_at_zero=False,
    ),
    Row(
        "scale_by_rms",
        lambda decay: hf.scale_by_rms(decay, eps=0.1),
        "decay",
        0.9,
        0.5,
        (
            *out_of_range(hf.scale_by_rms, "decay", 1.0),
            *out_of_range(lambda value: hf.scale_by_rms(initial_scale=value), "initial_scale", -1.0),
        ),
    ),
    Row(
        "scale_by_trust_ratio",
        lambda c: hf.scale_by_trust_ratio(trust_coefficient=c),
        "trust_coefficient",
        0.7,
        0.5,
        out_of_range(lambda c: hf.scale_by_trust_ratio(trust_coefficient=c), "trust_coefficient", -1.0),
        needs_params=True,
        smooth_at_zero=False,
    ),
    Row("trace", hf.trace, "decay", 0.9, 0.5, out_of_range(hf.trace, "decay", 1.0)),
    Row("trace (nesterov)", lambda decay: hf.trace(decay, nesterov=True), "decay", 0.9, 0.5),
    Row(
        "trace_tam",
        lambda b1: hf.trace_tam(b1),
        "b1",
        0.9,
        0.5,
        (*out_of_range(hf.trace_tam, "b1", 1.0), *out_of_range(lambda d: hf.trace_tam(decay=d), "decay", -0.1)),
        smooth_at_zero=False,
    ),
    Row("ema", hf.ema, "decay", 0.9, 0.5, out_of_range(hf.ema, "decay", 1.0)),
    Row(
        "cautious_mask",
        lambda bound: hf.cautious_mask(max_scale=bound),
        "max_scale",
        1.5,
        1.1,
        (
            (lambda: hf.cautious_mask("sum"), ValueError, "rescale must be one of"),
            *out_of_range(lambda bound: hf.cautious_mask(max_scale=bound), "max_scale", 0.0),
        ),
        smooth_at_zero=False,
    ),
    Row("grams_sign", lambda _: hf.grams_sign(), smooth_at_zero=False),
    Row("orthogonal_project", lambda _: hf.orthogonal_project(), needs_params=True, smooth_at_zero=False),
    Row("centralize", lambda _: hf.centralize()),
    Row(
        "lora_lr_scale",
        hf.lora_lr_scale,
        "eta",
        1.0,
        2.0,
        out_of_range(hf.lora_lr_scale, "eta", 0.0, -1.0),
        needs_params=True,
    ),
    Row(
        "lora_plus_lr_scale",
        hf.lora_plus_lr_scale,
        "ratio",
        16.0,
        2.0,
        out_of_range(hf.lora_plus_lr_scale, "ratio", -1.0),
        needs_params=True,
    ),
    Row(
        "lokr_lr_scale",
        hf.lokr_lr_scale,
        "damping",
        0.3,
        0.1,
        (
            *out_of_range(hf.lokr_lr_scale, "damping", -1.0),
            *out_of_range(lambda r: hf.lokr_lr_scale(ratio=r), "ratio", -1.0),
            *out_of_range(lambda f: hf.lokr_lr_scale(w2_factor=f), "w2_factor", -1.0),
        ),
        needs_params=True,
    ),
    Row(
        "add_decayed_weights",
        hf.add_decayed_weights,
        "weight_decay",
        0.1,
        0.5,
        out_of_range(hf.add_decayed_weights, "weight_decay", -0.1),
        needs_params=True,
    ),
    Row(
        "add_cautious_decayed_weights",
        hf.add_cautious_decayed_weights,
        "weight_decay",
        0.1,
        0.5,
        out_of_range(hf.add_cautious_decayed_weights, "weight_decay", -0.1),
        needs_params=True,
        smooth_at_zero=False,
    ),
    Row(
        "dynamic_wd",
        lambda wd: hf.dynamic_wd(wd, transition_steps=2),
        "weight_decay",
        0.1,
        0.5,
        (
            *out_of_range(hf.dynamic_wd, "weight_decay", -0.1),
            *out_of_range(lambda t: hf.dynamic_wd(transition_steps=t), "transition_steps", 0),
            *out_of_range(lambda f: hf.dynamic_wd(decay_factor=f), "decay_factor", 1.5),
            *out_of_range(lambda r: hf.dynamic_wd(min_ratio=r), "min_ratio", -0.5),
        ),
        needs_params=True,
    ),
    Row(
        "spd_penalty",
        lambda strength: hf.spd_penalty(strength, anchor="zero"),
        "strength",
        0.5,
        1.0,
        (
            *out_of_range(hf.spd_penalty, "strength", -1.0),
            (lambda: hf.spd_penalty(0.1, rule="projection"), ValueError, "rule must be one of"),
            (lambda: hf.spd_penalty(0.1, anchor="start"), ValueError, "anchor must be one of"),
        ),
        needs_params=True,
        smooth_at_zero=False,
    ),
    Row(
        "spd_penalty (init)",
        lambda strength: hf.spd_penalty(strength),
        "strength",
        0.5,
        1.0,
        needs_params=True,
        smooth_at_zero=False,
    ),
    Row(
        "spd_penalty (ratio)",
        lambda lr: hf.spd_penalty(0.5, rule="ratio", learning_rate=lr),
        "learning_rate",
        0.1,
        0.2,
        out_of_range(lambda lr: hf.spd_penalty(0.5, rule="ratio", learning_rate=lr), "learning_rate", -0.1),
        needs_params=True,
    ),
    Row("clip_by_value", hf.clip_by_value, "max_delta", 0.5, 0.1, out_of_range(hf.clip_by_value, "max_delta", -1.0)),
    Row("clip_by_norm", hf.clip_by_norm, "max_norm", 0.5, 0.1, out_of_range(hf.clip_by_norm, "max_norm", -1.0)),
    Row(
        "clip_by_global_norm",
        hf.clip_by_global_norm,
        "max_norm",
        0.5,
        0.1,
        (
            *out_of_range(hf.clip_by_global_norm, "max_norm", -1.0),
            (lambda: hf.clip_by_global_norm(falling), TypeError, "not a schedule"),  # type: ignore[arg-type]
        ),
        whole_tree=True,
    ),
    Row("zero_nans", lambda _: hf.zero_nans()),
    Row("identity", lambda _: hf.identity()),
    Row("set_to_zero", lambda _: hf.set_to_zero()),
    Row(
        "stateless", lambda _: hf.stateless(double), bad=((lambda: hf.stateless(2.0), TypeError, "must be a function"),)
    ),  # type: ignore[arg-type]
    Row(
        "chain",
        lambda b1: hf.chain(hf.scale_by_adam(b1, eps=0.1), hf.scale(-0.1)),
        "b1",
        0.9,
        0.5,
        (
            (lambda: hf.chain(hf.scale(1.0), 3), TypeError, "GradientTransformation"),  # type: ignore[arg-type]
            (
                lambda: hf.chain(hf.scale(hf.Hyperparam("a", 1.0)), hf.scale(hf.Hyperparam("a", 2.0))),
                ValueError,
                "two defaults",
            ),
        ),
    ),
    Row(
        "named_chain",
        lambda d: hf.named_chain(("m", hf.trace(d)), ("lr", hf.scale(-0.1))),
        "decay",
        0.9,
        0.5,
        ((lambda: hf.named_chain(("a", hf.identity()), ("a", hf.identity())), ValueError, "different words"),),
    ),
    Row("partition", lambda d: hf.partition({"adapter": hf.trace(d), "rest": hf.scale(2.0)}, kind), "decay", 0.9, 0.5),
    Row(
        "masked",
        lambda d: hf.masked(hf.trace(d), is_matrix, "zero"),
        "decay",
        0.9,
        0.5,
        ((lambda: hf.masked(hf.identity(), is_matrix, "drop"), ValueError, "otherwise must be one of"),),
    ),
    Row("freeze", lambda _: hf.freeze(is_matrix)),
    Row(
        "only",
        lambda d: hf.only(("lora_b", "lokr_w1"), hf.trace(d)),
        "decay",
        0.9,
        0.5,
        ((lambda: hf.only("lora_c", hf.identity()), ValueError, "role must be one of"),),
    ),
    Row(
        "with_gradient",
        lambda d: hf.with_gradient(hf.scale_by_agr(), hf.chain(hf.trace(d), hf.cautious_mask())),
        "decay",
        0.9,
        0.5,
        smooth_at_zero=False,
    ),
    Row(
        "apply_if_finite",
        lambda d: hf.apply_if_finite(hf.trace(d), 3),
        "decay",
        0.9,
        0.5,
        ((lambda: hf.apply_if_finite(hf.identity(), 0), ValueError, "max_consecutive_errors must"),),
        whole_tree=True,
    ),
    Row(
        "skip_not_finite",
        lambda d: hf.skip_not_finite(hf.trace(d)),
        "decay",
        0.9,
        0.5,
        ((lambda: hf.skip_not_finite(3), TypeError, "GradientTransformation"),),  # type: ignore[arg-type]
    ),
    Row(
        "accumulate",
        lambda d: hf.accumulate(hf.trace(d), 2),
        "decay",
        0.9,
        0.5,
        ((lambda: hf.accumulate(hf.identity(), 0), ValueError, "every must"),),
    ),
    Row(
        "hina_adamw",
        lambda lr: hf.hina_adamw(lr, eps=0.1, wd_transition_steps=1),
        "lr",
        0.1,
        0.01,
        (
            (lambda: hf.hina_adamw(formulas="best"), ValueError, "formulas must be one of"),
            (lambda: hf.hina_adamw(betas=(0.9, 0.99, 0.999)), ValueError, "betas must be two numbers, got"),
            (lambda: hf.hina_adamw(betas=0.9), ValueError, "betas must be two numbers, got 0.9"),
            *out_of_range(hf.hina_adamw, "learning_rate", -1.0),
        ),
        needs_params=True,
        smooth_at_zero=False,
    ),
    Row(
        "hina_adamw (original)",
        lambda lr: hf.hina_adamw(lr, eps=0.1, wd_transition_steps=1, formulas="original"),
        "lr",
        0.1,
        0.01,
        needs_params=True,
        smooth_at_zero=False,
    ),
)

SHAPES = {
    "q.lora_A.weight": (2, 3),
    "q.lora_B.weight": (4, 2),
    "k.lora_A.weight": (2, 3),
    "k.lora_B.weight": (4, 2),
    "conv.lora_down.weight": (2, 3, 2, 2),
    "conv.lora_up.weight": (4, 2, 1, 1),
    "orphan.lora_up.weight": (4, 2),
    "a.lokr_w1": (2, 2),
    "a.lokr_w2": (3, 2),
    "b.lokr_w1": (2, 2),
    "b.lokr_w2": (3, 2),
    "c.lokr_w1_a": (2, 1),
    "c.lokr_w1_b": (1, 2),
    "c.lokr_w2_a": (3, 2),
    "c.lokr_w2_b": (2, 3),
    "t.lokr_w1": (2, 2),
    "t.lokr_t2": (2, 2, 3, 3),
    "t.lokr_w2_a": (2, 3),
    "t.lokr_w2_b": (2, 2),
    "norm.w_norm": (3,),
    "weight": (4, 3),
    "bias": (4,),
    "gain": (),
    "one": (1,),
}
"""Every kind of parameter, some of equal shape."""


def draw(
    seed: int, dtype: torch.dtype = torch.float64, shapes: dict[str, tuple[int, ...]] = SHAPES
) -> dict[str, Tensor]:
    """A tree of normal numbers."""
    generator = np.random.default_rng(seed)
    return {name: torch.tensor(generator.standard_normal(shape)).to(dtype) for name, shape in shapes.items()}
