"""Schedules: optax's values, what a schedule is besides a function, gradients and batches of values, bad arguments."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch._dynamo.testing
from hypothesis import given
from torch.testing import assert_close

from hina_func import schedules

jax.config.update("jax_enable_x64", True)

values = st.floats(-10, 10, allow_subnormal=False)
positive = st.floats(1e-3, 10)
lengths = st.integers(1, 200)
begins = st.integers(0, 50)
steps = st.lists(st.integers(0, 500), min_size=1, max_size=8)

ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "constant_schedule": st.fixed_dictionaries({"value": values}),
    "linear_schedule": st.fixed_dictionaries(
        {"init_value": values, "end_value": values, "transition_steps": lengths}, optional={"transition_begin": begins}
    ),
    # below power 1 the slope at the end is infinite, and XLA's T / T is not 1 for every T
    "polynomial_schedule": st.fixed_dictionaries(
        {"init_value": values, "end_value": values, "power": st.floats(1, 4), "transition_steps": lengths},
        optional={"transition_begin": begins},
    ),
    "cosine_decay_schedule": st.fixed_dictionaries(
        {"init_value": values, "decay_steps": lengths},
        optional={"alpha": st.floats(0, 1), "exponent": st.floats(0.2, 4)},
    ),
    "exponential_decay": st.fixed_dictionaries(
        {"init_value": values, "transition_steps": lengths, "decay_rate": st.floats(0.05, 2)},
        optional={"transition_begin": begins, "staircase": st.booleans(), "end_value": st.none() | values},
    ),
    "piecewise_constant_schedule": st.fixed_dictionaries(
        {"init_value": values},
        optional={"boundaries_and_scales": st.none() | st.dictionaries(lengths, st.floats(0, 3), max_size=4)},
    ),
    "warmup_constant_schedule": st.fixed_dictionaries(
        {"init_value": values, "peak_value": values, "warmup_steps": lengths}
    ),
    "warmup_cosine_decay_schedule": st.fixed_dictionaries(
        {
            "init_value": values,
            "peak_value": positive | st.just(0.0),
            "warmup_steps": st.integers(0, 50),
            "decay_steps": st.integers(51, 200),
        },
        optional={"end_value": values, "exponent": st.floats(0.2, 4)},
    ),
}


def relative_error(ours: torch.Tensor, theirs: Any) -> float:
    reference = np.broadcast_to(np.asarray(theirs, dtype=np.float64), ours.shape)
    return float(np.max(np.abs(ours.numpy() - reference) / np.maximum(np.abs(reference), 1.0)))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_values_are_those_of_optax(name: str, record_property: Callable[[str, object], None]) -> None:
    worst = 0.0

    @given(ARGUMENTS[name], steps)
    def agrees(arguments: dict[str, Any], step: list[int]) -> None:
        nonlocal worst
        ours = getattr(schedules, name)(**arguments)(torch.tensor(step))
        theirs = getattr(optax, name)(**arguments)(jnp.asarray(step))
        error = relative_error(ours, theirs)
        assert error <= 1e-12
        worst = max(worst, error)

    agrees()
    record_property("worst relative error", f"{name} against optax {worst:.1e}")


@given(st.data(), steps)
def test_joined_values_are_those_of_optax(data: st.DataObject, step: list[int]) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(ARGUMENTS)), min_size=1, max_size=4))
    arguments = [data.draw(ARGUMENTS[name]) for name in names]
    boundaries = sorted(data.draw(st.sets(lengths, min_size=len(names) - 1, max_size=len(names) - 1)))
    ours = schedules.join_schedules(
        [getattr(schedules, n)(**a) for n, a in zip(names, arguments, strict=True)], boundaries
    )
    theirs = optax.join_schedules([getattr(optax, n)(**a) for n, a in zip(names, arguments, strict=True)], boundaries)
    assert relative_error(ours(torch.tensor(step)), theirs(jnp.asarray(step))) <= 1e-12


def test_argument_names_order_and_defaults_are_those_of_optax() -> None:
    from inspect import signature

    for name in [*ARGUMENTS, "join_schedules"]:
        ours, theirs = (signature(getattr(library, name)).parameters for library in (schedules, optax))
        assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]


EXAMPLES: dict[str, schedules.Curve] = {
    "constant": schedules.constant_schedule(0.3),
    "linear": schedules.linear_schedule(0.1, 0.7, 10, 2),
    "polynomial": schedules.polynomial_schedule(1.0, 0.1, 1.5, 9),
    "cosine": schedules.cosine_decay_schedule(0.4, 12, 0.1, 1.5),
    "exponential": schedules.exponential_decay(0.5, 3, 0.8, 1, True, 0.1),
    "piecewise": schedules.piecewise_constant_schedule(1.0, {5: 0.5, 3: 0.1}),
    "warmup_constant": schedules.warmup_constant_schedule(0.0, 1.0, 4),
    "warmup_cosine": schedules.warmup_cosine_decay_schedule(0.0, 1.0, 4, 12, 0.1),
    "no_warmup": schedules.warmup_cosine_decay_schedule(0.0, 1.0, 0, 12, 0.1),
}
each_example = pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)


@each_example
def test_result_has_the_shape_of_the_step_and_a_floating_dtype(schedule: schedules.Curve) -> None:
    for shape in [(), (5,), (2, 3)]:
        for given_dtype, dtype in [
            (torch.int32, torch.float64),
            (torch.int64, torch.float64),
            (torch.float32, torch.float32),
            (torch.float64, torch.float64),
        ]:
            step = torch.full(shape, 7, dtype=given_dtype)
            before = step.clone()
            value = schedule(step)
            assert (value.shape, value.dtype) == (shape, dtype)
            assert_close(value.double(), schedule(7).expand(shape), rtol=1e-6, atol=1e-7)
            assert torch.equal(step, before)


@each_example
def test_vmap_over_steps_is_the_loop(schedule: schedules.Curve) -> None:
    step = torch.arange(20)
    loop = torch.stack([schedule(t) for t in range(20)])
    assert_close(torch.func.vmap(schedule)(step), loop, rtol=1e-14, atol=1e-14)
    assert_close(schedule(step), loop, rtol=1e-14, atol=1e-14)


@each_example
def test_copies_are_equal_and_print_alike(schedule: schedules.Curve) -> None:
    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == schedule
    assert repr(copy) == repr(schedule)
    assert eval(repr(schedule), dict(vars(schedules))) == schedule


TENSORS: dict[str, tuple[Callable[..., schedules.Curve], list[float]]] = {
    "constant": (schedules.constant_schedule, [0.3]),
    "polynomial": (lambda i, e, p: schedules.polynomial_schedule(i, e, p, 10, 2), [0.1, 0.7, 1.5]),
    "cosine": (lambda i, a, p: schedules.cosine_decay_schedule(i, 12, a, p), [0.4, 0.1, 1.5]),
    "falling": (lambda i, r, e: schedules.exponential_decay(i, 3, r, 1, False, e), [0.5, 0.8, 0.1]),
    "rising": (lambda i, r, e: schedules.exponential_decay(i, 3, r, 1, False, e), [0.5, 1.2, 0.9]),
    "piecewise": (lambda i, s: schedules.piecewise_constant_schedule(i, {3: s, 5: 0.5}), [0.5, 0.8]),
    "warmup_cosine": (lambda i, p, e: schedules.warmup_cosine_decay_schedule(i, p, 4, 12, e), [0.1, 0.9, 0.2]),
}
each_maker = pytest.mark.parametrize(("make", "numbers"), TENSORS.values(), ids=TENSORS)


@each_maker
def test_values_may_be_tensors_and_gradients_flow_into_them(
    make: Callable[..., schedules.Curve], numbers: list[float]
) -> None:
    step = torch.arange(20)
    tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in numbers]
    assert_close(make(*tensors)(step).detach(), make(*numbers)(step), rtol=1e-14, atol=1e-14)
    assert torch.autograd.gradcheck(lambda *x: make(*x)(step), tensors)


@each_maker
def test_vmap_over_values_is_the_loop(make: Callable[..., schedules.Curve], numbers: list[float]) -> None:
    rows = [torch.tensor([x, 0.9 * x, 0.7 * x], dtype=torch.float64) for x in numbers]
    stacked = torch.func.vmap(lambda *x: make(*x)(torch.tensor(6)))(*rows)
    assert_close(stacked, torch.stack([make(*(r[k] for r in rows))(6) for k in range(3)]), rtol=1e-14, atol=0)


@pytest.mark.compile
def test_one_compilation_serves_every_step() -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    together = torch.compile(
        lambda step: [schedule(step) for schedule in EXAMPLES.values()], fullgraph=True, backend=counter
    )
    for t in (0, 1, 7, 100):
        expected = [schedule(t) for schedule in EXAMPLES.values()]
        assert_close(together(torch.tensor(t)), expected, rtol=1e-14, atol=1e-14)
    assert counter.frame_count == 1


ramp, warm, join = schedules.polynomial_schedule, schedules.warmup_cosine_decay_schedule, schedules.join_schedules
flat = schedules.constant_schedule(1.0)
BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: schedules.constant_schedule(math.nan),
        ValueError,
        "value must be a finite number or a 0-d tensor, got nan",
    ),
    (lambda: schedules.constant_schedule("1"), TypeError, "value must be a finite number or a 0-d tensor, got '1'"),
    (lambda: schedules.constant_schedule(torch.ones(2)), ValueError, r"value must be .* 0-d tensor, got tensor"),
    (lambda: schedules.linear_schedule(1, 0, 0), ValueError, "transition_steps must be a number of steps > 0, got 0"),
    (
        lambda: schedules.linear_schedule(1, 0, 5, -1),
        ValueError,
        "transition_begin must be a number of steps >= 0, got -1",
    ),
    (lambda: ramp(1, math.inf, 1, 5), ValueError, "end_value must be a finite number or a 0-d tensor, got inf"),
    (lambda: ramp(1, 0, 0, 5), ValueError, "power must be a finite number > 0 or a 0-d tensor, got 0"),
    (lambda: schedules.cosine_decay_schedule(1, -3), ValueError, "decay_steps must be a number of steps > 0, got -3"),
    (lambda: schedules.cosine_decay_schedule(1, torch.tensor(3)), ValueError, "decay_steps must be a number of steps"),
    (lambda: schedules.cosine_decay_schedule(1, 3, exponent=-1), ValueError, "exponent must be a finite number > 0"),
    (
        lambda: schedules.exponential_decay(1, 0, 0.5),
        ValueError,
        "transition_steps must be a number of steps > 0, got 0",
    ),
    (lambda: schedules.exponential_decay(1, 5, 0), ValueError, "decay_rate must be a finite number > 0"),
    (
        lambda: schedules.exponential_decay(1, 5, 0.5, end_value=math.nan),
        ValueError,
        "end_value must be a finite number",
    ),
    (
        lambda: schedules.piecewise_constant_schedule(1, {0: 0.5}),
        ValueError,
        "a boundary of boundaries_and_scales must be",
    ),
    (
        lambda: schedules.piecewise_constant_schedule(1, {3: -1}),
        ValueError,
        r"boundaries_and_scales\[3\] must be .* >= 0",
    ),
    (
        lambda: schedules.warmup_constant_schedule(0, 1, 0),
        ValueError,
        "warmup_steps must be a number of steps > 0, got 0",
    ),
    (lambda: schedules.warmup_constant_schedule(0, math.nan, 5), ValueError, "peak_value must be a finite number"),
    (lambda: warm(0, 1, -1, 5), ValueError, "warmup_steps must be a number of steps >= 0, got -1"),
    (lambda: warm(0, 1, 5, 5), ValueError, "decay_steps must be > warmup_steps = 5, which it includes, got 5"),
    (lambda: join([], []), ValueError, "schedules must be one or more functions of the step"),
    (lambda: join([flat, 1.0], [3]), ValueError, "schedules must be one or more functions of the step"),
    (lambda: join([flat, flat], []), ValueError, r"boundaries must be one fewer than the 2 schedules, got \(\)"),
    (lambda: join([flat, flat], [0]), ValueError, "a boundary must be a number of steps > 0, got 0"),
    (lambda: join([flat, flat, flat], [4, 4]), ValueError, r"boundaries must increase, got \(4, 4\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[f"{i}" for i in range(len(BAD))])
def test_bad_arguments_are_refused_by_name(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
