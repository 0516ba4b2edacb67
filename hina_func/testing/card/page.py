"""The card as one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from itertools import groupby
from string import Template
from typing import Any

from .cells import FAILS, HOLDS, TIMED_OUT
from .record import MARKS, RUN, Card, Finding, findings, mark, optimizers, summaries

CLASS = {"✓": "holds", "✗": "fails", "?": "late", "○": "seen", "·": "quiet", "-": "other", " ": "other"}


def page(made: Card) -> str:
    """The whole page, its style and its script included; all text is escaped."""
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    laws = [law["name"] for law in made["laws"]]
    facts = made["made"]
    counts = {verdict: sum(cell["verdict"] == verdict for cell in made["cells"]) for verdict in made["verdicts"]}
    return template.substitute(
        made=escape(
            f"{facts['date']} · profile {facts['profile']} · hina_func {facts['hina_func']}, torch {facts['torch']}, "
            f"hypothesis {facts['hypothesis']}, Python {facts['python']} on {facts['machine']} · {facts['minutes']} min"
        ),
        optimizers=len(optimizers(made)),
        promised=counts[HOLDS] + counts[FAILS] + counts[TIMED_OUT],
        holds=counts[HOLDS],
        fails=counts[FAILS],
        late=counts[TIMED_OUT],
        legend="".join(
            f'<li><span class="mark {CLASS[character]}">{character}</span> {escape(meaning)}</li>'
            for character, meaning in MARKS.items()
        ),
        summary="".join(_summary(made)),
        notes="".join(f"<dt>{escape(x['name'])}</dt><dd>{_linked(x['note'])}</dd>" for x in made["libraries"]),
        libraries=_options(library["name"] for library in made["libraries"]),
        laws=_options(laws),
        findings="".join(_finding(finding, _statement(made, finding.law)) for finding in findings(made)),
        heads="".join(_head(law) for law in made["laws"]),
        rows="".join(_rows(made, laws)),
        statements="".join(_family(made)),
        data=_data(made),
    )


def _statement(made: Card, name: str) -> str:
    return next(str(law["statement"]) for law in made["laws"] if law["name"] == name)


def _options(names: Iterable[str]) -> str:
    return "".join(f"<option>{escape(name)}</option>" for name in names)


def _summary(made: Card) -> Iterable[str]:
    for s in summaries(made):
        cells = [f"<th scope=row>{escape(s.name)}</th><td>{escape(s.version)}</td>"]
        if s.status == RUN:
            numbers = (s.optimizers, s.promised, s.holds, s.fails, s.timed_out)
            cells += [f"<td class=n>{number}</td>" for number in numbers]
        else:
            cells.append(f'<td colspan=5 class="note missing">not run: {escape(s.status)}</td>')
        yield f"<tr>{''.join(cells)}</tr>"


def _finding(finding: Finding, statement: str) -> str:
    first, *others = finding.cells
    names = " ".join(cell["optimizer"] for cell in finding.cells)
    attributes = f'data-library="{escape(finding.library)}" data-law="{escape(finding.law)}"'
    many = f"{len(finding.cells)} of {finding.asked} that promise it"
    more = "".join(
        f"<details><summary><code>{escape(cell['optimizer'])}</code></summary>{_told(cell)}</details>"
        for cell in others
    )
    rest = f"<details class=rest><summary>{len(others)} more</summary>{more}</details>" if others else ""
    return (
        f'<article class=finding {attributes} data-text="{escape(names.lower())}">'
        f"<h3>{escape(finding.library)} <span>{escape(finding.law)}</span> <small>{many}</small></h3>"
        f"<p>{escape(statement)}</p><p><code>{escape(first['optimizer'])}</code></p>{_told(first)}{rest}</article>"
    )


def _told(cell: dict[str, Any]) -> str:
    told = cell["counterexample"]
    size = f"{_count(told['steps'], 'step')}, {_count(told['elements'], 'element')}"
    remark = f"<p class=remark>{_linked(cell['remark'])}</p>" if cell["remark"] else ""
    return (
        f"<pre>{escape(told['example'])}\n<b>{escape(told['reason'])}</b></pre>"
        f"<p class=size>{size} · promised {_linked(cell['source'])}</p>{remark}"
    )


def _linked(text: str) -> str:
    """Escaped, and addresses in it can be followed; none is loaded."""
    return re.sub(r"https://[^\s,;]*[^\s,;.:]", r'<a href="\g<0>">\g<0></a>', escape(text))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _head(law: dict[str, Any]) -> str:
    name = escape(law["name"])
    return f'<th scope=col data-law="{name}" title="{escape(law["statement"])}"><span>{name}</span></th>'


def _rows(made: Card, laws: list[str]) -> Iterable[str]:
    index = {(cell["library"], cell["optimizer"], cell["law"]): i for i, cell in enumerate(made["cells"])}
    for library, rows in groupby(optimizers(made).items(), key=lambda row: row[0][0]):
        head = f"<th colspan={len(laws) + 1}>{escape(library)}</th>"
        yield f'<tr class=group data-library="{escape(library)}">{head}</tr>'
        for (_, name), cells in rows:
            row = []
            for law in laws:
                cell, character = cells.get(law), mark(cells.get(law))
                if cell is None:
                    row.append("<td></td>")
                    continue
                says = escape(f"{name}, {law}: {cell['verdict']}")
                at = index[library, name, law]
                row.append(
                    f'<td><button class={CLASS[character]} data-i={at} aria-label="{says}">{character}</button></td>'
                )
            head = f'<th scope=row title="{escape(name)}"><code>{escape(name)}</code></th>'
            yield f'<tr data-library="{escape(library)}" data-text="{escape(name.lower())}">{head}{"".join(row)}</tr>'


def _family(made: Card) -> Iterable[str]:
    for family, laws in groupby(made["laws"], key=lambda law: law["family"]):
        items = "".join(f"<dt>{escape(law['name'])}</dt><dd>{escape(law['statement'])}</dd>" for law in laws)
        yield f"<section><h3>{escape(family)}</h3><dl>{items}</dl></section>"


def _data(made: Card) -> str:
    """For the script: the card, in which no text can end the element it is in."""
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
