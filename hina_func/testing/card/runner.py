"""Asking every cell of a card in worker processes, with a limit of time for each."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from .cells import NOT_CLAIMED_, TIMED_OUT, Cell, Effort
from .libraries import LIBRARIES
from .worker import Task, serve

GRACE = 60.0
"""How many seconds after its limit a cell that does not come back is given up, with the process that asks it.

Much longer than the limit, which is of processor time: the first cell of a process waits for imports, too.
"""

Progress = Callable[[int, int, str], None]
"""Called with how many cells are done, of how many, and which one."""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: Task | None = None
    began: float = 0.0
    ready: bool = False

    def give(self, task: Task | str) -> None:
        if not self.ready:
            self.connection.recv()  # it has started: what that took counts for no cell
            self.ready = True
        self.task = task if isinstance(task, Task) else None
        self.began = time.monotonic()
        self.connection.send(task)

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _hire(effort: Effort) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, effort), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def run(
    libraries: Sequence[str], effort: Effort, progress: Progress, keep: Callable[[Task], bool] = lambda task: True
) -> tuple[list[Cell], dict[str, str]]:
    """Ask every law of every optimizer.

    Args:
        libraries: names on the command line.
        effort: of each cell.
        progress: told of every cell.
        keep: which cells are asked.

    Returns:
        The cells in the order of the libraries, and library -> why it is not run.
    """
    first = _hire(effort)
    idle, busy = [first], list[_Worker]()
    try:
        tasks, missing = _tasks(first, libraries)
        tasks = [task for task in tasks if keep(task)]
        waiting, found = deque(tasks), dict[Task, Cell]()
        idle += [_hire(effort) for _ in range(min(_cores(), len(tasks)) - 1)]
        while waiting or busy:
            while waiting and idle:
                worker = idle.pop()
                worker.give(waiting.popleft())
                busy.append(worker)
            for worker in _ready(busy, effort):
                busy.remove(worker)
                cell, worker = _answer(worker, effort)
                idle.append(worker)
                found[Task(cell.library, cell.optimizer, cell.law, cell.source)] = cell
                progress(len(found), len(tasks), f"{cell.library} {cell.optimizer}")
        return [found[task] for task in tasks], missing
    finally:
        for worker in (*idle, *busy):
            worker.stop()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tasks(worker: _Worker, libraries: Sequence[str]) -> tuple[list[Task], dict[str, str]]:
    tasks: list[Task] = []
    missing: dict[str, str] = {}
    for name in libraries:
        library = LIBRARIES[name]
        if library.version() is None:
            missing[name] = f"not installed: python -m pip install {library.distribution}"
            continue
        worker.give(name)
        answer: Any = worker.connection.recv()
        if isinstance(answer, str):
            missing[name] = answer
        else:
            tasks += answer
    return tasks, missing


def _ready(busy: Sequence[_Worker], effort: Effort) -> list[_Worker]:
    """Those that have answered, have died, or are given up."""
    limit = effort.seconds + GRACE
    left = min(worker.began for worker in busy) + limit - time.monotonic()
    answered = wait([worker.connection for worker in busy], timeout=max(0.0, left))
    late = time.monotonic() - limit
    return [worker for worker in busy if worker.connection in answered or worker.began <= late]


def _answer(worker: _Worker, effort: Effort) -> tuple[Cell, _Worker]:
    """The cell that a worker was given, and a worker that can take the next."""
    task = worker.task
    assert task is not None
    said = f"given up after {effort.seconds + GRACE:g} seconds"
    if worker.connection.poll():
        try:
            cell: Cell = worker.connection.recv()
            return cell, worker
        except EOFError:
            worker.process.join()
            said = f"the process that asked ended with code {worker.process.exitcode}"
    worker.stop()
    verdict = TIMED_OUT if task.source else NOT_CLAIMED_
    seconds = round(time.monotonic() - worker.began, 3)
    lost = Cell(task.library, task.optimizer, task.law, "", verdict, task.source, said, 0, seconds, False)
    return lost, _hire(effort)
