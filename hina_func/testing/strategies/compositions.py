"""Chains: the catalog, composed at random, as code."""

from __future__ import annotations

from collections.abc import Mapping

import hypothesis.strategies as st

from ...roles import ADAPTER_ROLES
from .written import HYPERPARAMETERS, Written, call, numbers, schedules

_yes = st.just(True)
_tam = numbers("tam_decay")
_masks = st.sampled_from(
    [
        Written("lambda name, x: x.ndim > 1"),
        Written("lambda name, x: 'lo' in name"),
        Written("lambda name, x: x.numel() == 1"),
        Written("lambda name, x: True"),
        Written("lambda name, x: False"),
    ]
)
_labels = st.sampled_from(
    [
        Written("lambda name, x: 'matrix' if x.ndim > 1 else 'rest'"),
        Written("lambda name, x: 'matrix'"),
    ]
)

TRANSFORMS: Mapping[str, st.SearchStrategy[Written]] = {
    "identity": call("identity"),
    "scale": call("scale", numbers("step_size")),
    "scale_by_learning_rate": call("scale_by_learning_rate", numbers("learning_rate"), flip_sign=st.just(False)),
    "scale_by_adam": call(
        "scale_by_adam",
        b1=numbers("b1"),
        b2=numbers("b2"),
        eps=numbers("eps"),
        eps_root=numbers("eps_root"),
        nesterov=_yes,
        debias=st.just("step"),
    ),
    "trace": call("trace", numbers("decay"), nesterov=_yes),
    "ema": call("ema", numbers("decay"), debias=st.just(False)),
    "add_decayed_weights": call("add_decayed_weights", numbers("weight_decay"), mask=_masks),
    "clip_by_norm": call("clip_by_norm", numbers("max_norm")),
    "clip_by_value": call("clip_by_value", numbers("max_delta")),
    "clip_by_global_norm": call("clip_by_global_norm", HYPERPARAMETERS["max_norm"]),
    "scale_by_schedule": call("scale_by_schedule", schedules()),
    "scale_by_rms": call(
        "scale_by_rms",
        decay=numbers("decay"),
        eps=numbers("eps"),
        initial_scale=st.just(1.0),
        eps_in_sqrt=st.just(False),
        bias_correction=_yes,
    ),
    "scale_by_lion": call("scale_by_lion", b1=numbers("b1"), b2=numbers("b2")),
    "scale_by_adopt": call(
        "scale_by_adopt",
        b1=numbers("b1"),
        b2=numbers("b2"),
        eps=numbers("eps"),
        use_clipping=st.just(False),
        clip_value_fn=st.just(Written("lambda step: 0.5 * step")),
    ),
    "scale_by_adopt_tam": call(
        "scale_by_adopt_tam",
        b1=numbers("b1"),
        b2=numbers("b2"),
        eps=numbers("eps"),
        decay=_tam,
        use_clipping=st.just(False),
    ),
    "scale_by_adatam": call("scale_by_adatam", b1=numbers("b1"), b2=numbers("b2"), eps=numbers("eps"), decay=_tam),
    "trace_tam": call("trace_tam", b1=numbers("b1"), decay=_tam, eps=numbers("eps")),
    "scale_by_agr": call("scale_by_agr"),
    "scale_by_trust_ratio": call(
        "scale_by_trust_ratio",
        min_norm=numbers("min_norm"),
        trust_coefficient=numbers("trust_coefficient"),
        eps=numbers("eps"),
    ),
    "centralize": call("centralize"),
    "orthogonal_project": call("orthogonal_project"),
    "cautious_mask": call("cautious_mask", rescale=st.sampled_from(["count", None]), max_scale=numbers("max_scale")),
    "grams_sign": call("grams_sign"),
    "lora_lr_scale": call("lora_lr_scale", eta=numbers("eta")),
    "lora_plus_lr_scale": call("lora_plus_lr_scale", numbers("ratio")),
    "lokr_lr_scale": call(
        "lokr_lr_scale", damping=numbers("damping"), ratio=numbers("ratio"), w2_factor=numbers("w2_factor")
    ),
    "add_cautious_decayed_weights": call("add_cautious_decayed_weights", numbers("weight_decay"), mask=_masks),
    "dynamic_wd": call(
        "dynamic_wd",
        numbers("weight_decay"),
        transition_steps=numbers("transition_steps"),
        decay_factor=numbers("decay_factor"),
        min_ratio=numbers("min_ratio"),
    ),
    "spd_penalty": call(
        "spd_penalty",
        numbers("strength"),
        rule=st.just("ratio"),
        anchor=st.just("zero"),
        learning_rate=numbers("learning_rate"),
    ),
    "zero_nans": call("zero_nans"),
    "set_to_zero": call("set_to_zero"),
    "freeze": call("freeze", _masks),
    "stateless": call("stateless", st.just(Written("lambda updates, params: {n: 2 * u for n, u in updates.items()}"))),
    "hina_adamw": call(
        "hina_adamw",
        numbers("learning_rate"),
        eps=HYPERPARAMETERS["eps"],
        formulas=st.just("original"),
        use_orthogonal_grad=_yes,
        wd_transition_steps=_yes.map(int),
        **{
            option: st.just(False)
            for option in ("use_adopt_stability", "use_agr", "use_alora", "use_grams", "use_spd", "use_tam")
        },
    ),
}
"""Public transform -> code that makes one, with some of its arguments given."""


def transforms() -> st.SearchStrategy[Written]:
    """The code of one transform of the catalog."""
    return st.one_of(*TRANSFORMS.values())


def composed(inner: st.SearchStrategy[Written]) -> Mapping[str, st.SearchStrategy[Written]]:
    """Public combinator -> code that composes transforms with it."""
    roles = st.sampled_from([*ADAPTER_ROLES, "regular"])
    return {
        "chain": st.lists(inner, max_size=4).map(lambda txs: Written(f"hf.chain({', '.join(txs)})")),
        "named_chain": call("named_chain", st.tuples(st.just("a"), inner), st.tuples(st.just("b"), inner)),
        "masked": call("masked", inner, _masks, otherwise=st.just("zero")),
        "partition": call("partition", st.fixed_dictionaries({"matrix": inner, "rest": inner}), _labels),
        "only": call("only", roles | st.lists(roles, min_size=1, max_size=3, unique=True).map(tuple), inner),
        "with_gradient": call("with_gradient", inner, inner),
        "accumulate": call("accumulate", inner, st.integers(1, 3)),
        "apply_if_finite": call("apply_if_finite", inner, st.integers(1, 2)),
        "skip_not_finite": call("skip_not_finite", inner),
    }


def chains() -> st.SearchStrategy[Written]:
    """The code of a composition of transforms: prints as it is to be pasted, shrinks to fewer and simpler ones.

    >>> from hypothesis import find
    >>> find(chains(), lambda code: "trace(" in code)
    hf.trace(0.9)
    """
    return _chains


_kinds = st.sampled_from([transforms(), st.deferred(lambda: st.one_of(*composed(_chains).values()))])
_chains: st.SearchStrategy[Written] = _kinds.flatmap(lambda kind: kind)
