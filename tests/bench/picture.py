"""Results as pictures: bars for each workload with the floor drawn in, and lines for growth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from .contenders import CONTENDERS
from .measure import GRAPH
from .report import groups, label, ordered, quartiles, ratios
from .results import Results, Row

COLOURS = {"ours": "#0072B2", "torch": "#7F7F7F", "peer": "#E69F00"}
"""Told apart by colour-blind eyes as well (after Okabe and Ito)."""

WORDS = {"ours": "hina_func", "torch": "torch", "peer": "other libraries"}
FLOORS = {"AdamW": "--", "full chain": ":"}
MARKERS = ("o", "s", "^")
PANELS = 4


@contextmanager
def drawing(path: Path, rows: int, columns: int, size: tuple[float, float]) -> Iterator[Any]:
    """Axes to draw on, saved as an SVG that is the same for the same numbers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    style = {"svg.fonttype": "none", "svg.hashsalt": path.name, "font.size": 8, "axes.titlesize": 9}
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(
            rows, columns, figsize=size, squeeze=False, sharey="row", layout="constrained", facecolor="white"
        )
        yield figure, axes
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def draw_bars(results: Results, path: Path) -> list[Path]:
    """One picture for each device and number of threads; that of one thread of a CPU has the plain name."""
    panels: dict[tuple[str, int], list[list[Row]]] = {}
    for (device, threads, _), rows in groups(results).items():
        timed = [row for row in rows if "step" in row]
        if timed:
            panels.setdefault((device, threads), []).append(timed)
    paths = []
    for (device, threads), workloads in panels.items():
        paths.append(path_for(path, results["sessions"][workloads[0][0]["step"]["session"]]))
        _draw_bars(f"{device}, {threads} thread{'s' * (threads > 1)}", workloads, paths[-1])
    return paths


def _draw_bars(title: str, workloads: list[list[Row]], path: Path) -> None:
    names = list(dict.fromkeys(row["contender"] for row in ordered(row for rows in workloads for row in rows)))
    columns = min(PANELS, len(workloads))
    lines = ceil(len(workloads) / columns)
    size = max(7.0, 2.6 + 2.3 * columns), lines * (0.9 + 0.19 * len(names)) + 0.6
    with drawing(path, lines, columns, size) as (figure, axes):
        for ax, rows in zip(axes.flat, workloads, strict=False):
            _panel(ax, rows, names)
        for ax in axes.flat[len(workloads) :]:
            ax.axis("off")
        for ax in axes[:, 0]:
            ax.set_yticks(range(len(names)), [label(name) for name in names])
        figure.suptitle(f"Time of one step, in units of torch's fused AdamW, logarithmic ({title})")
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5, frameon=False)


def _panel(ax: Any, rows: list[Row], names: list[str]) -> None:
    fused, floors = 1.0, {}
    for row in rows:
        step, place = row["step"], names.index(row["contender"])
        floors = step["floors"]
        if "failed" in step:
            ax.text(0.02, place, "not run", va="center", color="#555555", transform=ax.get_yaxis_transform())
            continue
        low, middle, high = quartiles(ratios(step))
        fused = quartiles(step["baseline"])[1]
        family = CONTENDERS[row["contender"].removesuffix(GRAPH)].family
        ax.barh(place, middle, color=COLOURS[family], height=0.75)
        ax.plot([low, high], [place, place], color="black", linewidth=0.8)
        ax.annotate(f"{middle:.2g}", (max(high, middle), place), (3, 0), textcoords="offset points", va="center")
    for floor, dashes in FLOORS.items():
        ax.axvline(floors[floor] / fused, color="#D55E00", linestyle=dashes, linewidth=1.2)
    ax.axvline(1, color="black", linewidth=0.6)
    ax.set(xscale="log", ylim=(len(names) - 0.4, -0.6))
    ax.set_xlim(right=ax.get_xlim()[1] * 2.5)
    plain_ticks(ax.xaxis)
    ax.set_title(f"{rows[0]['workload']}\n{rows[0]['tensors']} tensors, {rows[0]['parameters'] / 1e6:.3g}M parameters")
    ax.spines[["top", "right"]].set_visible(False)


def plain_ticks(axis: Any) -> None:
    """0.3, 1, 3, 10 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    bars: list[Any] = [Patch(color=COLOURS[family], label=word) for family, word in WORDS.items()]
    lines = [
        Line2D([], [], color="#D55E00", linestyle=dashes, label=f"memory floor, {floor}")
        for floor, dashes in FLOORS.items()
    ]
    return bars + lines


def draw_scales(results: Results, path: Path) -> list[Path]:
    """One picture of growth for each device and number of threads."""
    paths = []
    for entry in results["scale"]:
        paths.append(path_for(path, results["sessions"][entry["session"]]))
        _draw_scale(entry, paths[-1])
    return paths


def path_for(path: Path, session: Row) -> Path:
    """One thread of a CPU has the plain name; other pictures say what they are of."""
    threads = session["threads"]
    suffix = {"cpu": "" if threads == 1 else f"-{threads}-threads"}.get(session["device"], f"-{session['device']}")
    return path.with_name(f"{path.stem}{suffix}.svg")


def _draw_scale(entry: Row, path: Path) -> None:
    """Time against the number of tensors and against the number of parameters, both logarithmic."""
    panels = len(entry["sweeps"])
    with drawing(path, 1, panels, (4.2 * panels, 3.6)) as (figure, axes):
        for ax, (along, sweep) in zip(axes.flat, entry["sweeps"].items(), strict=True):
            colours = list(COLOURS.values())
            for place, (name, exponent) in enumerate(sweep["exponents"].items()):
                sizes = [point[along] for point in sweep["points"]]
                times = [quartiles(point["milliseconds"][name]) for point in sweep["points"]]
                low, middle, high = zip(*times, strict=True)
                style = {"color": colours[place], "marker": MARKERS[place], "markersize": 4}
                ax.plot(sizes, middle, label=f"{label(name)}: exponent {exponent:.2f}", **style)
                ax.fill_between(sizes, low, high, color=colours[place], alpha=0.2, linewidth=0)
            ax.set(xscale="log", yscale="log", xlabel=along, title=sweep["text"])
            plain_ticks(ax.xaxis)
            plain_ticks(ax.yaxis)
            ax.grid(alpha=0.3)
            ax.legend(frameon=False)
        axes[0, 0].set_ylabel("milliseconds of one step")
        figure.suptitle(f"{entry['device']}, {entry['threads']} thread{'s' * (entry['threads'] > 1)}")
