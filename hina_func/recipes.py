"""Whole optimizers as chains, and the guide's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .checks import (
    require_choice,
    require_decay_rate,
    require_nonnegative,
    require_pair,
    require_positive,
    require_unit,
)
from .compose import chain, only, with_gradient
from .core import GradientTransformation, Hyper
from .original import original_adamw
from .roles import ADAPTER_ROLES
from .transforms.decay import add_decayed_weights, dynamic_wd
from .transforms.lr_scale import lokr_lr_scale, lora_lr_scale, lora_plus_lr_scale
from .transforms.mask import cautious_mask, grams_sign
from .transforms.penalty import spd_penalty
from .transforms.project import orthogonal_project
from .transforms.scale import scale_by_agr, scale_by_learning_rate
from .transforms.scale_by_adam import scale_by_adam, scale_by_adatam
from .transforms.scale_by_adopt import scale_by_adopt, scale_by_adopt_tam

FORMULAS = ("published", "original")


def hina_adamw(
    learning_rate: Hyper = 1e-3,
    *,
    betas: Sequence[Hyper] = (0.9, 0.999),
    eps: Hyper = 1e-8,
    weight_decay: Hyper = 1e-2,
    use_spd: bool = True,
    spd_lambda: Hyper = 0.06,
    use_cautious: bool = True,
    use_orthogonal_grad: bool = False,
    use_adopt_stability: bool = True,
    use_grams: bool = True,
    use_agr: bool = True,
    use_tam: bool = True,
    tam_beta: Hyper = 0.999,
    use_alora: bool = True,
    alora_ratio: Hyper = 16.0,
    dynamic_weight_decay: bool = True,
    wd_transition_steps: Hyper = 1000,
    wd_decay_factor: Hyper = 0.7,
    wd_min_ratio: Hyper = 0.1,
    formulas: str = "published",
    extra_patterns: Any = (),
) -> GradientTransformation:
    r"""HinaAdamW as one chain.

    ``formulas="published"``: AGR, orthogonal projection, moments, sign or mask, adapter scales, learning rate and
    decay, SPD:

    .. math:: g \to \tilde g \to m/\sqrt v \to |m/\sqrt v| \operatorname{sign} \tilde g \to s(A, B, w_1, w_2) \to
        -\eta(\cdot + \lambda r(t) p) \to \text{SPD}

    each as its paper has it; see the parity page for every difference from ``formulas="original"``, which gives the
    numbers of the optimizer that the guide describes.

    | Reads: everything.  Keeps: 8 bytes per element, 12 outside adapters with SPD.

    Args:
        learning_rate: :math:`\eta \ge 0`.
        betas: decay rates of the two moments, in [0, 1).
        eps: beside (Adam) or below (ADOPT) the root, >= 0.
        weight_decay: :math:`\lambda \ge 0`.
        use_spd: hold parameters back where a step takes them further from the anchor.
        spd_lambda: its strength, >= 0.
        use_cautious: drop what the gradient disagrees with; has no effect beside ``use_grams``.
        use_orthogonal_grad: use the part of the gradient that is orthogonal to the parameter. Only outside adapters, in
            the published set.
        use_adopt_stability: ADOPT instead of Adam.
        use_grams: the gradient's sign for the update's.
        use_agr: adaptive gradient regularisation.
        use_tam: torque-aware momentum.
        tam_beta: decay rate of its cosine, in [0, 1].
        use_alora: learning rates of LoRA and LoKr modules.
        alora_ratio: how much faster the zero-initialised factor learns, >= 0.
        dynamic_weight_decay: let the decay of adapters fade.
        wd_transition_steps: when it begins to, in updates, > 0.
        wd_decay_factor: how fast, in [0, 1].
        wd_min_ratio: how far, in [0, 1].
        formulas: "published" or "original".
        extra_patterns: see `hina_func.find_adapters`.

    Raises:
        ValueError: if an argument is out of range.

    >>> import hina_func as hf, torch
    >>> params = {"w": torch.ones(2)}
    >>> tx = hina_adamw(0.1, use_adopt_stability=False, use_tam=False, use_agr=False, weight_decay=0.0)
    >>> tx.update({"w": torch.tensor([3.0, -3.0])}, tx.init(params), params)[0]
    {'w': tensor([-0.1000,  0.1000])}
    """
    require_pair(betas=betas)
    b1, b2 = betas
    require_choice(FORMULAS, formulas=formulas)
    require_decay_rate(b1=b1, b2=b2)
    require_unit(tam_beta=tam_beta, wd_decay_factor=wd_decay_factor, wd_min_ratio=wd_min_ratio)
    require_nonnegative(eps=eps, weight_decay=weight_decay, spd_lambda=spd_lambda, alora_ratio=alora_ratio)
    require_positive(wd_transition_steps=wd_transition_steps)
    if formulas == "original":
        return original_adamw(
            learning_rate,
            b1=b1,
            b2=b2,
            eps=eps,
            weight_decay=weight_decay,
            spd_lambda=spd_lambda if use_spd else None,
            cautious=use_cautious,
            orthogonal=use_orthogonal_grad,
            adopt=use_adopt_stability,
            grams=use_grams,
            agr=use_agr,
            tam_beta=tam_beta if use_tam else None,
            alora_ratio=alora_ratio if use_alora else None,
            dynamic=(wd_transition_steps, wd_decay_factor, wd_min_ratio) if dynamic_weight_decay else None,
        )
    outside = only("regular", orthogonal_project(), extra_patterns)
    gradient = [scale_by_agr()] * use_agr + [outside] * use_orthogonal_grad
    if use_adopt_stability:
        moments = scale_by_adopt_tam(b1, b2, eps, tam_beta) if use_tam else scale_by_adopt(b1, b2, eps)
    else:
        moments = scale_by_adatam(b1, b2, eps, tam_beta) if use_tam else scale_by_adam(b1, b2, eps)
    sign = [grams_sign()] if use_grams else [cautious_mask()] * use_cautious
    scales = [
        lora_lr_scale(extra_patterns=extra_patterns),
        lora_plus_lr_scale(alora_ratio, extra_patterns=extra_patterns),
        lokr_lr_scale(ratio=alora_ratio, extra_patterns=extra_patterns),
    ]
    decay = add_decayed_weights(weight_decay)
    if dynamic_weight_decay:
        decay = dynamic_wd(weight_decay, wd_transition_steps, wd_decay_factor, wd_min_ratio, extra_patterns)
    step = [*(scales if use_alora else []), decay, scale_by_learning_rate(learning_rate)]
    spd = [
        only(ADAPTER_ROLES, spd_penalty(spd_lambda, anchor="zero"), extra_patterns),
        only("regular", spd_penalty(spd_lambda, anchor="init"), extra_patterns),
    ] * use_spd
    return with_gradient(chain(*gradient), chain(moments, *sign, *step, *spd))
