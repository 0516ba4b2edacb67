"""What is asked of every transformation that is declared, and of which small scenarios first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import hypothesis.strategies as st
import torch
from torch import Tensor

from . import laws
from .checking import Law
from .laws.adapters import Regauged
from .laws.bounds import far_histories
from .strategies import (
    History,
    constant,
    free,
    histories,
    lokr_modules,
    lora_modules,
    matrices,
    nonzero,
    powers_of_two,
    shapes,
    trees,
)

ENORMOUS = 2.0**20
"""The limit of a bound that nothing that is not bounded keeps."""

Dress = Callable[[History], Any]


@dataclass(frozen=True)
class Question:
    """A law that every declaration answers with yes or no.

    Args:
        law: with the numbers for which "no" must be shown.
        dresses: each makes an example of the law out of a scenario.
        fits: which scenarios can be one.
    """

    law: Law
    dresses: tuple[Dress, ...] = (lambda history: history,)
    fits: Callable[[History], bool] = lambda history: True

    def scenarios(self) -> list[Any]:
        """The scenarios as examples of the law."""
        histories = [history for history in SCENARIOS.values() if self.fits(history)]
        return [dress(history) for dress in self.dresses for history in histories]

    def put(self, claim: Law) -> Law:
        """A claimed law, tried on what the question is tried on."""
        return replace(claim, examples=self.law.examples)


def _tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.tensor(x, dtype=torch.float64) for name, x in values.items()}


def _plain(param: Any, *grads: Any) -> History:
    return History(_tensors({"w": param}), [_tensors({"w": g}) for g in grads])


def _module(params: Mapping[str, Any], *grads: Mapping[str, Any]) -> History:
    """Where no gradient is given, the factor itself is one."""
    return History(_tensors(params), [_tensors({**params, **each}) for each in grads])


_A, _B = "q.lora_A.weight", "q.lora_B.weight"
_LORA = {_A: [[1.0, -2.0], [0.5, 1.0]], _B: [[2.0, 1.0], [-1.0, 3.0], [0.0, 1.0]]}
_FRESH_LORA = {_A: [[1.0, -2.0]], _B: [[0.0], [0.0]]}
_W1, _W2, _W2A, _W2B = "m.lokr_w1", "m.lokr_w2", "m.lokr_w2_a", "m.lokr_w2_b"
_LOKR = {_W1: [[1.0, 2.0], [-1.0, 0.5]], _W2: [[2.0, -1.0]]}
_FACTORED = {_W1: [[1.0, -2.0]], _W2A: [[2.0, 1.0], [0.0, -3.0]], _W2B: [[0.5, 2.0], [1.0, 1.0]]}
_FRESH_LOKR = {_W1: [[1.0, -2.0]], _W2: [[0.0, 0.0]]}

SCENARIOS: Mapping[str, History] = {
    "constant": _plain([2.0], [1.0], [1.0], [1.0], [1.0], [1.0]),
    "two elements": _plain([1.0, -2.0], [3.0, 1.0], [1.0, -4.0], [0.5, 0.5]),
    "three elements": _plain([1.0, 4.0, 2.0], [3.0, -1.0, 1.0], [-1.0, 3.0, 2.0], [-2.0, -8.0, 1.0]),
    "matrix": _plain([[1.0, 2.0], [-3.0, 4.0]], [[3.0, -1.0], [2.0, 8.0]], [[-1.0, 5.0], [0.5, 1.0]]),
    "sign turns": _plain([2.0, 1.0], [4.0, 4.0], [-1.0, 4.0], [-1.0, -1.0]),
    "enormous": _plain([1.0, 1.0], [2.0**60, 2.0**50], [2.0**60, 2.0**58], [2.0**60, 1.0]),
    "minute": _plain([1.0, -1.0], [2.0**-30, 2.0**-20], [2.0**-30, 2.0**-24]),
    "zero first": _plain([2.0, 3.0], [0.0, 0.0], [3.0, 1.0], [3.0, -1.0]),
    "zero element": _plain([1.0, 0.0], [0.0, 1.0], [1.0, 0.0]),
    "collinear": _plain([1.0, -2.0], [2.0, -4.0], [1.0, -2.0]),
    "far out": _plain([0.0, 0.0, 64.0], [0.0, 0.0, -1.0], [1.0, 1.0, 1.0]),
    "no gradient": _plain([1.0], [0.0]),
    "at zero": _plain([0.0, 0.0], [1.0, -2.0], [1.0, 2.0]),
    "rising": _plain([1.0], [2.0**-6], [1.0], [64.0], [4096.0]),
    "falling": _plain([1.0], [64.0], [1.0], [2.0**-6], [2.0**-12]),
    "late turn": _plain([1.0], [1.0], [1.0], [1.0], [-64.0], [1.0]),
    "burst": _plain([1.0, 1.0], [64.0, 64.0], [-1.0, 1.0]),
    "cancelling": _plain([1.0], [1.0], [-1.0], [1.0]),
    "enormous parameter": _plain([2.0**60, -(2.0**60)], [1.0, -1.0], [1.0, 2.0], [1.0, 2.0]),
    "landing on zero": _plain([2.0, 1.0], [-2.0, -1.0], [-1.0, 1.0]),
    "landing near zero": _plain([2.0, 1.0], [-2.03125, -1.0], [-1.0, 1.0]),
    "walking to zero": _plain([2.0], [-1.0], [-1.0], [-1.0]),
    "back where it began, and at zero": History(
        _tensors({"w": [1.0], "v": [-7 - 2.0**-21]}),
        [
            _tensors({"w": [7 + 2.0**-21], "v": [1 + 2.0**-23]}),
            _tensors({"w": [-7 - 2.0**-21], "v": [5.0]}),
            _tensors({"w": [-7.0], "v": [1 + 3 * 2.0**-23]}),
            _tensors({"w": [1.0], "v": [-1.0]}),
        ],
    ),
    "two parameters": History(
        _tensors({"w": [2.0], "v": [1.0, 8.0]}),
        [_tensors({"w": [1.0], "v": [3.0, -2.0]}), _tensors({"w": [-8.0], "v": [1.0, 4.0]})],
    ),
    "LoRA": _module(_LORA, {_A: [[3.0, 1.0], [1.0, -1.0]]}, {_B: [[1.0, 4.0], [1.0, 1.0], [-2.0, 1.0]]}),
    "fresh LoRA": _module(_FRESH_LORA, {_A: [[0.0, 0.0]], _B: [[4.0], [-1.0]]}, {_B: [[2.0**60], [1.0]]}),
    "woken LoRA": _module(_FRESH_LORA, {_A: [[0.0, 0.0]]}, {_A: [[2.0**60, 2.0**60]], _B: [[2.0**60], [2.0**60]]}),
    "LoRA of an embedding": _module({_A: [[0.0, 0.0]], _B: [[0.0], [3.0]]}, {_A: [[1.0, 2.0]]}, {_B: [[4.0], [1.0]]}),
    "LoKr": _module(_LOKR, {_W2: [[3.0, 5.0]]}, {_W1: [[1.0, -1.0], [4.0, 2.0]]}),
    "shrinking LoKr": _module(_LOKR, *[{key: (-0.25 * torch.tensor(x)).tolist() for key, x in _LOKR.items()}] * 2),
    "factored LoKr": _module(_FACTORED, {_W1: [[3.0, 1.0]]}, {_W2A: [[1.0, 1.0], [2.0, 5.0]]}),
    "fresh LoKr": _module(_FRESH_LOKR, {_W1: [[0.0, 0.0]], _W2: [[3.0, -1.0]]}, {_W2: [[2.0**60, 1.0]]}),
}
"""Small histories that refute most of what can be refuted."""

_modules = st.one_of(lora_modules(), lokr_modules(), lora_modules(fresh=True), lokr_modules(fresh=True))
_everything = st.one_of(trees(shapes), _modules)
_anything = histories(params=_everything)
_single = histories(params=st.one_of(trees(shapes, max_tensors=1), _modules))


class Shuffled(Random):
    """Shuffles in the same way every time."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def shuffle(self, x: MutableSequence[Any]) -> None:
        Random(self.number).shuffle(x)

    def __repr__(self) -> str:
        return f"Shuffled({self.number})"


class Onwards(Random):
    """Shuffles by moving each to the place before it."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        x.append(x.pop(0))

    def __repr__(self) -> str:
        return "Onwards()"


def _regauged(history: History) -> Regauged:
    return Regauged(history, 4.0)


def _is_vector(history: History) -> bool:
    return history.params.keys() == {"w"} and history.params["w"].ndim == 1


def _has_parts(history: History) -> bool:
    return all(x.numel() > 1 for x in history.params.values())


def _has(*names: str) -> Callable[[History], bool]:
    return lambda history: all(name in history.params for name in names)


def _is_fresh(history: History) -> bool:
    return "w" not in history.params and any(not x.any() for x in history.params.values())


def _asked_of(law: Law, examples: st.SearchStrategy[Any], *dresses: Dress) -> Question:
    asked = replace(law, examples=examples)
    return Question(asked, dresses) if dresses else Question(asked)


QUESTIONS: tuple[Question, ...] = (
    _asked_of(laws.sign_symmetry(), _anything),
    *(
        _asked_of(laws.scale_equivariance(degree=degree), st.tuples(_anything, powers_of_two), lambda h: (h, 4.0))
        for degree in (0, 1)
    ),
    _asked_of(laws.homogeneity(), st.tuples(_anything, powers_of_two), lambda h: (h, 4.0)),
    _asked_of(laws.translation_invariance(), st.tuples(_anything, st.integers(-4, 4).map(float)), lambda h: (h, 3.0)),
    _asked_of(
        laws.permutation_equivariance(),
        st.tuples(_single, st.integers(0, 99).map(Shuffled)),
        lambda h: (h, Onwards()),
    ),
    _asked_of(laws.elementwise(), _single),
    Question(laws.shape_independence(), fits=_is_vector),
    _asked_of(
        laws.rotation_equivariance(),
        st.tuples(histories(params=st.one_of(trees(matrices), _modules), patterns=[free]), nonzero),
        lambda h: (h, 1.0),
    ),
    _asked_of(
        laws.continuity(),
        st.tuples(histories(params=_everything, patterns=[free]), st.integers(0, 3)),
        lambda h: (h, 0),
        lambda h: (h, 1),
    ),
    _asked_of(laws.bounded(limit=ENORMOUS), far_histories(_everything)),
    Question(laws.no_blow_up(limit=ENORMOUS), fits=_is_fresh),
    *(
        _asked_of(make(sign=sign), _anything)
        for make in (laws.first_step_descends, laws.never_against_the_gradient, laws.decay_shrinks)
        for sign in (-1, 1)
    ),
    _asked_of(laws.rests_without_gradient(), _anything),
    Question(laws.orthogonal_to_parameter(), fits=_has_parts),
    _asked_of(laws.monotone_decay(), histories(params=_everything, patterns=[constant], min_steps=2, max_steps=8)),
    _asked_of(laws.idempotence(), _anything),
    _asked_of(laws.finite_after_nan(), _anything),
    *(
        Question(
            replace(law, examples=st.builds(Regauged, histories(params=modules, patterns=[free]), powers_of_two)),
            (_regauged,),
            _has(name),
        )
        for law, name, modules in (
            (laws.lora_gauge(), _A, st.one_of(lora_modules(), lora_modules(fresh=True))),
            (laws.lokr_gauge(), _W1, st.one_of(lokr_modules(), lokr_modules(fresh=True))),
        )
    ),
)
"""The fixed list."""
