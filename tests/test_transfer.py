"""State from and to other optimizers, and the same parameter under the names of different libraries."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import Recording
from torch import Tensor, nn

import hina_func as hf
from hina_func.optim.renamed import counterparts

RECORDING = Recording("original_adamw")

Named = dict[str, nn.Parameter]
SHAPES = {"weight": (4, 3), "bias": (4,), "scale": ()}
DTYPES = [torch.float32, torch.bfloat16, torch.float64]


def random(seed: int, dtype: torch.dtype) -> Named:
    draw = torch.Generator().manual_seed(seed)
    return {name: nn.Parameter(torch.randn(shape, generator=draw).to(dtype)) for name, shape in SHAPES.items()}


def train(optimizer: torch.optim.Optimizer, params: Named, first: int, steps: int = 5) -> None:
    for step in range(first, first + steps):
        for name, grad in random(step + 10, torch.float64).items():
            params[name].grad = None if name == "bias" and step % 2 else grad.detach().to(params[name].dtype)
        optimizer.step()


def adamw_chain(decay: float = 0.01) -> hf.GradientTransformation:
    b1, b2 = hf.Hyperparam("betas", (0.9, 0.999))
    return hf.chain(
        hf.scale_by_adam(b1, b2, hf.Hyperparam("eps", 1e-8)),
        hf.add_decayed_weights(hf.Hyperparam("weight_decay", decay)),
        hf.scale_by_learning_rate(hf.Hyperparam("lr", 1e-3)),
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b) if not isinstance(a, (list, tuple)) else len(a) == len(b) and all(map(same, a, b))


def adamw(params: Named, kind: Any = torch.optim.AdamW, **how: Any) -> torch.optim.Optimizer:
    return kind(params.items(), **{"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, **how})


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_adamws_state_comes_back_from_here_to_the_bit(dtype, kind):
    params = random(0, dtype)
    optimizer = adamw(params, kind)
    train(optimizer, params, 0)
    saved = copy.deepcopy(optimizer.state_dict())
    here = hf.Optimizer(params, adamw_chain())
    assert set(hf.load_adamw_state_dict(here, saved).restored) == set(SHAPES)
    assert same(saved, optimizer.state_dict()), "what was loaded is left alone"
    again = adamw(random(0, dtype), lr=9.0)
    again.load_state_dict(hf.adamw_state_dict(here))
    assert same(again.state_dict()["state"], saved["state"])
    for key in ("lr", "betas", "eps", "weight_decay", "param_names"):
        assert again.param_groups[0][key] == optimizer.param_groups[0][key]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_adamw_goes_on_here_as_if_it_had_never_stopped(dtype):
    """To the bit in torch's fused kernel, which runs such a chain; 1e-12 in the formulas, in float64."""
    straight, switched = random(0, dtype), random(0, dtype)
    optimizer = adamw(straight, fused=True)
    first = adamw(switched, fused=True)
    train(optimizer, straight, 0, 10)
    train(first, switched, 0)
    formulas = {name: nn.Parameter(p.detach().clone()) for name, p in switched.items()}
    for params, compile in ((switched, "auto"), (formulas, False)):
        here = hf.Optimizer(params, adamw_chain(), compile=compile)
        hf.load_adamw_state_dict(here, first.state_dict())
        train(here, params, 5)
    assert same(dict(switched), dict(straight))
    bound = 1e-12 if dtype == torch.float64 else 1e-6
    assert max(float((formulas[name] - p).detach().abs().max()) for name, p in straight.items()) < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_chain_goes_on_in_adamw_as_if_it_had_never_stopped(dtype):
    straight, switched = random(0, dtype), random(0, dtype)
    optimizer, first = (hf.Optimizer(params, adamw_chain(), lr=0.05) for params in (straight, switched))
    train(optimizer, straight, 0, 10)
    train(first, switched, 0)
    there = torch.optim.AdamW(switched.items(), fused=True)
    saved = hf.adamw_state_dict(first)
    there.load_state_dict({**saved, "param_groups": [{**group, "fused": True} for group in saved["param_groups"]]})
    train(there, switched, 5)
    assert same(dict(switched), dict(straight))


def test_what_a_chain_keeps_beside_adam_starts_fresh_and_counters_go_on():
    params = random(0, torch.float32)
    optimizer = adamw(params)
    train(optimizer, params, 0)
    chain = hf.chain(
        hf.scale_by_adam(),
        hf.dynamic_wd(0.1),
        hf.trace(0.9),
        hf.scale_by_learning_rate(hf.linear_schedule(0.1, 0.0, 20)),
        hf.spd_penalty(0.1),
    )
    here = hf.Optimizer({name: params[name] for name in reversed(SHAPES)}, chain)
    hf.load_adamw_state_dict(here, optimizer.state_dict())
    for name, p in params.items():
        rows, steps = here.state[p], int(optimizer.state[p]["step"])
        counts = {key: int(x) for key, x in rows.items() if key.endswith("/count")}
        assert len(counts) == 3
        assert set(counts.values()) == {steps} == {3 if name == "bias" else 5}
        assert torch.equal(rows["spd_penalty/anchor"], p)
        assert not rows["trace/trace"].any()
        assert torch.equal(rows["scale_by_adam/mu"], optimizer.state[p]["exp_avg"])


def test_numbers_of_a_chain_that_has_none_in_its_groups_are_found():
    params = random(0, torch.float32)
    optimizer = hf.Optimizer(
        params, hf.named_chain(("m", hf.scale_by_adam(0.7, 0.9, 1e-4)), ("lr", hf.scale_by_learning_rate(0.3)))
    )
    train(optimizer, params, 0, 1)
    group = hf.adamw_state_dict(optimizer)["param_groups"][0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.3, (0.7, 0.9), 1e-4, 0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amsgrad": True}, "amsgrad=True"),
        ({"maximize": True}, "maximize=True"),
        ({"lr": float("nan")}, "lr must be a finite number, got nan"),
    ],
)
def test_variants_of_adamw_that_no_chain_continues_are_refused(change, words):
    params = random(0, torch.float32)
    optimizer = adamw(params)
    train(optimizer, params, 0)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0].update(change)
    here = hf.Optimizer(params, adamw_chain())
    train(here, params, 0, 1)
    before = copy.deepcopy(here.state_dict())
    with pytest.raises(ValueError, match=words):
        hf.load_adamw_state_dict(here, saved)
    assert same(here.state_dict(), before)


def test_states_and_chains_that_have_nothing_to_do_with_adam_are_refused():
    params = random(0, torch.float32)
    sgd = torch.optim.SGD(params.items(), momentum=0.9)
    train(sgd, params, 0, 1)
    with pytest.raises(ValueError, match="weight has no exp_avg, exp_avg_sq, step"):
        hf.load_adamw_state_dict(hf.Optimizer(params, adamw_chain()), sgd.state_dict())
    for chain, words in (
        (hf.scale_by_adopt(), "one scale_by_adam; this one has 0"),
        (hf.chain(hf.scale_by_adam(), hf.scale_by_adam()), "this one has 2"),
    ):
        with pytest.raises(ValueError, match=words):
            hf.load_adamw_state_dict(hf.Optimizer(params, chain), adamw(params).state_dict())
    with pytest.raises(ValueError, match="no scale_by_learning_rate"):
        hf.adamw_state_dict(hf.Optimizer(params, hf.scale_by_adam()))
    falling = hf.chain(hf.scale_by_adam(), hf.scale_by_learning_rate(hf.linear_schedule(0.1, 0.0, 9)))
    with pytest.raises(ValueError, match="schedule"):
        hf.adamw_state_dict(hf.Optimizer(params, falling))
    with pytest.raises(ValueError, match="no state dict"):
        hf.load_adamw_state_dict(hf.Optimizer(params, adamw_chain()), {})


def test_adamws_state_of_other_parameters_is_refused_or_reported():
    params = random(0, torch.float32)
    optimizer = adamw(params)
    train(optimizer, params, 0)
    live = {"weight": nn.Parameter(torch.ones(2, 2)), "bias": params["bias"], "new": nn.Parameter(torch.ones(1))}
    here = hf.Optimizer(live, adamw_chain())
    with pytest.raises(ValueError, match="no parameter here for scale; nothing saved for new"):
        hf.load_adamw_state_dict(here, optimizer.state_dict())
    report = hf.load_adamw_state_dict(here, optimizer.state_dict(), strict=False)
    assert (report.restored, report.added, report.removed) == (("bias",), ("new",), ("scale",))
    assert "(4, 3), not (2, 2)" in report.reset["weight"]
    assert set(here.state) == {live["bias"]}


# The optimizer of the guide


def as_the_original_keeps_it(optimizer: hf.Optimizer) -> dict[str, Any]:
    """A state dict with the keys, kinds and dtypes of the original's; its step is a plain number."""
    saved = optimizer.state_dict()
    state = {}
    for i, rows in saved["state"].items():
        by_field = {key.split("/")[-1]: x for key, x in rows.items() if "original_moments" in key}
        state[i] = {
            "step": int(by_field["count"]),
            "exp_avg": by_field["mu"].clone(),
            "exp_avg_sq_prev": torch.zeros_like(by_field["nu"]),
            "exp_avg_sq": by_field["nu"].clone(),
            "momentum_alignment": by_field["alignment"].clone(),
        }
    keys = ("params", "param_names", "lr", "betas", "eps", "weight_decay")
    return {"state": state, "param_groups": [{key: group[key] for key in keys} for group in saved["param_groups"]]}


@pytest.mark.parametrize("case", ["all_off", "only_use_tam", "only_use_grams", "only_dynamic_weight_decay"])
def test_the_originals_state_goes_on_along_its_recorded_trajectory(case):
    """Without anchors, which are no part of its state: it takes new ones when it restarts."""
    params = {name: nn.Parameter(x) for name, x in RECORDING.named("init||").items()}
    first = hf.HinaAdamW(params, **RECORDING.cases[case], formulas="original")
    trajectory, optimizer = [], first
    for step, grads in enumerate(RECORDING.grads()):
        if step == RECORDING.steps // 2:
            optimizer = hf.HinaAdamW(params, **{**RECORDING.cases[case], "lr": 9.0}, formulas="original")
            hf.load_adamw_state_dict(optimizer, as_the_original_keeps_it(first))
        for name, param in params.items():
            param.grad = grads[name]
        optimizer.step()
        trajectory.append({name: param.detach().clone() for name, param in params.items()})
    assert RECORDING.worst_error(case, trajectory) <= 1e-12


# Names


NAMES = Path(__file__).parent / "data" / "adapter_names.json"
CASES = {case["id"]: case["params"] for case in json.loads(NAMES.read_text("utf-8"))}
PREFIXES = ("base_model.model.", "lycoris_", "lora_te_", "lora_te1_", "lora_unet_")
KNOWN_TO_BOTH = {
    ("kohya-lora-1te", "peft-lora-clip"): 12,
    ("lycoris-lora-dora-clip", "peft-lora-clip"): 12,
    ("lycoris-lora-dora-clip", "kohya-lora-1te"): 12,
    ("lycoris-lora-plain-conv123d", "peft-lora-plain-conv123d-embedding"): 12,
    ("lycoris-lokr-scalar-full-llama", "peft-lokr-llama-full-factor8"): 8,
    ("peft-lora-llama-default", "wrap-compile+DDP-peft-lora"): 2,
    ("lycoris-lokr-flux", "lycoris-lokr-scalar-full-llama"): 0,
}
"""Two networks over one model, built by different libraries, and how many factors they have in common."""


def factors(case: str) -> dict[str, tuple[str, str]]:
    """Name -> role and module of the factors in a case, the module as the adapted model calls it, without dots."""
    found = {}
    for p in CASES[case]:
        if p["role"] != "regular" and p["group"] is not None:
            path = p["group"].split("|")[0].removeprefix("_orig_mod.module.")
            for prefix in PREFIXES:
                path = path.removeprefix(prefix)
            found[p["name"]] = p["role"], path.replace(".", "_")
    return found


@pytest.mark.parametrize(("one", "other"), KNOWN_TO_BOTH)
def test_factors_are_found_under_the_names_of_another_library(one, other):
    there, here = factors(one), factors(other)
    found = counterparts(list(there), list(here))
    assert all(there[name] == here[name_here] for name, name_here in found.items())
    assert len(found) == len(set(there.values()) & set(here.values())) == KNOWN_TO_BOTH[one, other]
    assert {name_here: name for name, name_here in found.items()} == counterparts(list(here), list(there))


@pytest.mark.parametrize("case", CASES)
def test_every_name_is_its_own_counterpart(case):
    names = [p["name"] for p in CASES[case]]
    assert all(name == found for name, found in counterparts(names, names).items())


def test_what_fits_two_names_is_matched_with_none():
    assert counterparts(["q.lora_A.weight"], ["base_model.model.q.lora_A.a.weight", "lycoris_q.lora_A.weight"]) == {}
    assert counterparts(["unet.q.lora_A.weight"], ["lora_te1_q.lora_down.weight"]) == {}, "another model"


@pytest.mark.parametrize("rename", [None, "map", "function"])
def test_a_training_goes_on_under_the_names_of_another_library(rename):
    shapes = {"q_proj.lora_A.default.weight": (2, 3), "q_proj.lora_B.default.weight": (4, 2)}
    kohya = {"lora_unet_q_proj.lora_down.weight": (2, 3), "lora_unet_q_proj.lora_up.weight": (4, 2)}
    torch.manual_seed(0)
    params = {name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
    optimizer, grads = hf.HinaAdamW(params), [[torch.randn(p.shape) for p in params.values()] for _ in range(6)]

    def go(optimizer: hf.Optimizer, steps: slice) -> None:
        for step in grads[steps]:
            for p, grad in zip(optimizer.named_parameters().values(), step, strict=True):
                p.grad = grad.clone()
            optimizer.step()

    go(optimizer, slice(3))
    there = {name: nn.Parameter(p.detach().clone()) for name, p in zip(kohya, params.values(), strict=True)}
    fresh = hf.HinaAdamW(there)
    with pytest.raises(ValueError, match="strict=False would match 2 of them by module and role"):
        fresh.load_state_dict(optimizer.state_dict())
    table = dict(zip(shapes, kohya, strict=True))
    given = {None: None, "map": table, "function": table.__getitem__}[rename]
    report = fresh.load_state_dict(optimizer.state_dict(), strict=rename is not None, rename=given)
    assert report.renamed == table
    assert "2 renamed:\n  q_proj.lora_A.default.weight -> lora_unet_q_proj.lora_down.weight" in repr(report)
    for opt in (optimizer, fresh):
        go(opt, slice(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(params.values(), there.values(), strict=True))


def test_a_rename_that_is_none_is_refused():
    params = random(0, torch.float32)
    optimizer = hf.Optimizer(params, adamw_chain())
    train(optimizer, params, 0, 1)
    for rename, words in (
        (lambda name: "weight", "rename gives both 'weight' and 'bias' the name 'weight'"),
        (lambda name: None, "rename must give names, it gave None for 'weight'"),
    ):
        with pytest.raises(ValueError, match=words):
            optimizer.load_state_dict(optimizer.state_dict(), rename=rename)
