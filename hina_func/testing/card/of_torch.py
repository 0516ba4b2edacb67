"""The optimizers of torch, by their documented flags."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .claims import (
    BY_POSITION,
    MUON_ROUNDS,
    TORCH,
    adam_bound,
    adamax_bound,
    equals,
    maximizes,
    rms_bound,
    scale_invariant,
    scales_with_gradient,
)
from .library import Claim, Contestant, Library, built

LR = 0.01

KINDS = (
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ASGD",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
)

UPSIDE_DOWN = ("Adafactor", "AdamW", "SGD")
IN_ONE_CALL = ("Adafactor", "AdamW", "NAdam", "RMSprop", "SGD")

RPROP = {
    "still_at_zero_lr": f"{TORCH}: Rprop's step sizes have a documented minimum of 1e-6; lr is only where they start"
}

MUON = "Takes matrices only, as documented."

SAME = f"{TORCH}: the for-loop, foreach and fused implementations are implementations of one algorithm"


def _own(name: str, options: dict[str, Any]) -> Sequence[Claim]:
    if name == "Adam":
        claims = [adam_bound(LR)]
        return [*claims, scale_invariant()] if options.get("eps") == 1e-30 else claims
    if name == "Adamax":
        return [adamax_bound(LR)]
    if name == "RMSprop":
        return [rms_bound(LR, 0.99, TORCH)]
    return [scales_with_gradient(f"{TORCH}, SGD")] if name == "SGD" else []


def _variants(name: str) -> Iterator[tuple[dict[str, Any], list[Claim]]]:
    kind = getattr(torch.optim, name)
    takes = inspect.signature(kind).parameters
    loop = {"foreach": False} if "foreach" in takes else {}
    of = 2 if name == "Muon" else None
    plain = built(kind, name, LR, of=of, **loop)
    yield loop, []
    if name in IN_ONE_CALL:
        yield {"foreach": True}, [equals(plain, SAME)]
    if "fused" in takes:
        yield {"fused": True}, [equals(plain, SAME)]
    if name in UPSIDE_DOWN:
        yield {"maximize": True, **loop}, [maximizes(plain, TORCH)]
    for more in MORE.get(name, []):
        yield {**more, **loop}, []


MORE: dict[str, list[dict[str, Any]]] = {
    "Adam": [{"amsgrad": True}, {"eps": 1e-30}],
    "SGD": [{"momentum": 0.9, "nesterov": True}],
}


def contestants() -> list[Contestant]:
    """All that take no closure; each as a loop, some by foreach, with ``maximize``, and all that are fused."""
    found = []
    for name in KINDS:
        kind = getattr(torch.optim, name)
        for options, claims in _variants(name):
            subject = built(kind, name, LR, of=2 if name == "Muon" else None, **options)
            excused = {"Rprop": RPROP, "Muon": MUON_ROUNDS}.get(name, {})
            found.append(Contestant(subject.name, subject, [*_own(name, options), *claims], excused, BY_POSITION))
    return found


LIBRARY = Library(
    "torch",
    "torch",
    contestants,
    "All of torch.optim at lr=0.01, other numbers as they come, but LBFGS, which needs a closure, SparseAdam, which "
    "needs sparse gradients, and capturable=True, which needs an accelerator. " + MUON.replace("Takes", "Muon takes"),
)
