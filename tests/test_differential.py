"""Two implementations side by side: oracles agree, known differences are found at their first step and element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import hina_func as hf
from hina_func.testing import Counterexample, Functional, check, compare, given_optimizer, laws, moves, strategies
from hina_func.testing.strategies import History

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jax.config.update("jax_enable_x64", True)

LR = 0.1
vectors = strategies.histories(strategies.matrices, max_steps=3, max_tensors=1)
"""Few shapes: jax compiles for each."""


def torchs(name: str, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    def factory(params: Any) -> torch.optim.Optimizer:
        return getattr(torch.optim, name)(params, lr=LR, **options)

    factory.__name__ = name
    return factory


def ours(*links: hf.GradientTransformation) -> hf.GradientTransformation:
    return hf.chain(*links, hf.scale_by_learning_rate(LR))


AGREE = {
    "Adam, optax": (ours(hf.scale_by_adam()), optax.adam(LR)),
    "AdamW, optax": (ours(hf.scale_by_adam(), hf.add_decayed_weights(0.1)), optax.adamw(LR, weight_decay=0.1)),
    "RMSprop, optax": (ours(hf.scale_by_rms()), optax.rmsprop(LR)),
    "torch, optax": (torchs("Adam"), optax.adam(LR)),
    "optax, torch": (optax.sgd(LR, momentum=0.9), torchs("SGD", momentum=0.9)),
    "AdamW, torch": (ours(hf.scale_by_adam(), hf.add_decayed_weights(0.1)), torchs("AdamW", weight_decay=0.1)),
    "SGD, torch": (ours(hf.trace(0.9, nesterov=True)), torchs("SGD", momentum=0.9, nesterov=True)),
    "RMSprop, torch": (ours(hf.scale_by_rms(0.9, eps_in_sqrt=False)), torchs("RMSprop", alpha=0.9)),
}


@pytest.mark.parametrize(("one", "other"), AGREE.values(), ids=AGREE)
def test_oracles_agree(one: Any, other: Any) -> None:
    compare(one, other, examples=vectors)


def apart(one: Any, other: Any, **options: Any) -> Counterexample:
    with pytest.raises(Counterexample) as found:
        compare(one, other, **{"examples": vectors, **options})
    return found.value


KNOWN = {
    "torch's RMSprop adds eps outside the root, optax's inside": (torchs("RMSprop", alpha=0.9), optax.rmsprop(LR), 1),
    "optax's Adagrad begins at 0.1, torch's at 0": (torchs("Adagrad"), optax.adagrad(LR), 1),
    "torch's NAdam has a schedule of momenta": (torchs("NAdam"), ours(hf.scale_by_adam(nesterov=True)), 1),
    "torch's momentum has no dampening by default": (torchs("SGD", momentum=0.9), ours(hf.ema(0.9, debias=False)), 1),
    "a momentum of another size shows at the second step": (ours(hf.trace(0.9)), ours(hf.trace(0.8)), 2),
}


@pytest.mark.parametrize(("one", "other", "steps"), KNOWN.values(), ids=KNOWN)
def test_a_known_difference_is_found_at_its_first_step(one: Any, other: Any, steps: int) -> None:
    found = apart(one, other)
    assert len(found.example.grads) == steps
    assert f"step {steps}: against" in found.reason


def test_the_counterexample_is_at_the_first_step_and_element_that_differ() -> None:
    """Here: the second element at the third step."""

    def late(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return {name: u.index_fill(-1, torch.tensor(1), float(state == 2)) for name, u in updates.items()}, state + 1

    def plain(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return {name: u.index_fill(-1, torch.tensor(1), 0.0) for name, u in updates.items()}, state

    one, other = (hf.GradientTransformation(lambda params: 0, update) for update in (late, plain))
    found = apart(one, other)
    assert len(found.example.grads) == 3
    assert "step 3: " in found.reason
    assert "w[0, 1] is 1.0, not 0.0" in found.reason


def test_a_difference_may_be_told_in_units_in_the_last_place() -> None:
    rough = vectors.map(lambda history: history.to(torch.float32))
    foreach, fused = torchs("AdamW", foreach=True), torchs("AdamW", fused=True)
    contracted = strategies.histories(max_steps=3).map(lambda history: history.to(torch.float32))
    compare(fused, foreach, ulp=4, examples=contracted)
    assert "ulp apart" in apart(fused, foreach, ulp=0, examples=contracted, profile="ci").reason
    assert "ulp apart" in apart(hf.scale(-1.0), hf.scale(-1.0 - 1e-6), ulp=4, examples=rough).reason
    compare(hf.scale(-1.0), hf.scale(-1.0 - 2**-24), ulp=1, examples=rough)


def test_infinities_and_nan_are_told_apart_and_alike() -> None:
    wrong = hf.stateless(lambda updates, params: {name: u / 0 for name, u in updates.items()})
    compare(wrong, wrong, ulp=0)
    compare(wrong, wrong)
    assert "step 1" in apart(wrong, hf.scale(1.0), ulp=1000).reason
    assert "step 1" in apart(wrong, hf.scale(1.0)).reason


def test_a_transformation_of_optax_has_a_name() -> None:
    assert str(Functional(optax.scale_by_lion())) == "scale_by_lion"
    assert str(Functional(optax.scale_by_lion(), "lion")) == "lion"


def test_a_property_of_ones_own_is_asked_of_drawn_histories() -> None:
    seen = []

    @given_optimizer(hf.scale_by_lion(), strategies.histories(max_steps=2))
    def holds(subject: Any, history: History) -> None:
        seen.append(len(history.grads))
        assert all(u.abs().max() <= 1 for move in moves(subject, *history) for u in move.values())

    @given_optimizer(torchs("SGD"), profile="ci")
    def breaks(optimizer: Any, history: History) -> None:
        seen.append(str(history))
        assert all(u.abs().max() <= 0.5 for move in moves(optimizer, *history) for u in move.values())

    holds()
    assert {1, 2} == set(seen)
    with pytest.raises(AssertionError):
        breaks()
    assert seen[-1] == "params  {w: [0.0]}\ngrads 1  {w: [6.0]}"


@pytest.mark.parametrize("bound", [0.5])
@given_optimizer(hf.clip_by_value(0.5))
def test_other_arguments_of_a_property_are_pytests(subject: Any, history: History, bound: float) -> None:
    assert all(u.abs().max() <= bound for move in moves(subject, *history) for u in move.values())


def test_functional_libraries_are_asked_laws_too() -> None:
    lion = Functional(optax.scale_by_lion())
    for law in (laws.determinism(), laws.resume(), laws.sign_symmetry(), laws.bounded(limit=1.0)):
        check(law, lion)
    with pytest.raises(Counterexample, match="moved by"):
        check(laws.bounded(limit=1.0), Functional(optax.trace(0.9), "trace"))
    for law in (laws.absence(), laws.closure(), laws.dtype_kept(), laws.purity(), laws.layout_independence()):
        with pytest.raises(TypeError, match="is not about"):
            check(law, lion)
