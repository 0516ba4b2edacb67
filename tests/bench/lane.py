"""Timing: contenders take turns, round by round, so that whatever disturbs the machine disturbs them all."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from datetime import datetime
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from . import machine
from .contender import Contender
from .costs import borrowed, distinct_bytes, tensors_in

WARM_UP = 2


def say(text: str) -> None:
    """What is being done, for whoever waits."""
    print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)


class Lane:
    """One contender with its own parameters and state; its gradients are the ones that all share.

    Building it takes two steps, after which the state is there and everything is compiled.
    """

    def __init__(self, contender: Contender, start: dict[str, Tensor], grads: dict[str, Tensor], device: str) -> None:
        self.contender = contender
        self.device = device
        self.start = start
        self.shared = grads
        self.params = {name: Parameter(x.clone()) for name, x in start.items()}
        self.grads = {name: g.clone() for name, g in grads.items()} if contender.consumes_grads else grads
        self.probe = min(self.params.values(), key=Tensor.numel)
        self.optimizer = contender.build(self.params)
        self.step: Callable[[], Any] = self.optimizer.step
        self.take_step()
        self.take_step()

    def record(self) -> None:
        """From now on a step is the replay of a CUDA graph.

        Raises:
            RuntimeError: if the step cannot be recorded.
        """
        self.give_gradients()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        self.step = graph.replay

    def give_gradients(self) -> None:
        if self.contender.consumes_grads:
            torch._foreach_copy_(list(self.grads.values()), list(self.shared.values()))
        for name, param in self.params.items():
            param.grad = self.grads[name]

    def take_step(self) -> float:
        """Milliseconds of one step; giving the gradients is not part of it."""
        self.give_gradients()
        machine.synchronize(self.device)
        begin = perf_counter()
        self.step()
        machine.synchronize(self.device)
        return 1e3 * (perf_counter() - begin)

    def take_checked_step(self) -> float:
        """As `take_step`; a step that leaves the smallest parameter where it was is no step."""
        before = self.probe.detach().clone()
        milliseconds = self.take_step()
        assert not torch.equal(self.probe, before), f"{self.contender.label}: a timed step moved nothing"
        return milliseconds

    def landed(self) -> dict[str, Tensor]:
        """Where the parameters are."""
        return {name: param.detach() for name, param in self.params.items()}

    def costs(self, held: int) -> dict[str, float]:
        """Bytes for each parameter, peak in arrays of the parameters' size, host synchronisations of a step.

        ``held``: the bytes that came with this lane; what is neither parameter, gradient nor state the optimizer keeps.
        """
        parameters = sum(map(Tensor.numel, self.params.values()))
        fed = machine.FLOAT * parameters * (2 if self.contender.consumes_grads else 1)
        state = distinct_bytes(tensors_in(self.contender.state_of(self.optimizer)))
        self.give_gradients()
        peak, synchronisations = borrowed(self.step, self.device)
        return {
            "state_bytes_per_parameter": state / parameters,
            "other_bytes_per_parameter": max(0, held - fed - state) / parameters,
            "transient_arrays": peak / (machine.FLOAT * parameters),
            "synchronisations": synchronisations,
        }


def take_turns(lanes: dict[str, Lane], rounds: int, warm_up: int = WARM_UP) -> dict[str, list[float]]:
    """Milliseconds of each lane in each round: A B C, A B C, ..."""
    times: dict[str, list[float]] = {name: [] for name in lanes}
    gc.collect()
    gc.disable()
    try:
        for turn in range(-warm_up, rounds):
            say(f"    round {turn + 1} of {rounds}" if turn >= 0 else "    warm-up round")
            for name, lane in lanes.items():
                milliseconds = lane.take_checked_step()
                if turn >= 0:
                    times[name].append(round(milliseconds, 4))
    finally:
        gc.enable()
    return times
