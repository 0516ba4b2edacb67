"""The instrument: it finds what is known to be wrong, in few numbers, and nothing where nothing is wrong."""

from __future__ import annotations

import inspect
import re
import warnings
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import reject
from hypothesis.errors import Unsatisfiable

import hina_func as hf
from hina_func.testing import Counterexample, Torch, check, laws, strategies
from hina_func.testing.checking import Law, hunt
from hina_func.testing.laws import __all__ as NAMES
from hina_func.testing.subjects import as_subject


def adamw(params: Any, **more: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=0.01, **more)


def adamw_without_decay(params: Any, **more: Any) -> torch.optim.Optimizer:
    return adamw(params, weight_decay=0.0, **more)


def fused(params: Any) -> torch.optim.Optimizer:
    return adamw(params, fused=True)


def original(params: Any) -> torch.optim.Optimizer:
    return hina(params, formulas="original", discover_names=False)


def hina(params: Any, **more: Any) -> torch.optim.Optimizer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hf.HinaAdamW(params, lr=0.01, compile=False, **more)


class RoundsOnLoading(torch.optim.SGD):
    """Keeps a float32 momentum for bfloat16 parameters, and leaves loading to torch, which rounds it."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for param in self.param_groups[0]["params"]:
            if param.grad is not None:
                rows = self.state[param]
                rows["m"] = 0.9 * rows.get("m", torch.zeros_like(param).float()) + param.grad.float() / 3
                param.sub_(rows["m"].to(param.dtype))


class RoundsInside(torch.optim.SGD):
    """Nests its state as some libraries do, two levels down, and rounds it on loading; the saved one is not copied."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for param in self.param_groups[0]["params"]:
            if param.grad is not None:
                wide = torch.promote_types(param.dtype, torch.float32)
                rows = self.state[param].setdefault(0, {"m": [torch.zeros_like(param, dtype=wide)]})
                rows["m"][0].add_(param.grad)
                param.sub_(rows["m"][0].to(param.dtype))


class TakesTheGradient(torch.optim.SGD):
    """Frees gradients to save memory."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1)

    def step(self, closure: Any = None) -> None:
        super().step()
        self.zero_grad()


class Dithers(torch.optim.SGD):
    """Rounds at random, as optimizers of low precision do."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step()
        for param in self.param_groups[0]["params"]:
            param.add_(torch.rand_like(param), alpha=1e-3)


class CountsForAll(torch.optim.SGD):
    """One count of steps for every parameter of every optimizer."""

    steps = 0

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        CountsForAll.steps += 1
        for param in self.param_groups[0]["params"]:
            if param.grad is not None:
                param.sub_(param.grad / CountsForAll.steps)


def peeks(updates: Any, params: Any) -> Any:
    """Writes into what it was given."""
    return {name: u.mul_(2) for name, u in updates.items()}


def shifts(updates: Any, params: Any) -> Any:
    """Moves the parameters itself."""
    for param in params.values():
        param.add_(1)
    return updates


def broken(law: Law, thing: Any) -> Counterexample:
    with pytest.raises(Counterexample) as found:
        check(law, thing)
    return found.value


KNOWN = [
    ("torch's fused kernel on matrices stored by columns", laws.layout_independence(), fused, 1, 4),
    ("torch hands reordered parameters each other's state", laws.reordered_resume(), adamw, 3, 2),
    ("torch's loader aliases what it loads", laws.saved_stays(), adamw, 2, 1),
    ("the original jumps at step two", laws.bounded(limit=0.02), original, 2, 1),
    ("the original jumps on fresh adapters", laws.no_blow_up(limit=1.0), original, 2, 24),
    ("the original's mask does not hold", laws.never_against_the_gradient(), original, 3, 2),
    ("float32 state rounded on loading", laws.state_dtype_kept(), RoundsOnLoading, 1, 1),
    ("and so no exact resume", laws.resume_in_bfloat16(), RoundsOnLoading, 3, 3),
    ("the same in nested state", laws.state_dtype_kept(), RoundsInside, 1, 1),
    ("nested state aliased", laws.saved_stays(), RoundsInside, 2, 1),
    ("the gradient taken away", laws.purity(), TakesTheGradient, 1, 1),
    ("state shared by all", laws.determinism(), CountsForAll, 1, 2),
    ("parameters written to", laws.purity(), hf.stateless(shifts), 1, 1),
    ("an argument written to", laws.purity(), hf.stateless(peeks), 1, 1),
    ("momentum is not bounded", laws.bounded(limit=1.0), hf.trace(0.9), 1, 1),
    ("weight decay is not translation invariant", laws.translation_invariance(), adamw, 1, 1),
]


@pytest.mark.parametrize(("what", "law", "thing", "steps", "size"), KNOWN, ids=[row[0] for row in KNOWN])
def test_a_known_bug_is_found_in_few_numbers(what: str, law: Law, thing: Any, steps: int, size: int) -> None:
    found = broken(law, thing)
    history = found.example if isinstance(found.example, strategies.History) else found.example[0]
    assert len(history.grads) <= steps, found
    assert sum(x.numel() for x in history.params.values()) <= size, found
    assert law.statement in str(found)


def test_a_limit_for_each_step() -> None:
    signs = hf.chain(hf.scale_by_lion(), hf.scale_by_schedule(lambda step: 2.0 - torch.clamp(step, max=1.0)))
    check(laws.bounded(limit=lambda step: 2.0 / min(step, 2)), signs)
    assert "step 3" in str(broken(laws.bounded(limit=lambda step: 2.0 / min(step, 4)), signs))


def matrices_only(params: Any) -> torch.optim.Optimizer:
    if any(param.ndim != 2 for param in params):
        reject()
    return adamw(params)


def test_a_subject_may_refuse_examples() -> None:
    check(laws.determinism(), matrices_only)
    found = broken(laws.saved_stays(), matrices_only)
    assert all(param.ndim == 2 for param in found.example.params.values())
    with pytest.raises(Unsatisfiable, match="takes none of the examples"):
        check(laws.shape_independence(), matrices_only)


def test_a_hunt_ends_in_time_with_what_it_has() -> None:
    clock = count()
    law = laws.bounded(limit=0.02)
    whole = hunt(law, as_subject(original), 300, 0)
    with patch("hina_func.testing.checking.process_time", lambda: next(clock)):
        early = hunt(law, as_subject(original), 300, 0, seconds=0)
        late = hunt(law, as_subject(original), 300, 0, seconds=whole.examples - 2)
    assert early == (None, 0, False)
    assert not late.in_time
    assert "farther than" in late.counterexample.reason
    assert sum(x.numel() for x in late.counterexample.example.params.values()) >= 1
    assert hunt(laws.determinism(), as_subject(adamw), 5, 0, seconds=60) == (None, 5, True)


def test_steps_that_draw_numbers_can_be_compared_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    check(laws.determinism(), Dithers)
    check(laws.resume(), Dithers)
    assert torch.equal(torch.get_rng_state(), before)
    assert "moved by" in str(broken(laws.rests_without_gradient(), Dithers))


def test_an_optimizer_may_be_built_from_names() -> None:
    by_name = Torch(lambda params: hina(params), "by name", named=True)
    check(laws.reordered_resume(), by_name)
    broken(laws.reordered_resume(), Torch(adamw, named=True))


def test_a_counterexample_replays() -> None:
    found = broken(laws.bounded(limit=0.02), original)
    with pytest.raises(AssertionError, match="farther than"):
        found.replay()


@pytest.mark.parametrize("law", [laws.elementwise(), laws.equals(other=hf.scale(2.0))])
def test_what_an_update_writes_into_is_a_copy(law: Law) -> None:
    """A transform that doubles gradients in place moves by twice the gradient, whoever asks how often."""
    check(law, hf.stateless(peeks))


def test_a_counterexample_shows_the_gradients_that_it_was_found_with() -> None:
    found = broken(laws.bounded(limit=1.0), hf.stateless(peeks))
    assert found.reason == f"step 1: w moved by {2 * found.example.grads[0]['w'].abs().max():g}, farther than 1"
    for _ in range(2):
        with pytest.raises(AssertionError, match=re.escape(found.reason)):
            found.replay()


def test_a_move_is_recorded_as_it_was() -> None:
    """A transform that returns what it keeps, and writes there at the next step."""

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return {name: state[name].add_(u) for name, u in updates.items()}, state

    summed = hf.GradientTransformation(lambda params: {name: torch.zeros_like(p) for name, p in params.items()}, update)
    check(laws.constant_response(response=lambda g, t: t * g), summed)
    assert "wrote into what it was given" in broken(laws.purity(), summed).reason


def test_gradients_come_in_the_order_of_the_parameters() -> None:
    """So trees can be taken apart and put together by place, as torch's do."""

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        assert list(updates) == list(params)
        return updates, state

    check(laws.company_independence(), hf.GradientTransformation(lambda params: hf.EmptyState(), update))


def test_the_same_seed_finds_the_same() -> None:
    assert str(broken(laws.elementwise(), hf.scale_by_agr())) == str(broken(laws.elementwise(), hf.scale_by_agr()))


def test_a_law_is_not_asked_of_things_it_is_not_about() -> None:
    with pytest.raises(TypeError, match="is not about"):
        check(laws.closure(), hf.scale_by_adam())
    with pytest.raises(ValueError, match="profile must be one of"):
        check(laws.determinism(), adamw, profile="long")
    with pytest.raises(TypeError, match="factory"):
        check(laws.determinism(), 3)
    with pytest.raises(TypeError, match="limit"):
        laws.bounded()
    with pytest.raises(TypeError, match="unexpected keyword"):
        laws.determinism(limit=1)


CONDUCT = [
    "absence",
    "closure",
    "company_independence",
    "determinism",
    "dtype_kept",
    "finite",
    "layout_independence",
    "order_independence",
    "precision",
    "purity",
    "resume",
    "resume_in_bfloat16",
    "saved_stays",
    "separate_runs",
    "state_dtype_kept",
    "still_at_zero_lr",
]


def plain(params: Any) -> hf.Optimizer:
    tx = hf.chain(hf.scale_by_adopt(), hf.grams_sign(), hf.scale_by_learning_rate(hf.Hyperparam("lr", 0.01)))
    return hf.Optimizer(params, tx, discover_names=False, compile=False)


@pytest.mark.parametrize("name", CONDUCT)
def test_our_optimizer_keeps_every_law_of_conduct(name: str) -> None:
    check(getattr(laws, name)(), plain)


DECLARED = {
    "scale_by_adam": ["sign_symmetry", "elementwise", "translation_invariance", "rests_without_gradient"],
    "scale_by_adopt": ["sign_symmetry", "translation_invariance", "rests_without_gradient"],
    "scale_by_agr": ["sign_symmetry", "permutation_equivariance", "translation_invariance"],
    "scale_by_lion": ["sign_symmetry", "elementwise", "translation_invariance", "rests_without_gradient"],
    "orthogonal_project": ["orthogonal_to_parameter", "sign_symmetry", "permutation_equivariance"],
    "trace": ["sign_symmetry", "elementwise", "rotation_equivariance", "continuity"],
    "centralize": ["sign_symmetry", "translation_invariance", "continuity"],
}


@pytest.mark.parametrize(("name", "law"), [(name, law) for name, found in DECLARED.items() for law in found])
def test_transforms_keep_the_laws_that_are_theirs(name: str, law: str) -> None:
    tx = hf.trace(0.9) if name == "trace" else getattr(hf, name)()
    check(getattr(laws, law)(), tx)


COMPOSITION = ["chain_identity", "chain_associativity", "names_do_not_matter", "mask_is_removal", "partition_of_one"]


@pytest.mark.parametrize("law", [*COMPOSITION, "trees_alike"])
def test_composition_is_lawful(law: str) -> None:
    check(getattr(laws, law)(), hf.chain(hf.scale_by_adopt(), hf.cautious_mask()))


def test_twins() -> None:
    chain = hf.chain(hf.scale_by_adam(), hf.add_decayed_weights(0.01), hf.scale_by_learning_rate(0.01))
    check(laws.equals(other=chain), adamw)
    check(
        laws.maximizes(other=lambda p: torch.optim.Adam(p, lr=0.1)),
        lambda p: torch.optim.Adam(p, lr=0.1, maximize=True),
    )
    check(laws.accumulates(other=hf.trace(0.9), every=2), hf.accumulate(hf.trace(0.9), 2))
    assert "step 2" in str(broken(laws.equals(other=hf.trace(0.8)), hf.trace(0.9)))


def test_gauges() -> None:
    by_size = hf.stateless(
        lambda updates, params: {name: params[name].square().sum() * u for name, u in updates.items()}
    )
    check(laws.lora_gauge(), by_size)
    check(laws.lokr_gauge(), by_size)
    broken(laws.lora_gauge(), hf.scale_by_adam())
    late = broken(laws.lora_gauge(), hf.hina_adamw(0.01))
    assert "step 2" in str(late), "ADOPT's first gradient moves nothing"


@pytest.mark.parametrize("name", NAMES)
def test_every_law_says_what_it_states(name: str) -> None:
    stand_ins = {"other": hf.identity(), "response": torch.mul, "rates": torch.mul, "factor": float, "boost": max}
    asked = inspect.signature(getattr(laws, name)).parameters.values()
    law = getattr(laws, name)(
        **{p.name: stand_ins.get(p.name, 1.0) for p in asked if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    )
    assert law.name == name
    assert law.statement.endswith(".")
    assert str(law).startswith(name)
