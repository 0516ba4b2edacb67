"""The laws of the schedules, each shown to fail on a formula that was broken on purpose."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import Phase, given, settings
from torch.testing import assert_close

from hina_func import curves, schedules

values = st.floats(-10, 10, allow_subnormal=False)
positive = st.floats(1e-3, 10)
lengths = st.integers(1, 200)
begins = st.integers(0, 50)

LAWS: dict[str, Callable[[], Callable[[], None]]] = {}


def law(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Puts a property among the laws, to be drawn for anew each time it is asked about."""

    def register(holds: Callable[..., None]) -> Callable[..., None]:
        LAWS[holds.__name__] = lambda: given(*strategies)(holds)
        return holds

    return register


ramps = st.tuples(values, values, st.floats(0.2, 4), lengths, begins)
whole = torch.arange(300)


@law(ramps)
def ramp_goes_from_first_value_to_last(ramp: tuple[float, float, float, int, int]) -> None:
    init, end, power, length, begin = ramp
    v = schedules.polynomial_schedule(init, end, power, length, begin)(whole)
    assert_close(v[: begin + 1], torch.full_like(v[: begin + 1], init), rtol=0, atol=1e-12)
    assert_close(v[begin + length :], torch.full_like(v[begin + length :], end), rtol=0, atol=0)


@law(ramps)
def ramp_moves_one_way_and_stays_between(ramp: tuple[float, float, float, int, int]) -> None:
    init, end, *_ = ramp
    v = schedules.polynomial_schedule(*ramp)(whole)
    assert (v.diff() * math.copysign(1, end - init) >= -1e-12).all()
    assert v.min() >= min(init, end) - 1e-12
    assert v.max() <= max(init, end) + 1e-12


@law(ramps)
def begin_is_a_delay(ramp: tuple[float, float, float, int, int]) -> None:
    init, end, power, length, begin = ramp
    for make in (
        lambda b: schedules.polynomial_schedule(init, end, power, length, b),
        lambda b: schedules.exponential_decay(init, length, power, b),
    ):
        assert_close(make(begin)(whole + begin), make(0)(whole), rtol=1e-12, atol=1e-12)


@law(positive, lengths, st.floats(0, 1), st.floats(0.2, 4))
def cosine_falls_from_first_value_to_alpha_of_it(init: float, length: int, alpha: float, exponent: float) -> None:
    v = schedules.cosine_decay_schedule(init, length, alpha, exponent)(whole)
    assert_close(v[0].item(), init, rtol=1e-12, atol=0)
    assert_close(v[length:], torch.full_like(v[length:], alpha * init), rtol=1e-12, atol=1e-12)
    assert (v.diff() <= 1e-12).all()


@law(positive, lengths, st.floats(0.05, 2), begins)
def exponential_multiplies_by_the_rate_each_period(init: float, length: int, rate: float, begin: int) -> None:
    for staircase in (False, True):
        f = schedules.exponential_decay(init, length, rate, begin, staircase)
        after = whole + begin
        assert_close(f(after + length), rate * f(after), rtol=1e-10, atol=1e-290)
    assert_close(f(begin + length * (whole // length)), f(whole + begin), rtol=0, atol=0)


@law(positive, lengths, st.floats(0.05, 2), positive)
def exponential_stops_at_the_end_value(init: float, length: int, rate: float, end: float) -> None:
    free = schedules.exponential_decay(init, length, rate)(whole)
    held = schedules.exponential_decay(init, length, rate, end_value=end)(whole)
    assert_close(held, free.clamp(min=end) if rate < 1 else free.clamp(max=end), rtol=0, atol=0)


@law(values, st.dictionaries(lengths, st.floats(0, 3), max_size=4))
def pieces_multiply_their_scales(init: float, scales: dict[int, float]) -> None:
    expected = [init * math.prod(s for b, s in scales.items() if b <= t) for t in whole.tolist()]
    v = schedules.piecewise_constant_schedule(init, scales)(whole)
    assert_close(v, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-290)


@law(ramps, ramps, lengths)
def every_joined_part_has_its_turn(first: tuple[float, ...], second: tuple[float, ...], boundary: int) -> None:
    a, b = schedules.polynomial_schedule(*first), schedules.polynomial_schedule(*second)
    v = schedules.join_schedules([a, b], [boundary])(whole)
    assert_close(v, torch.cat([a(whole[:boundary]), b(whole[: len(whole) - boundary])]), rtol=1e-12, atol=1e-12)


@law(values, positive, st.integers(1, 50), st.integers(51, 200), values)
def warmup_reaches_the_peak_and_then_the_end(init: float, peak: float, warmup: int, total: int, end: float) -> None:
    v = schedules.warmup_cosine_decay_schedule(init, peak, warmup, total, end)(torch.tensor([0, warmup, total]))
    assert_close(v, torch.tensor([init, peak, end], dtype=torch.float64), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", LAWS)
def test_law(name: str) -> None:
    LAWS[name]()()


MUTANTS: list[tuple[str, str, Callable[..., torch.Tensor]]] = [
    ("ramp_goes_from_first_value_to_last", "polynomial", lambda t, i, e, p, n, b: curves.constant(t, i)),
    (
        "ramp_moves_one_way_and_stays_between",
        "polynomial",
        lambda t, i, e, p, n, b: (i - e) * (1 - (t - b).clamp(min=0) / n) ** 2 + e,
    ),
    ("begin_is_a_delay", "polynomial", lambda t, i, e, p, n, b: (i - e) * (1 - t.clamp(0, n) / n) ** p + e),
    ("cosine_falls_from_first_value_to_alpha_of_it", "cosine", lambda t, i, n, a, p: i * torch.cos(t / n) + a),
    (
        "exponential_multiplies_by_the_rate_each_period",
        "exponential",
        lambda t, i, n, r, b, s, e: i * r ** ((t - b).clamp(min=0) / (n + 1)),
    ),
    (
        "exponential_stops_at_the_end_value",
        "exponential",
        lambda t, i, n, r, b, s, e: i * r ** (t / n) if e is None else (i * r ** (t / n)).clamp(min=e),
    ),
    (
        "pieces_multiply_their_scales",
        "piecewise_constant",
        lambda t, i, pieces: i + sum((s * (t >= b) for b, s in pieces), torch.zeros(t.shape, dtype=t.dtype)),
    ),
    ("every_joined_part_has_its_turn", "join", lambda t, parts, b: torch.where(t < b[0], parts[0](t), parts[-1](t))),
    ("warmup_reaches_the_peak_and_then_the_end", "join", lambda t, parts, b: parts[-1](t - b[0])),
]


@pytest.mark.parametrize(("name", "formula", "mutant"), MUTANTS, ids=[name for name, *_ in MUTANTS])
def test_law_fails_on_a_mutant(
    name: str, formula: str, mutant: Callable[..., torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, formula, mutant)
    hunt = settings(database=None, phases=[Phase.generate], report_multiple_bugs=False, derandomize=True)
    with pytest.raises(AssertionError):
        hunt(LAWS[name]())()


def test_every_law_has_a_mutant() -> None:
    assert {name for name, *_ in MUTANTS} == set(LAWS)
