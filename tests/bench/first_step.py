"""How long a first step takes that compiles: with an empty compiler cache, and with the cache that run left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import torch
from torch.nn import Parameter

from .contender import Contender
from .contenders import CONTENDERS
from .lane import say
from .machine import synchronize
from .results import Row, about
from .workloads import Workload, workload

TESTS = Path(__file__).parent.parent


def measure_first_step(work: Workload, contender: Contender, session: Row, session_key: str) -> Row:
    """A row of results: how long the first and second step of two fresh processes take, cold and then warm."""
    refusal = contender.refusal(len(work.shapes))
    outcome = {"failed": refusal} if refusal else _in_processes(work, contender, session["device"], session["threads"])
    return {**about(work, session), "contender": contender.name, "first_step": {"session": session_key, **outcome}}


def _in_processes(work: Workload, contender: Contender, device: str, threads: int) -> Row:
    """Seconds of each step, or why there are none."""
    result: Row = {}
    with tempfile.TemporaryDirectory() as cache:
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "TORCHINDUCTOR_CACHE_DIR": cache}
        command = [sys.executable, "-m", "bench.first_step", work.name, contender.name, device, str(threads)]
        for name in ("cold", "warm"):
            say(f"  {work.name}: {contender.label}: first step, {name}")
            child = subprocess.run(command, env=environment, capture_output=True, text=True)
            if child.returncode:
                return {"failed": (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]}
            result[name] = json.loads(child.stdout.splitlines()[-1])
    return result


def time_first_steps(work: Workload, contender: Contender, device: str) -> dict[str, float]:
    """Seconds of the first two steps in this process."""
    params = {name: Parameter(x) for name, x in work.draw(0, device=device).items()}
    grads = work.draw(1, device=device)
    optimizer = contender.build(params)
    seconds = {}
    for step in ("first", "second"):
        for name, param in params.items():
            param.grad = grads[name].clone()
        synchronize(device)
        begin = perf_counter()
        optimizer.step()
        synchronize(device)
        seconds[step] = perf_counter() - begin
    return seconds


if __name__ == "__main__":
    work_name, contender_name, device, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(json.dumps(time_first_steps(workload(work_name), CONTENDERS[contender_name], device)))
