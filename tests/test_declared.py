"""What each transformation is known to keep it keeps, and what it is not known to keep it breaks."""

from __future__ import annotations

from functools import partial

import hypothesis.strategies as st
import pytest
import torch
from catalog import ROWS
from hypothesis import given, settings
from law_pages import PAGE, page, why

import hina_func as hf
from hina_func.testing import Counterexample, Declaration, Torch, Undeclared, check, check_declared, laws
from hina_func.testing.checking import PROFILES
from hina_func.testing.declared import DECLARED
from hina_func.testing.declared.common import adam_limit, nadam_limit
from hina_func.testing.declaring import FEW, SEARCHED, unbroken, unkept

rows = pytest.mark.parametrize("name", DECLARED)


@pytest.fixture(scope="session")
def effort(request: pytest.FixtureRequest) -> dict[str, int]:
    """How many examples of each law are drawn for each transformation, and every how many scenarios one is tried."""
    thorough = request.config.getoption("--thorough-laws")
    return {"shared": PROFILES["thorough"], "every": 1} if thorough else {"shared": FEW, "every": 2}


@rows
def test_it_keeps_what_it_is_declared_to_keep(name: str, effort: dict[str, int]) -> None:
    failures = [str(failure) for failure in unkept(DECLARED[name], 0, **effort)]
    assert not failures, "\n\n".join(failures)


@rows
def test_it_breaks_what_it_is_not_declared_to_keep(name: str) -> None:
    assert [str(law) for law in unbroken(DECLARED[name], SEARCHED)] == []


def test_every_transformation_of_the_catalog_is_declared() -> None:
    assert {row.name for row in ROWS} - DECLARED.keys() == set()


def test_every_schedule_is_declared() -> None:
    schedules = {name for name in hf.__all__ if getattr(getattr(hf, name), "__module__", "") == hf.schedules.__name__}
    assert schedules - DECLARED.keys() == set()
    for name in schedules:
        assert laws.schedule_bounds.__name__ in {law.name for law in DECLARED[name].keeps}


@pytest.mark.parametrize("name", laws.__all__)
def test_every_law_has_a_reason(name: str) -> None:
    assert why(name).endswith(".")


def test_the_page_of_the_laws_is_the_one_that_the_declarations_give() -> None:
    """``cd tests && python law_pages.py`` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_a_declaration_is_refused_that_says_nothing_or_two_things() -> None:
    with pytest.raises(TypeError, match="is not about subjects like"):
        Declaration(hf.scale(0.5), keeps=(laws.closure(),))
    with pytest.raises(ValueError, match="breaks must be one of"):
        Declaration(hf.scale(0.5), breaks=("elementwise",))
    with pytest.raises(ValueError, match="undecided must be one of"):
        Declaration(hf.scale(0.5), undecided={"elementwise()": "no parentheses"})
    with pytest.raises(ValueError, match="keeps elementwise and has it undecided"):
        Declaration(hf.scale(0.5), keeps=(laws.elementwise(),), undecided={"elementwise": "why not"})
    with pytest.raises(TypeError, match=r"law must be a law, as laws.determinism\(\) makes one"):
        Declaration(hf.scale(0.5), keeps=(laws.elementwise,))
    with pytest.raises(ValueError, match="keeps purity and breaks it"):
        Declaration(hf.scale(0.5), keeps=(laws.purity(),), breaks=("purity",))


def shared_out(updates, state, params=None, **extra):
    """Each update is divided by how many there are, and only dicts are taken."""
    return {name: None if u is None else u / len(updates) for name, u in updates.items()}, state


@pytest.mark.parametrize("law", ["company_independence", "mask_is_removal", "trees_alike"])
def test_a_law_of_conduct_that_is_declared_broken_must_be(law: str) -> None:
    assert not refuted(Declaration(hf.scale(0.5), breaks=(law,)))


@pytest.mark.parametrize("law", ["company_independence", "trees_alike"])
def test_a_law_of_conduct_may_be_declared_broken(law: str) -> None:
    broken = hf.GradientTransformation(lambda params: hf.EmptyState(), shared_out)
    assert refuted(Declaration(broken, breaks=(law,))) == [law]


def test_a_law_that_is_declared_broken_and_holds_is_to_be_taken_out_of_breaks() -> None:
    halved = DECLARED["scale"]
    with pytest.raises(Undeclared, match=r"(?s)  purity\(\): .*what breaks= names, take out of it$"):
        check_declared(Declaration(halved.thing, halved.keeps, breaks=("purity",)))


def test_a_bound_of_one_is_a_promise_too_many_for_adam() -> None:
    known = DECLARED["scale_by_adam"]
    kept = [law for law in known.keeps if law.name != "bounded"]
    with pytest.raises(Counterexample, match=r"(?s)breaks the law bounded\(limit=1.05\).* farther than 1.05$"):
        check_declared(Declaration(known.thing, [laws.bounded(limit=1.05), *kept]))


def refuted(declaration: Declaration) -> list[str]:
    """What it is declared to break by name, and breaks."""
    left = {law.name for law in unbroken(declaration, 20)}
    return [name for name in declaration.breaks if name not in left]


def test_a_law_is_made_before_it_is_checked() -> None:
    with pytest.raises(TypeError, match=r"law must be a law, as laws.determinism\(\) makes one"):
        check(laws.determinism, hf.scale(0.5))


def test_a_question_that_is_undecided_is_neither_kept_nor_broken() -> None:
    open_question = Declaration(hf.scale(0.5), undecided={"elementwise": "nobody looked"})
    assert "elementwise" not in {law.name for law in open_question.kept()}
    assert "elementwise" not in {question.law.name for question in open_question.broken()}
    assert "elementwise" in {question.law.name for question in Declaration(hf.scale(0.5)).broken()}


def test_an_error_is_no_counterexample_to_what_is_not_declared() -> None:
    def raises(updates: hf.core.Tree, params: hf.core.Tree | None) -> hf.core.Tree:
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        list(unbroken(Declaration(hf.stateless(raises))))
    broken = next(unkept(Declaration(hf.stateless(raises), (laws.elementwise(),)), 0))
    assert "it raised RuntimeError: no such kernel" in str(broken)


def test_a_false_declaration_is_refuted() -> None:
    unstable = DECLARED["trace"]
    found = list(unkept(Declaration(unstable.thing, (*unstable.keeps, laws.bounded(limit=9.0))), 0))
    assert [failure.law.name for failure in found] == ["bounded"]
    with pytest.raises(AssertionError, match="farther than 9"):
        found[0].replay()


def test_a_transformation_that_writes_into_gradients_spoils_no_scenario() -> None:
    halved = hf.stateless(lambda updates, params: {name: u.mul_(0.5) for name, u in updates.items()})
    with pytest.raises(Counterexample, match=r"breaks the law purity\(\)"):
        check_declared(Declaration(halved, DECLARED["scale"].keeps))
    check_declared(DECLARED["clip_by_value"])


def test_a_modest_declaration_is_refused() -> None:
    modest = Declaration(hf.trace(0.9), [law for law in DECLARED["trace"].keeps if law.name != "continuity"])
    with pytest.raises(Undeclared, match=r"does not declare .*\n  continuity\(\): A gradient changed by a hair"):
        check_declared(modest)


def test_an_optimizer_of_torch_can_be_declared() -> None:
    def sgd(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=0.5)

    declared = Declaration(sgd, DECLARED["scale_by_learning_rate"].keeps)
    assert {law.name for law in declared.kept()} >= {"closure", "still_at_zero_lr", "monotone_decay"}
    assert list(unbroken(declared)) == []


@pytest.mark.parametrize("flags", [{"foreach": True}, {"fused": True}], ids=str)
def test_flags_of_an_optimizer_change_nothing(flags: dict[str, bool]) -> None:
    plain = partial(torch.optim.AdamW, lr=0.1, foreach=False)
    check(laws.equals(other=Torch(plain, "plain")), Torch(partial(torch.optim.AdamW, lr=0.1, **flags), "other"))


def test_replicas_that_draw_at_random_part() -> None:
    """Each process has its own generator."""
    noisy = hf.stateless(lambda updates, params: {name: u + torch.rand_like(u) for name, u in updates.items()})
    with pytest.raises(Counterexample, match="the other replica"):
        check(laws.replicas(), noisy)


def test_a_schedule_out_of_its_bounds_is_found() -> None:
    rising = hf.scale_by_schedule(hf.linear_schedule(0.5, 1.0, 4))
    check(laws.schedule_bounds(low=0.5, high=1.0), rising)
    with pytest.raises(Counterexample, match="has the gradient"):
        check(laws.schedule_bounds(low=0.5, high=0.75), rising)
    with pytest.raises(Counterexample, match="farther than by"):
        check(laws.monotone_decay(), rising)


def farthest(tx: hf.GradientTransformation, grads: list[float]) -> float:
    """The last move of one element at the origin."""
    params = {"w": torch.zeros(1, dtype=torch.float64)}
    state = tx.init(params)
    for g in grads:
        updates, state = tx.update({"w": torch.tensor([g], dtype=torch.float64)}, state, params)
    return float(updates["w"])


@settings(max_examples=4)
@given(b1=st.floats(0.5, 0.9), b2=st.floats(0.9, 0.98), nesterov=st.booleans())
def test_the_limits_of_adam_are_reached(b1: float, b2: float, nesterov: bool) -> None:
    """By the gradients for which Cauchy and Schwarz have equality, which grow by b2 / b1 at every step."""
    grads = [(b1 / b2) ** age for age in reversed(range(300))]
    grads[-1] *= (1 + b1) / b1 if nesterov else 1
    limit = (nadam_limit if nesterov else adam_limit)(b1, b2)
    reached = farthest(hf.scale_by_adam(b1, b2, eps=0.0, nesterov=nesterov), grads)
    assert 0.99 * limit < reached <= limit
