"""A few gloo processes that do one job after another; they are killed and started anew if a job hangs or fails."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
import traceback
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class World:
    """``size`` processes of one process group. `run` calls a function of `jobs` in each of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []

    def run(self, job: str, *args: Any, timeout: float = 120.0) -> list[Any]:
        """What the job returned in each process, in their order.

        Raises:
            AssertionError: with the tracebacks, if it failed somewhere or hangs.
        """
        if not self._processes:
            self._start()
        for pipe in self._pipes:
            pipe.send((job, args))
        end = time.monotonic() + timeout
        answers: list[tuple[bool, Any]] = []
        for pipe in self._pipes:
            answers.append(_answer(pipe, end - time.monotonic()))
            if not answers[-1][0]:
                end = min(end, time.monotonic() + 2)  # the others may wait for this one, or have failed like it
        failures = [f"rank {rank}: {result}" for rank, (done, result) in enumerate(answers) if not done]
        if failures:
            self.close()
            raise AssertionError("\n".join(failures))
        return [result for _, result in answers]

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        meeting = Path(tempfile.mkdtemp(prefix="world_")) / "meeting"
        for rank in range(self.size):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(rank, self.size, str(meeting), there), daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.kill()
            process.join()
        self._pipes, self._processes = [], []


def _answer(pipe: Connection, patience: float) -> tuple[bool, Any]:
    try:
        return pipe.recv() if pipe.poll(max(0.0, patience)) else (False, "no answer in time")
    except EOFError:
        return False, "the process died"


def _serve(rank: int, size: int, meeting: str, pipe: Connection) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    from distributed import jobs

    while True:
        try:
            job, args = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, getattr(jobs, job)(*args)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
