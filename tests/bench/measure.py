"""A workload's figures: contenders are checked, timed in batches that fit into memory, and weighed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from . import machine
from .contender import Contender
from .contenders import BASELINE
from .correctness import assert_equal, assert_moved, check
from .costs import live_bytes
from .lane import Lane, say, take_turns
from .results import Row, about
from .workloads import Workload

ROOM = 28
"""Bytes for each parameter of a contender: itself, up to four arrays of its size, copies of gradients, and some air."""

GRAPH = "-graph"
"""What a contender's name ends with where its step is replayed as a CUDA graph."""

GRAPH_TOLERANCE = 1e-5
"""How far from the same steps without a graph it may land, in units of the distance moved."""


def measure(
    work: Workload, contenders: Sequence[Contender], session: Row, session_key: str, rounds: int
) -> Iterator[list[Row]]:
    """Rows of results, batch by batch, each batch beside the baseline."""
    device = session["device"]
    start, grads = work.draw(0, device=device), work.draw(1, device=device)
    floors = machine.floors(work.shapes, session)
    room = 0.7 * machine.memory(device) - 2 * machine.FLOAT * work.parameters
    for batch in batches(contenders, int(room / (ROOM * work.parameters))):
        torch._dynamo.reset()
        outcomes = _measure_batch(batch, work, start, grads, device, rounds)
        yield [
            {**about(work, session), "contender": name, "step": {"session": session_key, "floors": floors, **outcome}}
            for name, outcome in outcomes.items()
        ]


def batches(contenders: Sequence[Contender], places: int) -> Iterator[list[Contender]]:
    """As many contenders at a time as there are places, of which the baseline always takes the first."""
    others = [contender for contender in contenders if contender != BASELINE]
    size = max(1, places - 1)
    for first in range(0, max(1, len(others)), size):
        yield [BASELINE, *others[first : first + size]]


def _measure_batch(
    batch: Sequence[Contender],
    work: Workload,
    start: dict[str, Tensor],
    grads: dict[str, Tensor],
    device: str,
    rounds: int,
) -> dict[str, Row]:
    outcomes: dict[str, Row] = {}
    lanes: dict[str, Lane] = {}
    held: dict[str, int] = {}
    for contender in batch:
        say(f"  {work.name}: {contender.label}")
        refusal = contender.refusal(len(work.shapes))
        if refusal is not None:
            outcomes[contender.name] = {"failed": refusal}
            continue
        try:
            equality = check(contender, work.reduced(), device)
            before = live_bytes(device)
            lane = Lane(contender, start, grads, device)
            held[contender.name] = live_bytes(device) - before
        except Exception as error:
            if contender.family != "peer":
                raise
            outcomes[contender.name] = {"failed": reason(error)}
            continue
        lanes[contender.name], outcomes[contender.name] = lane, {"equal": equality}
        if device == "cuda" and contender.family == "ours":
            name = contender.name + GRAPH
            graph = Lane(contender, start, grads, device)
            try:
                graph.record()
            except RuntimeError as error:
                outcomes[name] = {"failed": reason(error)}
                continue
            lanes[name], outcomes[name], held[name] = graph, {"equal": {"to": "no graph"}}, held[contender.name]
    times = take_turns(lanes, rounds)
    for name, lane in lanes.items():
        assert_moved(name, start, lane.landed())
        if name.endswith(GRAPH):
            plain = lanes[name.removesuffix(GRAPH)].landed()
            outcomes[name]["equal"]["float32"] = assert_equal(name, start, lane.landed(), plain, GRAPH_TOLERANCE)
    for name, lane in lanes.items():
        outcomes[name] |= {"milliseconds": times[name], "baseline": times[BASELINE.name], **lane.costs(held[name])}
    return outcomes


def reason(error: Exception) -> str:
    """An error in one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
