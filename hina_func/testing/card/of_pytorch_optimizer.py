"""Optimizers of pytorch_optimizer: the adaptive, the cautious and the signed ones."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ..subjects import Torch
from .claims import INHERITED, LION, adam_bound, adopt_bound, cautious, equals, grams, maximizes, sign_bound
from .library import Claim, Contestant, Library, built

LR = 0.01
DOCS = "https://pytorch-optimizers.readthedocs.io/"

ONE_FOR_ALL = {"company_independence": "Its distance estimate is one number for all parameters, by its paper."}

PLAIN: tuple[tuple[str, dict[str, Any], Sequence[Claim]], ...] = (
    ("ADOPT", {}, [adopt_bound(LR)]),
    ("ADOPT", {"cautious": True}, [cautious(f"{DOCS}, Cautious")]),
    ("StableAdamW", {}, []),
    ("AdaBelief", {}, []),
    ("Adan", {}, []),
    ("AdaTAM", {}, []),
    ("AdEMAMix", {}, []),
    ("AdEMAMix", {"cautious": True}, [cautious(f"{DOCS}, Cautious")]),
    ("Grams", {}, [adam_bound(LR), grams(DOCS)]),
    ("LaProp", {"cautious": True}, [cautious(f"{DOCS}, Cautious")]),
    ("Lion", {}, [sign_bound(LR, LION)]),
    ("Lion", {"cautious": True}, [cautious(f"{DOCS}, Cautious")]),
    ("MARS", {"optimize_1d": True, "cautious": True}, [cautious(f"{DOCS}, Cautious")]),
    ("Prodigy", {}, []),
    ("RAdam", {}, []),
    ("ScheduleFreeAdamW", {}, []),
    ("SignSGD", {}, [sign_bound(LR, f"{DOCS}, SignSGD")]),
    ("Tiger", {"weight_decay": 0.0}, [sign_bound(LR, f"{DOCS}, Tiger")]),
)

TWINS = ("ADOPT", "AdEMAMix", "Grams", "Lion")
UPSIDE_DOWN = ("ADOPT", "Lion")
SAME = f"{DOCS}: foreach is batched tensor operations for the same update"


def contestants() -> list[Contestant]:
    """By their documented flags, at lr=0.01."""
    library = importlib.import_module("pytorch_optimizer")

    def subject(name: str, **options: Any) -> Torch:
        kind = getattr(library, name)
        return built(_training(kind) if name.startswith("ScheduleFree") else kind, name, LR, **options)

    found = []
    for name, options, claims in PLAIN:
        it = subject(name, **options)
        excused = ONE_FOR_ALL if name == "Prodigy" else {}
        found.append(Contestant(it.name, it, claims, excused, INHERITED))
    for name in TWINS:
        loop = subject(name, foreach=False)
        fast = subject(name, foreach=True)
        found.append(Contestant(fast.name, fast, [equals(loop, SAME)], remarks=INHERITED))
    for name in UPSIDE_DOWN:
        loop, up = subject(name, foreach=False), subject(name, foreach=False, maximize=True)
        found.append(Contestant(up.name, up, [maximizes(loop, DOCS)], remarks=INHERITED))
    return found


def _training(kind: Any) -> Any:
    def make(params: Any, **options: Any) -> Any:
        optimizer = kind(params, **options)
        optimizer.train()
        return optimizer

    return make


LIBRARY = Library(
    "pytorch_optimizer",
    "pytorch_optimizer",
    contestants,
    "Those that are Adam, ADOPT, Lion or a variation of them, at lr=0.01, other numbers as they come, with "
    "cautious=True and foreach=True where their code knows it; some hundred others are not run.",
)
