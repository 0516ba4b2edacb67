"""Checkpoint files: exact, whole at every moment, and refused when a single byte is not as it was written.

Run as a script, this file is a training that is killed while it saves.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from catalog import draw
from safetensors.torch import save, save_file
from torch import nn

import hina_func as hf

DTYPES = [torch.float32, torch.bfloat16, torch.float64]


def optimizer(dtype: torch.dtype = torch.float32, order: int = 1) -> hf.HinaAdamW:
    params = {name: nn.Parameter(x) for name, x in draw(1, dtype).items()}
    return hf.HinaAdamW(dict(list(params.items())[::order]), lr=0.01)


def tiny(params: dict[str, torch.Tensor] | None = None) -> hf.Optimizer:
    b1, b2 = hf.Hyperparam("betas", (0.9, 0.999))
    tx = hf.chain(hf.scale_by_adam(b1, b2), hf.scale_by_learning_rate(hf.Hyperparam("lr", 0.01)))
    return hf.Optimizer({name: nn.Parameter(x) for name, x in (params or {"w": torch.ones(2)}).items()}, tx)


def train(opt: hf.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        params = dict(sorted(opt.named_parameters().items()))
        grads = draw(100 + step, torch.float64, {name: tuple(param.shape) for name, param in params.items()})
        for name, param in params.items():
            param.grad = grads[name].to(param.dtype)
        opt.step()


def content(opt: hf.Optimizer) -> dict[str, torch.Tensor]:
    """Parameters and state by name."""
    params = opt.named_parameters()
    state = {f"{name} {key}": x for name, param in params.items() for key, x in opt.state.get(param, {}).items()}
    return {name: x.detach().clone() for name, x in {**params, **state}.items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, x in one.items():
        assert x.dtype == other[name].dtype
        assert torch.equal(x, other[name]), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [1, -1])
def test_a_loaded_run_ends_where_one_without_a_break_ends(dtype: torch.dtype, order: int, tmp_path: Path) -> None:
    whole = optimizer(dtype)
    train(whole, 0, 5)
    hf.save_checkpoint(tmp_path / "c", whole, {"step": 5})
    resumed = optimizer(dtype, order)
    assert hf.load_checkpoint(tmp_path / "c", resumed).extra == {"step": 5}
    assert_same(content(resumed), content(whole))
    for opt in (whole, resumed):
        train(opt, 5, 9)
    assert_same(content(resumed), content(whole))


def test_groups_come_back_as_they_were(tmp_path: Path) -> None:
    first = tiny()
    first.param_groups[0] |= {"lr": torch.tensor(0.25), "initial_lr": 1 / 3, "betas": (0.5, 0.75), "tag": [1, None]}
    hf.save_checkpoint(tmp_path / "c", first)
    second = tiny()
    hf.load_checkpoint(tmp_path / "c", second)
    group = second.param_groups[0]
    assert group["lr"] == torch.tensor(0.25)
    assert (group["initial_lr"], group["betas"], group["tag"]) == (1 / 3, (0.5, 0.75), [1, None])


def test_another_optimizer_is_refused(tmp_path: Path) -> None:
    adamw = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    for call in (hf.save_checkpoint, hf.load_checkpoint):
        with pytest.raises(TypeError, match=r"must be a hina_func.Optimizer, got AdamW"):
            call(tmp_path / "c", adamw)
    assert not list(tmp_path.iterdir())


def test_extra_comes_back_as_it_was(tmp_path: Path) -> None:
    extra = {
        "step": 3,
        "$tuple": [1],
        "at": {"$tensor": "x"},
        "split": (0.1, (None, True)),
        "by": {1: "one", None: 2, "1": 3},
        "dict": {},
        "milestones": Counter({3: 1}),
    }
    rng = torch.get_rng_state()
    hf.save_checkpoint(tmp_path / "c", tiny(), {**extra, "rng": [rng, torch.ones(3, 2).t()]})
    found = hf.load_checkpoint(tmp_path / "c", tiny()).extra
    state, view = found.pop("rng")
    assert found == extra
    assert isinstance(found["milestones"], Counter)
    assert torch.equal(state, rng)
    assert torch.equal(view, torch.ones(2, 3))


def test_a_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    hf.save_checkpoint(tmp_path / "c", tiny())
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "c").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("thing", [object(), {1, 2}, {(1, 2): 3}, torch.ones(2).to_sparse(), print])
def test_what_a_file_cannot_hold_is_refused_and_no_file_is_left(thing: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"extra/f/0 is a "):
        hf.save_checkpoint(tmp_path / "c", tiny(), {"f": [thing]})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.save_checkpoint(tmp_path / "c", tiny(), {"step": 1})

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        hf.save_checkpoint(tmp_path / "c", tiny(), {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert hf.load_checkpoint(tmp_path / "c", tiny()).extra == {"step": 1}


def assert_refused(path: Path, match: str, opt: hf.Optimizer | None = None) -> None:
    opt = opt or tiny()
    before = content(opt), json.dumps([{**group, "params": None} for group in opt.param_groups])
    with pytest.raises(ValueError, match=match):
        hf.load_checkpoint(path, opt)
    assert_same(content(opt), before[0])
    assert json.dumps([{**group, "params": None} for group in opt.param_groups]) == before[1]


class Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("unpickled",)


def test_foreign_files_are_refused_and_nothing_in_them_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c"
    for raw in (b"", pickle.dumps(Malice()), save({"w": torch.ones(2)}), b"\xff" * 100):
        path.write_bytes(raw)
        assert_refused(path, "no checkpoint|never opened|no whole header")
    torch.save(tiny().state_dict(), path)
    assert_refused(path, "no checkpoint|never opened|no whole header")
    save_file({"w": torch.ones(2)}, path, {"format": "pt"})
    assert_refused(path, "no checkpoint|never opened|no whole header")
    assert not (tmp_path / "unpickled").exists()
    assert_refused(tmp_path, "it is not a file")
    with pytest.raises(FileNotFoundError):
        hf.load_checkpoint(tmp_path / "nowhere", tiny())


def test_a_file_that_does_not_fit_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    for params, why in (
        ({"v": torch.ones(2)}, "no parameter here for v; nothing saved for w"),
        ({"w": torch.ones(3)}, "w has shape \\(2,\\), saved \\(3,\\)"),
        ({"w": torch.ones(2).double()}, "w is torch.float32, saved as torch.float64"),
    ):
        hf.save_checkpoint(path, tiny(params))
        assert_refused(path, why)
    hf.save_checkpoint(path, hf.Optimizer({"w": nn.Parameter(torch.ones(2))}, hf.scale_by_adam()))
    assert_refused(path, "another chain")
    monkeypatch.setattr("hina_func.optim.optimizer.FORMAT", 99)
    hf.save_checkpoint(path, tiny())
    assert_refused(path, "format 99")


def test_odd_names_are_kept(tmp_path: Path) -> None:
    names = ["a b", "日本語.lokr_w1", "x/y", "../z", "n" * 10_000, "__metadata__"]

    first, second = (tiny({name: torch.ones(2, 2) for name in names}) for _ in range(2))
    train(first, 0, 2)
    hf.save_checkpoint(tmp_path / "c", first)
    hf.load_checkpoint(tmp_path / "c", second)
    assert_same(content(first), content(second))


STEPS = 40


def live(path: Path) -> None:
    """A training that saves every step and takes up what is there."""
    opt = optimizer()
    step = hf.load_checkpoint(path, opt).extra["step"] if path.exists() else 0
    for now in range(step, STEPS):
        train(opt, now, now + 1)
        hf.save_checkpoint(path, opt, {"step": now + 1})


def kill_and_resume(path: Path, kills: int) -> None:
    """Kill it at random moments while it lives, as often as that, through as many lives as it takes."""
    clock, expected = random.Random(0), optimizer()
    train(expected, 0, STEPS)
    killed = reached = 0
    while killed < kills or reached < STEPS:
        if reached == STEPS:
            path.unlink()
            reached = 0
        child = os.fork()
        if child == 0:
            try:
                live(path)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if killed < kills:
            time.sleep(clock.uniform(0.0, 0.3))
            os.kill(child, signal.SIGKILL)
            killed += 1
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), "a life ended of itself"
        if path.exists():
            survivor = optimizer()
            step = hf.load_checkpoint(path, survivor).extra["step"]
            assert step >= reached, "a saved step was lost"
            reached = step
            if reached == STEPS:
                assert_same(content(survivor), content(expected))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are made by fork, to start at once")
def test_killed_at_any_moment_it_ends_as_if_it_never_was(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kills = request.config.getoption("--kills")
    command = [sys.executable, __file__, str(tmp_path / "c"), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_and_resume(Path(sys.argv[1]), int(sys.argv[2]))
