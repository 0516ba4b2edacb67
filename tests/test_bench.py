"""The benchmarks measure what they say: workloads, checks, figures, tables and merging; no time is asserted."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bench import machine, scale
from bench.__main__ import main
from bench.contender import Contender
from bench.contenders import BASELINE, CONTENDERS
from bench.correctness import check
from bench.costs import borrowed, distinct_bytes, live_bytes, tensors_in
from bench.first_step import time_first_steps
from bench.lane import Lane, take_turns
from bench.measure import batches
from bench.results import load, merge, save
from bench.workloads import LARGEST, MAKERS, Workload, dense, llama_lora, workload

import hina_func as hf

SIZES = {
    "W1": (1600, 6_036_800, 610),
    "sdxl_lokr_f8_dim8": (2376, 3_132_352, 792),
    "sdxl_lokr": (1584, 40_061_632, 792),
    "sdxl_lora": (1444, 42_557_440, 722),
    "llama_lora": (448, 41_943_040, 224),
    "W2": (20, 83_886_080, 0),
    "W3": (148, 124_439_808, 0),
    "tiny": (56, 20_608, 20),
}

workloads = pytest.mark.parametrize("name", MAKERS)


@workloads
def test_a_workload_has_its_size_and_its_adapters_are_recognised(name):
    work = workload(name)
    adapters = hf.find_adapters(work.meta())
    assert (len(work.shapes), work.parameters, len(adapters.modules)) == SIZES[name]
    assert adapters.unmatched() == {}


@workloads
def test_a_reduced_workload_has_every_shape_and_whole_modules(name):
    work = workload(name)
    less = work.reduced()
    assert hf.find_adapters(less.meta()).unmatched() == {}
    assert {shape for shape in work.shapes.values() if math.prod(shape) <= LARGEST} <= set(less.shapes.values())
    assert max(map(math.prod, less.shapes.values())) <= LARGEST


def test_the_recorded_llama_is_the_made_one():
    assert workload("llama_lora").shapes == llama_lora(layers=32, hidden=4096, intermediate=14336, kv=1024)


def test_a_workload_draws_the_same_numbers_again():
    one, other = (workload("tiny").draw(3) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


SMALL = Workload("small", dense(2, 3, 4))


def contender(build: Any, equals: Any = "torch loop", **facts: Any) -> Contender:
    return Contender("fake", "a fake", "peer", build, equals, **facts)


@pytest.mark.parametrize("name", ["hina-eager", "cautious-eager", "torch-foreach", "torch-fused"])
def test_right_steps_pass_the_check(name):
    result = check(CONTENDERS[name], workload("tiny").reduced(), "cpu")
    assert result["to"] == CONTENDERS[name].equals
    assert all(error <= 1e-5 for key, error in result.items() if key != "to")


def test_a_wrong_step_does_not_pass_the_check():
    sgd = contender(lambda named: torch.optim.SGD(named.values(), lr=0.1))
    with pytest.raises(AssertionError, match="of the distance moved off"):
        check(sgd, SMALL, "cpu")


def test_a_step_that_does_nothing_does_not_pass_the_check():
    idle = contender(lambda named: SimpleNamespace(step=lambda: None), "moves")
    with pytest.raises(AssertionError, match="did not move"):
        check(idle, SMALL, "cpu")


class Spoiler(torch.optim.SGD):
    """Leaves the gradients doubled."""

    def step(self, closure: Any = None) -> None:
        super().step()
        for group in self.param_groups:
            for param in group["params"]:
                param.grad.mul_(2)


class Consumer(torch.optim.SGD):
    """Takes the gradients away, as HeavyBall does."""

    def step(self, closure: Any = None) -> None:
        super().step()
        self.zero_grad(set_to_none=True)


def test_shared_gradients_may_not_be_changed():
    spoiler = contender(lambda named: Spoiler(named.values(), lr=0.1), "moves")
    with pytest.raises(AssertionError, match="writes into the gradients"):
        check(spoiler, SMALL, "cpu")


def test_a_lane_gives_new_gradients_to_those_who_consume_them():
    consumer = contender(lambda named: Consumer(named.values(), lr=0.1), "moves", consumes_grads=True)
    start, grads = SMALL.draw(0), SMALL.draw(1)
    kept = {name: g.clone() for name, g in grads.items()}
    times = take_turns({"fake": Lane(consumer, start, grads, "cpu")}, rounds=3)
    assert len(times["fake"]) == 3
    assert all(torch.equal(grads[name], kept[name]) for name in grads)


def test_a_lane_refuses_a_timed_step_that_moves_nothing():
    consumer = contender(lambda named: Consumer(named.values(), lr=0.0), "moves")
    with pytest.raises(AssertionError, match="moved nothing"):
        take_turns({"fake": Lane(consumer, SMALL.draw(0), SMALL.draw(1), "cpu")}, rounds=1)


def test_a_lane_knows_its_costs():
    lane = Lane(BASELINE, SMALL.draw(0), SMALL.draw(1), "cpu")
    costs = lane.costs(held=3 * SMALL.parameters * machine.FLOAT + 2 * machine.FLOAT)
    assert costs["state_bytes_per_parameter"] == 8 + 2 * machine.FLOAT / SMALL.parameters
    assert costs["other_bytes_per_parameter"] == 0
    assert costs["transient_arrays"] < 1


def test_rows_of_one_column_count_once():
    column = torch.zeros(5, 4)
    state = {"a": {"m": column[0], "v": column[1]}, "b": [column[0], (column[1:3], column[:, 1:])]}
    assert distinct_bytes(tensors_in(state)) == 20 * 4
    assert distinct_bytes(tensors_in({"m": column[1], "step": torch.zeros(())})) == 5 * 4


def test_live_bytes_see_a_tensor_come_and_go():
    live_bytes("cpu")
    before = live_bytes("cpu")
    kept = [torch.zeros(1000), torch.zeros(0)]
    assert live_bytes("cpu") - before == 4000
    kept.clear()
    assert live_bytes("cpu") == before


def test_what_a_step_borrows_is_its_peak():
    def step() -> None:
        first = torch.ones(1000)
        second = first + first
        del first
        third = second + 1
        third.sum().item()

    peak, synchronisations = borrowed(step, "cpu")
    assert 8000 <= peak < 9000
    assert synchronisations == 1


def test_every_batch_has_the_baseline():
    chosen = [CONTENDERS[name] for name in ("hina-eager", "torch-fused", "torch-loop", "adamw-eager")]
    found = list(batches(chosen, places=3))
    assert [[c.name for c in batch] for batch in found] == [
        ["torch-fused", "hina-eager", "torch-loop"],
        ["torch-fused", "adamw-eager"],
    ]
    assert list(batches([BASELINE], places=1)) == [[BASELINE]]


def test_lists_too_long_to_trace_are_refused_with_the_reason():
    assert CONTENDERS["torch-foreach-compiled"].refusal(148) is None
    assert "traces over the list" in str(CONTENDERS["torch-foreach-compiled"].refusal(1600))


def test_first_steps_are_timed():
    assert set(time_first_steps(SMALL, CONTENDERS["torch-fused"], "cpu")) == {"first", "second"}


SESSION = {
    "date": "2026-01-02T03:04:05+00:00",
    "load_average": [0.1, 0.2, 0.3],
    "device": "cpu",
    "device_name": "abacus",
    "threads": 1,
    "caches": {"L1": 1000, "L2": 40_000},
    "bytes_per_second": 1e9,
}


def test_floors_are_bytes_over_speed():
    small, large = {"blocks.0.weight": (10, 10)}, {"blocks.0.weight": (100, 100)}
    adapter = {"x.lora_A.default.weight": (2, 100), "x.lora_B.default.weight": (100, 2)}
    assert machine.floors(small, SESSION) == {"AdamW": 2800 / 1e6, "full chain": 3200 / 1e6}
    assert machine.floors(large, SESSION) == {"AdamW": 0.28, "full chain": 0.60}
    assert machine.full_chain_bytes(adapter, cache=math.inf) == 28 * 400
    assert machine.full_chain_bytes(adapter, cache=0) == 52 * 400
    assert machine.floors(large, {**SESSION, "caches": {}})["full chain"] == 0.32


def test_the_machine_is_described():
    assert machine.device_name("cpu")
    assert machine.memory("cpu") > 2**30
    assert machine.bandwidth("cpu", elements=2**10, repeats=3) > 0


def test_exponents_are_slopes_of_logarithms():
    sizes = [100, 300, 1000]
    assert scale.exponent(sizes, [0.2 * size**1.05 for size in sizes]) == pytest.approx(1.05)
    assert scale.exponent(sizes, [7, 7, 7]) == pytest.approx(0)


def test_sweeps_grow_along_one_axis():
    for count in scale.TENSORS:
        assert abs(len(scale.more_tensors(count)) - count) < 3
    for count in scale.PARAMETERS:
        work = Workload("larger", scale.larger_tensors(count))
        assert len(work.shapes) == scale.AT_ONCE
        assert work.parameters == pytest.approx(count, rel=0.01)


def row(name: str, step: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    about = {"device": "abacus", "threads": 1, "workload": "tiny", "tensors": 56, "parameters": 20608}
    made = {**about, "contender": name, **facts}
    if step is not None:
        made["step"] = {"session": "s", "floors": {"AdamW": 0.5, "full chain": 0.6}, **step}
    return made


def timed(factor: float) -> dict[str, Any]:
    return {
        "milliseconds": [factor, 2 * factor, 3 * factor],
        "baseline": [1.0, 2.0, 3.0],
        "equal": {"to": "one by one", "float64": 1e-16, "float32": 2e-7},
        "state_bytes_per_parameter": 8.0,
        "other_bytes_per_parameter": 0.25,
        "transient_arrays": 0.5,
        "synchronisations": 3,
    }


def growth() -> dict[str, Any]:
    sweeps = {}
    for along, (text, _) in scale.SWEEPS.items():
        points = [
            {"tensors": n, "parameters": n, "milliseconds": {name: [n, n, n] for name in scale.RUNNERS}}
            for n in (100, 10_000)
        ]
        sweeps[along] = {"text": text, "points": points, "exponents": dict.fromkeys(scale.RUNNERS, 1.0)}
    paper = scale.on_paper(SESSION, sweeps["parameters"]["points"][-1], scale.RUNNERS[0])
    return {"device": "abacus", "threads": 1, "session": "s", "sweeps": sweeps, "70B": paper}


def test_results_are_merged_by_device_threads_workload_and_contender(tmp_path):
    path = tmp_path / "deep" / "results.json"
    assert load(path)["rows"] == []
    first = [row("torch-fused", timed(1)), row("hina-eager", timed(5))]
    save(path, merge(load(path), {"s": SESSION}, first))
    compiled = {"session": "t", "cold": {"first": 9.0, "second": 0.1}, "warm": {"first": 2.0, "second": 0.1}}
    second = [row("hina-eager", first_step=compiled), row("hina-eager", timed(7), threads=2)]
    save(path, merge(load(path), {"t": SESSION, "unused": SESSION}, second, [growth()]))
    merged = load(path)
    assert [(r["threads"], r["contender"]) for r in merged["rows"]] == [
        (1, "hina-eager"),
        (1, "torch-fused"),
        (2, "hina-eager"),
    ]
    assert merged["rows"][0]["step"]["milliseconds"][0] == 5
    assert merged["rows"][0]["first_step"] == compiled
    assert set(merged["sessions"]) == {"s", "t"}
    assert len(merged["scale"]) == 1
    save(path, merge(merged, {"u": SESSION}, [row("hina-eager", {**timed(6), "session": "u"})]))
    assert load(path)["rows"][0]["step"]["milliseconds"][0] == 6


def test_the_report_prints_tables_and_draws_pictures(tmp_path, capsys):
    path = tmp_path / "performance.json"
    rows = [
        row("torch-fused", timed(1)),
        row("hina-eager", timed(2.5), first_step={"session": "s", "failed": "no compiler"}),
        row("torchao-adamw", {"failed": "ModuleNotFoundError: No module named 'torchao'"}),
    ]
    save(path, merge(load(path), {"s": SESSION}, rows, [growth()]))
    main(["report", "--workloads", "tiny", "--out", str(path)])
    printed = capsys.readouterr().out
    lines = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert "2.5  2.5 .. 2.5  one by one  1e-16 / 2e-07" in lines["HinaAdamW, eager"]
    assert lines["HinaAdamW, eager"].endswith("failed: no compiler")
    assert lines["torchao AdamW, compiled"].endswith("not run: ModuleNotFoundError: No module named 'torchao'")
    assert "floor: AdamW 0.5 ms, full chain 0.6 ms at 1.0 GB/s" in printed
    assert "1120 tensors, 207,093,760 parameters" in printed
    assert {picture.name for picture in tmp_path.glob("*.svg")} == {"performance.svg", "scale.svg"}
