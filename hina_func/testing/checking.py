"""Laws, the search for a counterexample, and what is said when there is one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from time import process_time
from typing import Any, NamedTuple

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky, Unsatisfiable, UnsatisfiedAssumption
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from ..checks import require_choice
from .subjects import Functional, Subject, Torch, Transform, Values, as_subject

ALL = (Transform, Torch, Functional)
"""Every kind of subject."""

PROFILES: Mapping[str, int] = {"quick": 40, "ci": 300, "thorough": 2000}
"""How many examples a law is tried on."""


class Violation(AssertionError):
    """A law does not hold of one example; says in numbers what was expected and what came."""


@dataclass(frozen=True)
class Law:
    """A statement about every subject of a kind, and what it is tried on.

    Args:
        name: as in ``hina_func.testing.laws``.
        statement: one sentence.
        asks: ``asks(subject, example)`` raises `Violation` where the law does not hold.
        examples: what it is tried on.
        of: the kind of subject it is about.
        numbers: the numbers it was made with.
    """

    name: str
    statement: str
    asks: Callable[[Subject, Any], None]
    examples: SearchStrategy[Any]
    of: type | tuple[type, ...] = ALL
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = {key: getattr(value, "__name__", value) for key, value in self.numbers.items() if value is not None}
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in given.items())})"

    def concerns(self, subject: Subject) -> bool:
        """Whether it is about subjects of this kind."""
        return isinstance(subject, self.of)


def law(
    examples: SearchStrategy[Any], of: type | tuple[type, ...] = ALL
) -> Callable[[Callable[..., None]], Callable[..., Law]]:
    """Make a function ``f(subject, example, *, <numbers>)`` a law; the first line of its docstring is the statement."""

    def register(asks: Callable[..., None]) -> Callable[..., Law]:
        statement = (inspect.getdoc(asks) or "").partition("\n")[0]
        known = inspect.signature(asks).parameters
        defaults = {key: p.default for key, p in known.items() if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}

        @wraps(asks)
        def make(**numbers: Any) -> Law:
            inspect.signature(asks).bind(None, None, **numbers)
            return Law(asks.__name__, statement, partial(asks, **numbers), examples, of, {**defaults, **numbers})

        return make

    return register


class Counterexample(AssertionError):
    """The smallest example found of which a law does not hold; prints in full, and `replay` asks again."""

    def __init__(self, law: Law, subject: Subject, example: Any, reason: str) -> None:
        self.law, self.subject, self.example, self.reason = law, subject, example, reason
        super().__init__(f"{subject.name} breaks the law {law}\n{law.statement}\n{_shown(example)}\n{reason}")

    def replay(self) -> None:
        """Ask the law again, of this example alone.

        Raises:
            Violation: if it breaks the law again; or the error that it ends in.
        """
        self.law.asks(self.subject, self.example)


def _shown(example: Any) -> str:
    return "\n".join(map(str, example)) if type(example) is tuple else str(example)


def check(law: Law, thing: Any, *, profile: str = "quick", seed: int = 0) -> None:
    """Look for an example of which a law does not hold.

    Args:
        law: from ``hina_func.testing.laws``.
        thing: a `hina_func.GradientTransformation`, or a factory ``f(parameters) -> torch.optim.Optimizer``.
        profile: "quick", "ci" or "thorough": 40, 300 or 2000 examples.
        seed: another one tries other examples; the same one the same.

    Raises:
        Counterexample: the smallest that was found.
        TypeError: if the law is none, or not about such things.
        ValueError: for another profile.

    >>> import hina_func as hf
    >>> from hina_func.testing import check, laws
    >>> check(laws.scale_equivariance(degree=0), hf.scale_by_adam(eps=0.0))
    >>> check(laws.bounded(limit=1.0), hf.trace(0.9))
    Traceback (most recent call last):
    ...
    hina_func.testing.checking.Counterexample: GradientTransformation(trace) breaks the law bounded(limit=1.0)
    No element ever moves farther than the limit.
    params  {w: [0.0]}
    grads 1  {w: [2.0]}
    step 1: w moved by 2, farther than 1
    """
    __tracebackhide__ = True
    require_choice(tuple(PROFILES), profile=profile)
    require_law(law)
    subject = as_subject(thing)
    if not law.concerns(subject):
        raise TypeError(f"the law {law} is not about subjects like {subject.name}")
    found = search(law, subject, PROFILES[profile], seed)
    if found is not None:
        raise found


def require_law(law: Any) -> None:
    """The argument is a law, not the function that makes one."""
    if not isinstance(law, Law):
        raise TypeError(f"law must be a law, as laws.determinism() makes one, got {law!r}")


def search(law: Law, subject: Subject, examples: int, seed: int, *, shrink: bool = True) -> Counterexample | None:
    """The smallest counterexample among so many examples, if any; the first one found with ``shrink=False``.

    Raises:
        Unsatisfiable: if the subject takes none of them.
    """
    found = hunt(law, subject, examples, seed, shrink=shrink)
    if not found.examples:
        raise Unsatisfiable(f"{subject.name} takes none of the examples of the law {law}")
    return found.counterexample


class Hunt(NamedTuple):
    """What a search came to."""

    counterexample: Counterexample | None
    examples: int
    """How many the subject took; it refuses one by `hypothesis.reject`."""
    in_time: bool


def hunt(
    law: Law, subject: Subject, examples: int, seed: int, *, seconds: float = math.inf, shrink: bool = True
) -> Hunt:
    """As `search`, for so many seconds of the processor: a counterexample found by then is the smallest so far."""
    end = process_time() + seconds
    last: list[tuple[Any, BaseException]] = []
    broke: set[str] = set()
    taken, in_time = 0, True

    def ask(example: Any) -> None:
        nonlocal taken, in_time
        if process_time() > end:
            in_time = False
            # the rest passes, so that hypothesis ends; what broke the law must break it again, or it is called flaky
            if _shown(example) not in broke:
                return
        try:
            law.asks(subject, example)
        except UnsatisfiedAssumption:
            raise
        except Exception as reason:
            taken += 1
            last[:] = [(example, reason)]
            broke.add(_shown(example))
            raise
        taken += 1

    tries = _settings(examples, Phase.generate, *[Phase.shrink] * shrink)
    try:
        seeded(seed)(tries(given(law.examples)(ask)))()
    except Flaky:
        said = "it breaks the law at times only: it is not deterministic"
        return Hunt(Counterexample(law, subject, last[0][0], said), taken, in_time)
    except Unsatisfiable:
        return Hunt(None, taken, in_time)
    except Exception:
        if not last:
            raise
        example, reason = last[0]
        return Hunt(Counterexample(law, subject, example, reason_of(reason)), taken, in_time)
    return Hunt(None, taken, in_time)


def _settings(examples: int, *phases: Phase) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )


def reason_of(error: BaseException) -> str:
    """What is said of a law that raised this."""
    return str(error) if isinstance(error, Violation) else f"it raised {type(error).__name__}: {error}"


@cache
def drawn(examples: SearchStrategy[Any], number: int, seed: int) -> tuple[Any, ...]:
    """So many examples, the same at every call."""
    found: list[Any] = []

    def keep(example: Any) -> None:
        found.append(example)

    seeded(seed)(_settings(number, Phase.generate)(given(examples)(keep)))()
    return tuple(found)


def expect_equal(found: Sequence[Values], expected: Sequence[Values], what: str) -> None:
    """Equal to the bit, save the sign of zero.

    Raises:
        Violation: at the first step, parameter and element that differ.
    """
    expect_close(found, expected, what, tolerance=0.0)


def expect_close(
    found: Sequence[Values], expected: Sequence[Values], what: str, *, tolerance: float, size: float = 0.0
) -> None:
    """Equal within ``tolerance`` times the largest number up to that step (``size`` at least).

    Raises:
        Violation: at the first step, parameter and element that differ.
    """
    largest = size
    for i, (one, other) in enumerate(zip(found, expected, strict=True), 1):
        largest = max([largest, *(_largest(x) for x in other.values())])
        for name, expected_here in other.items():
            here = one[name].to(expected_here.dtype)
            off = ~torch.isclose(here, expected_here, rtol=0.0, atol=tolerance * largest, equal_nan=True)
            if off.any():
                at = tuple(off.nonzero()[0].tolist())
                got, wanted = here[at].item(), expected_here[at].item()
                raise Violation(f"step {i}: {what}: {name}{list(at)} is {got}, not {wanted}")


def expect_within_ulp(found: Sequence[Values], expected: Sequence[Values], what: str, *, ulp: float) -> None:
    """Parameters, at the start and after each step, agree but for so many units in the last place.

    A unit is that of the largest number of the step: the parameter before or after it.

    Raises:
        Violation: at the first step, parameter and element that differ.
    """
    for i, (before, one, other) in enumerate(zip(expected, found[1:], expected[1:], strict=False), 1):
        for name, wanted in other.items():
            size = torch.stack([before[name].abs(), one[name].abs(), wanted.abs()]).amax(0)
            unit = torch.nextafter(size, torch.full_like(size, torch.inf)) - size
            apart = (one[name] - wanted).abs() / unit
            off = (one[name] != wanted) & ~(apart <= ulp) & ~(one[name].isnan() & wanted.isnan())
            if off.any():
                at = tuple(off.nonzero()[0].tolist())
                got, should = one[name][at].item(), wanted[at].item()
                raise Violation(f"step {i}: {what}: {name}{list(at)} is {got}, not {should}: {apart[at]:g} ulp apart")


def _largest(x: Tensor) -> float:
    finite = x[x.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
