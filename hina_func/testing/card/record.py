"""The card as data: what JSON holds, and what the table and the page are made of."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .cells import FAILS, HOLDS, TIMED_OUT, VERDICTS, Cell, statements
from .libraries import LIBRARIES

FORMAT = 1
RUN = "run"
Card = dict[str, Any]
"""What `card` makes: plain numbers, strings, lists and dicts."""


def card(
    libraries: Sequence[str], cells: Iterable[Cell], missing: Mapping[str, str], profile: str, seconds: float
) -> Card:
    """Everything that was found, and with what."""
    return {
        "format": FORMAT,
        "made": {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "profile": profile,
            "minutes": round(seconds / 60, 1),
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            **{name: importlib.metadata.version(name) for name in ("hina_func", "hypothesis", "torch")},
        },
        "libraries": [
            {
                "name": name,
                "version": LIBRARIES[name].version(),
                "status": missing.get(name, RUN),
                "note": LIBRARIES[name].note,
            }
            for name in libraries
        ],
        "laws": [
            {"name": name, "family": family, "statement": statement}
            for name, (family, statement) in statements().items()
        ],
        "verdicts": dict(VERDICTS),
        "cells": [cell.record() for cell in cells],
    }


class Summary(NamedTuple):
    """A library in one line."""

    name: str
    version: str
    optimizers: int
    promised: int
    holds: int
    fails: int
    timed_out: int
    status: str


def summaries(made: Card) -> list[Summary]:
    """One for each library, installed or not."""
    found = []
    for library in made["libraries"]:
        cells = [cell for cell in made["cells"] if cell["library"] == library["name"]]
        counts = Counter(cell["verdict"] for cell in cells)
        held, failed, late = counts[HOLDS], counts[FAILS], counts[TIMED_OUT]
        optimizers = len({cell["optimizer"] for cell in cells})
        version = library["version"] or "not installed"
        status = library["status"]
        found.append(Summary(library["name"], version, optimizers, held + failed + late, held, failed, late, status))
    return found


class Finding(NamedTuple):
    """A law that optimizers of one library promise and do not keep: the cells, the smallest counterexample first."""

    library: str
    law: str
    cells: list[dict[str, Any]]
    asked: int
    """How many of its optimizers promise it."""


def findings(made: Card) -> list[Finding]:
    """By library and law, in the order of the card."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    asked = Counter((cell["library"], cell["law"]) for cell in made["cells"] if cell["source"])
    for cell in made["cells"]:
        if cell["verdict"] == FAILS:
            found.setdefault((cell["library"], cell["law"]), []).append(cell)
    order = {law["name"]: i for i, law in enumerate(made["laws"])}
    places = {library["name"]: i for i, library in enumerate(made["libraries"])}
    keys = sorted(found, key=lambda key: (places[key[0]], order[key[1]]))
    return [Finding(*key, sorted(found[key], key=_size), asked[key]) for key in keys]


def _size(cell: Mapping[str, Any]) -> tuple[int, int, int]:
    told = cell["counterexample"]
    return told["steps"] * max(told["elements"], 1), told["steps"], len(told["example"])


def optimizers(made: Card) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Library and optimizer -> law -> cell, in the order of the card."""
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for cell in made["cells"]:
        rows.setdefault((cell["library"], cell["optimizer"]), {})[cell["law"]] = cell
    return rows


def mark(cell: Mapping[str, Any] | None) -> str:
    """A cell in one character.

    >>> mark({"verdict": "fails", "counterexample": {}})
    '✗'
    """
    if cell is None:
        return " "
    if cell["verdict"] == "not claimed":
        return "·" if cell["counterexample"] is None else "○"
    return {HOLDS: "✓", FAILS: "✗", TIMED_OUT: "?"}.get(cell["verdict"], "-")


MARKS: Mapping[str, str] = {
    "✓": "promised, no counterexample found",
    "✗": "promised, and there is a counterexample",
    "?": "promised, not settled in the time there was",
    "○": "not claimed, and not so",
    "·": "not claimed, no counterexample found",
    "-": "the law is not about it",
}
"""What the characters say."""
