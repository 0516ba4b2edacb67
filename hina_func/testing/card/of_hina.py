"""The optimizers of this library."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import hina_func as hf

from ..subjects import Torch
from .claims import adam_bound, adopt_bound, cautious, grams, scales_with_gradient, sign_bound
from .library import Claim, Contestant, Library, written

LR = 0.01
PAGE = "docs/catalog.md"

ORIGINAL = {
    "bounded": 'Documented in docs/parity.md: formulas="original" has the numbers of the original, jumps included.',
    "never_against_the_gradient": 'Documented in docs/parity.md: formulas="original" has the numbers of the original, '
    "whose mask is taken of other numbers than those it is laid on.",
}

GLOBAL = {"company_independence": "A norm of all parameters makes them know of each other."}

CHAINS: tuple[tuple[str, Callable[..., list[hf.GradientTransformation]], Sequence[Claim]], ...] = (
    ("scale_by_adam()", lambda: [hf.scale_by_adam()], [adam_bound(LR)]),
    (
        "scale_by_adam(), add_decayed_weights(0.01)",
        lambda: [hf.scale_by_adam(), hf.add_decayed_weights(0.01)],
        [],
    ),
    ("scale_by_adopt()", lambda: [hf.scale_by_adopt()], [adopt_bound(LR)]),
    (
        "scale_by_adopt(), cautious_mask()",
        lambda: [hf.scale_by_adopt(), hf.cautious_mask()],
        [cautious(PAGE)],
    ),
    ("scale_by_adam(), grams_sign()", lambda: [hf.scale_by_adam(), hf.grams_sign()], [adam_bound(LR), grams(PAGE)]),
    ("scale_by_lion()", lambda: [hf.scale_by_lion()], [sign_bound(LR, PAGE)]),
    ("trace(0.9)", lambda: [hf.trace(0.9)], [scales_with_gradient(PAGE)]),
    ("clip_by_global_norm(1.0), trace(0.9)", lambda: [hf.clip_by_global_norm(1.0), hf.trace(0.9)], []),
)


QUIET: dict[str, Any] = {"lr": LR, "weight_decay": 0.0, "use_spd": False, "compile": False}


def _hina(**options: Any) -> Torch:
    def build(params: list[Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these parameters are no adapters, which it says each time
            return hf.HinaAdamW(params, **QUIET, **options)

    return Torch(build, written("HinaAdamW", options), named=True)


def _chain(name: str, make: Callable[[], list[hf.GradientTransformation]]) -> Torch:
    def build(params: list[Any]) -> Any:
        tx = hf.chain(*make(), hf.scale_by_learning_rate(hf.Hyperparam("lr", LR)))
        return hf.Optimizer(params, tx, compile=False)

    return Torch(build, f"Optimizer({name})", named=True)


def contestants() -> list[Contestant]:
    """`HinaAdamW` in both formula sets, and `Optimizer` over chains."""
    found: list[Contestant] = []
    for formulas, remarks in (("published", {}), ("original", ORIGINAL)):
        for switched in ({}, {"use_grams": False}):
            subject = _hina(formulas=formulas, **switched)
            promised = [adam_bound(LR), cautious("docs/optimizer.md, step 4: grams_sign, else cautious_mask")]
            found.append(Contestant(subject.name, subject, promised, remarks=remarks))
    for name, make, claims in CHAINS:
        subject = _chain(name, make)
        excused = GLOBAL if "global_norm" in name else {}
        found.append(Contestant(subject.name, subject, claims, excused))
    return found


LIBRARY = Library(
    "hina_func",
    "hina_func",
    contestants,
    "At lr=0.01, HinaAdamW without decay and penalty, so that its steps show the gradient's rules alone; "
    "compile=False, since compiling for every shape that is drawn would take hours.",
)
