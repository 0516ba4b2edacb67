"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import tempfile
from argparse import RawDescriptionHelpFormatter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from . import machine
from .contenders import CONTENDERS
from .first_step import measure_first_step
from .lane import say
from .measure import measure
from .picture import draw_bars, draw_scales
from .report import tables
from .results import load, merge, save
from .scale import measure_scale, scale_table
from .workloads import MAKERS, STANDARD, workload

OUT = Path(__file__).parents[2] / "docs" / "_static" / "performance.json"

ABOUT = """\
Time optimizer steps, ours beside others, in rounds: A B C, A B C, ...

  run      time the contenders on the workloads; the default
  scale    growth with the number of tensors and of parameters, and a 70B model on paper
  report   the tables and pictures once more, from the file of results

Results are merged into the file of results by device, threads, workload and contender, so a long benchmark can be run
in parts, in any order. Every contender is checked before it is timed. Peers that are not installed are shown as such.
"""

QUICK_WORKLOADS = ("tiny",)
QUICK_CONTENDERS = ("hina-eager", "adamw-compiled", "torch-fused", "torch-foreach", "torchopt-adamw", "heavyball-adamw")
QUICK_ROUNDS = 3
QUICK_SCALE: dict[str, Any] = {
    "tensors": (30, 90),
    "parameters": (100_000, 300_000),
    "runners": ("hina-eager", "torch-fused"),
}


def listed(names: dict[str, str]) -> str:
    width = max(map(len, names))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in names.items())


def parser() -> argparse.ArgumentParser:
    workloads = {name: text for name, (text, _) in MAKERS.items()}
    contenders = {name: contender.label for name, contender in CONTENDERS.items()}
    epilog = f"workloads:\n{listed(workloads)}\n\ncontenders:\n{listed(contenders)}"
    made = argparse.ArgumentParser("python -m bench", None, ABOUT, epilog, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("command", nargs="?", choices=("run", "scale", "report"), default="run", help="see above")
    made.add_argument(
        "--workloads", nargs="+", choices=MAKERS, default=STANDARD, metavar="NAME", help="default: all but tiny"
    )
    made.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME", help="default: all"
    )
    made.add_argument(
        "--figures",
        nargs="+",
        choices=("step", "first-step"),
        default=("step", "first-step"),
        help="times, memory and synchronisations of steps; seconds of the first one, cold and warm (default: both)",
    )
    made.add_argument(
        "--threads", nargs="+", type=int, default=[1], metavar="N", help="one after the other (default: 1)"
    )
    made.add_argument("--rounds", type=int, default=9, metavar="N", help="timed rounds, after two others (default: 9)")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    made.add_argument(
        "--out", type=Path, metavar="FILE", help=f"results; pictures go beside it (default: {_short(OUT)})"
    )
    made.add_argument("--quick", action="store_true", help="a miniature of everything, into a temporary folder")
    return made


def _short(path: Path) -> str:
    return "/".join(path.parts[-3:])


def run(options: argparse.Namespace, session: dict[str, Any], key: str) -> None:
    """The figures of every workload, written down batch by batch."""
    contenders = [CONTENDERS[name] for name in options.contenders]
    for work in map(workload, options.workloads):
        if "step" in options.figures:
            for rows in measure(work, contenders, session, key, options.rounds):
                save(options.out, merge(load(options.out), {key: session}, rows))
        compiled = [contender for contender in contenders if contender.compiled and "first-step" in options.figures]
        for contender in compiled:
            row = measure_first_step(work, contender, session, key)
            save(options.out, merge(load(options.out), {key: session}, [row]))


def scale(options: argparse.Namespace, session: dict[str, Any], key: str) -> None:
    """The growth of this device."""
    entry = measure_scale(session, key, options.rounds, **(QUICK_SCALE if options.quick else {}))
    save(options.out, merge(load(options.out), {key: session}, scale=[entry]))


PARTS = {"run": run, "scale": scale}


def report(out: Path, workloads: Collection[str], parts: Collection[str]) -> None:
    """Tables of these workloads and of growth, and every picture."""
    results = load(out)
    shown = {**results, "rows": [row for row in results["rows"] if row["workload"] in workloads]}
    texts = [tables(shown)] if "run" in parts else []
    texts += map(scale_table, results["scale"]) if "scale" in parts else []
    print("\n\n".join(texts))
    pictures = [*draw_bars(results, out), *draw_scales(results, out.with_name("scale.svg"))]
    say(f"results: {out}; pictures: {', '.join(picture.name for picture in pictures) or 'none'}")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if options.quick:
        options.workloads, options.contenders, options.rounds = QUICK_WORKLOADS, QUICK_CONTENDERS, QUICK_ROUNDS
        options.out = options.out or Path(tempfile.mkdtemp()) / OUT.name
    options.out = options.out or OUT
    parts = (options.command,) if options.command in PARTS and not options.quick else tuple(PARTS)
    for threads in () if options.command == "report" else options.threads:
        say(f"{threads} thread{'s' * (threads > 1)} on {machine.device_name(options.device)}")
        torch.set_num_threads(threads)
        session = machine.describe(options.device, threads)
        for part in parts:
            PARTS[part](options, session, f"{session['date']} {threads}")
    report(options.out, options.workloads, parts)


if __name__ == "__main__":
    main()
