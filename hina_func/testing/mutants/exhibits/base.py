"""What shows a mutant: how it is built, and the laws that it keeps when it is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import hypothesis.strategies as st
import torch
from torch import Tensor

from ... import laws
from ...checking import Law
from ...strategies import histories, powers_of_two, trees
from ..responses import Response


class Exhibit(NamedTuple):
    """``build()`` makes the transform, or the factory of an optimizer; ``keeps`` are laws it is meant to keep."""

    build: Callable[[], Any]
    keeps: tuple[Law, ...]


def responds(steady: Response, impulse: Response | None = None, turning: Response | None = None) -> tuple[Law, ...]:
    """The laws of closed forms."""
    found = [laws.constant_response(response=steady)]
    found += [laws.impulse_response(response=impulse)] if impulse else []
    return tuple(found + ([laws.alternating_response(response=turning)] if turning else []))


def on(law: Law, params: st.SearchStrategy[Any], max_steps: int = 4) -> Law:
    """A law of histories, asked of these parameters."""
    return replace(law, examples=histories(params=params, max_steps=max_steps))


ONE_ELEMENT_PASSES = replace(
    laws.first_response(response=lambda g, p: g), examples=histories(of=st.sampled_from([(1,), ()]), max_steps=1)
)


def falling(step: Tensor) -> Tensor:
    """A schedule that starts at one."""
    return 1 / (1 + step.to(torch.float64))


SIGN, APART, STILL = laws.sign_symmetry(), laws.tensors_apart(), laws.rests_without_gradient()
ANYWHERE = laws.translation_invariance()
BLIND = laws.scale_equivariance(degree=0)
LINEAR = laws.scale_equivariance(degree=1)
FINITE_AT_ZERO = replace(
    laws.finite(), examples=histories(params=trees(st.sampled_from([(2,), (3,)]), st.just(0.0)), max_steps=2)
)
LINEAR_AT_FIRST = replace(LINEAR, examples=st.tuples(histories(max_steps=1), powers_of_two))
DIRECTION = (SIGN, ANYWHERE, STILL, APART)
ELEMENTWISE = (*DIRECTION, laws.elementwise(), laws.shape_independence())
