"""The process that asks: a kernel that crashes or hangs takes one cell with it, not the card."""

from __future__ import annotations

import warnings
from functools import cache
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch

from .cells import Effort, ask, questions
from .libraries import LIBRARIES
from .library import Contestant


class Task(NamedTuple):
    """A cell to be asked."""

    library: str
    optimizer: str
    law: str
    source: str


@cache
def _contestants(library: str) -> dict[str, Contestant]:
    return {contestant.name: contestant for contestant in LIBRARIES[library].contestants()}


def roster(library: str) -> list[Task] | str:
    """What there is to ask of a library; why not, if it cannot be imported."""
    try:
        contestants = _contestants(library)
    except ImportError as error:
        return f"importing it raised {type(error).__name__}: {error}"
    return [
        Task(library, name, claim.law.name, claim.source)
        for name, contestant in contestants.items()
        for claim in questions(contestant)
    ]


def serve(connection: Connection, effort: Effort) -> None:
    """Say that it is there; then answer a library with its roster, a task with its cell, until the other end closes."""
    torch.set_num_threads(1)  # the tensors are too small to share
    warnings.simplefilter("ignore")
    connection.send("ready")
    while True:
        try:
            asked: str | Task = connection.recv()
        except EOFError:
            return
        if isinstance(asked, str):
            connection.send(roster(asked))
        else:
            connection.send(ask(asked.library, _contestants(asked.library)[asked.optimizer], asked.law, effort))
