"""One cell of the card: a law, asked of an optimizer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from .. import laws
from ..checking import Counterexample, Law, hunt
from ..strategies import History
from ..subjects import Torch
from .claims import CONDUCT, NOT_CLAIMED
from .library import Claim, Contestant

HOLDS, FAILS, NOT_CLAIMED_, NOT_ABOUT, TIMED_OUT = "holds", "fails", "not claimed", "not about it", "timed out"

VERDICTS: Mapping[str, str] = {
    HOLDS: "It is promised, and no counterexample was found.",
    FAILS: "It is promised, and there is a counterexample.",
    NOT_CLAIMED_: "Nobody promised it: whether it holds is knowledge about the method, no fault.",
    NOT_ABOUT: "The law is about other kinds of subjects, or about parameters that this one does not take.",
    TIMED_OUT: "It is promised; no counterexample was found in the time there was, which ended the search early.",
}
"""What may come of asking."""


class Effort(NamedTuple):
    """How long a cell is tried."""

    claimed: int
    """Examples of a law that is claimed."""
    others: int
    """Examples of one that is not."""
    seconds: float
    """Of processor time, after which a search ends."""


EFFORTS: Mapping[str, Effort] = {
    "quick": Effort(30, 8, 4.0),
    "ci": Effort(300, 40, 30.0),
    "thorough": Effort(2000, 200, 300.0),
}
"""By profile."""


@dataclass(frozen=True)
class Cell:
    """What came of one law and one optimizer."""

    library: str
    optimizer: str
    law: str
    numbers: str
    """What the law was made with, as text."""
    verdict: str
    source: str
    """Where it is promised; empty if it is not."""
    remark: str = ""
    """What the documentation says of it."""
    examples: int = 0
    seconds: float = 0.0
    in_time: bool = True
    counterexample: Mapping[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def questions(contestant: Contestant) -> Iterator[Claim]:
    """Every law that is asked of it, those of conduct first; the source is empty where it is not claimed."""
    own = {claim.law.name for claim in contestant.claims}
    for law in laws.CONDUCT:
        if not (law.name == "trees_alike" and isinstance(contestant.subject, Torch)):
            yield Claim(law, "" if law.name in contestant.excused else CONDUCT)
    yield from contestant.claims
    for law in NOT_CLAIMED:
        if law.name not in own:
            yield Claim(law, "")


def ask(library: str, contestant: Contestant, law_name: str, effort: Effort, seed: int = 0) -> Cell:
    """Ask it one law."""
    law, source = next(claim for claim in questions(contestant) if claim.law.name == law_name)
    numbers = str(law).removeprefix(f"{law.name}(").removesuffix(")")
    remark = contestant.excused.get(law.name, contestant.remarks.get(law.name, ""))
    cell = Cell(library, contestant.name, law.name, numbers, NOT_ABOUT, source, remark)
    if not law.concerns(contestant.subject):
        return cell
    began = time.process_time()
    examples = effort.claimed if source else effort.others
    found = hunt(law, contestant.subject, examples, seed, seconds=effort.seconds, shrink=bool(source))
    cell = replace(cell, examples=found.examples, seconds=round(time.process_time() - began, 3), in_time=found.in_time)
    if found.counterexample is not None:
        return replace(cell, verdict=FAILS if source else NOT_CLAIMED_, counterexample=told(found.counterexample))
    if not found.in_time:
        return replace(cell, verdict=TIMED_OUT if source else NOT_CLAIMED_)
    if not found.examples:
        return cell
    return replace(cell, verdict=HOLDS if source else NOT_CLAIMED_)


def told(found: Counterexample) -> dict[str, Any]:
    """A counterexample as text, with its size."""
    parts = found.example if type(found.example) is tuple else (found.example,)
    histories = [part for part in parts if isinstance(part, History)]
    return {
        "example": "\n".join(str(part) if isinstance(part, History) else f"besides  {part}" for part in parts),
        "reason": found.reason,
        "steps": max((len(history.grads) for history in histories), default=0),
        "elements": max((sum(x.numel() for x in history.params.values()) for history in histories), default=0),
    }


def statements() -> dict[str, tuple[str, str]]:
    """Law -> its family and its statement, in the order of the columns."""
    families = {name: family for family, names in FAMILIES.items() for name in names}
    made: dict[str, Law] = {law.name: law for law in (*laws.CONDUCT, *NOT_CLAIMED)}
    made["bounded"] = laws.bounded(limit=1.0)
    made["equals"], made["maximizes"] = laws.equals(other=None), laws.maximizes(other=None)
    return {name: (families[name], made[name].statement) for name in families}


FAMILIES: Mapping[str, tuple[str, ...]] = {
    "conduct": (
        "determinism",
        "purity",
        "separate_runs",
        "replicas",
        "order_independence",
        "company_independence",
        "absence",
        "finite",
        "dtype_kept",
        "precision",
        "layout_independence",
        "closure",
        "still_at_zero_lr",
    ),
    "resuming": ("resume", "resume_in_bfloat16", "reordered_resume", "state_dtype_kept", "saved_stays"),
    "twins": ("equals", "maximizes"),
    "size and direction": (
        "bounded",
        "first_step_descends",
        "never_against_the_gradient",
        "rests_without_gradient",
        "decay_shrinks",
    ),
    "symmetry": (
        "sign_symmetry",
        "scale_equivariance",
        "translation_invariance",
        "permutation_equivariance",
        "elementwise",
        "shape_independence",
        "rotation_equivariance",
        "continuity",
    ),
}
"""The columns, by family."""
