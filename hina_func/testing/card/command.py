"""What ``python -m hina_func report-card`` does."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from .cells import EFFORTS, Effort
from .page import page
from .record import RUN, Card, card
from .runner import run
from .table import Bar, table


def report(libraries: Sequence[str], profile: str, to_json: Path | None, to_html: Path | None) -> Card:
    """Run the card over libraries, print it and write it.

    Args:
        libraries: names of `LIBRARIES`.
        profile: "quick", "ci" or "thorough": see `EFFORTS`.
        to_json: a file for the data.
        to_html: a file for the page.
    """
    began = time.monotonic()
    effort: Effort = EFFORTS[profile]
    cells, missing = run(libraries, effort, Bar())
    made = card(libraries, cells, missing, profile, time.monotonic() - began)
    if to_json is not None:
        to_json.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if to_html is not None:
        to_html.write_text(page(made), encoding="utf-8")
    print(table(made))
    return made


def anything_ran(made: Card) -> bool:
    """Whether one of the libraries was there."""
    return any(library["status"] == RUN for library in made["libraries"])
