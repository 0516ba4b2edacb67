"""Results as a file that grows: what is measured anew replaces what was there, everything else stays.

``rows`` hold the figures of one contender on one workload, ``scale`` the growth of one device; ``sessions`` say on
which machine, when and under which load a figure was taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .workloads import Workload

Results = dict[str, Any]
Row = dict[str, Any]

KEY = ("device", "threads", "workload", "contender")
FIGURES = ("step", "first_step")


def about(work: Workload, session: Row) -> Row:
    """What a row begins with: what was measured where."""
    return {
        "device": session["device_name"],
        "threads": session["threads"],
        "workload": work.name,
        "tensors": len(work.shapes),
        "parameters": work.parameters,
    }


def load(path: Path) -> Results:
    """The results of a file, none if there is no file."""
    if not path.exists():
        return {"sessions": {}, "rows": [], "scale": []}
    return json.loads(path.read_text(encoding="utf-8"))


def merge(old: Results, sessions: dict[str, Row], rows: Iterable[Row] = (), scale: Iterable[Row] = ()) -> Results:
    """The old results with these in their place; sessions that nothing refers to any more are dropped."""
    by_key = {tuple(row[part] for part in KEY): row for row in old["rows"]}
    for row in rows:
        key = tuple(row[part] for part in KEY)
        by_key[key] = {**by_key.get(key, {}), **row}
    of_device = {(entry["device"], entry["threads"]): entry for entry in old["scale"]}
    of_device.update({(entry["device"], entry["threads"]): entry for entry in scale})
    used = {row[figure]["session"] for row in by_key.values() for figure in FIGURES if figure in row}
    used |= {entry["session"] for entry in of_device.values()}
    known = {**old["sessions"], **sessions}
    return {
        "sessions": {key: known[key] for key in sorted(used)},
        "rows": [by_key[key] for key in sorted(by_key)],
        "scale": [of_device[key] for key in sorted(of_device)],
    }


def save(path: Path, results: Results) -> None:
    """JSON with one line for each session, row and growth, so that a diff shows what was measured anew."""
    lines = [f"{json.dumps(key)}: {json.dumps(session)}" for key, session in results["sessions"].items()]
    rows, scale = (",\n".join(map(json.dumps, results[part])) for part in ("rows", "scale"))
    sessions = ",\n".join(lines)
    text = f'{{"sessions": {{\n{sessions}\n}}, "rows": [\n{rows}\n], "scale": [\n{scale}\n]}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
