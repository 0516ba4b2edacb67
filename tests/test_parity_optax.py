"""What is said to be as in optax is as in optax, to 1e-12 in float64, over drawn trajectories of several steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from laws import same
from strategies import entries, nonzero, positive, tensors
from torch import Tensor

import hina_func as hf

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jax.config.update("jax_enable_x64", True)
from optax.contrib import scale_by_adopt  # noqa: E402

BOUND = 1e-12
fewer = settings(max_examples=settings.default.max_examples // 4)
SHAPES = {"b": (3,), "s": (), "v": (2, 3), "w": (2, 3)}
SIZE = sum(math.prod(shape) for shape in SHAPES.values())
STEPS = 5
MASK = {"b": False, "s": True, "v": True, "w": False}

Tree = dict[str, Tensor]


def tree_of(values: Tensor) -> Tree:
    """A vector cut into the leaves."""
    parts = values.split([math.prod(shape) for shape in SHAPES.values()])
    return {name: part.reshape(shape) for (name, shape), part in zip(SHAPES.items(), parts, strict=True)}


def trajectories(elements: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[Tree, list[Tree]]]:
    """Parameters, and the gradients of several steps."""
    drawn = tensors((1 + STEPS, SIZE), elements)
    return drawn.map(lambda rows: (tree_of(rows[0]), [tree_of(row) for row in rows[1:]]))


ordinary = trajectories(entries)
without_zeros = trajectories(nonzero)
broken = trajectories(entries | st.sampled_from([math.nan, math.inf, -math.inf]))


class Pair(NamedTuple):
    """A transform of ours, the one of optax, what they are fed with, and how far an update moves the parameters."""

    ours: Callable[[], hf.GradientTransformation]
    theirs: Callable[[], Any]
    fed: st.SearchStrategy[tuple[Tree, list[Tree]]] = ordinary
    lr: float = -0.1


def pair(name: str, *args: Any, fed: st.SearchStrategy[Any] = ordinary, **options: Any) -> Pair:
    """A transform of the same name and arguments on both sides."""
    return Pair(lambda: getattr(hf, name)(*args, **options), lambda: getattr(optax, name)(*args, **options), fed)


def half_life(step: Any) -> Any:
    """Exact in float32, in which jax computes schedules of its int32 step."""
    return 2.0**-5 * 0.5**step


PAIRS = {
    "identity": pair("identity"),
    "set_to_zero": pair("set_to_zero"),
    "scale": pair("scale", -0.3),
    "scale_by_learning_rate": pair("scale_by_learning_rate", 0.3),
    "scale_by_learning_rate(flip_sign=False)": pair("scale_by_learning_rate", 0.3, flip_sign=False),
    "scale_by_learning_rate(schedule)": pair("scale_by_learning_rate", half_life),
    "scale_by_schedule": pair("scale_by_schedule", half_life),
    "clip_by_value": Pair(lambda: hf.clip_by_value(2.0), lambda: optax.clip(2.0)),
    "clip_by_value(nan)": Pair(lambda: hf.clip_by_value(2.0), lambda: optax.clip(2.0), broken),
    "clip_by_global_norm": pair("clip_by_global_norm", 20.0),
    "clip_by_global_norm(nan)": pair("clip_by_global_norm", 20.0, fed=broken),
    "trace": pair("trace", 0.9),
    "trace(nesterov)": pair("trace", 0.9, nesterov=True),
    "ema": pair("ema", 0.9),
    "ema(debias=False)": pair("ema", 0.9, debias=False),
    "scale_by_adam": pair("scale_by_adam"),
    "scale_by_adam(b1, b2, eps)": pair("scale_by_adam", b1=0.5, b2=0.7, eps=0.3),
    "scale_by_adam(b1=0, b2=0)": pair("scale_by_adam", b1=0.0, b2=0.0),
    "scale_by_adam(eps_root)": pair("scale_by_adam", eps_root=1e-3),
    "scale_by_adam(nesterov)": pair("scale_by_adam", nesterov=True),
    "scale_by_adam(nan)": pair("scale_by_adam", fed=broken),
    "scale_by_rms": pair("scale_by_rms"),
    "scale_by_rms(initial_scale)": pair("scale_by_rms", 0.7, 1e-3, 2.0),
    "scale_by_rms(eps_in_sqrt=False)": pair("scale_by_rms", eps_in_sqrt=False),
    "scale_by_rms(bias_correction)": pair("scale_by_rms", bias_correction=True),
    "scale_by_rms(both)": pair("scale_by_rms", 0.5, eps_in_sqrt=False, bias_correction=True),
    "scale_by_trust_ratio": pair("scale_by_trust_ratio"),
    "scale_by_trust_ratio(min_norm)": pair("scale_by_trust_ratio", min_norm=5.0),
    "scale_by_trust_ratio(coefficient, eps)": pair("scale_by_trust_ratio", trust_coefficient=0.01, eps=0.5),
    "scale_by_trust_ratio(nan)": pair("scale_by_trust_ratio", fed=broken),
    "centralize": pair("centralize"),
    "zero_nans": pair("zero_nans", fed=broken),
    "add_decayed_weights": pair("add_decayed_weights", 0.1),
    "add_decayed_weights(mask)": pair("add_decayed_weights", 0.1, mask=MASK),
    "add_decayed_weights(schedule)": pair("add_decayed_weights", half_life),
    "masked": Pair(lambda: hf.masked(hf.scale_by_adam(), MASK), lambda: optax.masked(optax.scale_by_adam(), MASK)),
    "apply_if_finite": Pair(
        lambda: hf.apply_if_finite(hf.scale_by_adam(), 2),
        lambda: optax.apply_if_finite(optax.scale_by_adam(), 2),
        trajectories(st.sampled_from([1.0, 2.0, -3.0] * 30 + [math.nan, math.inf])),
    ),
    "accumulate": Pair(
        lambda: hf.accumulate(hf.scale_by_adam(), 2),
        lambda: optax.MultiSteps(optax.scale_by_adam(), 2, accumulator_dtype=np.float64),
    ),
    "accumulate(decay)": Pair(
        lambda: hf.accumulate(hf.chain(hf.add_decayed_weights(0.1), hf.trace(0.9)), 3),
        lambda: optax.MultiSteps(
            optax.chain(optax.add_decayed_weights(0.1), optax.trace(0.9)), 3, accumulator_dtype=np.float64
        ),
    ),
    "scale_by_adopt": Pair(hf.scale_by_adopt, scale_by_adopt, without_zeros),
    "scale_by_adopt(nan)": Pair(
        hf.scale_by_adopt, scale_by_adopt, trajectories(nonzero | st.sampled_from([math.nan, math.inf]))
    ),
    "scale_by_adopt(b1, b2, eps)": Pair(
        lambda: hf.scale_by_adopt(0.5, 0.9, 0.5), lambda: scale_by_adopt(0.5, 0.9, 0.5), without_zeros
    ),
    "scale_by_adopt(use_clipping=False)": Pair(
        lambda: hf.scale_by_adopt(use_clipping=False), lambda: scale_by_adopt(use_clipping=False), without_zeros
    ),
    "scale_by_adopt(clip_value_fn)": Pair(
        lambda: hf.scale_by_adopt(clip_value_fn=lambda step: 0.3 * step),
        lambda: scale_by_adopt(clip_value_fn=lambda step: 0.3 * step),
        without_zeros,
    ),
    "chain": Pair(
        lambda: hf.chain(
            hf.clip_by_global_norm(30.0),
            hf.scale_by_adam(nesterov=True),
            hf.add_decayed_weights(0.1),
            hf.scale_by_trust_ratio(),
            hf.scale_by_learning_rate(half_life),
        ),
        lambda: optax.chain(
            optax.clip_by_global_norm(30.0),
            optax.scale_by_adam(nesterov=True),
            optax.add_decayed_weights(0.1),
            optax.scale_by_trust_ratio(),
            optax.scale_by_learning_rate(half_life),
        ),
        lr=1.0,
    ),
}


def to_jax(tree: Tree) -> dict[str, Any]:
    return {name: jax.numpy.asarray(x.numpy()) for name, x in tree.items()}


def error(ours: Tree, theirs: dict[str, Any]) -> float:
    """Largest difference, relative to the tensor's size or to 1; infinite where they differ in what is finite."""
    worst = 0.0
    for name, x in ours.items():
        reference = torch.from_numpy(np.array(theirs[name]))
        finite = reference.isfinite()
        if (
            not torch.equal(x[~finite].nan_to_num(0), reference[~finite].nan_to_num(0))
            or not x[finite].isfinite().all()
        ):
            return math.inf
        if finite.any():
            difference = (x[finite] - reference[finite]).abs().max() / reference[finite].abs().max().clamp_min(1)
            worst = max(worst, float(difference))
    return worst


def worst_over(ours: hf.GradientTransformation, theirs: Any, update: Any, lr: float, fed: Any) -> float:
    """Both sides step by step, each on the parameters it has moved itself."""
    params, gradients = fed
    state, their_params = ours.init(params), to_jax(params)
    their_state, worst = theirs.init(their_params), 0.0
    for grads in gradients:
        updates, state = ours.update(grads, state, params)
        their_updates, their_state = update(to_jax(grads), their_state, their_params)
        worst = max(worst, error(updates, their_updates))
        params = {name: p + lr * updates[name].nan_to_num(0, 0, 0) for name, p in params.items()}
        their_params = {
            name: p + lr * jax.numpy.nan_to_num(their_updates[name], nan=0, posinf=0, neginf=0)
            for name, p in their_params.items()
        }
    return worst


@pytest.mark.parametrize("name", PAIRS)
def test_updates_are_those_of_optax(name: str, record_property: Callable[[str, object], None]) -> None:
    case, worst = PAIRS[name], 0.0
    ours, theirs = case.ours(), case.theirs()
    update = jax.jit(theirs.update)

    @fewer
    @given(case.fed)
    def compare(fed: tuple[Tree, list[Tree]]) -> None:
        nonlocal worst
        found = worst_over(ours, theirs, update, case.lr, fed)
        worst = max(worst, found)
        assert found <= BOUND

    try:
        compare()
    finally:
        record_property("worst_error", worst)
        print(f"\n{name}: worst error {worst:.1e}")


@fewer
@given(ordinary, st.floats(0, 0.9), st.floats(0, 0.9))
def test_lion_is_that_of_optax_wherever_its_sign_is_clear(fed: tuple[Tree, list[Tree]], b1: float, b2: float) -> None:
    params, gradients = fed
    ours, theirs = hf.scale_by_lion(b1, b2), optax.scale_by_lion(b1, b2)
    state, their_state = ours.init(params), theirs.init(to_jax(params))
    for grads in gradients:
        momentum = hf.named_state(state)["scale_by_lion"]["mu"]
        updates, state = ours.update(grads, state)
        their_updates, their_state = theirs.update(to_jax(grads), their_state)
        for name, g in grads.items():
            clear = (b1 * momentum[name] + (1 - b1) * g).abs() > 1e-9
            same(updates[name][clear], torch.from_numpy(np.array(their_updates[name]))[clear])


@fewer
@given(ordinary, positive)
def test_clip_by_norm_is_optaxs_clip_by_block_rms_of_the_norm_per_root_of_the_size(
    fed: tuple[Tree, list[Tree]], bound: float
) -> None:
    params, _ = fed
    updates, _ = hf.clip_by_norm(bound).update(params, hf.EmptyState())
    for name, x in params.items():
        theirs = optax.clip_by_block_rms(bound / math.sqrt(x.numel()))
        reference, _ = theirs.update({name: jax.numpy.asarray(x.numpy())}, theirs.init({}))
        assert error({name: updates[name]}, reference) <= BOUND


def test_zero_nans_and_apply_if_finite_count_as_optax_does() -> None:
    gradients = [tree_of(torch.linspace(-1, 2, SIZE, dtype=torch.float64)) for _ in range(6)]
    for step in (1, 2, 4):
        gradients[step]["b"][0] = math.nan
    params = gradients[0]
    zero, their_zero = hf.zero_nans(), optax.zero_nans()
    skip, their_skip = (lib.apply_if_finite(lib.scale_by_adam(), 1) for lib in (hf, optax))
    found, their_found = zero.init(params), their_zero.init(to_jax(params))
    counts, their_counts = skip.init(params), their_skip.init(to_jax(params))
    for grads in gradients:
        _, found = zero.update(grads, found)
        _, their_found = their_zero.update(to_jax(grads), their_found)
        flags = hf.named_state(found)["zero_nans"]["found_nan"]
        assert {name: bool(x) for name, x in flags.items()} == {
            name: bool(x) for name, x in their_found.found_nan.items()
        }
        _, counts = skip.update(grads, counts)
        _, their_counts = their_skip.update(to_jax(grads), their_counts)
        for field in ("notfinite_count", "last_finite", "total_notfinite"):
            assert int(getattr(counts, field)) == int(getattr(their_counts, field))
