"""The laws find the bugs of the corpus, without a single golden number.

``killers.json`` names a law, and what shows the bug, for each mutant; that one is asked here. ``pytest
tests/test_law_score.py --law-score`` asks every law of every mutant and writes the table to ``build/law_score.txt``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hina_func.testing import Counterexample, check, laws
from hina_func.testing.checking import PROFILES, Law
from hina_func.testing.laws import factors, memory, relations
from hina_func.testing.mutants import CORPUS, EXHIBITS, Mutant, score
from hina_func.testing.mutants.scoring import keeps, laws_of, refuted

KILLERS: dict[str, str] = json.loads((Path(__file__).parent / "killers.json").read_text("utf-8"))
BY_NAME = {mutant.name: mutant for mutant in CORPUS}


def recorded(killer: str) -> tuple[str, Law]:
    """Exhibit and law."""
    name, _, exhibit = killer.partition(" of ")
    return exhibit, next(law for law in laws_of(exhibit) if law.name == name)


def test_the_corpus_is_large_and_its_sentences_differ() -> None:
    assert len(CORPUS) == len(BY_NAME) >= 60
    assert {exhibit for mutant in CORPUS for exhibit in mutant.shown_by} <= EXHIBITS.keys()


def test_laws_alone_find_every_bug() -> None:
    assert KILLERS.keys() == BY_NAME.keys()


@pytest.mark.parametrize("mutant", CORPUS, ids=str)
def test_the_law_finds_the_bug(mutant: Mutant) -> None:
    exhibit, law = recorded(KILLERS[mutant.name])
    kill = refuted(mutant, exhibit, law, PROFILES["ci"])
    assert kill is not None
    assert not kill.reason.startswith("it raised"), "a bug that raises needs no law"


@pytest.mark.parametrize("killer", sorted(set(KILLERS.values())))
def test_nothing_is_found_where_there_is_no_bug(killer: str) -> None:
    assert keeps(*recorded(killer), examples=8)


FINDERS = {killer.partition(" of ")[0] for killer in KILLERS.values()}


@pytest.mark.parametrize(
    "name",
    [n for n in laws.__all__ if getattr(laws, n).__module__ in {m.__name__ for m in (factors, memory, relations)}],
)
def test_every_law_of_memory_relations_and_factors_finds_something(name: str) -> None:
    assert name in FINDERS


def test_a_bug_is_gone_when_it_was_shown() -> None:
    mutant = BY_NAME["Momentum forgets to decay"]
    law = laws.fading(rate=0.5)
    with mutant.applied(), pytest.raises(Counterexample, match="breaks the law fading"):
        check(law, EXHIBITS["momentum"].build())
    check(law, EXHIBITS["momentum"].build())


def test_a_mutant_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match=r"no function transforms\.trace\.sum_leaf"):
        Mutant("Nowhere", "transforms.trace.sum_leaf", ("a", "b")).right()
    with pytest.raises(ValueError, match="has no 'decay \\+ u'"):
        Mutant("Out of date", "transforms.trace.trace_leaf", ("decay + u", "u")).wrong()


def test_a_score_is_data_and_a_table() -> None:
    two = [BY_NAME["Momentum forgets to decay"], BY_NAME["Momentum keeps what it was"]]
    found = score(two, [laws.bounded(limit=1e12), laws.fading(rate=0.5), laws.bounded(limit=1e-9)], every=True)
    assert found.by_law() == {"fading": 1}, "a law that the right one breaks as well kills nothing"
    assert (found.survivors, found.share) == (("Momentum keeps what it was",), 0.5)
    assert "Momentum forgets to decay   fading of momentum" in str(found)
    assert str(found).endswith("1 of 2 killed, 50 %")


@pytest.mark.slow
def test_the_score_of_all_laws(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--law-score"):
        pytest.skip("the whole table is asked for with --law-score")
    written = Path(__file__).parent.parent / "build" / "law_score.txt"
    written.parent.mkdir(exist_ok=True)
    with written.open("w", encoding="utf-8") as table:
        found = score(every=True, progress=lambda mutant, kills: print(mutant, kills, file=table, flush=True))
        print(found, *found.by_law().items(), sep="\n", file=table)
    patient = score([BY_NAME[name] for name in found.survivors], profile="ci")
    assert patient.survivors == (), "what few examples do not show, more of them must"
