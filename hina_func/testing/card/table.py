"""The card in a terminal."""

from __future__ import annotations

import sys
import time
from itertools import groupby
from string import ascii_letters
from typing import TextIO

from .record import MARKS, RUN, Card, findings, mark, optimizers, summaries

WIDTH = 46


def table(made: Card) -> str:
    """The matrix, what its letters stand for, the findings and a line for each library."""
    laws = [law["name"] for law in made["laws"]]
    letters = dict(zip(laws, ascii_letters, strict=False))
    head = " " * WIDTH + " ".join(letters.values())
    lines = []
    for library, rows in groupby(optimizers(made).items(), key=lambda row: row[0][0]):
        lines += ["", library, head]
        for (_, name), cells in rows:
            short = name if len(name) < WIDTH else name[: WIDTH - 2] + "…"
            lines.append(short.ljust(WIDTH) + " ".join(mark(cells.get(law)) for law in laws))
    lines += ["", *(f"{character}  {meaning}" for character, meaning in MARKS.items()), ""]
    lines += [f"{letters[law['name']]}  {law['name']}: {law['statement']}" for law in made["laws"]]
    for finding in findings(made):
        told = finding.cells[0]["counterexample"]
        many = f"{len(finding.cells)} of {finding.asked} that promise it"
        lines += ["", f"{finding.library} · {finding.law} · {many}", f"  {finding.cells[0]['optimizer']}"]
        lines += [f"    {line}" for line in (*told["example"].splitlines(), *told["reason"].splitlines())]
    lines += ["", "library            version      optimizers  promised  hold  fail  timed out"]
    for s in summaries(made):
        if s.status == RUN:
            numbers = f"{s.optimizers:>10}  {s.promised:>8}  {s.holds:>4}  {s.fails:>4}  {s.timed_out:>9}"
            lines.append(f"{s.name:<18} {s.version:<12} {numbers}")
        else:
            lines.append(f"{s.name:<18} not run: {s.status}")
    return "\n".join(lines).lstrip("\n")


class Bar:
    """A line that says how far the run is; on a terminal it is drawn over, elsewhere written at every tenth."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.began = time.monotonic()
        self.tenths = 0

    def __call__(self, done: int, cells: int, what: str) -> None:
        """So many cells are done; this one was the last."""
        left = (time.monotonic() - self.began) / done * (cells - done)
        line = f"[{'#' * (20 * done // cells):<20}] {done}/{cells} cells, {left:.0f} s left"
        if self.stream.isatty():
            end = "\n" if done == cells else ""
            print(f"\r{line}  {what[:40]:<40}", end=end, file=self.stream, flush=True)
        elif 10 * done // cells > self.tenths:
            self.tenths = 10 * done // cells
            print(line, file=self.stream, flush=True)
