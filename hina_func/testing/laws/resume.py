"""Laws of resuming: a run that was saved and loaded is the run that never stopped."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import hypothesis.strategies as st
import torch

from ..checking import Violation, expect_equal, law
from ..strategies import History, histories, shapes
from ..subjects import Subject, Torch, Transform

several = histories(min_steps=2, max_steps=4)


def _halves(subject: Subject, history: History, at: int, dtype: torch.dtype) -> None:
    start = history.to(dtype)
    whole = subject.start(start.params)
    for grads in start.grads[:at]:
        whole.step(grads)
    resumed = subject.start(whole.params())
    resumed.load(whole.saved())
    for i, grads in enumerate(start.grads[at:], at + 1):
        whole.step(grads)
        resumed.step(grads)
        expect_equal([resumed.params()], [whole.params()], f"after step {i}, resumed after step {at}, in {dtype}")


@law(several)
def resume(subject: Subject, history: History) -> None:
    """Saved after any step and loaded into a fresh run, it goes on to the bit."""
    for at in range(1, len(history.grads)):
        _halves(subject, history, at, torch.float32)


@law(several, of=(Transform, Torch))
def resume_in_bfloat16(subject: Subject, history: History) -> None:
    """The same for bfloat16 parameters, whose state is kept in more bits than they have."""
    for at in range(1, len(history.grads)):
        _halves(subject, history, at, torch.bfloat16)


@law(histories(of=st.sampled_from([(1,), (2,)]), min_steps=2, max_steps=3), of=Torch)
def reordered_resume(subject: Torch, history: History) -> None:
    """Loaded into an optimizer that has the parameters in another order it goes on to the bit, or refuses."""
    history = history.to(torch.float32)
    names = list(history.params)
    whole = subject.start(history.params)
    whole.step(history.grads[0])
    resumed = subject.start(whole.params(), order=names[::-1])
    try:
        resumed.load(whole.saved())
    except ValueError:
        return
    for grads in history.grads[1:]:
        whole.step(grads)
        resumed.step(grads)
    expect_equal([resumed.params()], [whole.params()], "resumed in another order")


@law(histories(of=shapes, max_steps=2), of=Torch)
def state_dtype_kept(subject: Torch, history: History) -> None:
    """Loading keeps the dtype of every tensor of the state, for bfloat16 parameters too."""
    low = history.to(torch.bfloat16)
    whole = subject.start(low.params)
    for grads in low.grads:
        whole.step(grads)
    resumed = subject.start(whole.params())
    resumed.load(whole.saved())
    for name, param in whole.live.items():
        loaded = dict(_tensors(resumed.optimizer.state[resumed.live[name]]))
        for key, x in _tensors(whole.optimizer.state[param]):
            if key not in loaded:
                raise Violation(f"state {key!r} of {name} is gone after loading")
            if loaded[key].dtype != x.dtype:
                raise Violation(f"state {key!r} of {name} was {x.dtype}, is {loaded[key].dtype} after loading")


@law(several, of=Torch)
def saved_stays(subject: Torch, history: History) -> None:
    """What was loaded from is not changed by the steps that follow."""
    run = subject.start(history.params)
    run.step(history.grads[0])
    saved = run.saved()
    before = deepcopy(saved)
    other = subject.start(run.params())
    other.optimizer.load_state_dict(saved)
    for grads in history.grads[1:]:
        other.step(grads)
    after = dict(_tensors(saved["state"]))
    for key, x in _tensors(before["state"]):
        if key not in after or not torch.equal(x, after[key]):
            raise Violation(f"the loaded state dict changed: {key!r} of its state")


def _tensors(kept: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a state by their path; some optimizers nest dicts, lists and tuples in it."""
    if isinstance(kept, torch.Tensor):
        yield path, kept
    elif isinstance(kept, (dict, list, tuple)):
        for key, x in kept.items() if isinstance(kept, dict) else enumerate(kept):
            yield from _tensors(x, f"{path}.{key}" if path else str(key))
