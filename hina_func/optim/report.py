"""What became of each parameter when a state was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_PRINTED = 5


@dataclass(frozen=True, repr=False)
class LoadReport:
    """What became of each parameter when a state was loaded; print it to read it.

    Attributes:
        sources: name here -> the name it was saved under.
        added: only here: they start fresh.
        removed: only in what was saved: dropped.
        reset: name here -> why it starts fresh all the same, for example another shape.
        kept: hyperparameters that a group here keeps, because those it could have taken over differ.
    """

    sources: Mapping[str, str]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reset: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()

    @property
    def restored(self) -> tuple[str, ...]:
        """The parameters here that go on where they were saved."""
        return tuple(name for name in self.sources if name not in self.reset)

    @property
    def renamed(self) -> dict[str, str]:
        """Saved name -> name here, where they differ."""
        return {there: here for here, there in self.sources.items() if there != here}

    def __repr__(self) -> str:
        lines = [f"{len(self.restored)} parameters restored"]
        found = {
            "renamed": [f"{there} -> {here}" for there, here in self.renamed.items()],
            "new, starting fresh": self.added,
            "gone, dropped": self.removed,
            "changed, starting fresh": tuple(self.reset.values()),
            "kept": self.kept,
        }
        for what, names in found.items():
            if names:
                lines += [f"{len(names)} {what}:", *(f"  {name}" for name in names[:_PRINTED])]
                lines += [f"  ... and {len(names) - _PRINTED} more"] * (len(names) > _PRINTED)
        return "\n".join(lines)
