"""How a step's time grows with the number of tensors and of parameters, and what a 70B model would take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import torch
from torch.utils._pytree import tree_leaves

import hina_func as hf
from hina_func.layout import build_layout, spec_of

from . import machine
from .contenders import CONTENDERS
from .correctness import assert_moved, check
from .lane import Lane, say, take_turns
from .report import aligned
from .results import Row
from .workloads import Shapes, Workload, dense, llama_lora, lokr

RUNNERS = ("hina-compiled", "hina-eager", "torch-fused")
TENSORS = (100, 300, 1000, 3000, 10000, 20000)
PARAMETERS = (1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000, 300_000_000)
AT_ONCE = 100
"""Tensors of a model that grows in width."""


def more_tensors(count: int) -> Shapes:
    """LoKr modules of rank 8, three tensors each."""
    return lokr(factored=count // 3, full=0, small=0, width=80)


def larger_tensors(parameters: int) -> Shapes:
    """Square weights, always as many."""
    side = round(math.sqrt(parameters / AT_ONCE))
    return dense(AT_ONCE, side, side)


SWEEPS = {
    "tensors": ("more tensors: LoKr modules of rank 8", more_tensors),
    "parameters": (f"larger tensors: {AT_ONCE} square weights", larger_tensors),
}


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The least-squares slope of log time against log size: 1 where twice the size takes twice the time."""
    x, y = ([math.log(number) for number in numbers] for numbers in (sizes, times))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def measure_scale(
    session: Row,
    session_key: str,
    rounds: int,
    tensors: Sequence[int] = TENSORS,
    parameters: Sequence[int] = PARAMETERS,
    runners: Sequence[str] = RUNNERS,
) -> Row:
    """Both sweeps, their exponents, and the 70B model on paper."""
    sweeps = {}
    for along, sizes in (("tensors", tensors), ("parameters", parameters)):
        text, shapes = SWEEPS[along]
        works = [Workload(f"scale, {along}", shapes(size)) for size in sizes]
        for name in runners:
            say(f"  scale, {along}: check of {CONTENDERS[name].label}")
            check(CONTENDERS[name], works[0].reduced(), session["device"])
        points = [_point(work, session["device"], rounds, runners) for work in works]
        exponents = {
            name: exponent([p[along] for p in points], [median(p["milliseconds"][name]) for p in points])
            for name in runners
        }
        sweeps[along] = {"text": text, "points": points, "exponents": exponents}
    identity = {"device": session["device_name"], "threads": session["threads"], "session": session_key}
    return {**identity, "sweeps": sweeps, "70B": on_paper(session, sweeps["parameters"]["points"][-1], runners[0])}


def _point(work: Workload, device: str, rounds: int, runners: Sequence[str]) -> Row:
    say(f"  {work.name}: {len(work.shapes)} tensors, {work.parameters:,} parameters")
    torch._dynamo.reset()
    start, grads = work.draw(0, device=device), work.draw(1, device=device)
    lanes = {name: Lane(CONTENDERS[name], start, grads, device) for name in runners}
    times = take_turns(lanes, rounds)
    for lane in lanes.values():
        assert_moved(lane.contender.label, start, lane.landed())
    return {"tensors": len(work.shapes), "parameters": work.parameters, "milliseconds": times}


def on_paper(session: Row, largest: Row, runner: str) -> Row:
    """LoRA of rank 16 on every linear layer of Llama 70B, without a single value.

    The time is predicted twice: at the memory's speed, and at the speed that the full chain reached on the largest
    model that was measured.
    """
    work = Workload("70B", llama_lora(layers=80, hidden=8192, intermediate=28672, kv=1024))
    params = work.meta()
    state = sum(x.numel() * x.element_size() for x in tree_leaves(hf.hina_adamw().init(params)))
    floors = machine.floors(work.shapes, session)
    measured = Workload("largest", larger_tensors(largest["parameters"]))
    reached = machine.floors(measured.shapes, session)["full chain"] / median(largest["milliseconds"][runner])
    return {
        "tensors": len(work.shapes),
        "parameters": work.parameters,
        "columns": len(build_layout(spec_of(params)).columns),
        "state_bytes": state,
        "bytes_per_step": machine.full_chain_bytes(work.shapes, max(session["caches"].values(), default=math.inf)),
        "milliseconds_at_memory_speed": floors["full chain"],
        "milliseconds_at_measured_speed": floors["full chain"] / reached,
        "adamw_milliseconds_at_memory_speed": floors["AdamW"],
    }


def scale_table(entry: Row) -> str:
    """Times and exponents of both sweeps, and the 70B model."""
    lines = [f"{entry['device']}, {entry['threads']} thread{'s' * (entry['threads'] > 1)}"]
    for along, sweep in entry["sweeps"].items():
        names = list(sweep["exponents"])
        rows = [[along, *(CONTENDERS[name].label for name in names), "ns per parameter", "us per tensor"]]
        for point in sweep["points"]:
            times = [median(point["milliseconds"][name]) for name in names]
            each = [1e6 * times[0] / point["parameters"], 1e3 * times[0] / point["tensors"]]
            rows.append([f"{point[along]:,}", *(f"{time:.3g} ms" for time in times), *(f"{x:.3g}" for x in each)])
        rows.append(["exponent", *(f"{sweep['exponents'][name]:.3f}" for name in names), "", ""])
        lines += ["", f"{sweep['text']}; the last two columns: {CONTENDERS[names[0]].label}", *aligned(rows)]
    paper = entry["70B"]
    lines += [
        "",
        f"LoRA of rank 16 on Llama 70B: {paper['tensors']} tensors, {paper['parameters']:,} parameters, "
        f"{paper['columns']} columns, {paper['state_bytes'] / 1e9:.2f} GB of state, "
        f"{paper['bytes_per_step'] / 1e9:.2f} GB moved in a step",
        f"predicted: {paper['milliseconds_at_memory_speed']:.3g} ms at the memory's speed, "
        f"{paper['milliseconds_at_measured_speed']:.3g} ms at the speed reached above; "
        f"AdamW at the memory's speed {paper['adamw_milliseconds_at_memory_speed']:.3g} ms",
    ]
    return "\n".join(lines)
