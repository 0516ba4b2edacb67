"""Code that is drawn: numbers for the arguments of the catalog, and schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import torch

import hina_func


class Written(str):
    """Code to be pasted; ``build()`` gives what it makes.

    >>> Written("hf.scale(0.5)")
    hf.scale(0.5)
    >>> Written("hf.scale(0.5)").build()
    GradientTransformation(scale)
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def build(self) -> Any:
        """What the code makes, ``hf`` and ``torch`` being known."""
        return eval(self, {"hf": hina_func, "torch": torch})


def call(
    name: str, *arguments: st.SearchStrategy[Any], **options: st.SearchStrategy[Any]
) -> st.SearchStrategy[Written]:
    """A call of a function of ``hina_func``; an option is given or not.

    Args:
        name: of the function.
        arguments: drawn, written one after the other.
        options: drawn at times, written ``name=value``.
    """
    given = st.fixed_dictionaries({}, optional=options)

    def write(drawn: tuple[list[Any], dict[str, Any]]) -> Written:
        parts = [*map(repr, drawn[0]), *(f"{key}={value!r}" for key, value in drawn[1].items())]
        return Written(f"hf.{name}({', '.join(parts)})")

    return st.tuples(st.tuples(*arguments).map(list), given).map(write)


_rates = st.sampled_from([0.9, 0.5, 0.0, 0.99])
_fractions = st.sampled_from([0.5, 0.0, 1.0, 0.9])
_sizes = st.sampled_from([1.0, 0.1, 8.0])
_small = st.sampled_from([1e-8, 0.1, 0.0])

HYPERPARAMETERS: Mapping[str, st.SearchStrategy[float]] = {
    "b1": _rates,
    "b2": st.sampled_from([0.99, 0.9, 0.5, 0.0]),
    "damping": st.sampled_from([0.3, 0.0, 2.0]),
    "decay": _rates,
    "decay_factor": _fractions,
    "eps": _small,
    "eps_root": _small,
    "eta": st.sampled_from([1.0, 0.5, 4.0]),
    "learning_rate": st.sampled_from([0.1, 0.0, 1e-3]),
    "max_delta": _sizes,
    "max_norm": _sizes,
    "max_scale": st.sampled_from([1.0, 1.5, 8.0]),
    "min_norm": st.sampled_from([0.0, 1.0]),
    "min_ratio": _fractions,
    "ratio": st.sampled_from([16.0, 1.0, 0.0]),
    "step_size": st.sampled_from([1.0, -0.1, 0.5]),
    "strength": st.sampled_from([0.06, 0.0, 1.0]),
    "tam_decay": _fractions,
    "transition_steps": st.sampled_from([1, 2, 1000]),
    "trust_coefficient": st.sampled_from([1.0, 0.001]),
    "w2_factor": st.sampled_from([0.6, 0.0, 1.0]),
    "weight_decay": st.sampled_from([0.01, 0.0, 0.5]),
}
"""Argument -> numbers that are allowed for it, ordinary ones first, the ends of its range among them."""

_steps = st.integers(1, 4)


def schedules(values: st.SearchStrategy[float] = HYPERPARAMETERS["learning_rate"]) -> st.SearchStrategy[Written]:
    """The code of a schedule, of any kind, that stays between 0 and the largest of some values."""
    shrink = st.sampled_from([0.5, 1.0])
    plain = st.one_of(
        call("constant_schedule", values),
        call("linear_schedule", values, values, _steps, transition_begin=_steps),
        call("polynomial_schedule", values, values, st.sampled_from([2.0, 0.5]), _steps),
        call("cosine_decay_schedule", values, _steps, alpha=shrink, exponent=st.just(2.0)),
        call("exponential_decay", values, _steps, shrink, staircase=st.booleans()),
        call("piecewise_constant_schedule", values, st.dictionaries(_steps, shrink, max_size=2)),
        call("warmup_constant_schedule", values, values, _steps),
        call("warmup_cosine_decay_schedule", values, values, _steps, st.integers(5, 8), exponent=st.just(2.0)),
    )
    return plain | call("join_schedules", st.lists(plain, min_size=2, max_size=2), st.tuples(_steps).map(list))


def numbers(name: str) -> st.SearchStrategy[Any]:
    """What may stand for an argument: a number, a `Hyperparam` or a schedule."""
    values = HYPERPARAMETERS[name]
    return values | values.map(lambda x: Written(f"hf.Hyperparam({f'{name}_{x:g}'!r}, {x!r})")) | schedules(values)
