"""Results as aligned tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median, quantiles

from .contenders import CONTENDERS
from .measure import GRAPH
from .results import Results, Row
from .workloads import MAKERS

HEADS = (
    *("contender", "ms", "quartiles", "x fused", "quartiles", "equal to", "off by"),
    *("state", "other", "borrowed", "syncs", "cold s", "warm s"),
)

LEGEND = """\
ms: median of one step over the rounds. x fused: median of its ratio to torch's fused AdamW in the same round.
off by: largest difference to what it must equal, in units of the distance moved, float64 / float32, after 3 steps.
state: bytes of optimizer.state per parameter; other: bytes per parameter that the optimizer keeps beside it.
borrowed: peak memory of a step beyond what is held, in arrays of the parameters' size. syncs: values read by the host.
cold s, warm s: first step of a fresh process with an empty and a filled compiler cache.
floor: the bytes that a step must move, at the measured bytes per second."""


def label(name: str) -> str:
    """A contender as it is called in tables and pictures."""
    if name.endswith(GRAPH):
        return f"{CONTENDERS[name.removesuffix(GRAPH)].label}, CUDA graph"
    return CONTENDERS[name].label


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Ours, torch's, the peers'."""
    places = {name: place for place, name in enumerate(CONTENDERS)}
    return sorted(rows, key=lambda row: (places[row["contender"].removesuffix(GRAPH)], row["contender"]))


def groups(results: Results) -> dict[tuple[str, int, str], list[Row]]:
    """(device, threads, workload) -> its rows, in the order of workloads and contenders."""
    found: dict[tuple[str, int, str], list[Row]] = {}
    places = {name: place for place, name in enumerate(MAKERS)}
    for row in sorted(results["rows"], key=lambda row: (row["device"], row["threads"], places[row["workload"]])):
        found.setdefault((row["device"], row["threads"], row["workload"]), []).append(row)
    return {key: ordered(rows) for key, rows in found.items()}


def quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(numbers) == 1:
        return numbers[0], numbers[0], numbers[0]
    low, _, high = quantiles(numbers, n=4, method="inclusive")
    return low, median(numbers), high


def ratios(step: Row) -> list[float]:
    """To the baseline, round by round."""
    return [own / base for own, base in zip(step["milliseconds"], step["baseline"], strict=True)]


def cells(row: Row) -> list[str]:
    """One row of a table."""
    name, step, first = label(row["contender"]), row.get("step", {}), row.get("first_step", {})
    if "failed" in step:
        return [name, f"not run: {step['failed']}"]
    out = [name]
    if step:
        for numbers in (step["milliseconds"], ratios(step)):
            low, middle, high = quartiles(numbers)
            out += [f"{middle:.3g}", f"{low:.3g} .. {high:.3g}"]
        equal = step["equal"]
        errors = [f"{equal[dtype]:.0e}" for dtype in ("float64", "float32") if dtype in equal]
        out += [equal["to"], " / ".join(errors)]
        out += [f"{step[f'{key}_bytes_per_parameter']:.1f}" for key in ("state", "other")]
        out += [f"{step['transient_arrays']:.2f}", str(step["synchronisations"])]
    else:
        out += [""] * (len(HEADS) - 3)
    if "failed" in first:
        return [*out, f"failed: {first['failed']}"]
    return [*out, *(f"{first[run]['first']:.1f}" if run in first else "" for run in ("cold", "warm"))]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under each other; the first is words, the others are numbers. A row that is cut short ends in a text."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        padded = [row[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        if len(row) < len(rows[0]):
            padded[-1] = row[-1]
        lines.append("  ".join(padded).rstrip())
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def table(rows: Sequence[Row], sessions: dict[str, Row]) -> str:
    """One workload on one machine."""
    first = rows[0]
    name, threads = first["workload"], first["threads"]
    title = f"{name}: {MAKERS[name][0]}; {first['tensors']} tensors, {first['parameters']:,} parameters"
    lines = [title, f"{first['device']}, {threads} thread{'s' * (threads > 1)}", ""]
    lines += aligned([HEADS, *map(cells, rows)])
    steps = [row["step"] for row in rows if "step" in row]
    for key in dict.fromkeys(step["session"] for step in steps):
        session, floors = sessions[key], next(step["floors"] for step in steps if step["session"] == key)
        shown = ", ".join(f"{floor} {milliseconds:.3g} ms" for floor, milliseconds in floors.items())
        load = " ".join(map(str, session["load_average"]))
        speed = session["bytes_per_second"] / 1e9
        lines.append(f"floor: {shown} at {speed:.1f} GB/s; {session['date']}, load average before: {load}")
    return "\n".join(lines)


def tables(results: Results) -> str:
    """Every workload, and what the columns mean."""
    shown = [table(rows, results["sessions"]) for rows in groups(results).values()]
    return "\n\n".join([*shown, LEGEND])
