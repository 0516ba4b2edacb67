"""Adapters of a model as data: who belongs together, what is missing, what does not fit, and how it prints."""

from __future__ import annotations

import copy
import json
import pickle
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from hina_func.adapters import AdapterMap, find_adapters
from hina_func.roles import FACTOR_ROLES, LORA_ROLES, NORM_ROLES, ROLES

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "adapter_names.json").read_text("utf-8"))
KINDS = {
    **dict.fromkeys(LORA_ROLES, "lora"),
    **dict.fromkeys(FACTOR_ROLES, "lokr"),
    **dict.fromkeys(NORM_ROLES, "norm"),
}
# The only real pair here whose factors cannot be multiplied: a convolution with groups.
GROUPED_CONV = "base_model.model.conv2d_grouped|default"
quick = settings(deadline=None, max_examples=50)


def empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def of_case(case: dict[str, Any]) -> AdapterMap:
    return find_adapters((p["name"], empty(*p["shape"])) for p in case["params"])


def records(adapters: AdapterMap) -> set[tuple[Any, ...]]:
    """What the records say, without their order."""
    return {(r.key, r.pair, r.kind, r.problem, *r.members.items()) for r in adapters.modules}


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_records_of_a_real_network_hold_the_true_partners(case: dict[str, Any]) -> None:
    true: dict[Any, set[tuple[str, str]]] = defaultdict(set)
    for p in case["params"]:
        if p["role"] in KINDS:
            true[p["group"], p.get("pair"), KINDS[p["role"]]].add((p["role"], p["name"]))
    adapters = of_case(case)
    found = [set(record.members.items()) for record in adapters.modules]
    assert sorted(map(sorted, found)) == sorted(map(sorted, true.values()))
    assert {record.key for record in adapters.modules if not record.complete} <= {GROUPED_CONV}


def test_two_adapters_of_one_module_are_two_records() -> None:
    adapters = find_adapters([f"q.lora_{side}.{name}.weight" for side in "AB" for name in ("one", "two")])
    assert [dict(record.members) for record in adapters.modules] == [
        {"lora_a": f"q.lora_A.{name}.weight", "lora_b": f"q.lora_B.{name}.weight"} for name in ("one", "two")
    ]


def test_pairs_of_one_module_are_records_of_their_own() -> None:
    adapters = find_adapters([f"lora_unet_qkv.lora_{side}.{i}.weight" for side in ("down", "up") for i in range(3)])
    assert [(record.key, record.pair, record.complete) for record in adapters.modules] == [
        ("lora_unet_qkv", str(i), True) for i in range(3)
    ]


def test_a_pair_that_straddles_parameter_groups_is_one_record() -> None:
    groups = [{"names": ["q.lora_A", "k.lora_A"]}, {"names": ["k.lora_B", "q.lora_B"]}]
    adapters = find_adapters([name for group in groups for name in group["names"]])
    assert adapters.partners("q.lora_B") == ("q.lora_A",)
    assert adapters.partners("k.lora_A") == ("k.lora_B",)


@quick
@given(st.data(), st.sampled_from([case for case in CASES if len(case["params"]) < 100]))
def test_the_order_of_parameters_changes_nothing(data: st.DataObject, case: dict[str, Any]) -> None:
    shuffled = {**case, "params": data.draw(st.permutations(case["params"]))}
    assert records(of_case(shuffled)) == records(of_case(case))
    assert of_case(shuffled).unmatched() == of_case(case).unmatched()


class Factors(NamedTuple):
    lora_a: Tensor
    lora_b: Tensor


def test_all_ways_to_name_parameters_say_the_same() -> None:
    model = nn.ModuleDict({"q": nn.Module(), "k": nn.Linear(2, 2)})
    model["q"].register_parameter("lora_a", nn.Parameter(torch.zeros(1, 4)))
    model["q"].register_parameter("lora_b", nn.Parameter(torch.zeros(3, 1)))
    named = dict(model.named_parameters())
    tree = {"q": Factors(named["q.lora_a"], named["q.lora_b"]), "k": {"weight": empty(2, 2), "bias": empty(2)}}
    ways = [model, named, tree, model.named_parameters(), list(named.items()), list(named), named.keys(), set(named)]
    for adapters in map(find_adapters, ways):
        assert records(adapters) == {("q", None, "lora", None, ("lora_a", "q.lora_a"), ("lora_b", "q.lora_b"))}
        assert set(adapters.names) == set(named)


def test_extra_patterns_make_partners() -> None:
    patterns = [(r"\.squeeze$", "lora_a"), (r"\.expand$", "lora_b")]
    adapters = find_adapters(["q.squeeze", "q.expand", "q.weight"], patterns)
    assert adapters.partners("q.squeeze") == ("q.expand",)
    assert adapters.unmatched() == {}


def test_counts_name_every_role() -> None:
    counts = find_adapters(["q.lora_A", "q.lora_B", "k.lora_A", "fc.weight", "x.lokr.y"]).counts()
    assert counts == {**dict.fromkeys(ROLES, 0), "lora_a": 2, "lora_b": 1, "regular": 1, "lokr_generic": 1}


def test_a_dora_scale_knows_its_module_and_has_no_partners() -> None:
    adapters = find_adapters(["lycoris_q.lokr_w1", "lycoris_q.lokr_w2", "lycoris_q.dora_scale", "norm.weight"])
    assert adapters.role("lycoris_q.dora_scale") == "regular"
    assert adapters.module("lycoris_q.dora_scale") == adapters.module("lycoris_q.lokr_w1")
    assert adapters.module("norm.weight") is None
    assert adapters.pair("norm.weight") is None
    assert adapters.partners("lycoris_q.dora_scale") == ()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["q.lora_B"], "no lora_a in its module"),
        (["q.lora_A"], "no lora_b in its module"),
        (["q.lokr_w1"], "no lokr_w2 in its module, neither whole nor factored"),
        (["q.lokr_w2_a", "q.lokr_w2_b"], "no lokr_w1 in its module, neither whole nor factored"),
        (["q.lokr_w1", "q.lokr_w2_a"], "its module has lokr_w2_a without its other half"),
        (["q.lokr_w1_b", "q.lokr_w2"], "its module has lokr_w1_b without its other half"),
        (["q.lokr_w1", "q.lokr_w2", "q.lokr_w2_b"], "its module has lokr_w2 as well as lokr_w2_b"),
        (
            ["q.lokr_w1", "q.lokr_w1_a", "q.lokr_w1_b", "q.lokr_w2"],
            "its module has lokr_w1 as well as lokr_w1_a and lokr_w1_b",
        ),
        (["q.lokr_w1", "q.lokr_w2", "q.lokr_t2"], "its module has lokr_t2 as well as a whole lokr_w2"),
        (["q.b_norm"], "b_norm without w_norm"),
        (
            ["q.lora_A", "q.lora_A.weight", "q.lora_B"],
            "'q.lora_A' and 'q.lora_A.weight' all claim to be lora_a of one module",
        ),
    ],
)
def test_what_no_rule_can_use_is_reported_with_its_reason(names: list[str], reason: str) -> None:
    adapters = find_adapters(names)
    assert adapters.unmatched() == dict.fromkeys(names, reason)
    assert [record.complete for record in adapters.modules] == [False]


@pytest.mark.parametrize(
    "names",
    [
        ["q.lora_A", "q.lora_B"],
        ["q.lokr_w1", "q.lokr_w2"],
        ["q.lokr_w1_a", "q.lokr_w1_b", "q.lokr_w2"],
        ["q.lokr_w1", "q.lokr_t2", "q.lokr_w2_b", "q.lokr_w2_a"],
        ["q.w_norm"],
        ["q.w_norm", "q.b_norm"],
        ["q.lokr.param"],
        ["q.weight"],
        [],
    ],
)
def test_whole_adapters_and_unknown_lokr_tensors_are_not_unmatched(names: list[str]) -> None:
    adapters = find_adapters(names)
    assert adapters.unmatched() == {}
    assert all(record.complete for record in adapters.modules)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"lora_A": (4, 32), "lora_B": (64, 4)}, None),
        ({"lora_A": (4, 16, 3, 3), "lora_B": (32, 4, 1, 1)}, None),
        (
            {"lora_A": (4, 16, 3, 3), "lora_B": (32, 1, 1, 1)},
            "axis 1 of lora_b [32, 1, 1, 1] does not fit axis 0 of lora_a [4, 16, 3, 3]",
        ),
        ({"lora_A": (8, 32), "lora_B": (64, 4)}, "axis 1 of lora_b [64, 4] does not fit axis 0 of lora_a [8, 32]"),
        ({"lora_A": (4,), "lora_B": (64,)}, "axis 1 of lora_b [64] does not fit axis 0 of lora_a [4]"),
        ({"lora_A": (), "lora_B": (64,)}, "axis 1 of lora_b [64] does not fit axis 0 of lora_a []"),
        ({"lokr_w1": (8, 2), "lokr_w2": (3, 5, 3, 3)}, None),
        ({"lokr_w1_a": (8, 2), "lokr_w1_b": (2, 8), "lokr_w2": (3, 5)}, None),
        (
            {"lokr_w1_a": (8, 2), "lokr_w1_b": (3, 8), "lokr_w2": (3, 5)},
            "axis 1 of lokr_w1_a [8, 2] does not fit axis 0 of lokr_w1_b [3, 8]",
        ),
        ({"lokr_w1": (8, 8), "lokr_w2_a": (16, 4), "lokr_w2_b": (4, 90)}, None),
        (
            {"lokr_w1": (8, 8), "lokr_w2_a": (4, 16), "lokr_w2_b": (4, 90)},
            "axis 1 of lokr_w2_a [4, 16] does not fit axis 0 of lokr_w2_b [4, 90]",
        ),
        ({"lokr_w1": (8, 8), "lokr_t2": (4, 4, 3, 3), "lokr_w2_a": (4, 16), "lokr_w2_b": (4, 10)}, None),
        (
            {"lokr_w1": (8, 8), "lokr_t2": (4, 4, 3, 3), "lokr_w2_a": (16, 4), "lokr_w2_b": (4, 10)},
            "axis 0 of lokr_t2 [4, 4, 3, 3] does not fit axis 0 of lokr_w2_a [16, 4]",
        ),
        (
            {"lokr_w1": (8, 8), "lokr_t2": (4, 4, 3, 3), "lokr_w2_a": (4, 16), "lokr_w2_b": (5, 10)},
            "axis 1 of lokr_t2 [4, 4, 3, 3] does not fit axis 0 of lokr_w2_b [5, 10]",
        ),
    ],
)
def test_shapes_that_cannot_be_multiplied_are_reported(shapes: dict[str, tuple[int, ...]], reason: str | None) -> None:
    adapters = find_adapters({f"q.{name}": empty(*shape) for name, shape in shapes.items()})
    assert [record.problem for record in adapters.modules] == [reason]
    assert set(adapters.unmatched()) == (set() if reason is None else set(adapters.names))


def test_a_leaf_without_a_tensor_has_a_role_and_no_shape_to_check() -> None:
    adapters = find_adapters({"q.lora_A": empty(8, 32), "q.lora_B": None})
    assert adapters.unmatched() == {}


def test_printing_shows_what_was_found_and_what_was_not() -> None:
    names = [f"blk_{i}.lokr_{factor}" for i in range(12) for factor in ("w2_b", "w1", "w2_a")]
    names += ["out.lokr_w1", "out.lokr_w2", "norm.w_norm", "norm.b_norm", "q.lora_A", "q.lora_B", "fc.weight"]
    assert str(find_adapters([*names, "x.lokr.y", "k.lora_B"])) == (
        "kind  modules  members                      for example\n"
        "lokr       12  lokr_w1 lokr_w2_a lokr_w2_b  'blk_0'\n"
        "lokr        1  lokr_w1 lokr_w2              'out'\n"
        "norm        1  w_norm b_norm                'norm'\n"
        "lora        1  lora_a lora_b                'q'\n"
        "1 lokr_generic\n"
        "1 regular\n"
        "1 unmatched:\n"
        "  k.lora_B: no lora_a in its module"
    )


def test_many_unmatched_parameters_print_in_a_few_lines() -> None:
    lines = str(find_adapters([f"{i}.lora_B" for i in range(1000)])).splitlines()
    assert lines[0] == "no complete adapter modules"
    assert lines[1] == "1000 unmatched:"
    assert lines[-1] == "  ... and 995 more, all in .unmatched()"
    assert len(lines) == 8


@pytest.mark.parametrize("ask", ["role", "module", "pair", "partners"])
def test_asking_for_an_unknown_name_is_an_error_that_suggests_others(ask: str) -> None:
    adapters = find_adapters(["q.lora_A", "q.lora_B"])
    with pytest.raises(KeyError, match=r"'q\.lora_C' is none of the 2 parameters of this map; similar: 'q\.lora_"):
        getattr(adapters, ask)("q.lora_C")


@pytest.mark.parametrize("twice", [["q.lora_A", "q.lora_A"], [("q.lora_A", empty(1, 2)), ("q.lora_A", empty(1, 2))]])
def test_a_name_that_comes_twice_is_an_error_that_names_it(twice: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"'q\.lora_A'"):
        find_adapters(twice)


@pytest.mark.parametrize("wrong", ["q.lora_A", 3, None, {"q.lora_A": "tensor"}, [1, 2]])
def test_anything_but_names_and_tensors_is_an_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        find_adapters(wrong)


def test_a_map_is_immutable_hashable_and_can_be_copied_and_pickled() -> None:
    adapters = find_adapters(["q.lora_A", "q.lora_B"])
    with pytest.raises(AttributeError):
        adapters.modules = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        adapters.modules[0].kind = "lokr"  # type: ignore[misc]
    assert len({adapters, adapters.modules[0]}) == 2
    for twin in (copy.deepcopy(adapters), pickle.loads(pickle.dumps(adapters))):
        assert records(twin) == records(adapters)


def test_a_network_of_thousands_of_parameters_is_read_in_a_moment() -> None:
    factors = {"lokr_w1": empty(8, 8), "lokr_w2_a": empty(160, 8), "lokr_w2_b": empty(8, 160)}
    tensors = {
        f"lora_unet_input_blocks_4_1_transformer_blocks_{i}_attn1_to_q.{n}": t
        for i in range(800)
        for n, t in factors.items()
    }
    start = time.perf_counter()
    adapters = find_adapters(tensors)
    assert time.perf_counter() - start < 1
    assert len(adapters.modules) == 800
