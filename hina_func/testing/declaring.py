"""Declared laws: what is known of a transformation, asked in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..checks import require_choice
from . import laws
from .checking import PROFILES, Counterexample, Law, Violation, drawn, reason_of, require_law, search
from .questions import QUESTIONS, Question
from .strategies import History
from .subjects import Subject, as_subject

AMOUNTS = ("limit", "tolerance")
"""Numbers that say how much a law allows. The others say which law it is: a degree, a sign."""

FEW = 4
"""How many examples are drawn of each law once for all declarations."""

SEARCHED = 300
"""How many examples are drawn, at least, where no scenario refutes what is not declared."""


def kind_of(law: Law) -> str:
    """A law without the numbers that say how much it allows: what it is called as a question."""
    kinds = [f"{key}={x}" for key, x in law.numbers.items() if key not in AMOUNTS]
    return f"{law.name}({', '.join(kinds)})" if kinds else law.name


def _is_whole(law: Law) -> Callable[[History], bool]:
    """Which scenarios are examples of a law of conduct: no law's that asks for more than a history, no modules."""
    return lambda history: law.name != "absence" and "w" in history.params


class Undeclared(AssertionError):
    """Laws that nothing was found to break, and that are not declared; they are its ``laws``."""

    def __init__(self, laws: Sequence[Law], declaration: Declaration, tried: int) -> None:
        self.laws, self.subject = tuple(laws), declaration.subject
        found = "".join(f"  {law}: {law.statement}\n" for law in laws)
        advice = "declare it in keeps=, or say in undecided= why it is not known"
        if any(law.name in declaration.breaks for law in laws):
            advice += "; what breaks= names, take out of it"
        super().__init__(
            f"{self.subject.name} does not declare what nothing breaks, the scenarios and {tried} examples:\n"
            f"{found}{advice}"
        )


@dataclass(frozen=True)
class Declaration:
    """What is known of a transformation or an optimizer: the laws it keeps. It breaks those it does not name.

    Laws of conduct and of composition are kept by all and need not be named; those of ``QUESTIONS`` are.

    Args:
        thing: a `hina_func.GradientTransformation`, or a factory ``f(parameters) -> torch.optim.Optimizer``.
        keeps: laws with their numbers; those beside the questions, too.
        breaks: names of laws of conduct or composition that it does not keep.
        undecided: a question, as ``"bounded"`` or ``"scale_equivariance(degree=1)"`` -> why it has no answer.

    Raises:
        TypeError: if a law is none, or not about such things.
        ValueError: if a name is not that of such a law, or a law or a question has two answers.

    >>> import hina_func as hf
    >>> from hina_func.testing import Declaration, laws
    >>> signs = Declaration(hf.scale_by_lion(), keeps=(laws.bounded(limit=1.0), laws.elementwise()))
    >>> [str(law) for law in signs.kept()][:2]
    ['bounded(limit=1.0)', 'elementwise()']
    """

    thing: Any
    keeps: Sequence[Law] = ()
    breaks: Sequence[str] = ()
    undecided: Mapping[str, str] = field(default_factory=dict)
    subject: Subject = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", as_subject(self.thing))
        for law in self.keeps:
            require_law(law)
            if not law.concerns(self.subject):
                raise TypeError(f"the law {law} is not about subjects like {self.subject.name}")
            if law.name in self.breaks:
                raise ValueError(f"{self.subject.name} keeps {law.name} and breaks it")
        for name in self.breaks:
            require_choice(tuple(law.name for law in self._promises()), breaks=name)
        for name in self.undecided:
            require_choice(tuple(kind_of(question.law) for question in self._questions()), undecided=name)
            if name in map(kind_of, self.keeps):
                raise ValueError(f"{self.subject.name} keeps {name} and has it undecided")

    def kept(self) -> list[Law]:
        """The laws it is declared to keep: its own, then those of every thing of its kind."""
        promised = [law for law in self._promises() if law.name not in self.breaks]
        return [*map(_as_asked, self.keeps), *promised]

    def broken(self) -> list[Question]:
        """What it is declared to break, by not naming it."""
        answered = {*map(kind_of, self.keeps), *self.undecided}
        own = [question for question in self._questions() if kind_of(question.law) not in answered]
        return own + [Question(law, fits=_is_whole(law)) for law in self._promises() if law.name in self.breaks]

    def scenarios(self, law: Law) -> list[Any]:
        """The small examples of a law that are tried before any is drawn."""
        return [x for question in _questions_of(law) for x in question.scenarios()]

    def _promises(self) -> list[Law]:
        return [law for law in (*laws.CONDUCT, *laws.COMPOSITION) if law.concerns(self.subject)]

    def _questions(self) -> list[Question]:
        return [question for question in QUESTIONS if question.law.concerns(self.subject)]


def _questions_of(law: Law) -> list[Question]:
    return [question for question in QUESTIONS if kind_of(question.law) == kind_of(law)]


def _as_asked(law: Law) -> Law:
    return next((question.put(law) for question in _questions_of(law)), law)


def unkept(
    declaration: Declaration, examples: int, seed: int = 0, *, shared: int = FEW, every: int = 1
) -> Iterator[Counterexample]:
    """Counterexamples to laws that are declared to be kept.

    Args:
        declaration: of one transformation or optimizer.
        examples: how many are drawn of each law.
        seed: of what is drawn.
        shared: how many more, which are drawn once for all declarations.
        every: every how many scenarios one is tried.
    """
    subject = declaration.subject
    for law in declaration.kept():
        first = [*declaration.scenarios(law)[::every], *drawn(law.examples, shared, seed)]
        found = _refuted(law, first, subject, by=Exception)
        if found is None and examples:
            found = search(law, subject, examples, seed)
        if found is not None:
            yield found


def unbroken(declaration: Declaration, examples: int = SEARCHED, seed: int = 0) -> Iterator[Law]:
    """Laws that are not declared, and of which no counterexample was found."""
    for question in declaration.broken():
        by = Exception if question.law.name in declaration.breaks else Violation
        if counterexample(question, declaration.subject, examples, seed, by=by) is None:
            yield question.law


def counterexample(
    question: Question, subject: Subject, examples: int, seed: int = 0, *, by: type[Exception] = Violation
) -> Counterexample | None:
    """One of the scenarios, or one of so many that are drawn; not the smallest.

    An error that is not ``by`` says nothing of the law, and is raised.
    """
    law = question.law
    found = _refuted(law, question.scenarios(), subject, by) or search(law, subject, examples, seed, shrink=False)
    return None if found is None else _refuted(law, [found.example], subject, by)


def _refuted(
    law: Law, examples: Sequence[Any], subject: Subject, by: type[Exception] = Violation
) -> Counterexample | None:
    for example in examples:
        try:
            law.asks(subject, example)
        except by as reason:
            return Counterexample(law, subject, example, reason_of(reason))
    return None


def check_declared(declaration: Declaration, *, profile: str = "quick", seed: int = 0) -> None:
    """Check that what is declared holds, and that what is not declared has a counterexample.

    Args:
        declaration: of one transformation or optimizer.
        profile: "quick", "ci" or "thorough": 40, 300 or 2000 examples of each law that is declared.
        seed: another one tries other examples.

    Raises:
        Counterexample: to a law that is declared: a scenario, or the smallest that was drawn.
        Undeclared: of the laws that are not declared and that nothing breaks.
        ValueError: for another profile.

    >>> from hina_func.testing import Declaration, check_declared
    >>> from hina_func.testing.declared import DECLARED
    >>> known = DECLARED["clip_by_value"]
    >>> check_declared(Declaration(known.thing, known.keeps[1:]))
    Traceback (most recent call last):
    ...
    hina_func.testing.declaring.Undeclared: GradientTransformation(clip_by_value) does not declare what nothing ...
      sign_symmetry(): Parameters and gradients with their signs turned move the opposite way.
    declare it in keeps=, or say in undecided= why it is not known
    """
    require_choice(tuple(PROFILES), profile=profile)
    tried = max(SEARCHED, PROFILES[profile])
    undeclared = list(unbroken(declaration, tried, seed))
    if undeclared:
        raise Undeclared(undeclared, declaration, tried)
    for found in unkept(declaration, PROFILES[profile], seed):
        raise found
