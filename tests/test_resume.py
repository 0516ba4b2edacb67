"""Saving and loading: exact resume in a new process, by name and by position, and refusals that change nothing.

Run as a script, this file is the new process: it takes up what a test saved and finishes the runs.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from catalog import SHAPES, draw
from torch import Tensor, nn

import hina_func as hf

Named = dict[str, nn.Parameter]
HALF = 10
LATE, RARE = "b.lokr_w2", "bias"
"""The first gets its first gradient after the break, the second one at every third step."""


def random(seed: int, dtype: torch.dtype, names: Any) -> dict[str, Tensor]:
    values = draw(seed, dtype)
    return {name: values[name] for name in names}


def leaves(dtype: torch.dtype = torch.float32, seed: int = 1, names: Any = tuple(SHAPES)) -> Named:
    return {name: nn.Parameter(x) for name, x in random(seed, dtype, names).items()}


def shuffled(names: Any, seed: int = 3) -> list[str]:
    order = torch.randperm(len(list(names)), generator=torch.Generator().manual_seed(seed)).tolist()
    return [list(names)[i] for i in order]


def train(opt: torch.optim.Optimizer, params: Named, first: int, steps: int = HALF) -> None:
    for step in range(first, first + steps):
        grads = random(100 + step, torch.float64, params)
        for name, p in params.items():
            p.grad = grads[name].to(p.dtype)
            if (name == LATE and step < HALF + 2) or (name == RARE and step % 3):
                p.grad = None
        opt.step()


class Module(nn.Module):
    """Owns parameters under the names they have, whatever their order."""

    def __init__(self, params: Named) -> None:
        super().__init__()
        for name, param in params.items():
            inner: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in inner._modules:
                    inner.add_module(part, nn.Module())
                inner = inner._modules[part]  # type: ignore[assignment]
            inner.register_parameter(last, param)


HINA: dict[str, Any] = {"lr": 0.05, "betas": (0.8, 0.95), "use_orthogonal_grad": True, "wd_transition_steps": 4}


def hina(params: Any, **arguments: Any) -> hf.Optimizer:
    return hf.HinaAdamW(params, **{**HINA, **arguments})


def named(params: Named) -> hf.Optimizer:
    return hina(params)


def discovered(params: Named) -> hf.Optimizer:
    module = Module(params)
    opt = hina(list(params.values()))
    assert opt.param_groups[0]["param_names"] == list(params), module
    return opt


def positional(params: Named) -> hf.Optimizer:
    tx = hf.chain(
        hf.scale_by_adopt_tam(), hf.add_decayed_weights(0.1), hf.scale_by_learning_rate(hf.Hyperparam("lr", 0.1))
    )
    return hf.Optimizer(list(params.values()), hf.chain(tx, hf.spd_penalty(0.1)), discover_names=False)


def grouped(params: Named) -> hf.Optimizer:
    """Two groups with numbers of their own; a pair lies in both. Which comes first depends on the order of names."""
    down = [(name, p) for name, p in params.items() if "lora_A" in name or "w1" in name]
    rest = [(name, p) for name, p in params.items() if name not in dict(down)]
    groups: list[dict[str, Any]] = [
        {"params": rest, "lr": 0.01, "betas": (0.5, 0.9)},
        {"params": down, "weight_decay": 0.3},
    ]
    return hina(groups if next(iter(params)) == next(iter(SHAPES)) else groups[::-1])


def momentum() -> hf.GradientTransformation:
    """A transformation written with nothing from this library."""

    def init(params: dict[str, Tensor]) -> dict[str, Any]:
        return {"momentum": {name: torch.zeros_like(p) for name, p in params.items()}, "steps": torch.zeros(())}

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        new = {name: u + state["momentum"][name] * 0.5 for name, u in updates.items()}
        return new, {"momentum": {**state["momentum"], **new}, "steps": state["steps"] + 1}

    return hf.GradientTransformation(init, update)


def falling(step: Tensor) -> Tensor:
    return 1 / (1 + 0.2 * step)


def conditional(params: Named) -> hf.Optimizer:
    """Counters of every kind, broken off in the middle of an accumulation."""
    inner = hf.chain(
        hf.scale_by_adam(b1=hf.linear_schedule(0.9, 0.1, 15)), hf.scale_by_schedule(falling), hf.spd_penalty(0.1)
    )
    split = hf.partition(
        {"x.y": hf.accumulate(inner, 3), "x_y": hf.trace(0.9)}, lambda n, p: "x.y" if p.ndim > 1 else "x_y"
    )
    tx = hf.chain(hf.clip_by_global_norm(5.0), hf.apply_if_finite(split, 2), hf.scale(-0.05))
    return hf.Optimizer(params, tx)


def twice_named(params: Named) -> hf.Optimizer:
    """Names that are equal once dots are gone, and names that containers use themselves."""
    tx = hf.named_chain(("m.1", hf.trace(0.9)), ("m_1", hf.trace(0.5)), ("inner", hf.ema(0.9)), ("then", hf.ema(0.5)))
    return hf.Optimizer(params, hf.chain(tx, hf.scale(-0.05)))


def elsewhere(params: Named) -> hf.Optimizer:
    return hf.Optimizer(params, hf.chain(hf.clip_by_value(1.0), momentum(), hf.scale(-0.05)))


def original(params: Named) -> hf.Optimizer:
    return hina(params, formulas="original")


class Case(NamedTuple):
    """How an optimizer is made, and in which order the parameters come in the new process."""

    make: Callable[[Named], hf.Optimizer]
    dtype: torch.dtype = torch.float32
    order: Callable[[Any], list[str]] = shuffled


CASES = {
    "named": Case(named),
    "named, bfloat16": Case(named, torch.bfloat16),
    "named, float64": Case(named, torch.float64),
    "discovered": Case(discovered),
    "discovered, bfloat16": Case(discovered, torch.bfloat16),
    "by position": Case(positional, order=list),
    "by position, bfloat16": Case(positional, torch.bfloat16, list),
    "groups": Case(grouped, torch.bfloat16),
    "original": Case(original, torch.bfloat16),
    "counters": Case(conditional),
    "like names": Case(twice_named),
    "foreign": Case(elsewhere),
}


def finish(saved: dict[str, Any]) -> dict[str, Any]:
    """The other half of each run, from what was saved."""
    done = {}
    for name, case in CASES.items():
        params = leaves(case.dtype, seed=2, names=case.order(SHAPES))
        opt = case.make(params)
        with torch.no_grad():
            for key, p in params.items():
                p.copy_(saved[name]["params"][key])
        opt.load_state_dict(saved[name]["optimizer"])
        train(opt, params, HALF)
        done[name] = {"params": {key: p.detach() for key, p in params.items()}, "state": by_name(opt, params)}
    return done


def by_name(opt: hf.Optimizer, params: Named) -> dict[str, Any]:
    return {name: dict(opt.state[p]) for name, p in params.items() if p in opt.state}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ten steps here, ten in a new process."""
    folder = tmp_path_factory.mktemp("resume")
    saved = {}
    for name, case in CASES.items():
        params = leaves(case.dtype)
        opt = case.make(params)
        train(opt, params, 0)
        saved[name] = {"params": {key: p.detach() for key, p in params.items()}, "optimizer": opt.state_dict()}
    torch.save(saved, folder / "saved.pt")
    command = [sys.executable, "-W", "ignore", __file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "done.pt", weights_only=True)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:the parameters have no names")
def test_ten_steps_and_ten_in_a_new_process_are_twenty(name, finished):
    """To the bit: parameters, and every tensor of the state with its dtype."""
    params = leaves(CASES[name].dtype)
    opt = CASES[name].make(params)
    train(opt, params, 0, 2 * HALF)
    assert not any(torch.equal(p, q) for p, q in zip(params.values(), leaves(CASES[name].dtype).values(), strict=True))
    for key, p in params.items():
        assert torch.equal(p, finished[name]["params"][key]), key
    state, resumed = by_name(opt, params), finished[name]["state"]
    assert state.keys() == resumed.keys() == params.keys()
    for key, rows in state.items():
        assert {k: x.dtype for k, x in rows.items()} == {k: x.dtype for k, x in resumed[key].items()}
        for k, x in rows.items():
            assert torch.equal(x, resumed[key][k]), (key, k)


# What a state dict is


def stepped(make: Callable[[Named], hf.Optimizer] = named, **how: Any) -> tuple[hf.Optimizer, Named]:
    params = leaves(**how)
    opt = make(params)
    train(opt, params, 0, 3)
    return opt, params


def through_a_file(opt: hf.Optimizer, folder: Path) -> dict[str, Any]:
    torch.save(opt.state_dict(), folder / "optimizer.pt")
    saved: dict[str, Any] = torch.load(folder / "optimizer.pt", weights_only=True)
    return saved


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_a_state_dict_has_torchs_shape_and_says_names_chain_and_format(tmp_path):
    opt, params = stepped()
    saved = through_a_file(opt, tmp_path)
    assert set(saved) == {"state", "param_groups", "hina_func"}
    assert saved["param_groups"][0]["params"] == list(range(len(params)))
    assert saved["param_groups"][0]["param_names"] == list(params)
    assert isinstance(saved["hina_func"]["format"], int)
    assert "scale_by_adopt_tam" in str(saved["hina_func"]["transforms"])
    for i, rows in saved["state"].items():
        assert isinstance(i, int)
        assert all(isinstance(key, str) and "." not in key and isinstance(x, Tensor) for key, x in rows.items())
    assert list(params).index(LATE) not in saved["state"], "it has had no gradient yet"


def test_a_state_dict_lists_parameters_in_their_order():
    """So that a run gives the same file each time."""
    params = leaves(names=shuffled(SHAPES))
    opt = named(params)
    train(opt, params, 12, 1)
    assert list(opt.state_dict()["state"]) == list(range(len(params)))


def test_different_chains_have_different_fingerprints():
    marks = {
        str(hf.Optimizer(leaves(), tx).state_dict()["hina_func"])
        for tx in (
            hf.trace(0.5),
            hf.chain(hf.trace(0.5), hf.trace(0.5)),
            hf.chain(hf.trace(0.5), hf.scale(1.0)),
            hf.chain(hf.scale(1.0), hf.trace(0.5)),
            hf.named_chain(("x", hf.trace(0.5))),
            hf.masked(hf.trace(0.5), lambda name, p: True),
            hf.accumulate(hf.trace(0.5), 2),
        )
    }
    assert len(marks) == 7


def test_loading_what_was_just_saved_changes_nothing(tmp_path):
    opt, params = stepped()
    before = copy.deepcopy(opt.state_dict())
    opt.load_state_dict(through_a_file(opt, tmp_path))
    assert same(opt.state_dict(), before)
    twin, theirs = stepped()
    train(opt, params, 3, 3)
    train(twin, theirs, 3, 3)
    assert same(opt.state_dict(), twin.state_dict())


def test_loading_replaces_all_that_the_optimizer_held():
    opt, params = stepped()
    other, theirs = stepped(seed=5)
    train(other, theirs, HALF + 2, 4)
    other.param_groups[0]["lr"] = 7.0
    other.load_state_dict(opt.state_dict())
    assert same(other.state_dict(), opt.state_dict())
    with torch.no_grad():
        for name, p in theirs.items():
            p.copy_(params[name])
    train(other, theirs, HALF, 4)
    train(opt, params, HALF, 4)
    assert same(dict(theirs), dict(params))
    other.load_state_dict(named(leaves()).state_dict())
    assert len(other.state) == 0


def test_what_was_loaded_is_a_copy():
    opt, _ = stepped()
    saved = copy.deepcopy(opt.state_dict())
    kept = copy.deepcopy(saved)
    other = named(leaves())
    other.load_state_dict(saved)
    assert same(saved, kept)
    train(other, other.named_parameters(), 3, 2)
    assert same(saved, kept)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_dtype_is_kept(dtype):
    opt, _ = stepped(dtype=dtype)
    other = named(leaves(dtype))
    other.load_state_dict(opt.state_dict())
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    found = {x.dtype for rows in other.state.values() for x in rows.values()}
    assert found == {wide, torch.int64, torch.bool}
    assert same(other.state_dict(), opt.state_dict())


def test_a_state_may_be_loaded_for_parameters_of_another_dtype():
    opt, _ = stepped(dtype=torch.bfloat16)
    other = named(leaves(torch.float32))
    other.load_state_dict(opt.state_dict())
    assert same(other.state_dict()["state"], opt.state_dict()["state"])
    train(other, other.named_parameters(), 3, 2)
    assert all(torch.isfinite(p).all() for p in other.named_parameters().values())


def test_anchors_counters_and_schedules_are_those_of_the_start():
    tx = hf.chain(hf.scale_by_schedule(falling), hf.accumulate(hf.scale(-0.1), 2), hf.spd_penalty(0.1))
    start = leaves()
    params = leaves()
    opt = hf.Optimizer(params, tx)
    train(opt, params, 0, 3)
    moved = {name: nn.Parameter(p.detach().clone()) for name, p in params.items()}
    other = hf.Optimizer(moved, tx)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    train(other, moved, HALF, 1)
    rows = other.state[moved["weight"]]
    assert torch.equal(rows["spd_penalty/anchor"], start["weight"])
    assert int(rows["scale_by_schedule/count"]) == 4
    assert int(rows["accumulate/mini_step"]) == 0
    assert not torch.equal(other.state[moved["weight"]]["spd_penalty/anchor"], moved["weight"])


def test_hyperparameters_of_the_groups_are_restored_and_foreign_keys_kept():
    opt, _ = stepped()
    opt.param_groups[0].update(lr=0.125, betas=(0.1, 0.2), initial_lr=3.0, name="unet")
    other = named(leaves())
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    group = other.param_groups[0]
    assert (group["lr"], tuple(group["betas"]), group["initial_lr"], group["name"]) == (0.125, (0.1, 0.2), 3.0, "unet")


def test_a_hyperparameter_that_was_not_saved_gets_its_default():
    opt, _ = stepped()
    saved = copy.deepcopy(opt.state_dict())
    del saved["param_groups"][0]["spd_lambda"]
    other = named(leaves())
    other.load_state_dict(saved)
    assert other.param_groups[0]["spd_lambda"] == 0.06


def test_a_scheduler_resumes_with_its_optimizer():
    def both(params: Named) -> tuple[hf.Optimizer, Any]:
        opt = named(params)
        return opt, torch.optim.lr_scheduler.CosineAnnealingLR(opt, 12)

    def go(opt: hf.Optimizer, scheduler: Any, params: Named, first: int) -> None:
        for step in range(first, first + 4):
            train(opt, params, step, 1)
            scheduler.step()

    params = leaves()
    opt, scheduler = both(params)
    go(opt, scheduler, params, 0)
    again = {name: nn.Parameter(p.detach().clone()) for name, p in params.items()}
    other, second = both(again)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    second.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    go(opt, scheduler, params, 4)
    go(other, second, again, 4)
    assert same(dict(again), dict(params))
    assert other.param_groups[0]["lr"] == opt.param_groups[0]["lr"] != 0.05


# By name and by position


def test_names_are_matched_in_any_order():
    opt, params = stepped()
    turned = {name: nn.Parameter(params[name].detach().clone()) for name in shuffled(SHAPES)}
    other = named(turned)
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[0]["param_names"] == list(turned)
    for name in SHAPES:
        assert same(dict(other.state.get(turned[name], {})), dict(opt.state.get(params[name], {})))


def test_groups_are_matched_by_their_names():
    def split(params: Named, backwards: bool) -> hf.Optimizer:
        items = list(params.items())
        groups = [{"params": items[:5], "lr": 0.1}, {"params": []}, {"params": items[5:], "lr": 0.2}]
        return hina(groups[::-1] if backwards else groups)

    params = leaves()
    opt = split(params, backwards=False)
    train(opt, params, 0, 3)
    turned = leaves()
    other = split(turned, backwards=True)
    other.param_groups[0]["lr"] = 9.0
    other.load_state_dict(opt.state_dict())
    assert [group["lr"] for group in other.param_groups] == [0.2, HINA["lr"], 0.1]
    for name in SHAPES:
        assert same(dict(other.state.get(turned[name], {})), dict(opt.state.get(params[name], {})))


@pytest.mark.filterwarnings("ignore:the parameters have no names")
def test_a_state_without_names_is_loaded_by_position():
    opt, params = stepped(positional)
    assert "param_names" not in opt.state_dict()["param_groups"][0]
    tx = opt.tx
    theirs = leaves()
    other = hf.Optimizer({f"other.{name}": p for name, p in theirs.items()}, tx)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert other.param_groups[0]["param_names"] == [f"other.{name}" for name in SHAPES], "live names stay"
    for name in SHAPES:
        assert same(dict(other.state.get(theirs[name], {})), dict(opt.state.get(params[name], {})))


@pytest.mark.filterwarnings("ignore:the parameters have no names")
def test_a_state_with_names_is_loaded_by_position_where_there_are_none():
    source = leaves()
    opt = hf.Optimizer(source, positional(leaves()).tx)
    train(opt, source, 0, 3)
    other = positional(leaves())
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert same(other.state_dict()["state"], opt.state_dict()["state"])


# Refusals


def refused(opt: hf.Optimizer, saved: Any, *words: str) -> str:
    """One ValueError with all these words; optimizer, parameters and what was to be loaded stay as they were."""
    params = opt.named_parameters()
    before = copy.deepcopy((opt.state_dict(), dict(params), saved))
    held = [id(group) for group in opt.param_groups], {id(p): id(rows) for p, rows in opt.state.items()}
    with pytest.raises(ValueError, match="does not fit") as error:
        opt.load_state_dict(saved)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert same((opt.state_dict(), dict(params), saved), before)
    assert held == ([id(group) for group in opt.param_groups], {id(p): id(rows) for p, rows in opt.state.items()})
    twin = {name: nn.Parameter(p.detach().clone()) for name, p in before[1].items()}
    fresh = hf.Optimizer(twin, opt.tx)
    fresh.load_state_dict(before[0])
    train(opt, params, 3, 1)
    train(fresh, twin, 3, 1)
    assert same(dict(twin), dict(params)), "and it goes on as if nothing had been tried"
    return str(error.value)


def test_another_chain_is_refused():
    opt, _ = stepped()
    other, _ = stepped(lambda params: hina(params, use_spd=False, use_tam=False))
    refused(opt, other.state_dict(), "another chain", "spd_penalty", "scale_by_adopt_tam", "scale_by_adopt")
    swapped, _ = stepped(lambda params: hf.Optimizer(params, hf.chain(hf.trace(0.5), hf.ema(0.5))))
    other, _ = stepped(lambda params: hf.Optimizer(params, hf.chain(hf.ema(0.5), hf.trace(0.5))))
    refused(swapped, other.state_dict(), "another chain")


def test_missing_and_foreign_parameters_are_listed_together():
    opt, _ = stepped(names=[name for name in SHAPES if name not in ("gain", "one")])
    other, _ = stepped(names=[name for name in SHAPES if name not in ("weight", "norm.w_norm")])
    refused(opt, other.state_dict(), "gain", "one", "weight", "norm.w_norm")


def test_a_wrong_shape_is_refused_by_name():
    opt, _ = stepped()
    theirs = leaves()
    theirs["weight"] = nn.Parameter(torch.ones(3, 4))
    other = named(theirs)
    for p in theirs.values():
        p.grad = torch.ones_like(p)
    other.step()
    refused(opt, other.state_dict(), "weight", "(3, 4)", "(4, 3)")


def test_all_differences_are_in_one_error():
    opt, _ = stepped(names=[name for name in SHAPES if name != "gain"])
    theirs = leaves(names=[name for name in SHAPES if name != "one"])
    theirs["weight"] = nn.Parameter(torch.ones(3, 4))
    other = hina(theirs, use_tam=False)
    for p in theirs.values():
        p.grad = torch.ones_like(p)
    other.step()
    refused(opt, other.state_dict(), "another chain", "gain", "one")
    other = hina(theirs)
    other.step()
    refused(opt, other.state_dict(), "gain", "one", "weight", "(3, 4)")


def test_a_tensor_that_is_missing_or_too_many_is_refused_by_name():
    opt, params = stepped()
    place = list(params).index("weight")
    saved = copy.deepcopy(opt.state_dict())
    anchor = saved["state"][place].pop("only_2/in/spd_penalty/anchor")
    saved["state"][place]["strange"] = anchor
    refused(opt, saved, "weight", "anchor", "strange")
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][place]["only_2/in/spd_penalty/anchor"] = "no tensor"
    refused(opt, saved, "weight", "anchor")


def test_a_state_of_another_optimizer_is_refused():
    opt, _ = stepped()
    params = leaves()
    adamw = torch.optim.AdamW(params.items())
    train(adamw, params, 0, 1)
    refused(opt, adamw.state_dict(), "exp_avg")


@pytest.mark.parametrize(
    "change",
    [
        {"state": None},
        {"state": []},
        {"param_groups": None},
        {"param_groups": [3]},
        {"param_groups": [{"lr": 0.1}]},
        {"hina_func": "chain"},
        {"hina_func": {"format": 1}},
        {"hina_func": {"format": 1, "transforms": 3}},
        {"hina_func": {"format": torch.ones(2), "transforms": []}},
        {"hina_func": {"format": 1, "transforms": [torch.ones(2)]}},
    ],
)
def test_what_is_no_state_dict_is_refused(change):
    opt, _ = stepped()
    refused(opt, copy.deepcopy(opt.state_dict()) | change)
    lacking = copy.deepcopy(opt.state_dict())
    del lacking[next(iter(change))]
    if "hina_func" not in change:
        refused(opt, lacking, "state dict")


def test_a_format_from_the_future_is_refused():
    opt, _ = stepped()
    saved = copy.deepcopy(opt.state_dict())
    saved["hina_func"]["format"] += 1
    refused(opt, saved, "format", str(saved["hina_func"]["format"]))


def test_a_group_with_more_names_than_parameters_is_refused():
    opt, params = stepped()
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0]["params"].pop()
    refused(opt, saved, str(len(params) - 1), str(len(params)))


@pytest.mark.parametrize(
    ("key", "value"), [("lr", float("nan")), ("betas", (2.0, 0.9)), ("betas", (0.9,)), ("eps", -1.0)]
)
def test_numbers_out_of_range_are_refused_on_loading_too(key, value):
    opt, _ = stepped()
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0][key] = value
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(ValueError, match=f"{key}|learning.rate"):
        opt.load_state_dict(saved)
    assert same(opt.state_dict(), before)


@pytest.mark.filterwarnings("ignore:the parameters have no names")
def test_other_numbers_of_parameters_or_groups_are_refused():
    opt, params = stepped(positional)
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0]["params"].pop()
    with pytest.raises(ValueError, match=f"{len(params) - 1}.*{len(params)}"):
        opt.load_state_dict(saved)
    two, _ = stepped(lambda p: hf.Optimizer([{"params": [x]} for x in p.values()], opt.tx, discover_names=False))
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(ValueError, match="does not fit"):
        opt.load_state_dict(two.state_dict())
    assert same(opt.state_dict(), before)


@pytest.mark.filterwarnings("ignore:the parameters have no names")
def test_a_wrong_shape_is_refused_by_position_too():
    opt, _ = stepped(positional)
    saved = copy.deepcopy(opt.state_dict())
    states = saved["state"]
    place = list(SHAPES).index("weight")
    states[place], states[place + 1] = states[place + 1], states[place]
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(ValueError, match=rf"param\.{place}.*shape"):
        opt.load_state_dict(saved)
    assert same(opt.state_dict(), before)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    torch.save(finish(torch.load(target / "saved.pt", weights_only=True)), target / "done.pt")
