"""What is drawn is what it says: kinds of gradients, modules as their libraries make them, code that builds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import find, given, settings
from torch import nn

import hina_func as hf
from hina_func.testing import strategies
from hina_func.testing.strategies import compositions

few = settings(max_examples=8, deadline=None)
histories = strategies.histories


@pytest.mark.parametrize("pattern", strategies.PATTERNS, ids=lambda pattern: pattern.__name__)
def test_every_kind_of_gradients_fits_the_parameters_and_is_rarely_all_zero(pattern: Any) -> None:
    @few
    @given(histories(patterns=[pattern], min_steps=2))
    def fits(history: strategies.History) -> None:
        for grads in history.grads:
            assert {name: g.shape for name, g in grads.items()} == {n: p.shape for n, p in history.params.items()}

    fits()
    some = find(histories(patterns=[pattern], min_steps=2), lambda history: bool(history.grads[-1]["w"].any()))
    assert some.params["w"].numel() == 1


def test_sparse_gradients_are_zero_in_most_places() -> None:
    zeros = total = 0

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(histories(patterns=[strategies.sparse]))
    def count(history: strategies.History) -> None:
        nonlocal zeros, total
        for grads in history.grads:
            zeros += sum(int((g == 0).sum()) for g in grads.values())
            total += sum(g.numel() for g in grads.values())

    count()
    assert zeros > 0.6 * total


@few
@given(histories(patterns=[strategies.adversarial_signs]))
def test_adversarial_signs_have_one_size(history: strategies.History) -> None:
    assert len({abs(x) for grads in history.grads for g in grads.values() for x in g.flatten().tolist()}) == 1


@pytest.mark.parametrize("library", strategies.INITIALISATIONS)
def test_a_fresh_module_is_known_by_its_names_and_complete(library: str) -> None:
    @few
    @given(strategies.fresh_modules(st.just(library)))
    def known(module: dict[str, torch.Tensor]) -> None:
        assert all(found.complete for found in hf.find_adapters(module).modules)
        assert {hf.find_adapters(module).role(name) for name in module} - {"regular"}

    known()


def lokr(**options: Any) -> nn.Module:
    from lycoris.modules.lokr import LokrModule

    side = options.pop("sides", 8)
    layer = nn.Conv2d(8, 8, 2) if options.pop("convolution", False) else nn.Linear(side, side)
    return LokrModule("q", layer, **{"lora_dim": 1, "factor": 2, **options})


def locon() -> nn.Module:
    from lycoris.modules.locon import LoConModule

    return LoConModule("q", nn.Linear(8, 8), lora_dim=1)


def peft(kind: str, layer: Callable[[], nn.Module] = lambda: nn.Linear(8, 8), **options: Any) -> nn.Module:
    peft = pytest.importorskip("peft")
    config = getattr(peft, kind)(r=1, target_modules=["q"], **options)
    return peft.get_peft_model(nn.Sequential(OrderedDict(q=layer())), config)


LIBRARIES: dict[str, Callable[[], nn.Module]] = {
    "lycoris locon": locon,
    "lycoris lokr": lambda: lokr(lora_dim=100),
    "lycoris lokr factored": lokr,
    "lycoris lokr decompose_both": lambda: lokr(decompose_both=True, factor=4, sides=16),
    "lycoris lokr convolution": lambda: lokr(convolution=True, lora_dim=100),
    "lycoris lokr tucker": lambda: lokr(convolution=True, use_tucker=True),
    "lycoris lokr use_scalar": lambda: lokr(lora_dim=100, use_scalar=True),
    "peft lora": lambda: peft("LoraConfig"),
    "peft lora gaussian": lambda: peft("LoraConfig", init_lora_weights="gaussian"),
    "peft lora random": lambda: peft("LoraConfig", init_lora_weights=False),
    "peft lora embedding": lambda: peft("LoraConfig", lambda: nn.Embedding(8, 8)),
    "peft lora convolution": lambda: peft("LoraConfig", lambda: nn.Conv2d(8, 8, 2)),
    "peft lokr": lambda: peft_lokr(64),
    "peft lokr factored": lambda: peft_lokr(1, decompose_both=True),
    "peft lokr in LyCORIS' way": lambda: peft_lokr(1, init_weights="lycoris"),
}


def peft_lokr(rank: int, **options: Any) -> nn.Module:
    peft = pytest.importorskip("peft")
    config = peft.LoKrConfig(r=rank, target_modules=["q"], decompose_factor=4, **options)
    return peft.get_peft_model(nn.Sequential(OrderedDict(q=nn.Linear(16, 16))), config)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_fresh_module_begins_as_the_library_makes_it(library: str) -> None:
    """The same names, the same number of dimensions, and zero where it is zero."""
    found = {
        name if library.startswith("peft") else f"lycoris_q.{name}": (param.ndim, bool((param == 0).all()))
        for name, param in LIBRARIES[library]().named_parameters()
        if param.requires_grad
    }
    starts = strategies.INITIALISATIONS[library]
    assert found == {name: (len(start.dims.split()), start.fill == "zero") for name, start in starts.items()}


def test_every_public_transform_is_composed() -> None:
    public = {
        name
        for name in hf.__all__
        if getattr(getattr(hf, name), "__annotations__", {}).get("return") == "GradientTransformation"
    }
    drawn = {*strategies.TRANSFORMS, *compositions.composed(st.just(strategies.Written("hf.identity()")))}
    assert drawn == public - {"one_by_one"}


@pytest.mark.parametrize("name", strategies.TRANSFORMS)
def test_the_code_of_a_transform_builds_it(name: str) -> None:
    @few
    @given(strategies.TRANSFORMS[name])
    def builds(code: strategies.Written) -> None:
        assert code.startswith(f"hf.{name}(")
        assert isinstance(eval(repr(code), {"hf": hf}), hf.GradientTransformation)

    builds()


@pytest.mark.parametrize(
    ("needed", "parts"),
    [(["scale_by_lion"], 1), (["accumulate", "trace("], 4), (["scale_by_adam", "b1"], 1)],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_a_chain_shrinks_to_what_matters(needed: list[str], parts: int) -> None:
    """To those transforms alone, or side by side where it met them apart."""
    found = find(strategies.chains(), lambda code: all(word in code for word in needed), random=Random(0))
    assert found.count("hf.") <= parts


@settings(max_examples=20, deadline=None)
@given(strategies.schedules(st.floats(0.01, 1.0)))
def test_a_schedule_stays_within_its_values(code: strategies.Written) -> None:
    values = code.build()(torch.arange(20))
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()


@settings(max_examples=20, deadline=None)
@given(strategies.models())
def test_a_model_has_weights_and_whole_modules(model: dict[str, torch.Tensor]) -> None:
    adapters = hf.find_adapters(model)
    assert all(module.complete for module in adapters.modules)
    assert any(adapters.role(name) == "regular" for name in model)
