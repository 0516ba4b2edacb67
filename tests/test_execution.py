"""However a step is executed, in pieces, whole or compiled, it is the same step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from catalog import ROWS, draw
from torch import Tensor

import hina_func as hf
from hina_func.border import link_of
from hina_func.optim import engine, pieces
from hina_func.optim.program import compiled as compiled_program

torch_rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def leaves(seed: int = 1, dtype: torch.dtype = torch.float64) -> dict[str, torch.nn.Parameter]:
    return {name: torch.nn.Parameter(x) for name, x in draw(seed, dtype).items()}


def give(params: dict[str, torch.nn.Parameter], step: int, missing: tuple[str, ...] = ()) -> dict[str, Tensor]:
    grads = {name: x.to(params[name].dtype) for name, x in draw(100 + step).items() if name not in missing}
    for name, param in params.items():
        param.grad = grads.get(name)
    return grads


@torch_rows
@pytest.mark.parametrize("piece", [1, 7, 2**17])
def test_the_adapter_takes_the_functional_step(row, piece, monkeypatch):
    """Whatever the size of the pieces, with gradients missing now and then."""
    monkeypatch.setattr(pieces, "PIECE", piece)
    params, tx = leaves(), row.build()
    optimizer = hf.Optimizer(params, tx)
    plain = {name: p.detach().clone() for name, p in params.items()}
    state = tx.init(plain)
    for step in range(4):
        grads = give(params, step, ("bias", "q.lora_A.weight") if step == 2 else ())
        optimizer.step()
        updates, state = tx.update(grads, state, plain)
        plain = hf.apply_updates(plain, updates)
        for name, param in params.items():
            torch.testing.assert_close(param.detach(), plain[name], rtol=1e-12, atol=1e-12)


def test_a_transposed_or_channels_last_parameter_takes_the_same_step():
    turned = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
    last = torch.nn.Parameter(torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last))
    straight = [torch.nn.Parameter(x.detach().contiguous().clone()) for x in (turned, last)]
    one, other = (hf.HinaAdamW([("a", a), ("b", b)], use_alora=False) for a, b in ((turned, last), tuple(straight)))
    for _ in range(3):
        for x, y in zip((turned, last), straight, strict=True):
            y.grad = torch.ones_like(y)
            x.grad = torch.ones_like(x)
        one.step()
        other.step()
    assert torch.equal(turned, straight[0])
    assert torch.equal(last, straight[1])


def test_chains_that_look_across_columns_say_so():
    assert not link_of(hf.chain(hf.clip_by_global_norm(1.0), hf.scale_by_adam())).columnwise()
    assert link_of(hf.hina_adamw()).columnwise()
    assert link_of(hf.hina_adamw(formulas="original")).columnwise()


def lokr(modules: int) -> dict[str, torch.nn.Parameter]:
    """Modules in two shapes and a plain weight, in float32, small enough that a step is not lost in their rounding."""
    shapes: dict[str, tuple[int, ...]] = {"weight": (6, 5)}
    for i in range(modules):
        shapes |= {f"m{i}.lokr_w1": (2, 2), f"m{i}.lokr_w2_a": (5 + i % 2, 3), f"m{i}.lokr_w2_b": (3, 7)}
    return {name: torch.nn.Parameter(x / 16) for name, x in draw(1, torch.float32, shapes).items()}


def train(params: dict[str, torch.nn.Parameter], steps: int, compile: Any, **group: Any) -> list[dict[str, Tensor]]:
    optimizer = hf.HinaAdamW(list(params.items()), compile=compile, wd_transition_steps=2, **group)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    trajectory = []
    for step in range(steps):
        shapes = {name: tuple(p.shape) for name, p in params.items()}
        grads = draw(50 + step, torch.float32, shapes)
        gone = {name for i, name in enumerate(params) if step and (i + step) % 5 == 0}
        for name, param in params.items():
            param.grad = None if name in gone else grads[name]
        optimizer.param_groups[0]["weight_decay"] = 0.01 * (step + 1)
        optimizer.step()
        schedule.step()
        trajectory.append({name: p.detach().clone() for name, p in params.items()})
    return trajectory


@pytest.mark.compile
@pytest.mark.parametrize("formulas", ["published", "original"])
def test_a_compiled_step_is_the_plain_step_and_compiles_once(formulas, monkeypatch):
    """While learning rate, weight decay and the pattern of missing gradients change at every step."""
    programs = []
    monkeypatch.setattr(engine, "compiled", lambda *given: programs.append(compiled_program(*given)) or programs[-1])
    train(lokr(4), 1, compile=True, formulas=formulas)
    in_one_step = len(programs)
    assert in_one_step > 0
    compiled = train(lokr(4), 8, compile=True, formulas=formulas)
    assert len(programs) == 2 * in_one_step
    again = train(lokr(4), 8, compile=True, formulas=formulas)
    plain = train(lokr(4), 8, compile=False, formulas=formulas)
    start = {name: p.detach() for name, p in lokr(4).items()}
    for name in start:
        moved = (plain[-1][name] - start[name]).norm()
        assert (compiled[-1][name] - plain[-1][name]).norm() <= 1e-5 * moved, name
        assert torch.equal(again[-1][name], compiled[-1][name])
