"""Half-precision parameters: state and updates are float32, so that nothing small is lost on the way."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from laws import Tree, run, same
from strategies import mapped, nonzero, tree_pairs

import hina_func as hf

HALVES = [torch.float16, torch.bfloat16]
halves = st.sampled_from(HALVES)

MAKERS = {
    "scale_by_adam": hf.scale_by_adam,
    "scale_by_adatam": hf.scale_by_adatam,
    "scale_by_adopt": hf.scale_by_adopt,
    "scale_by_adopt_tam": hf.scale_by_adopt_tam,
    "scale_by_rms": hf.scale_by_rms,
    "scale_by_lion": hf.scale_by_lion,
    "trace": lambda: hf.trace(0.9),
    "trace_tam": hf.trace_tam,
    "ema": lambda: hf.ema(0.9),
    "spd_penalty": lambda: hf.spd_penalty(0.1),
    "accumulate": lambda: hf.accumulate(hf.scale_by_adam(), 2),
    "hina_adamw": lambda: hf.hina_adamw(1e-3),
    "original": lambda: hf.hina_adamw(1e-3, formulas="original"),
}
PARAMS = {
    "q.lora_A.weight": torch.tensor([[0.5, -0.25]]),
    "q.lora_B.weight": torch.tensor([[2.0], [1.0]]),
    "m.lokr_w1": torch.tensor([[1.5]]),
    "m.lokr_w2": torch.tensor([[0.0, 0.0]]),
    "dense.weight": torch.tensor([3.0, 4.0]),
}


def cast(tree: Tree, dtype: torch.dtype) -> Tree:
    return mapped(lambda x: x.to(dtype), tree)


def floating(state: object) -> list[torch.dtype]:
    """The dtypes of all floating tensors of a state."""
    named = hf.named_state(state)
    tensors = [x for fields in named.values() for rows in fields.values() for x in rows.values()]
    return [x.dtype for x in tensors if x.is_floating_point()]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("dtype", "kept"), [(dtype, torch.float32) for dtype in (*HALVES, torch.float32)] + [(torch.float64, torch.float64)]
)
def test_state_and_updates_are_float32_for_halves_and_float64_for_doubles(name, dtype, kept):
    tx, params = MAKERS[name](), cast(PARAMS, dtype)
    state = tx.init(params)
    assert set(floating(state)) == {kept}
    for _ in range(2):
        updates, state = tx.update(params, state, params)
        assert set(floating(state)) == {kept}
        assert {u.dtype for u in updates.values()} == {kept}


@given(tree_pairs(nonzero), halves, st.integers(1, 5))
def test_moments_of_halves_follow_their_float32_trajectory(pair, dtype, steps):
    start, direction = (cast(tree, dtype) for tree in pair)
    for maker in (hf.scale_by_adam, hf.scale_by_adopt, hf.scale_by_rms):
        tx = maker()
        history = [mapped(lambda x, k=k: x / k, direction) for k in range(1, steps + 1)]
        half, full = tx.init(start), tx.init(cast(start, torch.float32))
        for grads in history:
            ours, half = tx.update(grads, half)
            theirs, full = tx.update(cast(grads, torch.float32), full)
            same(ours, theirs)
            same(hf.named_state(half)[maker.__name__]["nu"], hf.named_state(full)[maker.__name__]["nu"])


def test_the_second_moment_of_bfloat16_falls_as_it_should():
    """In bfloat16 0.999 times 1 rounds to 1, and the moment could only grow."""
    p = {"w": torch.ones(1, dtype=torch.bfloat16)}
    tx = hf.scale_by_adam()
    _, state = tx.update(p, tx.init(p))
    first = hf.named_state(state)["scale_by_adam"]["nu"]["w"].item()
    for _ in range(2000):
        _, state = tx.update(mapped(torch.zeros_like, p), state)
    last = hf.named_state(state)["scale_by_adam"]["nu"]["w"].item()
    assert last == pytest.approx(first * 0.999**2000, rel=1e-3)
    nu = torch.ones(1, dtype=torch.bfloat16)
    for _ in range(2000):
        nu = 0.999 * nu
    assert nu.item() == 1.0


@given(tree_pairs(nonzero), halves)
def test_a_decay_of_one_in_a_hundred_thousand_is_not_lost(pair, dtype):
    _, params = (cast(tree, dtype) for tree in pair)
    tx = hf.chain(hf.add_decayed_weights(1e-2), hf.scale_by_learning_rate(1e-3))
    for grads in (mapped(torch.zeros_like, params), mapped(lambda x: 1e-3 * x, params)):
        (u,) = run(tx, [grads], params)
        for name, p in params.items():
            exact = -1e-3 * (grads[name].double() + 1e-2 * p.double())
            assert (u[name].double() - exact).abs().max() <= 1e-6 * exact.abs().max()


@pytest.mark.parametrize("dtype", HALVES)
def test_the_optimizer_keeps_float32_state_of_halves_and_rounds_the_parameter_once(dtype):
    tx = hf.chain(hf.scale_by_adam(), hf.add_decayed_weights(0.1), hf.scale_by_learning_rate(1e-2))
    half = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=dtype))
    optimizer, state = hf.Optimizer({"w": half}, tx), tx.init({"w": half})
    for step in range(1, 6):
        half.grad = torch.tensor([0.1, 0.2, -0.3], dtype=dtype) / step
        before = half.detach().clone()
        updates, state = tx.update({"w": half.grad}, state, {"w": before})
        optimizer.step()
        same(half.detach(), (before.float() + updates["w"]).to(dtype))
        moments = optimizer.state[half]
        assert {x.dtype for x in moments.values() if x.is_floating_point()} == {torch.float32}
        same(moments["scale_by_adam/nu"], hf.named_state(state)["scale_by_adam"]["nu"]["w"])


def test_applying_an_update_to_a_half_rounds_once():
    p = {"w": torch.tensor([2.0, 1.0], dtype=torch.bfloat16)}
    u = {"w": torch.tensor([-(2.0**-8) - 2.0**-12, 2.0**-9])}
    after = hf.apply_updates(p, u)["w"]
    assert after.dtype == torch.bfloat16
    same(after, (p["w"].float() + u["w"]).to(torch.bfloat16))
    assert after[0] != p["w"][0]


@pytest.mark.parametrize("dtype", HALVES)
def test_decays_that_add_up_in_float32_parameters_are_the_ones_halves_are_told(dtype):
    """Fifty times a decay of 1e-5: each update is right, whatever the parameter can hold."""
    tx = hf.chain(hf.set_to_zero(), hf.add_decayed_weights(1e-2), hf.scale_by_learning_rate(1e-3))
    params = {"w": torch.full((3,), 2.0, dtype=dtype)}
    state, total = tx.init(params), torch.zeros(3, dtype=torch.float64)
    for _ in range(50):
        updates, state = tx.update(params, state, params)
        total += updates["w"].double()
    torch.testing.assert_close(total, torch.full((3,), -50 * 2e-5, dtype=torch.float64), rtol=1e-6, atol=0)
