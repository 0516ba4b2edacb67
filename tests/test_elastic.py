"""Going on in another form: other groups, columns or single tensors, compiled or not, with parameters come and gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from catalog import SHAPES, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import hina_func as hf

Named = dict[str, nn.Parameter]
DTYPES = [torch.float32, torch.bfloat16, torch.float64]
HALF = 4
HOW = {"betas": (0.8, 0.95), "use_orthogonal_grad": True, "wd_transition_steps": 3}


def chain() -> hf.GradientTransformation:
    """The whole recipe; the groups hold its rate."""
    return hf.hina_adamw(hf.Hyperparam("lr", 0.05), **HOW)


def leaves(dtype: torch.dtype = torch.float32, shapes: Any = SHAPES) -> Named:
    return {name: nn.Parameter(x) for name, x in draw(1, dtype, shapes).items()}


def train(opt: torch.optim.Optimizer, params: Named, first: int, last: int) -> None:
    for step in range(first, last):
        grads = draw(100 + step, torch.float64, {name: tuple(p.shape) for name, p in sorted(params.items())})
        for name, p in params.items():
            p.grad = grads[name].to(p.dtype)
        opt.step()


def copied(params: Named) -> Named:
    return {name: nn.Parameter(p.detach().clone()) for name, p in params.items()}


def same(one: Named, other: Named) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one.keys() & other.keys())


def divided(params: Named, where: list[int]) -> list[dict[str, Any]]:
    """Groups of the parameters: the first is in the group of this number, and so on."""
    pairs = list(zip(where, params.items(), strict=True))
    return [{"params": [item for i, item in pairs if i == number]} for number in sorted(set(where))]


@settings(max_examples=30)
@given(
    dtype=st.sampled_from(DTYPES),
    before=st.lists(st.integers(0, 3), min_size=len(SHAPES), max_size=len(SHAPES)),
    after=st.lists(st.integers(0, 3), min_size=len(SHAPES), max_size=len(SHAPES)),
    order=st.permutations(list(SHAPES)),
)
def test_a_run_goes_on_bitwise_in_any_order_and_grouping(dtype, before, after, order):
    whole = leaves(dtype)
    optimizer = hf.Optimizer(divided(whole, before), chain())
    train(optimizer, whole, 0, HALF)
    params = copied({name: whole[name] for name in order})
    resumed = hf.Optimizer(divided(params, after), chain(), lr=9.0)
    report = resumed.load_state_dict(optimizer.state_dict())
    assert set(report.restored) == set(SHAPES)
    train(optimizer, whole, HALF, 2 * HALF)
    train(resumed, params, HALF, 2 * HALF)
    assert same(whole, params)


def test_a_group_takes_over_what_the_groups_its_parameters_come_from_agree_in():
    params = leaves()
    first, second = divided(params, [i % 2 for i in range(len(params))])
    optimizer = hf.Optimizer([{**first, "lr": 0.1}, {**second, "lr": 0.1}], chain())
    train(optimizer, params, 0, 2)
    merged = hf.Optimizer(copied(params), chain())
    merged.load_state_dict(optimizer.state_dict())
    assert merged.param_groups[0]["lr"] == 0.1


def test_groups_that_disagree_are_refused_or_reported():
    params = leaves()
    first, second = divided(params, [i % 2 for i in range(len(params))])
    optimizer = hf.Optimizer([{**first, "lr": 0.1}, {**second, "lr": 0.2}], chain())
    train(optimizer, params, 0, 2)
    merged = hf.Optimizer(copied(params), chain(), lr=0.3)
    with pytest.raises(ValueError, match=r"lr of group 0, for which groups \[0, 1\] of the saved state differ"):
        merged.load_state_dict(optimizer.state_dict())
    report = merged.load_state_dict(optimizer.state_dict(), strict=False)
    assert merged.param_groups[0]["lr"] == 0.3
    assert report.kept == ("lr of group 0, for which groups [0, 1] of the saved state differ",)
    assert "1 kept:\n  lr of group 0" in repr(report)


def run_as(form: str, params: Named) -> hf.Optimizer:
    if form == "one by one":
        return hf.Optimizer(params, hf.one_by_one(chain()), compile=False)
    return hf.Optimizer(params, chain(), compile=form == "compiled")


COMPILED = {torch.float64: 1e-12, torch.float32: 1e-7, torch.bfloat16: 2.0**-7}
"""How far a compiled run may be from one that is not: its sums are taken in another order. Others are bitwise."""


FORMS = [
    ("columns", "one by one"),
    ("one by one", "columns"),
    pytest.param("compiled", "columns", marks=pytest.mark.compile),
    pytest.param("columns", "compiled", marks=pytest.mark.compile),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("one", "other"), FORMS)
def test_a_run_goes_on_in_another_form(one, other, dtype):
    params = leaves(dtype)
    optimizer = run_as(one, params)
    train(optimizer, params, 0, HALF)
    changed = copied(params)
    resumed = run_as(other, changed)
    resumed.load_state_dict(optimizer.state_dict())
    saved, loaded = optimizer.state_dict()["state"], resumed.state_dict()["state"]
    assert all(torch.equal(x, loaded[i][key]) for i, rows in saved.items() for key, x in rows.items())
    train(optimizer, params, HALF, 2 * HALF)
    train(resumed, changed, HALF, 2 * HALF)
    worst = max(float((params[name] - p).detach().abs().max()) for name, p in changed.items() if p.numel())
    print(f"{one} -> {other}, {dtype}: {worst:.1e}")
    assert worst <= (COMPILED[dtype] if "compiled" in (one, other) else 0.0)


def module(name: str, rank: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.lora_A.weight": (rank, 5), f"{name}.lora_B.weight": (4, rank)}


BASE = {**module("stay", 2), "bias": (4,)}


@pytest.mark.parametrize("through", ["state dict", "file"])
def test_modules_added_removed_and_reranked_are_reported_and_the_others_go_on_bitwise(through, tmp_path: Path):
    whole, after = (
        leaves(shapes={**module("q", rank), **BASE, **module(other, 2)}) for rank, other in ((2, "old"), (3, "new"))
    )
    optimizer, resumed = hf.Optimizer(whole, chain()), hf.Optimizer(after, chain())
    train(optimizer, whole, 0, HALF)
    hf.save_checkpoint(tmp_path / "c", optimizer)
    before = {name: p.detach().clone() for name, p in after.items()}
    with pytest.raises(
        ValueError, match=r"no parameter here for old\.lora_A\.weight, old\.lora_B\.weight; nothing saved for new"
    ):
        resumed.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"nothing saved for new.*Nothing was changed"):
        hf.load_checkpoint(tmp_path / "c", resumed)
    if through == "file":
        report = hf.load_checkpoint(tmp_path / "c", resumed, strict=False).report
    else:
        report = resumed.load_state_dict(optimizer.state_dict(), strict=False)
        with torch.no_grad():
            for name in BASE:
                after[name].copy_(whole[name])
    assert report.restored == tuple(BASE)
    assert report.added == ("new.lora_A.weight", "new.lora_B.weight")
    assert report.removed == ("old.lora_A.weight", "old.lora_B.weight")
    assert report.reset.keys() == {"q.lora_A.weight", "q.lora_B.weight"}
    assert "(2, 5)" in report.reset["q.lora_A.weight"]
    assert set(resumed.state) == {after[name] for name in BASE}
    assert all(torch.equal(before[name], p) for name, p in after.items() if name not in BASE), "values stay"
    for opt, params in ((optimizer, whole), (resumed, after)):
        for name, p in params.items():
            p.grad = None if name in BASE else p.grad
        train(opt, {name: params[name] for name in BASE}, HALF, 2 * HALF)
    assert all(torch.equal(whole[name], after[name]) for name in BASE)


def test_a_report_is_read_as_it_prints():
    report = hf.LoadReport(
        {"a": "a", "b": "x.b"}, added=tuple(f"n{i}" for i in range(7)), removed=("r",), reset={"a": "a has shape (2,)"}
    )
    assert repr(report).split("\n") == [
        "1 parameters restored",
        "1 renamed:",
        "  x.b -> b",
        "7 new, starting fresh:",
        *(f"  n{i}" for i in range(5)),
        "  ... and 2 more",
        "1 gone, dropped:",
        "  r",
        "1 changed, starting fresh:",
        "  a has shape (2,)",
    ]


def test_values_of_another_dtype_are_refused_unless_not_strict(tmp_path: Path):
    params = leaves(torch.float64)
    optimizer = hf.Optimizer(params, chain())
    train(optimizer, params, 0, 2)
    hf.save_checkpoint(tmp_path / "c", optimizer)
    narrow: dict[str, Tensor] = {name: nn.Parameter(p.detach().float() * 0) for name, p in params.items()}
    resumed = hf.Optimizer(narrow, chain())
    with pytest.raises(ValueError, match=r"is torch\.float32, saved as torch\.float64"):
        hf.load_checkpoint(tmp_path / "c", resumed)
    assert not any(p.any() for p in narrow.values())
    hf.load_checkpoint(tmp_path / "c", resumed, strict=False)
    assert all(torch.equal(narrow[name], p.float()) for name, p in params.items())
