"""Recorded trajectories of the official implementations and of the original optimizer are reproduced to 1e-12."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Recording
from torch import Tensor

import hina_func as hf
from hina_func.layout import Column
from hina_func.original_lr_scale import _aligned, guessed_norm

PUBLISHED, ORIGINAL = Recording("published"), Recording("original_adamw")
BOUND = 1e-12
CPU = torch.device("cpu")


def published_chain(case: str, lr: float, **spec: Any) -> hf.GradientTransformation:
    """The case as its paper chains it."""
    b1, b2 = spec.get("betas", (0.9, 0.9999 if case.startswith("adopt") else 0.999))
    eps, decay = spec.get("eps", 1e-6 if case.startswith("adopt") else 1e-8), spec.get("weight_decay", 0.0)
    adamw = hf.chain(hf.scale_by_adam(b1, b2, eps), hf.add_decayed_weights(decay), hf.scale_by_learning_rate(lr))
    rate = hf.scale_by_learning_rate(lr)
    if case.startswith("adopt"):
        return hf.chain(hf.scale_by_adopt(b1, b2, eps, use_clipping=spec.get("clip", "on") is not None), rate)
    if case.startswith(("grams", "cautious")):
        mask = hf.grams_sign() if case.startswith("grams") else hf.cautious_mask()
        return hf.chain(hf.scale_by_adam(b1, b2, eps, debias="step"), mask, hf.add_decayed_weights(decay), rate)
    if case == "orthograd_sgd":
        return hf.chain(hf.orthogonal_project(), rate)
    if case == "orthograd_adamw":
        return hf.chain(hf.orthogonal_project(), adamw)
    if case == "agr_adamw":
        return hf.chain(hf.scale_by_agr(), adamw)
    anchor = PUBLISHED.named("anchor||") if spec["anchor"] == "given" else spec["anchor"]
    return hf.chain(adamw, hf.spd_penalty(spec["lam"], anchor=anchor))


def functional(tx: hf.GradientTransformation, record: Recording) -> list[dict[str, Tensor]]:
    params = record.named("init||")
    state, trajectory = tx.init(params), []
    for grads in record.grads():
        updates, state = tx.update(grads, state, params)
        params = hf.apply_updates(params, updates)
        trajectory.append(params)
    return trajectory


def adapter(optimizer: torch.optim.Optimizer, params: dict[str, Tensor], record: Recording) -> list[dict[str, Tensor]]:
    trajectory = []
    for grads in record.grads():
        for name, param in params.items():
            param.grad = grads[name]
        optimizer.step()
        trajectory.append({name: param.detach().clone() for name, param in params.items()})
    return trajectory


def leaves(record: Recording) -> dict[str, Tensor]:
    return {name: torch.nn.Parameter(x) for name, x in record.named("init||").items()}


@pytest.mark.parametrize("layout", ["columns", "one_by_one"])
@pytest.mark.parametrize("case", PUBLISHED.cases)
def test_published_chains_follow_the_official_implementations(case, layout):
    tx = published_chain(case, **PUBLISHED.cases[case])
    tx = hf.one_by_one(tx) if layout == "one_by_one" else tx
    worst = PUBLISHED.worst_error(case, functional(tx, PUBLISHED))
    print(f"{case}: worst relative error {worst:.1e}")
    assert worst <= BOUND


@pytest.mark.parametrize("case", ORIGINAL.cases)
def test_the_original_formula_set_follows_the_original(case):
    spec = dict(ORIGINAL.cases[case])
    tx = hf.hina_adamw(spec.pop("lr"), **spec, formulas="original")
    worst = ORIGINAL.worst_error(case, functional(tx, ORIGINAL))
    print(f"{case}: worst relative error {worst:.1e}")
    assert worst <= BOUND


@pytest.mark.parametrize("case", ORIGINAL.cases)
def test_the_adapter_follows_the_original(case):
    params = leaves(ORIGINAL)
    optimizer = hf.HinaAdamW(list(params.items()), **ORIGINAL.cases[case], formulas="original")
    worst = ORIGINAL.worst_error(case, adapter(optimizer, params, ORIGINAL))
    print(f"{case}: worst relative error {worst:.1e}")
    assert worst <= BOUND


@pytest.mark.parametrize("case", PUBLISHED.cases)
def test_the_adapter_follows_the_official_implementations(case):
    params = leaves(PUBLISHED)
    optimizer = hf.Optimizer(list(params.items()), published_chain(case, **PUBLISHED.cases[case]))
    assert PUBLISHED.worst_error(case, adapter(optimizer, params, PUBLISHED)) <= BOUND


@pytest.mark.parametrize(
    ("a", "b", "product"),
    [
        ((2, 5), (7, 2), lambda a, b: b @ a),
        ((5, 2), (2, 7), lambda a, b: a @ b),
        ((3, 2), (7, 2), lambda a, b: b @ a.T),
        ((2, 5), (2, 7), lambda a, b: b.T @ a),
        ((5, 2), (2, 1), lambda a, b: a @ b),
        ((2, 5, 1, 1), (7, 2, 1, 1), lambda a, b: b.flatten(1) @ a.flatten(1)),
    ],
    ids=["b a", "a b", "b a^T", "b^T a", "to one", "convolution"],
)
def test_the_norm_of_a_pair_is_that_of_the_product_that_fits(a, b, product):
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, *shape, generator=draw, dtype=torch.float64) for shape in (a, b))
    expected = torch.stack([torch.linalg.vector_norm(product(x, y), dim=1).mean() for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(guessed_norm(a, b), expected, rtol=1e-13, atol=0)


def test_pairs_of_any_number_are_brought_together_a_few_at_a_time():
    shape = (2**9, 2**9)
    columns = tuple(Column(key, (f"{key}.0", f"{key}.1"), "regular", shape, torch.float64, CPU, ()) for key in "ab")
    places = {name: (i, row) for i, column in enumerate(columns) for row, name in enumerate(column.names)}
    pairs = {"a.0": "b.1", "a.1": "b.0"}
    assert list(_aligned(pairs, places, columns)) == [(0, 1, [0], [1]), (0, 1, [1], [0])]
