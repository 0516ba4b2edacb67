"""What a report card is about: libraries, their optimizers, and what each of those claims."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import reject
from torch import nn

from ..checking import Law
from ..subjects import Subject, Torch


class Claim(NamedTuple):
    """A law that an optimizer promises to keep, and where it says so."""

    law: Law
    source: str


@dataclass(frozen=True)
class Contestant:
    """An optimizer on the card.

    Args:
        name: the code that makes it, without its library.
        subject: what laws are asked of.
        claims: what it promises beside conduct.
        excused: law of conduct -> why it does not promise that one.
        remarks: law -> what its documentation says of it, to be read beside a verdict.
    """

    name: str
    subject: Subject
    claims: Sequence[Claim] = ()
    excused: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Library:
    """A library on the card.

    Args:
        name: as on the command line.
        distribution: as pip knows it.
        contestants: its optimizers; imports it.
        note: how it is run, and what is left out and why.
    """

    name: str
    distribution: str
    contestants: Callable[[], Sequence[Contestant]]
    note: str = ""

    def version(self) -> str | None:
        """Which version is installed, if any."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None


def written(name: str, options: Mapping[str, Any]) -> str:
    """The call that makes an optimizer, as code.

    >>> written("SGD", {"momentum": 0.9})
    'SGD(momentum=0.9)'
    """
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"


def built(kind: Callable[..., Any], name: str, lr: float, *, of: int | None = None, **options: Any) -> Torch:
    """The subject that ``kind(parameters, lr=lr, **options)`` is, under its code as a name.

    Args:
        kind: an optimizer class.
        name: of the class.
        lr: one for a whole library, which its note says.
        of: how many dimensions a parameter must have, if it takes no others.
        options: handed over, and shown.
    """

    def make(params: list[nn.Parameter]) -> Any:
        if of is not None and any(param.ndim != of for param in params):
            reject()
        return kind(params, lr=lr, **options)

    return Torch(make, written(name, options))
