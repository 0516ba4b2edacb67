"""The adapter to torch.optim: parameters, names, groups, hyperparameters, state, and the same numbers as the chain."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

import pytest
import torch
from catalog import ROWS, SHAPES, Row, draw
from torch import Tensor, nn
from torch.optim import lr_scheduler

import hina_func as hf
from hina_func.core import EmptyState
from hina_func.lift import Leaf, per_leaf

Named = dict[str, nn.Parameter]
BETAS = hf.Hyperparam("betas", (0.9, 0.999))
LORA = {"q.lora_A.weight": (2, 3), "q.lora_B.weight": (4, 2), "k.lora_A.weight": (2, 3), "k.lora_B.weight": (4, 2)}
PLAIN = {"w": (2, 3), "v": (2, 3), "b": (3,)}
HINA: dict[str, Any] = {"lr": 0.1, "wd_transition_steps": 2, "compile": False}


def adam(ratio: Any = 4.0) -> hf.GradientTransformation:
    """Adam with adapter rules and decay, every number of which can be changed."""
    b1, b2 = BETAS
    return hf.chain(
        hf.scale_by_adam(b1, b2),
        hf.lora_plus_lr_scale(ratio),
        hf.add_decayed_weights(hf.Hyperparam("weight_decay", 0.01)),
        hf.scale_by_learning_rate(hf.Hyperparam("lr", 0.1)),
    )


def plain_adam() -> hf.GradientTransformation:
    b1, b2 = BETAS
    rate = hf.scale_by_learning_rate(hf.Hyperparam("lr", 0.1))
    return hf.chain(hf.scale_by_adam(b1, b2), hf.add_decayed_weights(hf.Hyperparam("weight_decay", 0.01)), rate)


def optimizer(params: Any, tx: hf.GradientTransformation | None = None, **arguments: Any) -> hf.Optimizer:
    """Not compiled, so that results are those of the functional chain to the bit."""
    return hf.Optimizer(params, adam() if tx is None else tx, **{"compile": False, **arguments})


def random(seed: int, dtype: torch.dtype = torch.float64, shapes: Any = LORA) -> dict[str, Tensor]:
    """The same numbers for a name, whatever else there is and in which order."""
    return {
        name: draw(1000 * seed + crc32(name.encode()), dtype, {name: shape})[name] for name, shape in shapes.items()
    }


def leaves(shapes: Any = LORA, dtype: torch.dtype = torch.float64, seed: int = 1) -> Named:
    return {name: nn.Parameter(x) for name, x in random(seed, dtype, shapes).items()}


def numbers(params: Named) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in params.items()}


def train(opt: torch.optim.Optimizer, params: Named, steps: int = 3, first: int = 50, missing: Any = ()) -> None:
    """``missing(step)`` names what has no gradient then."""
    for step in range(first, first + steps):
        gone = missing(step) if callable(missing) else missing
        grads = random(step, torch.float64, {name: tuple(p.shape) for name, p in params.items()})
        for name, p in params.items():
            p.grad = None if name in gone else grads[name].to(p.dtype)
        opt.step()


def trained(make: Callable[[Named], hf.Optimizer], params: Named, **how: Any) -> dict[str, Tensor]:
    train(make(params), params, **how)
    return numbers(params)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=1e-12)


def owned(params: Named, kind: type[nn.Module] = nn.Module) -> nn.Module:
    """A module with these parameters under these names."""
    root = kind()
    for name, param in params.items():
        *path, last = name.split(".")
        inner = root
        for part in path:
            if part not in inner._modules:
                inner.add_module(part, nn.Module())
            inner = inner._modules[part]  # type: ignore[assignment]
        inner.register_parameter(last, param)
    return root


def names_of(opt: hf.Optimizer) -> list[list[str]]:
    return [group.get("param_names") for group in opt.param_groups]


# What params may be


def as_pairs(params: Named) -> hf.Optimizer:
    return optimizer(list(params.items()))


unnamed = {
    "list": lambda p: list(p.values()),
    "tuple": lambda p: tuple(p.values()),
    "generator": lambda p: (x for x in p.values()),
    "dict_values": lambda p: p.values(),
    "filter": lambda p: filter(lambda x: x.requires_grad, p.values()),
    "one group": lambda p: [{"params": list(p.values())}],
    "groups of generators": lambda p: [{"params": (x for x in [x])} for x in p.values()],
    "groups of one tensor": lambda p: [{"params": x} for x in p.values()],
    "groups, some empty": lambda p: [{"params": list(p.values())}, {"params": []}, {"params": iter(())}],
    "groups, the first empty": lambda p: [{"params": []}, {"params": p.values()}],
    "generator of groups": lambda p: ({"params": [x]} for x in p.values()),
}
named = {
    "pairs": lambda p: list(p.items()),
    "generator of pairs": lambda p: (pair for pair in p.items()),
    "mapping": lambda p: dict(p),
    "group of pairs": lambda p: [{"params": list(p.items())}],
    "group of a generator of pairs": lambda p: [{"params": (pair for pair in p.items())}],
    "groups of pairs": lambda p: [{"params": [pair]} for pair in p.items()],
    "param_names": lambda p: [{"params": list(p.values()), "param_names": list(p)}],
    "named": lambda p: [{"params": list(p.values()), "named": list(p)}],
    "named, of a generator": lambda p: [{"params": (x for x in p.values()), "named": list(p)}],
    "names": lambda p: [{"params": list(p.values()), "names": list(p)}],
    "names as a tuple": lambda p: [{"params": p.values(), "names": tuple(p)}],
    "one name each": lambda p: [{"params": x, "named": [name]} for name, x in p.items()],
    "pairs and an empty group": lambda p: [{"params": list(p.items())}, {"params": []}],
}


@pytest.mark.parametrize("make", unnamed.values(), ids=unnamed)
def test_tensors_come_in_any_container(make):
    params, reference = leaves(PLAIN), leaves(PLAIN)
    opt = optimizer(make(params), plain_adam())
    assert [id(p) for group in opt.param_groups for p in group["params"]] == [id(p) for p in params.values()]
    train(opt, params)
    assert same(numbers(params), trained(lambda p: optimizer(list(p.values()), plain_adam()), reference))


@pytest.mark.parametrize("make", named.values(), ids=named)
def test_names_come_in_any_form(make):
    params, reference = leaves(), leaves()
    opt = optimizer(make(params))
    assert [name for names in names_of(opt) for name in names] == list(LORA)
    train(opt, params)
    assert same(numbers(params), trained(as_pairs, reference))


def test_the_named_parameters_of_a_model_are_enough():
    params, reference = leaves(), leaves()
    model = owned(params)
    train(optimizer(model.named_parameters()), params)
    assert same(numbers(params), trained(as_pairs, reference))


@pytest.mark.parametrize("key", ["param_names", "named", "names"])
def test_too_few_names_are_refused(key):
    with pytest.raises(ValueError, match=f"4 parameters but 3 {key}"):
        optimizer([{"params": list(leaves().values()), key: list(LORA)[:3]}])


@pytest.mark.parametrize("named_first", [True, False])
def test_groups_with_names_and_groups_without_may_be_mixed(named_first):
    params = leaves({**LORA, "rest": (3,)})
    groups = [
        {"params": [p for name, p in params.items() if name in LORA], "named": list(LORA)},
        {"params": [params["rest"]]},
    ]
    opt = optimizer(groups if named_first else groups[::-1])
    assert "lora_plus_lr_scale: 2 LoRA modules" in opt.coverage()
    train(opt, params)
    reference = leaves({**LORA, "rest": (3,)})
    close(numbers(params), trained(as_pairs, reference))


def test_two_parameters_of_one_name_are_refused():
    a, b = leaves({"w": (2,), "v": (2,)}).values()
    for params in (
        [("w", a), ("w", b)],
        [{"params": [("w", a)]}, {"params": [("w", b)]}],
        [{"params": [a], "named": ["w"]}, {"params": [b], "named": ["w"]}],
        [{"params": [a, b], "param_names": ["w", "w"]}],
    ):
        with pytest.raises(ValueError, match=r"(same name|duplicate|not unique).*w|w.*(same name|duplicate|unique)"):
            optimizer(params)


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_impossible_params_are_refused_with_torchs_errors():
    w = nn.Parameter(torch.ones(2))
    for params, error, message in (
        (w, TypeError, "iterable of Tensors or dicts"),
        ([], ValueError, "empty parameter list"),
        ({}, ValueError, "empty parameter list"),
        (iter(()), ValueError, "empty parameter list"),
        ([1.0], TypeError, "float"),
        ("abc", TypeError, "str"),
        ([{"params": {w}}], TypeError, "set"),
        ([{"params": w}, {"params": w}], ValueError, "more than one parameter group"),
        ([w * 2], ValueError, "non-leaf"),
        ([nn.Parameter(torch.ones(2, dtype=torch.complex64))], ValueError, "complex64"),
        ([nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False)], ValueError, "int64"),
        ([nn.Parameter(torch.ones(2, 2).to_sparse())], ValueError, "sparse"),
        ([("a\nb", w)], ValueError, "line break"),
        ([{"lr": 0.1}], (KeyError, ValueError), "params"),
    ):
        with pytest.raises(error, match=message):
            optimizer(params, plain_adam(), discover_names=False)


def test_pairs_beside_bare_tensors_are_refused_in_torchs_words():
    """Torch's own suite for optimizers wants these two errors."""
    (name, w), (_, v) = leaves({"w": (2,), "v": (2,)}).items()
    with pytest.raises(ValueError, match="Some param names are missing"):
        optimizer([(name, w), v], plain_adam(), discover_names=False)
    with pytest.raises(ValueError, match="all optimizer param groups should be with/without names"):
        optimizer([{"params": [v]}, {"params": [(name, w)]}], plain_adam(), discover_names=False)


# Names found in live modules


def test_names_are_found_in_the_live_module():
    params = leaves()
    model = owned(params)
    opt = optimizer(model.parameters())
    assert names_of(opt) == [list(LORA)]
    train(opt, params)
    assert same(numbers(params), trained(as_pairs, leaves()))


def test_names_are_found_for_groups_in_any_order():
    params = leaves()
    model = owned(params)
    values = list(params.values())
    opt = optimizer([{"params": values[2:][::-1], "lr": 0.2}, {"params": []}, {"params": values[:2]}])
    assert names_of(opt) == [list(LORA)[:1:-1], [], list(LORA)[:2]]
    assert model is not None


def test_names_outlive_the_module_that_gave_them():
    params = leaves()
    model = owned(params)
    opt = optimizer(model.parameters())
    del model
    gc.collect()
    train(opt, params)
    assert names_of(opt) == [list(LORA)]
    assert opt.state_dict()["param_groups"][0]["param_names"] == list(LORA)
    assert same(numbers(params), trained(as_pairs, leaves()))


def test_the_outermost_module_gives_the_names():
    params = leaves(PLAIN)
    inner = owned(params)
    wrapper = nn.Sequential(inner)
    assert names_of(optimizer(inner.parameters(), plain_adam())) == [[name for name, _ in wrapper.named_parameters()]]


class TextEncoder(nn.Module):
    pass


class Denoiser(nn.Module):
    pass


@pytest.mark.parametrize("kinds", [(TextEncoder, Denoiser), (TextEncoder, TextEncoder), (TextEncoder,) * 3], ids=len)
def test_names_are_found_in_several_modules_and_differ(kinds):
    """As trainers pass them: one or two text encoders beside the denoiser, one list or one group for each."""
    modules = [owned(leaves(seed=i), kind) for i, kind in enumerate(kinds)]
    everything = [list(module.parameters()) for module in modules]
    for params in ([p for each in everything for p in each], [{"params": each} for each in everything]):
        opt = optimizer(params)
        found = [name for names in names_of(opt) for name in names]
        assert len(set(found)) == len(found) == 4 * len(kinds)
        assert opt.coverage().startswith(f"lora_plus_lr_scale: {2 * len(kinds)} LoRA modules")
        for start in range(0, len(found), 4):
            assert [name[-len(end) :] for name, end in zip(found[start:], LORA, strict=False)] == list(LORA)
    assert len(modules) == len(kinds)


@pytest.mark.parametrize("collected", [(), (0,), (1,), (0, 1)])
def test_names_of_models_built_alike_do_not_depend_on_the_garbage_collector(collected):
    """Or a resumed run would exchange the state of two text encoders, and nothing would be amiss to see."""
    gc.collect()
    gc.disable()
    try:
        modules = []
        for i in range(3):
            modules.append(owned(leaves(PLAIN), TextEncoder))
            if i in collected:
                gc.collect()
        opt = optimizer([p for module in modules for p in module.parameters()], plain_adam())
    finally:
        gc.enable()
    prefixes = ("", "TextEncoder.", "TextEncoder_2.")
    assert names_of(opt) == [[f"{prefix}{name}" for prefix in prefixes for name in PLAIN]]


def test_parameters_that_no_module_owns_are_numbered_beside_those_that_have_names():
    model = owned(leaves({"param_1": (2,), "w": (2,)}))
    loose = nn.Parameter(torch.ones(2))
    (names,) = names_of(optimizer([model.w, loose, model.param_1], plain_adam()))
    assert (names[0], names[2]) == ("w", "param_1")
    assert len(set(names)) == 3


def test_discovery_can_be_switched_off():
    model = owned(leaves(PLAIN))
    opt = optimizer(model.parameters(), plain_adam(), discover_names=False)
    assert names_of(opt) == [None]


def toy(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = {
            "one": nn.Linear(8, 12),
            "two": nn.Linear(12, 8),
            "conv": nn.Conv2d(8, 16, 3),
            "norm": nn.LayerNorm(8),
        }
        return nn.ModuleDict(layers)


def lycoris_network(**how: Any) -> tuple[nn.Module, nn.Module]:
    lycoris = pytest.importorskip("lycoris")
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    lycoris.LycorisNetwork.apply_preset({"target_module": ["Linear", "Conv2d", "LayerNorm"]})
    base = toy().requires_grad_(False)
    network = lycoris.create_lycoris(base, 1.0, algo="lokr", factor=4, **how)
    network.apply_to()
    return base, network


LOKR: dict[str, dict[str, Any]] = {
    "full": {"linear_dim": 100000, "conv_dim": 100000},
    "factored": {"linear_dim": 1, "conv_dim": 1, "train_norm": True},
    "tucker": {"linear_dim": 1, "conv_dim": 1, "decompose_both": True, "use_tucker": True, "train_norm": True},
}


@pytest.mark.parametrize("how", LOKR.values(), ids=LOKR)
def test_the_names_of_a_lycoris_network_are_found(how):
    base, network = lycoris_network(**how)
    true = [name for name, _ in network.named_parameters()]
    for params in (network.parameters(), [p for p in network.parameters() if p.requires_grad]):
        opt = hf.HinaAdamW(params, **HINA)
        assert names_of(opt) == [true]
        assert opt.get_optimization_info()["lokr_stats"]["lokr_pairs"] == 3
    groups = network.prepare_optimizer_params(0.1)
    opt = hf.HinaAdamW(groups, **HINA)
    assert sorted(name for names in names_of(opt) for name in names) == sorted(true)
    assert base is not None


def test_the_names_of_a_peft_model_are_found_even_in_loraplus_groups():
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(toy(), peft.LoraConfig(r=2, target_modules=["one", "two", "conv"]))
    true = {id(p): name for name, p in model.named_parameters()}
    trainable = [p for p in model.parameters() if p.requires_grad]
    opt = hf.HinaAdamW(trainable, **HINA)
    assert names_of(opt) == [[true[id(p)] for p in trainable]]
    opt = hf.HinaAdamW(model.parameters(), **HINA)
    assert names_of(opt) == [[true[id(p)] for p in model.parameters()]]
    loraplus = pytest.importorskip("peft.optimizers")
    opt = loraplus.create_loraplus_optimizer(
        model=model, optimizer_cls=hf.HinaAdamW, lr=1e-3, loraplus_lr_ratio=16.0, betas=[0.9, 0.99]
    )
    assert {1e-3, 16e-3} <= {group["lr"] for group in opt.param_groups}
    assert names_of(opt) == [[true[id(p)] for p in group["params"]] for group in opt.param_groups]
    assert opt.get_optimization_info()["lora_stats"]["lora_pairs"] == 3


# What is said at construction


def warnings_of(make: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    return [str(warning.message) for warning in caught]


def test_adapter_rules_without_any_names_give_exactly_one_warning():
    def loose() -> list[nn.Parameter]:
        return list(leaves().values())

    for make in (
        lambda: optimizer(loose()),
        lambda: hf.HinaAdamW(loose(), **HINA),
        lambda: hf.HinaAdamW(loose(), **HINA, formulas="original"),
        lambda: hf.HinaAdamW([{"params": loose()}, {"params": []}], **HINA),
        lambda: hf.HinaAdamW([{"params": []}, {"params": loose()}], **HINA),
        lambda: optimizer(loose(), hf.only("lora_b", hf.scale(2.0))),
        lambda: optimizer([{"params": []}, {"params": loose()}], hf.only("lora_b", hf.scale(2.0))),
    ):
        (said,) = warnings_of(make)
        assert "no names" in said
        assert "lora_b" in said
        assert "named_parameters" in said
    params = leaves()
    (_,) = warnings_of(lambda: train(optimizer(list(params.values())), params))


@pytest.mark.filterwarnings("ignore:the parameters have no names")
def test_without_names_the_other_rules_work():
    params, reference = leaves(), leaves()
    train(optimizer(list(params.values())), params)
    assert same(numbers(params), trained(lambda p: optimizer(list(p.items()), plain_adam()), reference))


def test_a_chain_without_adapter_rules_needs_no_names():
    assert warnings_of(lambda: optimizer(list(leaves().values()), plain_adam())) == []


def test_rules_that_match_no_module_give_exactly_one_warning():
    model = owned(leaves(PLAIN))
    for make in (
        lambda: optimizer(list(leaves(PLAIN).items())),
        lambda: hf.HinaAdamW(model.parameters(), **HINA),
        lambda: optimizer({"q.lora_A.weight": nn.Parameter(torch.ones(2, 3))}),
    ):
        (said,) = warnings_of(make)
        assert "0 LoRA modules matched" in said
    (said,) = warnings_of(lambda: optimizer(list(leaves().items()), hf.lokr_lr_scale()))
    assert "lokr_lr_scale: 0 LoKr modules matched among 4 parameters" in said


def test_rules_that_match_are_logged_and_not_warned_about(caplog):
    with caplog.at_level(logging.INFO, "hina_func"):
        assert warnings_of(lambda: optimizer(leaves())) == []
        assert warnings_of(lambda: optimizer(leaves(), hf.chain(hf.lokr_lr_scale(), hf.lora_lr_scale()))) == []
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "lora_plus_lr_scale: 2 LoRA modules matched among 4 parameters"
    assert "lokr_lr_scale: 0 LoKr modules matched" in second
    assert "lora_lr_scale: 2 LoRA modules matched" in second


def test_coverage_counts_whole_modules_by_kind():
    opt = optimizer(leaves(SHAPES), hf.hina_adamw())
    said = opt.coverage()
    assert "lora_lr_scale, lora_plus_lr_scale: 3 LoRA modules matched" in said
    assert "lokr_lr_scale: 4 LoKr modules matched" in said
    assert said.endswith(f"among {len(SHAPES)} parameters")
    assert optimizer(leaves(), plain_adam()).coverage() == "no adapter rules among 4 parameters"
    assert opt.adapters().pair("q.lora_A.weight") is None
    assert opt.adapters().partners("q.lora_A.weight") == ("q.lora_B.weight",)


# Hyperparameters and groups


def test_hyperparameters_are_in_defaults_and_in_every_group():
    opt = optimizer([{"params": [("w", nn.Parameter(torch.ones(1)))], "lr": 5}, {"params": []}], plain_adam(), lr=2)
    assert {key: opt.defaults[key] for key in ("lr", "betas", "weight_decay")} == {
        "lr": 2,
        "betas": (0.9, 0.999),
        "weight_decay": 0.01,
    }
    assert [(g["lr"], g["betas"], g["weight_decay"]) for g in opt.param_groups] == [
        (5, (0.9, 0.999), 0.01),
        (2, (0.9, 0.999), 0.01),
    ]


def test_an_unknown_hyperparameter_is_refused_with_those_that_exist():
    w = [("w", nn.Parameter(torch.ones(1)))]
    with pytest.raises(TypeError, match=r"learning_rate.*betas, lr, weight_decay"):
        optimizer(w, plain_adam(), learning_rate=0.1)
    with pytest.raises(TypeError, match="lr; this chain has: none"):
        optimizer(w, hf.scale(0.1), lr=0.1)
    with pytest.raises(TypeError, match="alora"):
        hf.HinaAdamW(w, alora=1.0)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("lr", -0.1, ValueError),
        ("lr", float("nan"), ValueError),
        ("lr", float("inf"), ValueError),
        ("lr", "0.1", TypeError),
        ("lr", None, TypeError),
        ("lr", torch.ones(2), ValueError),
        ("weight_decay", -0.1, ValueError),
        ("weight_decay", float("nan"), ValueError),
        ("betas", (1.0, 0.999), ValueError),
        ("betas", (0.9, -0.1), ValueError),
        ("betas", [0.9, float("nan")], ValueError),
        ("betas", (0.9,), ValueError),
        ("betas", 0.9, (ValueError, TypeError)),
        ("betas", ("0.9", 0.9), TypeError),
    ],
)
def test_bad_hyperparameters_are_refused_wherever_they_are_given(key, value, error):
    """As keyword of either class, in a group, and in a group that comes later; nothing is added then."""
    said = {"lr": "lr|learning.rate", "betas": "betas|b[12] must"}.get(key, key)
    w, v = leaves({"w": (2,), "v": (2,)}).items()
    with pytest.raises(error, match=said):
        hf.HinaAdamW([w], use_alora=False, **{key: value})
    with pytest.raises(error, match=said):
        optimizer([w], plain_adam(), **{key: value})
    with pytest.raises(error, match=said):
        optimizer([{"params": [w], key: value}], plain_adam())
    opt = optimizer([w], plain_adam())
    with pytest.raises(error, match=said):
        opt.add_param_group({"params": [v], key: value})
    assert len(opt.param_groups) == 1


def test_lists_for_betas_and_whole_numbers_for_floats_are_fine():
    params, reference = leaves(), leaves()
    arguments: dict[str, Any] = {"weight_decay": 0, "alora_ratio": 16, "eps": 1, "spd_lambda": 0, "tam_beta": 0}
    train(hf.HinaAdamW(params, lr=1, betas=[0, 0.5], **arguments, compile=False), params)
    floats = {key: float(value) for key, value in arguments.items()}
    opt = hf.HinaAdamW(reference, lr=1.0, betas=(0.0, 0.5), **floats, compile=False)
    train(opt, reference)
    assert same(numbers(params), numbers(reference))
    opt.param_groups[0]["betas"] = [0.9, 0.99]
    train(opt, reference)


def test_foreign_keys_in_groups_are_kept_and_ignored():
    params = leaves()
    group = {"params": list(params.items()), "name": "unet", "initial_lr": 1.0, "named_by": None, "foreach": False}
    opt = optimizer([group])
    assert opt.param_groups[0]["name"] == "unet"
    train(opt, params)
    assert same(numbers(params), trained(as_pairs, leaves()))
    assert opt.state_dict()["param_groups"][0]["initial_lr"] == 1.0


def test_a_learning_rate_may_be_a_tensor_of_one_element():
    reference = trained(as_pairs, leaves())
    for lr in (torch.tensor(0.1, dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)):
        params = leaves()
        opt = optimizer(params, lr=lr)
        train(opt, params)
        close(numbers(params), reference)
        lr.fill_(0.0)
        before = numbers(params)
        train(opt, params)
        assert same(numbers(params), before), "the tensor is read at every step"


def test_groups_with_numbers_of_their_own_are_optimizers_of_their_own():
    shapes = {**PLAIN, **{f"other.{name}": shape for name, shape in PLAIN.items()}}
    first = {"lr": 0.3, "betas": (0.5, 0.75), "weight_decay": 0.2}
    second = {"lr": 0.01, "betas": [0.1, 0.9], "weight_decay": 0.0}
    for make in (
        plain_adam,
        lambda: hf.chain(hf.clip_by_norm(1.0), plain_adam(), hf.spd_penalty(0.1), hf.cautious_mask()),
    ):
        params, reference = leaves(shapes), leaves(shapes)
        items = list(params.items())
        opt = optimizer([{"params": items[:3], **first}, {"params": items[3:], **second}], make())
        train(opt, params, missing=lambda step: {"v", "other.b"} if step % 2 else ())
        items = list(reference.items())
        alone = [optimizer(items[:3], make(), **first), optimizer(items[3:], make(), **second)]
        for step in range(50, 53):
            gone = {"v", "other.b"} if step % 2 else ()
            for name, g in random(step, torch.float64, shapes).items():
                reference[name].grad = None if name in gone else g
            for opt in alone:
                opt.step()
        close(numbers(params), numbers(reference))


def test_a_and_b_in_different_groups_still_pair():
    params, reference = leaves(), leaves()
    a, b = ([(n, p) for n, p in params.items() if f"lora_{side}" in n] for side in "AB")
    opt = hf.HinaAdamW([{"params": b}, {"params": a}], **HINA)
    assert opt.get_optimization_info()["lora_stats"]["lora_pairs"] == 2
    train(opt, params)
    assert same(numbers(params), trained(lambda p: hf.HinaAdamW(p, **HINA), reference))


def test_each_group_scales_its_own_factor():
    params, reference = leaves(), leaves()
    a, b = ([(n, p) for n, p in params.items() if f"lora_{side}" in n] for side in "AB")
    train(optimizer([{"params": a, "lr": 0.1}, {"params": b, "lr": 0.4}], adam(1.0)), params)
    train(optimizer(reference, hf.chain(adam(1.0)), lr=0.1), reference)
    a_only = {name: x for name, x in numbers(reference).items() if "lora_A" in name}
    close({name: numbers(params)[name] for name in a_only}, a_only)
    assert all(not torch.equal(params[n], reference[n]) for n in params if n not in a_only)


def test_hyperparameters_are_read_at_every_step():
    params, reference = leaves(), leaves()
    opt = optimizer(params)
    train(opt, params, steps=1)
    opt.param_groups[0].update(lr=0.5, betas=(0.5, 0.6), weight_decay=0.3)
    train(opt, params, steps=2, first=51)

    tx, state, now = adam(), adam().init(numbers(reference)), numbers(reference)
    for step in range(3):
        values = {"lr": 0.5, "betas": (0.5, 0.6), "weight_decay": 0.3} if step else {}
        updates, state = tx.update(random(50 + step), state, now, hyperparams=values)
        now = hf.apply_updates(now, updates)
    assert same(numbers(params), now)


@pytest.mark.parametrize(
    "make",
    [
        lambda opt: lr_scheduler.StepLR(opt, 1, 0.5),
        lambda opt: lr_scheduler.CosineAnnealingLR(opt, 4),
        lambda opt: lr_scheduler.OneCycleLR(opt, max_lr=0.3, total_steps=5),
        lambda opt: lr_scheduler.CyclicLR(opt, 0.01, 0.1, step_size_up=2, cycle_momentum=True),
        lambda opt: lr_scheduler.LambdaLR(opt, lambda step: 1 / (1 + step)),
    ],
    ids=["StepLR", "CosineAnnealingLR", "OneCycleLR", "CyclicLR", "LambdaLR"],
)
def test_learning_rate_schedulers_work(make):
    params, reference = leaves(PLAIN), leaves(PLAIN)
    opt = optimizer([{"params": list(params.items())[:1]}, {"params": list(params.items())[1:]}], plain_adam())
    adamw = torch.optim.AdamW([{"params": [reference["w"]]}, {"params": [reference["v"], reference["b"]]}], 0.1)
    schedulers = [make(opt), make(adamw)]
    for step in range(4):
        train(opt, params, 1, 60 + step)
        train(adamw, reference, 1, 60 + step)
        for scheduler in schedulers:
            scheduler.step()
        assert [g["lr"] for g in opt.param_groups] == [g["lr"] for g in adamw.param_groups]
        assert [tuple(g["betas"]) for g in opt.param_groups] == [tuple(g["betas"]) for g in adamw.param_groups]
    close(numbers(params), numbers(reference))


# Groups and tensors that change under the optimizer


def continued(change: Callable[[hf.Optimizer, Named], Any], **arguments: Any) -> tuple[hf.Optimizer, Named]:
    """Two steps, a change, two steps."""
    params = leaves()
    opt = optimizer(params, **arguments)
    train(opt, params, 2)
    change(opt, params)
    train(opt, params, 2, 60)
    return opt, params


def unchanged() -> dict[str, Tensor]:
    return numbers(continued(lambda opt, params: None)[1])


def test_parameters_may_be_moved_between_groups_by_hand():
    def split(opt: hf.Optimizer, params: Named) -> None:
        (group,) = opt.param_groups
        other = {**group, "params": group["params"][2:], "param_names": group["param_names"][2:]}
        group["params"], group["param_names"] = group["params"][:2], group["param_names"][:2]
        opt.param_groups.append(other)

    assert same(numbers(continued(split)[1]), unchanged())


def test_a_group_may_be_taken_out_by_hand():
    def cut(opt: hf.Optimizer, params: Named) -> None:
        (group,) = opt.param_groups
        group["params"], group["param_names"] = group["params"][:2], group["param_names"][:2]
        moved.update(numbers(params))

    moved: dict[str, Tensor] = {}
    params = continued(cut)[1]
    assert all(torch.equal(params[n], moved[n]) == (n.startswith("k")) for n in LORA)
    assert all(torch.equal(params[n], unchanged()[n]) for n in LORA if n.startswith("q"))


def test_groups_may_be_replaced_by_equal_ones():
    def replace(opt: hf.Optimizer, params: Named) -> None:
        opt.param_groups = [{**group, "params": list(group["params"])} for group in opt.param_groups]

    assert same(numbers(continued(replace)[1]), unchanged())


@pytest.mark.parametrize("given", [{}, {"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.01}])
def test_a_group_appended_by_hand_gets_what_add_param_group_would_give_it(given):
    def grow(add: Callable[[hf.Optimizer, dict[str, Any]], Any]) -> dict[str, Tensor]:
        params = leaves({**LORA, "rest": (3,)})
        old = {name: params[name] for name in LORA}
        opt = optimizer(old)
        train(opt, old, 2)
        add(opt, {"params": [("rest", params["rest"])], **given})
        train(opt, params, 2, 60)
        assert names_of(opt) == [list(LORA), ["rest"]]
        assert opt.param_groups[1].keys() == opt.param_groups[0].keys()
        return numbers(params)

    assert same(
        grow(lambda opt, group: opt.param_groups.append(group)), grow(lambda opt, group: opt.add_param_group(group))
    )


def test_a_parameter_twice_in_a_group_without_names_is_warned_of_as_in_torch():
    w = nn.Parameter(torch.ones(2))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optimizer([w, w], plain_adam(), discover_names=False)


def test_a_group_put_in_front_by_hand_stays_there():
    params = leaves({**LORA, "rest": (3,)})
    opt = optimizer({name: params[name] for name in LORA})
    opt.param_groups.insert(0, {"params": [("rest", params["rest"])], "lr": 0.0})
    train(opt, params, 1)
    assert names_of(opt) == [["rest"], list(LORA)]
    assert [group["lr"] for group in opt.param_groups] == [0.0, 0.1]


def test_an_impossible_group_appended_by_hand_is_refused_and_changes_nothing():
    params = leaves()
    opt = optimizer(params)
    train(opt, params, 2)
    before, groups = numbers(params), [dict(group) for group in opt.param_groups]
    strange = {"params": [params["q.lora_A.weight"]]}
    opt.param_groups.append(strange)
    with pytest.raises(ValueError, match="more than one parameter group"):
        opt.step()
    assert same(numbers(params), before)
    assert [dict(group) for group in opt.param_groups[:-1]] == groups
    assert opt.param_groups[-1] is strange
    opt.param_groups.pop()
    opt.step()


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize(
    ("edit", "expected"),
    {
        "taken out": (lambda p: p.pop(0), [1, 2, 3]),
        "another list": (lambda p: p[:] and p[2:], [2, 3]),
        "turned round": (lambda p: p[::-1], [3, 2, 1, 0]),
        "swapped in place": (lambda p: p.__setitem__(slice(0, 2), p[1::-1]), [1, 0, 2, 3]),
    }.values(),
    ids=["taken out", "another list", "turned round", "swapped in place"],
)
def test_names_follow_parameters_that_are_moved_in_the_list_by_hand(edit, expected, steps):
    params = leaves()
    opt = optimizer(params)
    train(opt, params, steps)
    group, tensors = opt.param_groups[0], list(params.values())
    edited = edit(group["params"])
    if isinstance(edited, list):
        group["params"] = edited
    train(opt, params, 1, 60)
    assert [id(p) for p in group["params"]] == [id(tensors[i]) for i in expected]
    assert names_of(opt) == [[list(LORA)[i] for i in expected]]


def test_a_parameter_put_into_the_list_by_hand_is_optimized_under_the_name_its_module_has_for_it():
    params = leaves()
    opt = optimizer(params)
    train(opt, params, 2)
    late = owned(leaves({"late.lora_A.weight": (2, 3), "late.lora_B.weight": (4, 2)}))
    opt.param_groups[0]["params"].extend(late.parameters())
    everything = {**params, **dict(late.named_parameters())}
    before = numbers(everything)
    train(opt, everything, 2, 60)
    assert names_of(opt) == [list(everything)]
    assert all(not torch.equal(before[name], p) for name, p in everything.items())
    assert opt.coverage().startswith("lora_plus_lr_scale: 3 LoRA modules")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda group: group.pop("lr"), "parameter group 0 has no 'lr' any more"),
        (lambda group: group.update(lr=float("nan")), "lr must be a finite number, got nan"),
        (lambda group: group.update(betas=(0.9, 1.0)), r"betas must be in \[0, 1\), got 1.0"),
        (lambda group: group.update(betas=0.9), "betas must be 2 numbers, got 0.9"),
        (lambda group: group.update(lr=torch.ones(2)), "Tensor lr must be 1-element"),
        (
            lambda group: group["params"].append(group["params"][0]),
            "two parameters have the same name: q.lora_A.weight",
        ),
        (lambda group: group.update(param_names=["a", "a", "b", "c"]), "two parameters have the same name: a"),
    ],
)
@pytest.mark.parametrize("steps", [0, 2])
def test_groups_spoilt_by_hand_are_refused_before_anything_has_changed(edit, message, steps):
    params = leaves()
    opt = optimizer(params)
    train(opt, params, steps)
    edit(opt.param_groups[0])
    before, state = numbers(params), copy.deepcopy(dict(opt.state))
    with pytest.raises(ValueError, match=message):
        train(opt, params, 1, 60)
    assert same(numbers(params), before)
    assert all(same(a, b) for a, b in zip(state.values(), opt.state.values(), strict=True))


def test_a_schedule_that_ends_a_rounding_error_below_zero_is_followed_saved_and_loaded():
    params = leaves()
    opt = optimizer(params)
    schedule = torch.optim.lr_scheduler.LinearLR(opt, start_factor=0.1, end_factor=0.0, total_iters=5)
    for seed in range(5):
        train(opt, params, 1, seed)
        schedule.step()
    assert -1e-15 < opt.param_groups[0]["lr"] < 0
    train(opt, params, 1, 5)
    fresh = optimizer(params)
    fresh.load_state_dict(opt.state_dict())
    assert fresh.param_groups[0]["lr"] == opt.param_groups[0]["lr"]


def test_a_parameter_that_became_complex_is_refused_before_anything_has_changed():
    params = leaves()
    opt = optimizer(params)
    train(opt, params, 2)
    before = numbers(params)
    name = "k.lora_B.weight"
    params[name].grad = None
    params[name].data = params[name].data.to(torch.complex64)
    params[name].grad = torch.ones_like(params[name].data)
    with pytest.raises(ValueError, match=f"{name}.*complex64"):
        opt.step()
    assert all(torch.equal(params[n], before[n]) for n in LORA if n != name)


def test_tensors_may_be_replaced_before_the_first_step():
    """As FSDP2 and casts of a whole network do it; names stay with the places."""
    params, reference = leaves(), leaves()
    opt = optimizer(params)
    params = {name: nn.Parameter(p.detach().clone()) for name, p in params.items()}
    opt.param_groups[0]["params"] = list(params.values())
    train(opt, params)
    assert same(numbers(params), trained(as_pairs, reference))
    assert set(opt.state) == set(params.values())


def test_tensors_may_be_replaced_together_with_their_state():
    def replace(opt: hf.Optimizer, params: Named) -> None:
        for name, old in list(params.items()):
            params[name] = nn.Parameter(old.detach().clone())
            opt.state[params[name]] = opt.state.pop(old)
        opt.param_groups[0]["params"] = list(params.values())

    opt, params = continued(replace)
    assert same(numbers(params), unchanged())
    assert set(opt.state) == set(params.values())


def fresh_start() -> dict[str, Tensor]:
    """Two steps, and two of a new optimizer."""
    params = leaves()
    train(optimizer(params), params, 2)
    train(optimizer(params), params, 2, 60)
    return numbers(params)


def test_a_tensor_put_in_place_of_another_starts_afresh_as_in_torch():
    def replace(opt: hf.Optimizer, params: Named) -> None:
        for name, old in list(params.items()):
            params[name] = nn.Parameter(old.detach().clone())
        opt.param_groups[0]["params"] = list(params.values())

    opt, params = continued(replace)
    close(numbers(params), fresh_start())
    assert all(int(opt.state[p]["scale_by_adam/count"]) == 2 for p in params.values())


@pytest.mark.parametrize("how", ["clear", "replace", "delete"])
def test_state_that_was_thrown_away_starts_afresh_as_in_torch(how):
    def throw(opt: hf.Optimizer, params: Named) -> None:
        if how == "clear":
            opt.state.clear()
        elif how == "replace":
            opt.state = defaultdict(dict)
        else:
            for p in params.values():
                del opt.state[p]

    opt, params = continued(throw)
    assert set(opt.state) == set(params.values())
    assert all(int(opt.state[p]["scale_by_adam/count"]) == 2 for p in params.values())
    close(numbers(params), fresh_start())


def test_state_thrown_away_for_one_parameter_leaves_the_others_alone():
    name = "q.lora_A.weight"
    opt, params = continued(lambda opt, params: opt.state.pop(params[name]))
    assert int(opt.state[params[name]]["scale_by_adam/count"]) == 2
    assert all(torch.equal(params[n], unchanged()[n]) for n in LORA if n != name)
    torch.testing.assert_close(params[name].detach(), fresh_start()[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", ["in place", "new tensor", "new dict"])
def test_state_may_be_edited_by_hand(how):
    """In place, as a new tensor (moved to a device and back) or as a new dict."""

    def edit(opt: hf.Optimizer, params: Named) -> None:
        for p in params.values():
            mu = opt.state[p]["scale_by_adam/mu"]
            if how == "in place":
                mu.zero_()
            elif how == "new tensor":
                opt.state[p]["scale_by_adam/mu"] = torch.zeros_like(mu)
            else:
                opt.state[p] = {**opt.state[p], "scale_by_adam/mu": torch.zeros_like(mu)}

    params, now = continued(edit)[1], numbers(leaves())
    tx, state = adam(), adam().init(numbers(leaves()))
    for step in (50, 51, 60, 61):
        if step == 60:
            state["scale_by_adam"] = state["scale_by_adam"]._replace(
                mu={key: torch.zeros_like(mu) for key, mu in state["scale_by_adam"].mu.items()}
            )
        updates, state = tx.update(random(step), state, now)
        now = hf.apply_updates(now, updates)
    assert same(numbers(params), now)


def test_parameters_may_be_cast_before_the_first_step():
    params, reference = leaves(dtype=torch.float32), leaves(dtype=torch.bfloat16)
    opt = optimizer(params)
    for p in params.values():
        p.data = p.data.to(torch.bfloat16)
    train(opt, params)
    assert same(numbers(params), trained(as_pairs, reference))
    state = {x.dtype for rows in opt.state.values() for x in rows.values() if x.is_floating_point()}
    assert state == {torch.float32}


def test_parameters_may_be_cast_in_training_and_keep_their_state():
    params = leaves(dtype=torch.float32)
    opt = optimizer(params)
    train(opt, params, 2)
    before = copy.deepcopy([opt.state[p] for p in params.values()])
    for p in params.values():
        p.data, p.grad = p.data.to(torch.bfloat16), None
    train(opt, params, 1, 60)
    for p, old in zip(params.values(), before, strict=True):
        new = opt.state[p]
        assert p.dtype == torch.bfloat16
        assert int(new["scale_by_adam/count"]) == 3
        grad = p.grad.float()
        assert torch.equal(new["scale_by_adam/mu"], 0.9 * old["scale_by_adam/mu"] + (1 - 0.9) * grad)


def test_values_may_be_put_into_parameters_in_training():
    def reset(opt: hf.Optimizer, params: Named) -> None:
        for p in params.values():
            p.data = torch.ones_like(p)

    params, now = continued(reset)[1], numbers(leaves())
    tx, state = adam(), adam().init(numbers(leaves()))
    for step in (50, 51, 60, 61):
        now = {name: torch.ones_like(p) for name, p in now.items()} if step == 60 else now
        updates, state = tx.update(random(step), state, now)
        now = hf.apply_updates(now, updates)
    assert same(numbers(params), now)


def test_a_group_may_be_added_at_any_time():
    shapes = {**LORA, "v.lora_A.weight": (2, 3), "v.lora_B.weight": (4, 2)}
    late = {name for name in shapes if name.startswith("v.")}
    params, reference = leaves(shapes), leaves(shapes)
    opt = optimizer([(n, p) for n, p in params.items() if n not in late])
    train(opt, {n: p for n, p in params.items() if n not in late}, 2, 48)
    opt.add_param_group({"params": [(n, params[n]) for n in sorted(late)], "lr": 0.1})
    train(opt, params, 3)

    train(optimizer(reference), reference, 5, 48, missing=lambda step: late if step < 50 else ())
    assert names_of(opt)[1] == sorted(late)
    assert same({n: numbers(params)[n] for n in sorted(late)}, {n: numbers(reference)[n] for n in sorted(late)})
    close(numbers(params), numbers(reference))
    assert opt.coverage().startswith("lora_plus_lr_scale: 3 LoRA modules")


def test_an_added_group_gets_names_from_its_module():
    params, more = leaves(), leaves({"v.lora_A.weight": (2, 3)})
    opt = optimizer(params)
    module = owned(more)
    opt.add_param_group({"params": module.parameters()})
    opt.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    opt.add_param_group({"params": []})
    assert names_of(opt) == [list(LORA), ["v.lora_A.weight"], ["param.5"], []]


def test_an_added_group_of_a_module_with_the_same_names_is_told_apart():
    first, second = owned(leaves(PLAIN), TextEncoder), owned(leaves(PLAIN), Denoiser)
    opt = optimizer(first.parameters(), plain_adam())
    opt.add_param_group({"params": second.parameters()})
    assert names_of(opt) == [list(PLAIN), [f"Denoiser.{name}" for name in PLAIN]]


@pytest.mark.filterwarnings("ignore:the parameters have no names")
def test_a_group_with_names_may_be_added_to_one_without():
    params = leaves()
    values = list(params.values())
    opt = optimizer(values[:2], discover_names=False)
    train(opt, params, 2)
    opt.add_param_group({"params": values[2:], "named": list(LORA)[2:]})
    assert "1 LoRA modules" in opt.coverage()
    train(opt, params, 2)


def test_a_refused_group_leaves_no_trace():
    params = leaves()
    opt = optimizer(params)
    before = copy.deepcopy(opt.state_dict())
    w = nn.Parameter(torch.ones(2))
    for group in (
        {"params": [("q.lora_A.weight", w)]},
        {"params": [("i", nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False))]},
        {"params": [("w", w)], "lr": -1.0},
        {"params": [("w", w)], "betas": (2.0, 0.9)},
        {"params": [w], "named": ["a", "b"]},
        {"params": list(params.items())},
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            opt.add_param_group(group)
        assert same(opt.state_dict(), before)


# Gradients: present, missing, sparse, frozen


def test_state_appears_with_the_first_gradient():
    params = leaves(PLAIN)
    opt = optimizer(params, plain_adam())
    assert len(opt.state) == 0
    assert opt.state_dict()["state"] == {}
    train(opt, params, 1, missing={"v"})
    assert set(opt.state) == {params["w"], params["b"]}
    train(opt, params, 1)
    assert [int(opt.state[p]["scale_by_adam/count"]) for p in params.values()] == [2, 1, 2]


def test_the_anchor_is_the_value_at_the_first_gradient():
    params = leaves(PLAIN)
    opt = optimizer(params, hf.chain(hf.scale(-0.1), hf.spd_penalty(0.1)))
    train(opt, params, 1, missing={"v"})
    with torch.no_grad():
        params["v"].fill_(3.0)
    train(opt, params, 1)
    assert torch.equal(opt.state[params["v"]]["spd_penalty/anchor"], torch.full((2, 3), 3.0, dtype=torch.float64))
    assert torch.equal(opt.state[params["w"]]["spd_penalty/anchor"], leaves(PLAIN)["w"])


def test_a_missing_gradient_leaves_parameter_and_state_untouched():
    params = leaves(SHAPES)
    opt = hf.HinaAdamW(params, **HINA)
    train(opt, params, 2)
    for gone in ({"q.lora_A.weight", "a.lokr_w2", "bias", "gain"}, set(params)):
        before = copy.deepcopy((numbers(params), opt.state_dict()["state"]))
        train(opt, params, 1, 60, missing=gone)
        now = numbers(params), opt.state_dict()["state"]
        for i, name in enumerate(params):
            still = same(now[0][name], before[0][name]) and same(now[1][i], before[1][i])
            assert still == (name in gone), name


def test_a_frozen_parameter_is_left_alone_and_may_be_unfrozen():
    params, reference = leaves(), leaves()
    params["k.lora_A.weight"].requires_grad_(False)
    opt = optimizer(params)
    train(opt, params, 2, missing={"k.lora_A.weight"})
    assert torch.equal(params["k.lora_A.weight"], reference["k.lora_A.weight"])
    assert params["k.lora_A.weight"] not in opt.state
    params["k.lora_A.weight"].requires_grad_(True)
    train(opt, params, 2, 52)
    train(optimizer(reference), reference, 4, missing=lambda step: {"k.lora_A.weight"} if step < 52 else ())
    assert same(numbers(params), numbers(reference))


def test_a_step_without_any_gradient_does_nothing():
    params = leaves()
    opt = optimizer(params)
    opt.step()
    assert same(numbers(params), numbers(leaves()))
    assert len(opt.state) == 0


def test_sparse_gradients_are_refused_before_anything_has_changed():
    for steps in (0, 2):
        params = leaves(PLAIN)
        opt = optimizer(params, plain_adam())
        train(opt, params, steps)
        before = copy.deepcopy((numbers(params), opt.state_dict()))
        for p in params.values():
            p.grad = torch.ones_like(p)
        params["b"].grad = torch.ones(3, dtype=torch.float64).to_sparse()
        with pytest.raises(RuntimeError, match=r"does not support sparse gradients.*'b'"):
            opt.step()
        assert same((numbers(params), opt.state_dict()), before)


def test_gradients_are_left_as_they_are():
    params = leaves()
    opt = hf.HinaAdamW(params, **HINA)
    train(opt, params, 1)
    grads = random(50)
    assert all(torch.equal(p.grad, grads[name]) for name, p in params.items())
    opt.zero_grad()
    assert all(p.grad is None for p in params.values())


@pytest.mark.parametrize("formulas", ["published", "original"])
def test_nothing_moves_without_learning_rate_or_gradient(formulas):
    """As distributed checkpoints start an optimizer: lr 0, gradients 0."""
    for value in (0.0, 1.0):
        params = leaves(SHAPES)
        before = numbers(params)
        opt = hf.HinaAdamW(params, **{**HINA, "lr": 0.0}, use_orthogonal_grad=True, formulas=formulas)
        for _ in range(3):
            for p in params.values():
                p.grad = torch.full_like(p, value)
            opt.step()
        assert same(numbers(params), before)
        assert all(torch.isfinite(x).all() for rows in opt.state.values() for x in rows.values())


def test_the_first_gradients_of_a_fresh_adapter_are_zero_and_harmless():
    """B is zero, so A's gradient is zero at first."""
    params = leaves()
    for name, p in params.items():
        p.data.mul_(0.0 if "lora_B" in name else 1.0)
    opt = hf.HinaAdamW(params, **HINA)
    for name, p in params.items():
        p.grad = torch.zeros_like(p) if "lora_A" in name else torch.ones_like(p)
    opt.step()
    assert all(torch.isfinite(p).all() for p in params.values())


# The step itself


def test_a_closure_runs_first_once_and_with_gradients_on():
    params, reference = leaves(), leaves()
    opt = optimizer(params)
    calls = []

    def closure() -> Tensor:
        calls.append((torch.is_grad_enabled(), [p.detach().clone() for p in params.values()]))
        opt.zero_grad()
        loss = sum((p**2).sum() for p in params.values())
        loss.backward()
        return loss

    with torch.no_grad():
        loss = opt.step(closure)
        assert not torch.is_grad_enabled()
    assert float(loss.detach()) == pytest.approx(float(sum((p**2).sum() for p in reference.values()).detach()))
    assert [on for on, _ in calls] == [True]
    assert all(torch.equal(p, q) for p, q in zip(calls[0][1], reference.values(), strict=True))
    assert opt.step(closure=closure) < loss
    assert opt.step() is None
    for p in reference.values():
        p.grad = 2 * p.detach()
    optimizer(reference).step()
    assert all(torch.equal(p, q) for p, q in zip(calls[1][1], reference.values(), strict=True))


def test_parameters_are_updated_in_their_own_memory():
    params = leaves()
    opt = optimizer(params)
    memory = {name: (id(p), p.data_ptr()) for name, p in params.items()}
    train(opt, params)
    assert {name: (id(p), p.data_ptr()) for name, p in params.items()} == memory


def test_strides_and_views_do_not_matter():
    shapes = {"t": (4, 3), "c": (2, 3, 2, 2), "s": (3,), "z": (), "e": (0, 3)}
    params, reference = leaves(shapes), leaves(shapes)
    params["t"] = nn.Parameter(params["t"].detach().t().contiguous().t())
    params["c"] = nn.Parameter(params["c"].detach().to(memory_format=torch.channels_last))
    params["s"] = nn.Parameter(params["s"].detach().repeat_interleave(2)[::2])
    assert not any(params[name].is_contiguous() for name in "tcs")
    strides = {name: p.stride() for name, p in params.items()}
    for each in (params, reference):
        train(hf.HinaAdamW(each, **HINA, use_alora=False, use_orthogonal_grad=True), each)
    assert {name: p.stride() for name, p in params.items()} == strides
    close(numbers(params), numbers(reference))
    assert all(torch.isfinite(p).all() for p in params.values())


def test_step_hooks_fire_once_and_in_order():
    params = leaves()
    opt = optimizer(params)
    events: list[str] = []
    opt.register_step_pre_hook(lambda o, args, kwargs: events.append("before"))
    opt.register_step_post_hook(lambda o, args, kwargs: events.append("after"))
    opt.step(lambda: events.append("closure"))
    assert events == ["before", "closure", "after"]


def test_hooks_of_the_state_dict_are_called_and_heeded():
    params = leaves()
    opt = optimizer(params)
    train(opt, params, 1)
    seen: list[str] = []
    handles = [
        opt.register_state_dict_pre_hook(lambda o: seen.append("saving")),
        opt.register_state_dict_post_hook(lambda o, saved: {**saved, "extra": 1}),
        opt.register_load_state_dict_pre_hook(lambda o, saved: {k: v for k, v in saved.items() if k != "extra"}),
        opt.register_load_state_dict_post_hook(
            lambda o: seen.append(f"loaded {o.state[params['q.lora_A.weight']]['scale_by_adam/mu'].dtype}")
        ),
    ]
    saved = opt.state_dict()
    assert saved["extra"] == 1
    opt.load_state_dict(saved)
    assert seen == ["saving", "loaded torch.float64"]
    for handle in handles:
        handle.remove()
    assert "extra" not in opt.state_dict()


# Copies


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_copy_continues_bit_by_bit(copied, steps):
    params = leaves(SHAPES)
    opt = hf.HinaAdamW(params, **HINA)
    train(opt, params, steps, missing={"bias"})
    twin, theirs = copied((opt, params))
    assert type(twin) is hf.HinaAdamW
    assert same(twin.state_dict(), opt.state_dict())
    assert twin.get_optimization_info() == opt.get_optimization_info()
    train(twin, theirs, 3, 60)
    assert same(numbers(params), numbers(leaves(SHAPES))) == (steps == 0), "the copy shares nothing"
    train(opt, params, 3, 60)
    assert same(numbers(theirs), numbers(params))
    assert same(twin.state_dict(), opt.state_dict())


def test_it_is_a_torch_optimizer_that_can_be_printed():
    opt = hf.HinaAdamW(leaves(), **HINA)
    assert isinstance(opt, torch.optim.Optimizer)
    assert repr(opt).startswith("HinaAdamW (")
    assert "lr: 0.1" in repr(opt)


def test_compile_is_auto_true_or_false():
    for wrong in ("yes", None, 2):
        with pytest.raises(ValueError, match="compile must be one of 'auto', True, False"):
            hf.HinaAdamW(leaves(), compile=wrong)


# The same numbers as the chain


def numpy_free_decay(step: Tensor) -> Tensor:
    return 1 / (1 + 0.1 * step)


def foreign_momentum() -> hf.GradientTransformation:
    def init(params: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.zeros_like(p) for name, p in params.items()}

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        new = {name: u + 0.9 * state[name] for name, u in updates.items()}
        return new, {**state, **new}

    return hf.GradientTransformation(init, update)


all_on = {"use_orthogonal_grad": True, "wd_transition_steps": 2}
CHAINS = {
    "HinaAdamW": hf.hina_adamw(0.1, **all_on),
    "HinaAdamW with Adam": hf.hina_adamw(0.1, use_adopt_stability=False, use_grams=False, **all_on),
    "HinaAdamW original": hf.hina_adamw(0.1, formulas="original", **all_on),
    "adam": adam(),
    "global norm": hf.chain(hf.clip_by_global_norm(0.5), adam()),
    "schedule": hf.chain(hf.scale_by_adam(), hf.scale_by_learning_rate(numpy_free_decay)),
    "partition": hf.partition(
        {"a": adam(), "b": hf.chain(hf.trace(0.9), hf.scale(-0.1))}, lambda n, p: "a" if "lo" in n else "b"
    ),
    "accumulate": hf.accumulate(hf.chain(adam(), hf.spd_penalty(0.1)), 2),
    "apply_if_finite": hf.apply_if_finite(hf.chain(hf.zero_nans(), adam()), 2),
    "only": hf.chain(hf.only("lora_b", hf.trace(0.9)), hf.scale(-0.1)),
    "foreign": hf.chain(hf.clip_by_value(1.0), foreign_momentum(), hf.scale(-0.1)),
}


@pytest.mark.parametrize("tx", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_every_step_is_that_of_the_functional_chain(tx, dtype):
    """Parameters and state, to the bit, though gradients come and go and parameters come in another order."""
    params = dict(reversed(leaves(SHAPES, dtype).items()))
    opt = optimizer(params, tx)
    now = random(1, dtype, SHAPES)
    state = tx.init(now)
    for step in range(5):
        gone = ((), {"bias", "q.lora_A.weight", "gain"}, {"weight"}, (), {"a.lokr_w2", "b.lokr_w2"})[step]
        grads = {name: g for name, g in random(70 + step, dtype, SHAPES).items() if name not in gone}
        updates, state = tx.update(grads, state, now)
        now = hf.apply_updates(now, updates)
        train(opt, params, 1, 70 + step, missing=gone)
        for name, p in params.items():
            assert torch.equal(p, now[name]), (step, name)
    kept = {
        (f"{transform}/{field}", name): x
        for transform, fields in hf.named_state(state).items()
        for field, values in fields.items()
        for name, x in values.items()
        if name in now and transform != "foreign"
    }
    for (key, name), x in kept.items():
        assert same(opt.state[params[name]][key], x), (key, name)


class DelayState(NamedTuple):
    """The last two updates; at each step they move along."""

    newest: Tensor
    oldest: Tensor


def delay_leaf(u: Tensor, s: DelayState, leaf: Leaf) -> tuple[Tensor, DelayState]:
    return s.oldest, DelayState(u, s.newest)


def delay() -> hf.GradientTransformation:
    return per_leaf("delay", delay_leaf, init=lambda p: DelayState(torch.zeros_like(p), torch.zeros_like(p)))


def by_kind_leaf(u: Tensor, s: EmptyState, leaf: Leaf) -> tuple[Tensor, EmptyState]:
    return u * (1.0 + ["regular", "norm", "lora", "lokr"].index(leaf.kind)), s


def by_shape_leaf(u: Tensor, s: EmptyState, leaf: Leaf) -> tuple[Tensor, EmptyState]:
    return u.flip(-1) * u.shape[-1] if u.ndim > 1 else u, s


def by_name(updates: dict[str, Tensor], params: Any) -> dict[str, Tensor]:
    return {name: u.flip(-1) * len(name) if u.ndim else u for name, u in updates.items()}


WRITTEN_BY_USERS = {
    "moves its state along": hf.chain(delay(), hf.scale(-0.1)),
    "reads kinds": hf.chain(per_leaf("by_kind", by_kind_leaf, roles=hf.ADAPTER_ROLES), hf.scale(-0.1)),
    "reads shapes": hf.chain(per_leaf("by_shape", by_shape_leaf, reads_shape=True), hf.scale(-0.1)),
    "reads names": hf.chain(hf.stateless(by_name), hf.scale(-0.1)),
    "reads names, in a part": hf.chain(hf.only("lora_b", hf.stateless(by_name)), hf.trace(0.9), hf.scale(-0.1)),
    "moves its state along, whole": hf.chain(hf.clip_by_global_norm(1.0), delay(), hf.scale(-0.1)),
}


def follows(tx: hf.GradientTransformation, params: Named, steps: int = 4, missing: Any = ()) -> hf.Optimizer:
    """The optimizer after some steps, each of which must be that of the functional chain to the bit."""
    opt = optimizer(params, tx)
    now = numbers(params)
    state = tx.init(now)
    for step in range(steps):
        gone = missing if step % 2 else ()
        train(opt, params, 1, 70 + step, missing=gone)
        updates, state = tx.update({n: p.grad for n, p in params.items() if n not in gone}, state, now)
        now = hf.apply_updates(now, updates)
        for name, p in params.items():
            assert torch.equal(p, now[name]), (step, name)
    return opt


@pytest.mark.filterwarnings("ignore:.*0 (LoRA|LoKr) modules matched")
@pytest.mark.parametrize("tx", WRITTEN_BY_USERS.values(), ids=WRITTEN_BY_USERS)
def test_transforms_written_by_users_take_the_functional_step_too(tx):
    follows(tx, leaves(SHAPES), missing={"bias", "a.lokr_w1"})


def test_large_and_many_tensors_take_the_functional_step():
    """Sums over many elements, columns of more elements than fit a cache, and one that is not stacked."""
    shapes = {
        **{f"m{i}.lokr_w1": (16, 16) for i in range(6)},
        **{f"m{i}.lokr_w2": (160, 200) for i in range(6)},
        **{f"conv{i}": (40, 20, 3, 3) for i in range(12)},
        **{f"row{i}": (3001,) for i in range(50)},
        "dense": (1100, 1000),
    }
    recipe = hf.hina_adamw(0.1, use_orthogonal_grad=True, wd_transition_steps=1)
    follows(recipe, leaves(shapes, torch.float32), steps=2, missing={"m3.lokr_w2", "conv11", "row0"})


def test_groups_hold_where_columns_are_cut():
    shapes = {f"w{i}": (250, 200) for i in range(7)}
    params, reference = leaves(shapes), leaves(shapes)
    items = list(params.items())
    groups = [{"params": items[i::3], "lr": 0.1 * (i + 1), "betas": (0.1 * i, 0.9)} for i in range(3)]
    opt = optimizer(groups, plain_adam())
    train(opt, params, 3, missing=lambda step: {"w2", "w5"} if step % 2 else ())
    tx, now = plain_adam(), numbers(reference)
    state = tx.init(now)
    of = {name: group for group in groups for name in group["param_names"]}
    values = {key: {name: of[name][key] for name in shapes} for key in ("lr", "betas")}
    for step in range(50, 53):
        gone = {"w2", "w5"} if step % 2 else ()
        grads = {name: g for name, g in random(step, torch.float64, shapes).items() if name not in gone}
        updates, state = tx.update(grads, state, now, hyperparams=values)
        now = hf.apply_updates(now, updates)
    close(numbers(params), now)


@pytest.mark.filterwarnings("ignore:.*0 (LoRA|LoKr) modules matched")
@pytest.mark.parametrize("row", [row for row in ROWS if row.hyper], ids=lambda row: row.name)
def test_a_number_per_group_is_the_functional_number_per_parameter(row: Row):
    """Groups part modules of adapters from each other, but not their members."""
    if row.whole_tree and row.name != "apply_if_finite":
        pytest.skip("takes one number for the whole tree")
    params, tx = leaves(SHAPES), row.tunable()
    chosen = {name: row.other if name[0] in "qbtnw" else row.value for name in SHAPES}
    groups = [
        {"params": [(n, p) for n, p in params.items() if chosen[n] == x], row.hyper: x} for x in set(chosen.values())
    ]
    opt = optimizer(groups, tx)
    now = numbers(params)
    state = tx.init(now)
    for step in range(3):
        train(opt, params, 1, 70 + step)
        grads = random(70 + step, torch.float64, SHAPES)
        updates, state = tx.update(grads, state, now, hyperparams={row.hyper: chosen})
        now = hf.apply_updates(now, updates)
    close(numbers(params), now)


def test_parameters_of_several_precisions_may_share_a_column():
    params = {
        **leaves(dtype=torch.bfloat16),
        **leaves({"v.lora_A.weight": (2, 3), "v.lora_B.weight": (4, 2)}, torch.float32),
    }
    params["k.lora_B.weight"] = nn.Parameter(params["k.lora_B.weight"].detach().to(torch.float16))
    dtypes = {name: p.dtype for name, p in params.items()}
    follows(hf.hina_adamw(0.1), params, missing={"q.lora_A.weight"})
    assert {name: p.dtype for name, p in params.items()} == dtypes


@pytest.mark.parametrize("alone", [True, False])
def test_strides_may_change_in_training(alone):
    """As ``model.to(memory_format=torch.channels_last)`` changes them."""
    shapes = {"c": (2, 3, 4, 2)} if alone else {"c": (2, 3, 4, 2), "d": (2, 3, 4, 2)}
    params, reference = leaves(shapes), leaves(shapes)
    opt, other = hf.HinaAdamW(params, **HINA, use_alora=False), hf.HinaAdamW(reference, **HINA, use_alora=False)
    for step in range(3):
        for p in params.values():
            p.data = p.data.contiguous(memory_format=torch.channels_last if step % 2 else torch.contiguous_format)
        train(opt, params, 1, 60 + step)
        train(other, reference, 1, 60 + step)
    close(numbers(params), numbers(reference))


def test_hina_adamw_is_the_chain_of_that_name():
    for formulas in ("published", "original"):
        params, reference = leaves(SHAPES), leaves(SHAPES)
        train(hf.HinaAdamW(params, **HINA, formulas=formulas), params)
        tx = hf.hina_adamw(0.1, wd_transition_steps=2, formulas=formulas)
        train(optimizer(reference, tx), reference)
        assert same(numbers(params), numbers(reference))


# Presets and information

GUIDE = {
    "basic": {
        "lr": 1e-3,
        "use_alora": True,
        "alora_ratio": 18.0,
        "dynamic_weight_decay": True,
        "wd_transition_steps": 500,
        "wd_decay_factor": 0.75,
        "wd_min_ratio": 0.15,
        "use_spd": True,
        "use_cautious": True,
    },
    "lokr": {
        "lr": 1e-3,
        "use_alora": True,
        "alora_ratio": 16.0,
        "dynamic_weight_decay": True,
        "wd_transition_steps": 600,
        "wd_decay_factor": 0.8,
        "wd_min_ratio": 0.18,
        "use_spd": True,
        "spd_lambda": 0.08,
        "use_cautious": True,
        "use_adopt_stability": True,
        "use_tam": True,
        "tam_beta": 0.995,
    },
    "sd_lokr": {
        "lr": 8e-4,
        "alora_ratio": 16.0,
        "wd_transition_steps": 500,
        "wd_decay_factor": 0.75,
        "wd_min_ratio": 0.15,
        "use_spd": True,
        "spd_lambda": 0.06,
        "use_cautious": True,
        "use_grams": True,
    },
    "llm_lokr": {
        "lr": 5e-4,
        "alora_ratio": 20.0,
        "wd_transition_steps": 800,
        "wd_decay_factor": 0.85,
        "wd_min_ratio": 0.20,
        "use_spd": True,
        "spd_lambda": 0.10,
        "use_cautious": True,
        "use_adopt_stability": True,
    },
    "experimental_lokr": {
        "lr": 1.2e-3,
        "alora_ratio": 22.0,
        "wd_transition_steps": 400,
        "wd_decay_factor": 0.70,
        "wd_min_ratio": 0.12,
        "use_spd": True,
        "spd_lambda": 0.12,
        "use_cautious": True,
        "use_orthogonal_grad": True,
        "use_grams": True,
        "use_agr": True,
        "use_tam": True,
    },
}


@pytest.mark.parametrize("name", GUIDE)
def test_presets_are_the_guides_numbers_and_build_an_optimizer(name):
    preset = getattr(hf.presets, name)
    assert dict(preset) == GUIDE[name]
    with pytest.raises(TypeError):
        preset["lr"] = 1.0
    params = leaves()
    opt = hf.HinaAdamW(params, **preset, compile=False)
    group = opt.param_groups[0]
    assert {key: group[key] for key in preset if key in group} == {k: v for k, v in preset.items() if k in group}
    assert {"lr", "alora_ratio", "wd_transition_steps", "spd_lambda"} <= group.keys()
    train(opt, params, 1)
    assert all(torch.isfinite(p).all() for p in params.values())


COUNTS = {
    "full": {"lokr_w1_params": 3, "lokr_w2_params": 3},
    "factored": {"lokr_w1_params": 3, "lokr_w2_a_params": 3, "lokr_w2_b_params": 3},
    "tucker": {
        "lokr_w1_a_params": 3,
        "lokr_w1_b_params": 3,
        "lokr_w2_a_params": 3,
        "lokr_w2_b_params": 3,
        "lokr_t2_params": 1,
    },
}
GUIDE_KEYS = {
    *("lokr_w1_params", "lokr_w2_params", "lokr_pairs", "lokr_groups"),
    *("w_norm_params", "b_norm_params", "norm_pairs"),
}


@pytest.mark.parametrize("kind", LOKR)
def test_the_information_counts_what_a_lycoris_network_has(kind):
    _, network = lycoris_network(**LOKR[kind])
    norms = 1 if LOKR[kind].get("train_norm") else 0
    info = hf.HinaAdamW(network.named_parameters(), **HINA).get_optimization_info()
    assert {"optimizer_type", "total_params", "features", "lora_stats", "lokr_stats"} <= info.keys()
    assert info["optimizer_type"] == "HinaAdamW"
    assert info["total_params"] == len(list(network.parameters()))
    stats = info["lokr_stats"]
    assert stats.keys() >= GUIDE_KEYS
    pairs = {"lokr_pairs": 3, "lokr_groups": 3}
    normal = dict.fromkeys(("w_norm_params", "b_norm_params", "norm_pairs"), norms)
    assert stats == {**dict.fromkeys(stats, 0), **COUNTS[kind], **pairs, **normal}
    assert set(info["lora_stats"].values()) == {0}


def test_the_information_counts_lora_and_incomplete_modules():
    params = leaves({**LORA, "z.lora_A.weight": (2, 3), "m.lokr_w1": (2, 2), "n.w_norm": (3,), "bias": (3,)})
    info = hf.HinaAdamW(params, **HINA).get_optimization_info()
    assert info["total_params"] == 8
    assert info["lora_stats"] == {"lora_a_params": 3, "lora_b_params": 2, "lora_pairs": 2}
    stats = info["lokr_stats"]
    assert (stats["lokr_w1_params"], stats["lokr_pairs"], stats["lokr_groups"]) == (1, 0, 1)
    assert (stats["w_norm_params"], stats["b_norm_params"], stats["norm_pairs"]) == (1, 0, 0)


def test_the_information_says_which_features_are_on_and_that_grams_hides_cautious():
    features = hf.HinaAdamW(leaves(), **HINA).get_optimization_info()["features"]
    assert features["grams"] is True
    assert features["orthogonal_grad"] is False
    assert "grams" in str(features["cautious"])
    assert features["alora_ratio"] == 16.0
    off = hf.HinaAdamW(leaves(), **HINA, use_grams=False).get_optimization_info()["features"]
    assert (off["grams"], off["cautious"]) == (False, True)
    original = hf.HinaAdamW(leaves(), **HINA, formulas="original").get_optimization_info()
    assert original["features"]["cautious"] is True


def test_the_information_follows_the_groups():
    opt = hf.HinaAdamW(leaves(), **HINA)
    opt.add_param_group({"params": [("new.lora_A.weight", nn.Parameter(torch.ones(2, 3)))]})
    opt.param_groups[0]["alora_ratio"] = 4.0
    info = opt.get_optimization_info()
    assert info["total_params"] == 5
    assert info["lora_stats"]["lora_a_params"] == 3
    assert info["features"]["alora_ratio"] == 4.0


def test_formulas_are_one_of_two():
    with pytest.raises(ValueError, match="formulas must be one of 'published', 'original', got 'best'"):
        hf.HinaAdamW(leaves(), formulas="best")
    params, reference = leaves(), leaves()
    train(hf.HinaAdamW(params, **HINA, formulas="original"), params)
    train(hf.HinaAdamW(reference, **HINA), reference)
    assert not any(torch.equal(params[name], reference[name]) for name in LORA)


class MyHina(hf.HinaAdamW):
    def __init__(self, params: Any, **arguments: Any) -> None:
        super().__init__(params, **arguments)


@pytest.mark.parametrize("kind", [lambda p: optimizer(p), lambda p: hf.HinaAdamW(p), lambda p: MyHina(p)])
@pytest.mark.parametrize("name", ["w", "param.0"])
def test_a_warning_names_the_line_that_built_the_optimizer(kind, name):
    with pytest.warns(UserWarning, match="LoRA modules matched|have no names") as caught:
        kind({name: nn.Parameter(torch.ones(2, 2))})
    assert [warning.filename for warning in caught] == [__file__]


def test_pieces_of_one_memory_that_do_not_overlap_are_parameters_like_any_other():
    memory = torch.ones(8)
    pieces = {"a": memory[:4].view(2, 2), "b": memory[4:8:2], "c": memory[5::2], "none": memory[:0]}
    params = {name: torch.nn.Parameter(piece) for name, piece in pieces.items()}
    with pytest.raises(ValueError, match="'a' and 'd' share memory"):
        hf.Optimizer({**params, "d": torch.nn.Parameter(memory[:4].view(2, 2).t())}, hf.scale(-1.0))
    opt = hf.Optimizer(params, hf.scale(-1.0))
    for p in params.values():
        p.grad = torch.ones_like(p)
    opt.step()
    assert not memory.any()


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_a_gradient_of_another_shape_than_its_parameter_is_refused_before_anything_moves(steps, masked):
    """As is left over when ``param.data`` is replaced between backward and step."""
    links = [hf.scale_by_adam(), *[hf.cautious_mask()] * masked, hf.scale_by_learning_rate(0.1)]
    params = {name: torch.nn.Parameter(torch.ones(3, 2)) for name in ("a", "b")}
    optimizer = hf.Optimizer(params, hf.chain(*links))
    for param in params.values():
        param.grad = torch.ones(3, 2)
    for _ in range(steps):
        optimizer.step()
    kept = params["a"].detach().clone()
    params["b"].data = torch.ones(5, 7)
    with pytest.raises(ValueError, match="'b'"):
        optimizer.step()
    assert torch.equal(params["a"], kept)
    assert torch.equal(params["b"], torch.ones(5, 7))
