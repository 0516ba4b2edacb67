"""The score: which laws refute which mutants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...checks import require_choice
from ...core import GradientTransformation
from ..checking import PROFILES, Law, search
from ..laws import CONDUCT
from ..subjects import Torch, Transform
from .corpus import CORPUS
from .exhibits import EXHIBITS
from .patching import Mutant


class Kill(NamedTuple):
    """A law that a mutant breaks, on an exhibit that keeps it when it is right, and what was said."""

    exhibit: str
    law: str
    reason: str

    def __str__(self) -> str:
        return f"{self.law.partition('(')[0]} of {self.exhibit}"


@dataclass(frozen=True)
class Score:
    """What killed each mutant; prints as a table.

    Attributes:
        kills: name of a mutant -> what killed it, nothing for a survivor.
    """

    kills: Mapping[str, tuple[Kill, ...]]

    @property
    def survivors(self) -> tuple[str, ...]:
        """The mutants that no law refuted."""
        return tuple(name for name, kills in self.kills.items() if not kills)

    @property
    def share(self) -> float:
        """The part of the mutants that some law refuted."""
        return 1 - len(self.survivors) / len(self.kills)

    def by_law(self) -> dict[str, int]:
        """Law -> how many mutants it kills, the deadliest first."""
        found: dict[str, int] = {}
        for kills in self.kills.values():
            for law in {kill.law.partition("(")[0] for kill in kills}:
                found[law] = found.get(law, 0) + 1
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def __str__(self) -> str:
        width = max(map(len, self.kills))
        rows = [f"{name:<{width}}  {', '.join(map(str, kills)) or 'survives'}" for name, kills in self.kills.items()]
        killed = len(self.kills) - len(self.survivors)
        return "\n".join([*rows, f"{killed} of {len(self.kills)} killed, {100 * self.share:.0f} %"])


def subject_of(exhibit: str) -> Transform | Torch:
    """An exhibit as it is built now, under its name."""
    built = EXHIBITS[exhibit].build()
    return Transform(built, exhibit) if isinstance(built, GradientTransformation) else Torch(built, exhibit)


def laws_of(exhibit: str) -> tuple[Law, ...]:
    """The laws that an exhibit is asked about: its own, then those of conduct."""
    subject, own = subject_of(exhibit), EXHIBITS[exhibit].keeps
    names = {law.name for law in own}
    return (*own, *(law for law in CONDUCT if law.concerns(subject) and law.name not in names))


def keeps(exhibit: str, law: Law, examples: int, seed: int = 0) -> bool:
    """Whether an exhibit keeps a law, as it is built now."""
    return search(law, subject_of(exhibit), examples, seed, shrink=False) is None


def refuted(mutant: Mutant, exhibit: str, law: Law, examples: int, seed: int = 0) -> Kill | None:
    """What a law says of a mutant, None if it finds nothing wrong."""
    with mutant.applied():
        found = search(law, subject_of(exhibit), examples, seed, shrink=False)
    return None if found is None else Kill(exhibit, str(law), str(found).rpartition("\n")[2])


def score(
    mutants: Sequence[Mutant] = CORPUS,
    laws: Sequence[Law] | None = None,
    *,
    every: bool = False,
    profile: str = "quick",
    seed: int = 0,
    progress: Callable[[Mutant, Sequence[Kill]], None] | None = None,
) -> Score:
    """Ask laws of mutants.

    A mutant is killed by a law that breaks with it and holds without it, on one of the exhibits that show it.

    Args:
        mutants: those to ask.
        laws: what to ask; by default each exhibit's own laws and those of conduct.
        every: go on after the first kill.
        profile: "quick", "ci" or "thorough": 40, 300 or 2000 examples.
        seed: another one tries other examples.
        progress: called after each mutant, with what killed it.

    Raises:
        ValueError: for another profile, or a mutant whose text is gone from its formula.

    >>> from hina_func.testing import laws
    >>> bug = next(m for m in CORPUS if m.name == "Lion takes no sign")
    >>> print(score([bug], [laws.bounded(limit=1.0), laws.scale_equivariance(degree=0)]))
    Lion takes no sign  scale_equivariance of lion
    1 of 1 killed, 100 %
    """
    require_choice(tuple(PROFILES), profile=profile)
    examples = PROFILES[profile]
    right: dict[tuple[str, str], bool] = {}
    found = {}
    for mutant in mutants:
        kills: list[Kill] = []
        asked = [(exhibit, law) for exhibit in mutant.shown_by for law in laws or laws_of(exhibit)]
        for shown, law in asked:
            if not law.concerns(subject_of(shown)):
                continue
            kill = refuted(mutant, shown, law, examples, seed)
            if kill is None:
                continue
            if kill[:2] not in right:
                right[kill[:2]] = keeps(shown, law, examples, seed)
            if right[kill[:2]]:
                kills.append(kill)
                if not every:
                    break
        found[mutant.name] = tuple(kills)
        if progress is not None:
            progress(mutant, kills)
    return Score(found)
