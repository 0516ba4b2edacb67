"""Named trees: what a leaf is called, what comes back, and how updates land."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

import hina_func as hf
from hina_func.tree import flatten, rebuild, tree_leaves


class Pair(NamedTuple):
    left: Any
    right: Any


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


# Names are made of letters only, so that no two paths can be joined to the same name.
words = st.text("abc", min_size=1, max_size=3)
trees = st.recursive(
    st.none() | st.integers(0, 9).map(lambda x: torch.tensor([float(x)])),
    lambda inner: (
        st.dictionaries(words, inner, max_size=3)
        | st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.tuples(inner, inner).map(lambda two: Pair(*two))
    ),
    max_leaves=8,
)


def same_structure(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same_structure(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_structure, a, b))
    return (a is None) == (b is None)


def test_a_leaf_is_named_by_its_path_joined_by_dots():
    tree = {"a": {"lokr_w1": ones(1)}, "b": [ones(1), (ones(1), Pair(ones(1), {"x.y": ones(1)}))], 3: ones(1)}
    assert list(flatten(tree)) == ["a.lokr_w1", "b.0", "b.1.0", "b.1.1.left", "b.1.1.right.x.y", "3"]


def test_the_parameters_of_a_model_and_a_nested_tree_of_them_have_the_same_names():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1)))
    nested = {"0": {"weight": model[0].weight, "bias": model[0].bias}, "1": [dict(model[1][0].named_parameters())]}
    assert flatten(dict(model.named_parameters())).keys() == flatten(nested).keys()


def test_a_single_tensor_is_a_tree():
    tx = hf.chain(hf.trace(0.5), hf.scale(-1.0))
    updates, _ = tx.update(ones(2), tx.init(ones(2)))
    assert torch.equal(hf.apply_updates(3 * ones(2), updates), 2 * ones(2))


def test_empty_leaves_have_names_but_are_no_parameters():
    tree = {"w": ones(1), "b": None, "c": {}}
    assert list(flatten(tree)) == ["w", "b"]
    assert list(tree_leaves(tree)) == ["w"]


def test_two_leaves_of_one_name_are_refused_by_name():
    for tree in ({"a": {"b": ones(1)}, "a.b": ones(1)}, {"l": [ones(1)], "l.0": ones(1)}, {0: ones(1), "0": ones(1)}):
        with pytest.raises(ValueError, match=r"same name '(a\.b|l\.0|0)'"):
            hf.scale(1.0).init(tree)
        with pytest.raises(ValueError, match="same name"):
            hf.apply_updates(tree, tree)


def test_a_leaf_that_is_no_tensor_is_refused_by_name():
    with pytest.raises(TypeError, match=r"'a\.b' must be a Tensor or None, got float"):
        hf.scale(1.0).init({"a": {"b": 1.0}})


@given(trees)
def test_rebuilding_a_tree_from_its_leaves_gives_the_tree(tree):
    again = rebuild(tree, flatten(tree))
    assert same_structure(tree, again)
    assert all(flatten(tree)[name] is leaf for name, leaf in flatten(again).items())


@given(trees)
def test_update_and_apply_updates_return_the_structure_they_were_given(tree):
    if not tree_leaves(tree):
        return
    tx = hf.chain(hf.trace(0.5), hf.scale(-1.0))
    updates, _ = tx.update(tree, tx.init(tree), tree)
    assert same_structure(tree, updates)
    assert same_structure(tree, hf.apply_updates(tree, updates))


def test_ordered_dicts_come_back_as_ordered_dicts():
    params = OrderedDict(w=ones(1), b=ones(1))
    updates, _ = hf.scale(2.0).update(params, hf.scale(2.0).init(params))
    assert type(updates) is OrderedDict
    assert type(hf.apply_updates(params, updates)) is OrderedDict


def test_updates_may_have_another_structure_than_params_as_long_as_names_agree():
    params, updates = {"a": {"w": ones(2)}, "b": [ones(1)]}, {"b.0": -ones(1), "a.w": ones(2)}
    landed = hf.apply_updates(params, updates)
    assert torch.equal(landed["a"]["w"], 2 * ones(2))
    assert torch.equal(landed["b"][0], 0 * ones(1))


def test_a_parameter_without_an_update_stays():
    params = {"w": ones(1), "b": 2 * ones(1), "c": 3 * ones(1), "d": None}
    landed = hf.apply_updates(params, {"w": ones(1), "b": None})
    assert {name: x if x is None else float(x) for name, x in landed.items()} == {"w": 2, "b": 2, "c": 3, "d": None}


def test_an_update_without_a_parameter_of_its_name_and_shape_is_refused():
    for updates in ({"v": ones(1)}, {"w": ones(2)}, {"w": ones(1, 1)}, {"d": ones(1)}):
        with pytest.raises(ValueError, match="has no parameter of this name and shape"):
            hf.apply_updates({"w": ones(1), "d": None}, updates)


def test_applying_updates_changes_neither_argument():
    params, updates = {"w": ones(2)}, {"w": 2 * ones(2)}
    landed = hf.apply_updates(params, updates)
    landed["w"].zero_()
    assert torch.equal(params["w"], ones(2))
    assert torch.equal(updates["w"], 2 * ones(2))


@given(
    hnp.arrays(np.float32, 16, elements=st.floats(-4, 4, width=16)),
    hnp.arrays(np.float32, 16, elements=st.floats(-1, 1, width=32)),
    st.sampled_from([torch.bfloat16, torch.float16]),
)
def test_low_precision_parameters_are_rounded_once(param, update, dtype):
    """The sum is exact to float32 and then rounded: never worse than the nearest number of the parameter's dtype."""
    p, u = torch.from_numpy(param).to(dtype), torch.from_numpy(update)
    landed = hf.apply_updates({"w": p}, {"w": u})["w"]
    assert landed.dtype == dtype
    assert torch.equal(landed, (p.float() + u).to(dtype))


def test_rounding_once_is_not_rounding_twice():
    """1 + 2**-8 + 2**-20 is just above the middle of two bfloat16 numbers; an update rounded first loses that."""
    p, u = torch.ones(1, dtype=torch.bfloat16), torch.tensor([2**-8 + 2**-20])
    assert p + u.to(torch.bfloat16) == 1
    assert hf.apply_updates({"w": p}, {"w": u})["w"] == 1 + 2**-7


def test_parameters_keep_their_dtype_even_where_updates_are_wider():
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        for shape in ((), (2,)):
            landed = hf.apply_updates({"w": torch.ones(shape, dtype=dtype)}, {"w": ones(*shape)})
            assert landed["w"].dtype == dtype
            assert landed["w"].shape == shape
