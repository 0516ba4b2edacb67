"""Composition: what chains, partitions, masks, gradients for masks, conditions and numbers promise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import torch
from catalog import ROWS, SHAPES, draw
from hypothesis import given, settings
from torch import Tensor

import hina_func as hf

Tree = dict[str, Tensor]
SMALL = {"a": (2, 3), "b": (2, 3), "c": (3,)}


def some(seed: int) -> Tree:
    return draw(seed, shapes=SMALL)


def run(
    tx: hf.GradientTransformation, params: Tree, grads: Iterable[dict[str, Any]], extras: Any = None
) -> tuple[list[Tree], Any]:
    """Updates of each step, along which the parameters move, and the last state; ``extras(step)`` are keywords."""
    state, history = tx.init(params), []
    for step, given_ in enumerate(grads):
        updates, state = tx.update(given_, state, params, **({} if extras is None else extras(step)))
        params = hf.apply_updates(params, updates)
        history.append(updates)
    return history, state


def series(steps: int = 3, first: int = 20, make: Callable[[int], Tree] = some) -> list[Tree]:
    return [make(first + step) for step in range(steps)]


def equal(a: Any, b: Any) -> bool:
    """The same structure, types and bits."""
    if isinstance(a, Tensor) or a is None:
        return a is b or (a.dtype == b.dtype and torch.equal(a, b))
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))


def close(a: list[Tree], b: list[Tree], tolerance: float = 1e-12) -> None:
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name in x:
            torch.testing.assert_close(x[name], y[name], rtol=tolerance, atol=tolerance)


def sgd(lr: Any = 0.1, decay: float = 0.9) -> hf.GradientTransformation:
    return hf.chain(hf.trace(decay), hf.scale_by_learning_rate(lr))


# The pair


def test_a_transformation_is_a_pair_that_cannot_be_changed():
    tx = hf.chain(hf.trace(0.9), hf.scale(2.0))
    assert isinstance(tx, hf.GradientTransformation)
    assert tuple(tx) == (tx.init, tx.update)
    with pytest.raises(AttributeError):
        tx.init = lambda params: ()
    with pytest.raises(AttributeError):
        tx.anything = 1


# chain and named_chain


def test_a_chain_feeds_each_transform_with_the_updates_of_the_one_before():
    params = {"w": torch.zeros(1)}
    (clipped_first,), _ = run(hf.chain(hf.clip_by_value(1.0), hf.scale(3.0)), params, [{"w": torch.tensor([5.0])}])
    (scaled_first,), _ = run(hf.chain(hf.scale(3.0), hf.clip_by_value(1.0)), params, [{"w": torch.tensor([5.0])}])
    assert (float(clipped_first["w"]), float(scaled_first["w"])) == (3, 1)


def test_how_chains_are_nested_changes_nothing_not_even_the_state():
    def parts() -> list[hf.GradientTransformation]:
        masks = hf.masked(hf.ema(0.5), {"a": True, "b": False, "c": True})
        return [hf.trace(0.9), hf.clip_by_global_norm(0.5), hf.trace(0.5), masks, hf.cautious_mask(), hf.trace(0.1)]

    a, b, c, d, e, f = parts()
    flat, state = run(hf.chain(a, b, c, d, e, f), some(1), series())
    assert list(state) == ["trace", "clip_by_global_norm", "trace_2", "masked", "cautious_mask", "trace_3"]
    for nested in (
        hf.chain(hf.chain(a, b, c), d, e, f),
        hf.chain(a, hf.chain(b, hf.chain(c, d)), hf.chain(e, f)),
        hf.chain(hf.chain(hf.chain(hf.chain(a), b), c), hf.chain(d, hf.chain(e)), f, hf.chain()),
    ):
        updates, other = run(nested, some(1), series())
        assert equal(updates, flat)
        assert equal(other, state)
        assert equal(hf.named_state(other), hf.named_state(state))


@settings(max_examples=30)
@given(st.recursive(st.integers(0, 5), lambda inner: st.lists(inner, max_size=3), max_leaves=6))
def test_any_nesting_is_the_flat_chain(nesting):
    parts = [hf.trace(0.9), hf.clip_by_global_norm(0.5), hf.scale(2.0), hf.ema(0.5), hf.identity(), hf.zero_nans()]

    def build(node: Any) -> hf.GradientTransformation:
        return parts[node] if isinstance(node, int) else hf.chain(*map(build, node))

    def leaves(node: Any) -> list[int]:
        return [node] if isinstance(node, int) else [leaf for inner in node for leaf in leaves(inner)]

    nested, flat = hf.chain(build(nesting)), hf.chain(*(parts[i] for i in leaves(nesting)))
    assert equal(run(nested, some(1), series(2)), run(flat, some(1), series(2)))


def test_identity_is_neutral_and_an_empty_chain_is_identity():
    tx = sgd()
    alone, _ = run(tx, some(1), series())
    for same in (hf.chain(hf.identity(), tx), hf.chain(tx, hf.identity()), hf.chain(hf.chain(), tx, hf.chain())):
        assert equal(run(same, some(1), series())[0], alone)
    assert equal(run(hf.chain(), some(1), series())[0], series())


def test_transforms_of_one_name_are_numbered():
    tx = hf.chain(hf.trace(0.9), hf.scale(1.0), hf.trace(0.5), hf.chain(hf.trace(0.1), hf.scale(2.0)))
    state = tx.init(some(1))
    assert list(state) == ["trace", "scale", "trace_2", "trace_3", "scale_2"]
    assert list(hf.named_state(state)) == list(state)


def test_a_named_chain_does_what_the_chain_does_under_its_own_names():
    tx = hf.named_chain(("momentum", hf.trace(0.9)), ("rate", hf.scale_by_learning_rate(0.1)))
    updates, state = run(tx, some(1), series())
    assert equal(updates, run(sgd(), some(1), series())[0])
    assert list(state) == list(hf.named_state(state)) == ["momentum", "rate"]


def test_a_named_chain_keeps_its_names_inside_another_chain():
    inner = hf.named_chain(("momentum", hf.trace(0.9)), ("rate", hf.scale_by_learning_rate(0.1)))
    updates, state = run(hf.chain(hf.clip_by_value(1.0), inner), some(1), series())
    assert "named_chain/momentum" in hf.named_state(state)
    assert equal(updates, run(hf.chain(hf.clip_by_value(1.0), sgd()), some(1), series())[0])


@pytest.mark.parametrize("names", [("a", "a"), ("", "b"), ("a/b", "c"), ("a\n", "b"), (1, "b")])
def test_a_named_chain_wants_different_words(names):
    with pytest.raises(ValueError, match="different words"):
        hf.named_chain(*((name, hf.identity()) for name in names))


def test_what_is_no_transformation_is_refused():
    for wrong in (3, None, torch.optim.SGD, lambda params: params, (1, 2)):
        for compose in (
            lambda tx: hf.chain(hf.identity(), tx),
            lambda tx: hf.named_chain(("x", tx)),
            lambda tx: hf.partition({"x": tx}, {}),
            lambda tx: hf.masked(tx, {}),
            lambda tx: hf.only("lora_a", tx),
            lambda tx: hf.with_gradient(hf.identity(), tx),
            lambda tx: hf.apply_if_finite(tx, 1),
            lambda tx: hf.accumulate(tx, 1),
        ):
            with pytest.raises(TypeError, match="GradientTransformation"):
                compose(wrong)


# partition, masked, freeze, only


def by_rank(name: str, tensor: Tensor) -> str:
    return "matrix" if tensor.ndim == 2 else "rest"


LABELS = {"a": "matrix", "b": "matrix", "c": "rest"}


def test_labels_by_tree_by_name_and_by_function_are_the_same():
    transforms = {"matrix": sgd(), "rest": hf.chain(hf.clip_by_global_norm(0.5), hf.ema(0.5))}
    expected = run(hf.partition(transforms, by_rank), some(1), series())
    assert equal(run(hf.partition(transforms, LABELS), some(1), series()), expected)

    nested = {"x": {"a": some(1)["a"], "b": [some(1)["b"]]}, "c": some(1)["c"]}
    tree = hf.partition(transforms, {"x": {"a": "matrix", "b": ["matrix"]}, "c": "rest"})
    names = hf.partition(transforms, {"x.a": "matrix", "x.b.0": "matrix", "c": "rest"})
    grads = [{"x": {"a": g["a"], "b": [g["b"]]}, "c": g["c"]} for g in series()]
    assert equal(run(tree, nested, grads), run(names, nested, grads))
    assert equal(run(tree, nested, grads)[0][-1]["x"]["b"][0], expected[0][-1]["b"])


def test_a_partition_is_each_transform_on_its_own_parameters():
    transforms = {"matrix": hf.chain(hf.clip_by_global_norm(0.5), sgd()), "rest": hf.chain(hf.clip_by_global_norm(0.1))}
    together, _ = run(hf.partition(transforms, LABELS), some(1), series())
    for label, tx in transforms.items():
        names = [name for name in SMALL if LABELS[name] == label]
        alone, _ = run(tx, {n: some(1)[n] for n in names}, [{n: g[n] for n in names} for g in series()])
        assert equal([{n: u[n] for n in names} for u in together], alone)


def test_labels_may_be_numbers_and_booleans():
    tx = hf.partition({1: hf.scale(1.0), 2: hf.scale(2.0)}, lambda name, p: p.ndim)
    updates, _ = tx.update(some(2), tx.init(some(1)))
    assert equal(updates, {"a": 2 * some(2)["a"], "b": 2 * some(2)["b"], "c": some(2)["c"]})
    tx = hf.partition({True: hf.scale(2.0), False: hf.scale(1.0)}, {"a": True, "b": True, "c": False})
    assert equal(tx.update(some(2), tx.init(some(1)))[0], updates)


def test_a_transform_without_parameters_is_idle():
    tx = hf.partition({"matrix": sgd(), "rest": sgd(), "never": hf.scale_by_adam()}, by_rank)
    assert equal(run(tx, some(1), series())[0], run(sgd(), some(1), series())[0])


def test_partitions_inside_partitions_do_not_confuse_equal_labels():
    inner = hf.partition({"x": hf.scale(2.0), "y": hf.scale(3.0)}, {"a": "x", "b": "y", "c": "y"})
    tx = hf.chain(hf.partition({"x": inner, "y": hf.scale(5.0)}, {"a": "x", "b": "x", "c": "y"}), inner)
    updates, _ = tx.update(some(2), tx.init(some(1)))
    assert equal(updates, {"a": 4 * some(2)["a"], "b": 9 * some(2)["b"], "c": 15 * some(2)["c"]})


def test_a_parameter_without_a_label_is_refused_at_init():
    tx = hf.partition({"matrix": hf.identity(), "rest": hf.identity()}, {"a": "matrix", "b": "matrix"})
    with pytest.raises(ValueError, match="partition: there is no label for parameter 'c'"):
        tx.init(some(1))
    with pytest.raises(ValueError, match="masked: there is no label for parameter 'c'"):
        hf.masked(hf.identity(), {"a": True, "b": False}).init(some(1))
    with pytest.raises(ValueError, match="freeze: there is no label for parameter 'c'"):
        hf.freeze({"a": True, "b": False}).init(some(1))


def test_a_label_without_a_transform_is_refused_at_init():
    tx = hf.chain(hf.partition({"matrix": hf.identity(), "rest": hf.identity()}, lambda name, p: "other"))
    with pytest.raises(ValueError, match="label of 'a' must be one of matrix, rest, got 'other'"):
        tx.init(some(1))


def test_labels_are_static_a_function_of_them_sees_no_values():
    seen = {}

    def label(name: str, tensor: Tensor) -> str:
        seen[name] = (tensor.shape, tensor.dtype, tensor.device.type)
        return "x"

    params = {"a": torch.ones(2, 3, dtype=torch.float64), "b": torch.ones(())}
    hf.partition({"x": hf.identity()}, label).init(params)
    assert seen == {"a": ((2, 3), torch.float64, "meta"), "b": ((), torch.float32, "meta")}


def test_masks_by_tree_by_name_and_by_function_are_the_same():
    expected = run(hf.masked(sgd(), lambda name, p: p.ndim == 2), some(1), series())
    assert equal(run(hf.masked(sgd(), {"a": True, "b": True, "c": False}), some(1), series()), expected)
    assert equal(run(hf.masked(sgd(), {"a": 1, "b": 1, "c": 0}), some(1), series()), expected)


local = hf.chain(
    hf.scale_by_adam(),
    hf.cautious_mask(),
    hf.lora_plus_lr_scale(16.0),
    hf.lokr_lr_scale(),
    hf.scale_by_learning_rate(0.1),
    hf.spd_penalty(0.1),
)
clipped = hf.chain(hf.clip_by_global_norm(1.0), local)
by_role = pytest.mark.parametrize(
    "inside",
    [
        {name for name in SHAPES if "lo" in name},
        {name for name in SHAPES if "lo" not in name},
        {name for name in SHAPES if len(SHAPES[name]) == 2},
        {"weight"},
        set(SHAPES),
    ],
    ids=["adapters", "others", "matrices", "one", "all"],
)


def masked_and_removed(tx: hf.GradientTransformation, inside: set[str]) -> tuple[list[Tree], list[Tree]]:
    """Updates under a mask, and those of the masked parameters alone; outside the mask gradients must pass."""
    params, grads = draw(1), series(3, make=draw)
    mask = {name: name in inside for name in params}
    passing, zeroing = (run(hf.masked(tx, mask, otherwise), params, grads)[0] for otherwise in ("pass", "zero"))
    for g, passed, zeroed in zip(grads, passing, zeroing, strict=True):
        for name in params:
            assert torch.equal(zeroed[name], passed[name] if mask[name] else torch.zeros_like(g[name]))
            assert mask[name] or torch.equal(passed[name], g[name])
    alone = [{name: x for name, x in tree.items() if mask[name]} for tree in (params, *grads)]
    return [{name: u[name] for name in u if mask[name]} for u in passing], run(tx, alone[0], alone[1:])[0]


@by_role
def test_a_mask_is_as_if_the_other_parameters_did_not_exist(inside):
    masked, removed = masked_and_removed(clipped, inside)
    assert equal(masked, removed)


@settings(max_examples=12)
@given(st.sets(st.sampled_from(sorted(SHAPES)), min_size=1))
def test_a_mask_may_cut_modules_in_two(inside):
    masked, removed = masked_and_removed(local, inside)
    assert equal(masked, removed)
    masked, removed = masked_and_removed(clipped, inside)  # what is added up in another order is rounded otherwise
    close(masked, removed)


def test_freezing_zeroes_what_the_mask_names_and_nothing_else():
    plain, _ = run(sgd(), some(1), series())
    frozen, _ = run(hf.chain(sgd(), hf.freeze(lambda name, p: name == "b")), some(1), series())
    for u, v in zip(plain, frozen, strict=True):
        assert equal(v, {**u, "b": torch.zeros_like(u["b"])})


def test_set_to_zero_is_zero():
    assert equal(run(hf.set_to_zero(), some(1), series(1))[0], [{n: torch.zeros_like(x) for n, x in some(1).items()}])


def test_only_acts_on_its_roles_and_others_pass():
    updates, _ = run(hf.only(("lora_b", "w_norm"), hf.scale(2.0)), draw(1), [draw(2)])
    roles = hf.find_adapters(draw(1))
    doubled = {name for name in SHAPES if roles.role(name) in ("lora_b", "w_norm")}
    assert doubled == {
        "q.lora_B.weight",
        "k.lora_B.weight",
        "conv.lora_up.weight",
        "orphan.lora_up.weight",
        "norm.w_norm",
    }
    assert equal(updates[0], {n: 2 * g if n in doubled else g for n, g in draw(2).items()})


def test_only_one_role_is_the_same_as_a_tuple_of_one_and_user_patterns_make_roles():
    one, several = (run(hf.only(roles, sgd()), draw(1), [draw(2)]) for roles in ("lora_b", ("lora_b",)))
    assert equal(one, several)
    params = {"my.special": torch.ones(2), "other": torch.ones(2)}
    tx = hf.only("lora_b", hf.scale(3.0), extra_patterns=[(r"my\.special", "lora_b")])
    updates, _ = tx.update(params, tx.init(params))
    assert {name: float(u[0]) for name, u in updates.items()} == {"my.special": 3, "other": 1}


# Gradients that masks compare with


def grams(updates: Tree, grads: Tree) -> Tree:
    return {name: u.abs() * grads[name].sign() for name, u in updates.items()}


def test_a_mask_in_a_plain_chain_compares_with_the_gradient_that_entered_the_outermost_chain():
    turned = hf.chain(hf.scale(-1.0), hf.chain(hf.trace(0.5), hf.grams_sign()))
    updates, _ = turned.update(some(2), turned.init(some(1)))
    assert equal(updates, some(2))


def test_a_mask_inside_with_gradient_compares_with_what_first_returned():
    tx = hf.with_gradient(hf.scale(-1.0), hf.chain(hf.trace(0.5), hf.grams_sign()))
    updates, _ = tx.update(some(2), tx.init(some(1)))
    assert equal(updates, {name: -g for name, g in some(2).items()})
    outside = hf.chain(tx, hf.grams_sign())
    updates, _ = outside.update(some(2), outside.init(some(1)))
    assert equal(updates, some(2)), "behind with_gradient the gradient is the outer one again"


def test_given_grads_are_what_masks_compare_with():
    for tx in (hf.grams_sign(), hf.chain(hf.scale(2.0), hf.grams_sign()), hf.masked(hf.grams_sign(), by_rank)):
        updates, _ = tx.update(some(2), tx.init(some(1)), grads=some(3))
        size = 2.0 if "scale" in tx.init(some(1)) else 1.0
        assert equal(updates, grams({n: size * u for n, u in some(2).items()}, some(3)))


def test_the_first_part_of_with_gradient_sees_the_outer_gradient():
    tx = hf.with_gradient(hf.grams_sign(), hf.trace(0.0))
    updates, _ = tx.update(some(2), tx.init(some(1)), grads=some(3))
    assert equal(updates, grams(some(2), some(3)))


def test_with_gradient_inside_with_gradient_gives_the_innermost():
    inner = hf.with_gradient(hf.scale(-1.0), hf.grams_sign())
    tx = hf.with_gradient(hf.scale(-1.0), hf.chain(inner, hf.scale(2.0), hf.cautious_mask(rescale=None)))
    updates, _ = tx.update(some(2), tx.init(some(1)))
    assert all(torch.equal(u, torch.zeros_like(u)) for u in updates.values()), "+g disagrees with the -g in between"


def test_with_gradient_runs_both_parts_once():
    tx = hf.with_gradient(hf.trace(0.5), hf.trace(0.5))
    assert equal(run(tx, some(1), series())[0], run(hf.chain(hf.trace(0.5), hf.trace(0.5)), some(1), series())[0])


# stateless, apply_if_finite, accumulate


def test_a_stateless_function_gets_flat_updates_and_parameters_and_only_leaves_that_are_there():
    seen = []

    def f(updates: Tree, params: Tree | None) -> Tree:
        seen.append((list(updates), None if params is None else sorted(params)))
        return {name: -u for name, u in updates.items()}

    tx = hf.chain(hf.scale(2.0), hf.stateless(f))
    params, grads = {"x": {"w": torch.ones(2)}, "b": torch.ones(1)}, {"x": {"w": torch.ones(2)}, "b": None}
    updates, _ = tx.update(grads, tx.init(params), params)
    assert torch.equal(updates["x"]["w"], -2 * torch.ones(2))
    assert updates["b"] is None
    tx.update(grads, tx.init(params))
    assert seen == [(["x.w"], ["b", "x.w"]), (["x.w"], None)]


def test_bad_updates_are_skipped_with_all_of_the_state():
    tx = hf.apply_if_finite(sgd(), max_consecutive_errors=2)
    good, state = run(tx, some(1), series(2))
    for bad in (float("nan"), float("inf"), -float("inf")):
        updates, after = tx.update({**some(5), "c": torch.full((3,), bad, dtype=torch.float64)}, state, some(1))
        assert equal(updates, {name: torch.zeros_like(x) for name, x in some(5).items()})
        assert equal(after.inner, state.inner)
        assert (int(after.notfinite_count), bool(after.last_finite), int(after.total_notfinite)) == (1, False, 1)
    assert equal(good, run(sgd(), some(1), series(2))[0])


def test_after_too_many_errors_in_a_row_a_bad_update_is_let_through():
    tx = hf.apply_if_finite(hf.scale(2.0), max_consecutive_errors=2)
    state, nan, through = tx.init(some(1)), {n: torch.full_like(x, float("nan")) for n, x in some(1).items()}, []
    for grads in (nan, nan, some(2), nan, nan, nan, some(3), nan):
        updates, state = tx.update(grads, state)
        through.append(bool(updates["a"].ne(0).all()))
    assert through == [False, False, True, False, False, True, True, False]
    assert int(state.total_notfinite) == 6


def test_accumulating_feeds_the_mean_of_the_gradients_and_nothing_in_between():
    every, grads = 3, series(9)
    tx = hf.accumulate(hf.chain(hf.scale_by_adam(), hf.cautious_mask(), sgd()), every)
    inner = hf.chain(hf.scale_by_adam(), hf.cautious_mask(), sgd())
    means = [{n: sum(g[n] for g in grads[i : i + every]) / every for n in SMALL} for i in (0, 3, 6)]
    accumulated, _ = run(tx, some(1), grads)
    expected, _ = run(inner, some(1), means)
    close([accumulated[i] for i in (2, 5, 8)], expected)
    for i in (0, 1, 3, 4, 6, 7):
        assert all(torch.equal(u, torch.zeros_like(u)) for u in accumulated[i].values())


def test_accumulating_one_gradient_is_the_transform_itself():
    close(run(hf.accumulate(sgd(), 1), some(1), series())[0], run(sgd(), some(1), series())[0])


def missing_now_and_then(steps: int) -> list[Tree]:
    """Gradients in which b is missing at every third step, and c at every second."""
    return [
        {n: g for n, g in some(40 + step).items() if not (n == "b" and step % 3 == 0) and not (n == "c" and step % 2)}
        for step in range(steps)
    ]


def test_each_parameter_accumulates_its_own_gradients():
    tx = hf.accumulate(hf.chain(hf.scale_by_adam(), sgd(hf.linear_schedule(1.0, 0.0, 5))), 2)
    together, _ = run(tx, some(1), missing_now_and_then(12))
    for name in SMALL:
        own = [{name: g[name]} for g in missing_now_and_then(12) if name in g]
        alone, _ = run(tx, {name: some(1)[name]}, own)
        close([{name: u[name]} for u in together if name in u], alone)
        assert any(bool(u[name].ne(0).any()) for u in alone)


def test_what_waits_in_an_accumulation_is_not_there_for_the_others():
    """At the second step a has its mean of two; b has one gradient so far and is not part of this update."""
    tx = hf.accumulate(hf.clip_by_global_norm(1.0), 2)
    state = tx.init(some(1))
    _, state = tx.update(some(2), state, some(1))
    updates, _ = tx.update({"a": some(3)["a"]}, state, some(1))
    mean = (some(2)["a"] + some(3)["a"]) / 2
    close([updates], [{"a": mean / mean.norm().clamp(min=1)}])


NAN = {"b": torch.full((2, 3), torch.nan, dtype=torch.float64)}
NO_B: dict[str, Any] = {"b": None}


@pytest.mark.parametrize("mode", [lambda tx: tx, hf.one_by_one], ids=["columns", "one by one"])
@pytest.mark.parametrize(
    ("wrap", "before", "last"),
    [
        (lambda tx: tx, [{}], NO_B),
        (lambda tx: tx, [NAN], NO_B),
        (lambda tx: hf.accumulate(tx, 2), [{}, {}, {}], NO_B),
        (hf.skip_not_finite, [{}], NAN),
    ],
    ids=["no gradient", "no gradient after a bad one", "half an accumulation", "a gradient that is skipped"],
)
@pytest.mark.parametrize(
    "cross", [hf.clip_by_global_norm(0.5), hf.apply_if_finite(hf.identity(), 9)], ids=["a clip", "a gate"]
)
def test_what_takes_no_part_in_a_step_has_no_part_in_what_looks_across_parameters(cross, wrap, before, last, mode):
    """Not even its momentum: the others get the updates that they would get alone."""
    tx = mode(wrap(hf.chain(hf.trace(0.9), cross)))
    grads = [{**some(20 + i), **change} for i, change in enumerate([*before, last])]
    alone = [{name: each[name] for name in "ac"} for each in grads]
    found = run(tx, some(1), grads)[0][-1]
    expected = run(tx, {name: some(1)[name] for name in "ac"}, alone)[0][-1]
    close([{name: found[name] for name in "ac"}], [expected])
    assert all(bool(u.ne(0).any()) for u in expected.values())


def test_a_step_without_any_gradient_is_none():
    """Neither for what each parameter counts nor for what counts steps of them all, as a gate does its errors."""
    tx = hf.chain(hf.scale_by_adam(), hf.apply_if_finite(hf.identity(), 1))
    _, state = tx.update({**some(2), **NAN}, tx.init(some(1)), some(1))
    nothing, after = tx.update(dict.fromkeys(SMALL), state, some(1))
    assert nothing == dict.fromkeys(SMALL)
    assert after is state


def test_schedules_inside_an_accumulation_count_real_updates():
    tx = hf.accumulate(hf.scale_by_schedule(lambda step: 1.0 + step), 2)
    ones = [{"w": torch.ones(1)}] * 6
    assert [float(u["w"]) for u in run(tx, {"w": torch.zeros(1)}, ones)[0]] == [0, 1, 0, 2, 0, 3]


# Numbers: Hyperparam and schedules


def test_a_hyperparameter_may_be_a_number_a_tensor_or_a_value_per_parameter():
    tx = sgd(hf.Hyperparam("lr", 0.1))
    lr = 0.25
    expected = run(sgd(lr), some(1), series())
    for value in (
        lr,
        torch.tensor(lr),
        torch.tensor(lr, dtype=torch.float64),
        torch.tensor([lr]),
        dict.fromkeys(SMALL, lr),
    ):
        assert equal(run(tx, some(1), series(), lambda step, v=value: {"hyperparams": {"lr": v}})[0], expected[0])
    assert equal(run(tx, some(1), series())[0], run(sgd(0.1), some(1), series())[0])


def test_a_value_per_parameter_reaches_that_parameter_and_the_default_the_others():
    tx = hf.scale(hf.Hyperparam("s", 1.0))
    updates, _ = tx.update(some(2), tx.init(some(1)), hyperparams={"s": {"b": 3.0, "c": torch.tensor(4.0)}})
    assert equal(updates, {"a": some(2)["a"], "b": 3 * some(2)["b"], "c": 4 * some(2)["c"]})


def test_a_hyperparameter_may_change_at_every_update():
    tx = hf.scale(hf.Hyperparam("s", 1.0))
    updates, _ = run(tx, {"w": torch.zeros(1)}, [{"w": torch.ones(1)}] * 3, lambda t: {"hyperparams": {"s": 2.0**t}})
    assert [float(u["w"]) for u in updates] == [1, 2, 4]


def test_one_hyperparameter_may_stand_in_several_places():
    lr = hf.Hyperparam("lr", 0.1)
    tx = hf.chain(hf.scale(lr), hf.masked(hf.scale(lr), by_rank), hf.scale(lr))
    updates, _ = tx.update({"w": torch.ones(1)}, tx.init({"w": torch.ones(1)}), hyperparams={"lr": 2.0})
    assert float(updates["w"]) == 8


def test_two_defaults_of_one_hyperparameter_are_refused():
    with pytest.raises(ValueError, match="'lr' has two defaults"):
        hf.partition({"a": hf.scale(hf.Hyperparam("lr", 0.1)), "b": hf.scale(hf.Hyperparam("lr", 0.2))}, {})


def test_parts_of_a_tuple_are_one_hyperparameter():
    b1, b2 = hf.Hyperparam("betas", (0.9, 0.999))
    tx = hf.scale_by_adam(b1, b2)
    assert equal(run(tx, some(1), series())[0], run(hf.scale_by_adam(0.9, 0.999), some(1), series())[0])
    expected = run(hf.scale_by_adam(0.5, 0.75), some(1), series())[0]
    for betas in ((0.5, 0.75), [0.5, 0.75], dict.fromkeys(SMALL, (0.5, 0.75))):
        found = run(tx, some(1), series(), lambda step, v=betas: {"hyperparams": {"betas": v}})[0]
        close(found, expected)
    half = run(tx, some(1), series(), lambda step: {"hyperparams": {"betas": {"a": (0.5, 0.75)}}})[0]
    close([{"a": u["a"]} for u in half], [{"a": u["a"]} for u in expected])
    close([{"b": u["b"]} for u in half], [{"b": u["b"]} for u in run(hf.scale_by_adam(), some(1), series())[0]])


def test_a_hyperparameter_is_checked_and_cannot_be_changed():
    betas = hf.Hyperparam("betas", (0.9, 0.999))
    assert [part.value({}) for part in betas] == [0.9, 0.999]
    assert betas[-1].value({"betas": [0.1, 0.2]}) == 0.2
    with pytest.raises(IndexError, match="2 parts"):
        betas[2]
    with pytest.raises(TypeError, match="one number, not a tuple"):
        hf.Hyperparam("lr", 0.1)[0]
    with pytest.raises(TypeError, match="must be a number"):
        hf.Hyperparam("lr", "0.1")
    with pytest.raises(AttributeError):
        betas.name = "b"
    with pytest.raises(ValueError, match=r"b1 must be in \[0, 1\), got 1\.5"):
        hf.scale_by_adam(hf.Hyperparam("betas", (1.5, 0.9))[0])


tunable = [row for row in ROWS if row.hyper and row.name not in ("clip_by_global_norm",)]


@pytest.mark.parametrize("row", tunable, ids=lambda row: row.name)
def test_any_number_may_be_a_schedule(row):
    """Which at each step is the number that the schedule gives for it, counted from 0."""
    schedule = hf.linear_schedule(row.value, row.other, 3)
    grads = series(4, make=draw)
    scheduled, _ = run(row.make(schedule), draw(1), grads)
    by_hand, _ = run(row.tunable(), draw(1), grads, lambda t: {"hyperparams": {row.hyper: float(schedule(t))}})
    if row.name == "accumulate":
        by_hand, _ = run(row.tunable(), draw(1), grads, lambda t: {"hyperparams": {row.hyper: float(schedule(t // 2))}})
    close(scheduled, by_hand)


def test_any_function_of_the_step_is_a_schedule():
    tx = hf.scale_by_learning_rate(lambda step: 1 / (1 + step))
    updates, _ = run(tx, {"w": torch.zeros(1)}, [{"w": torch.ones(1)}] * 3)
    assert [float(u["w"]) for u in updates] == pytest.approx([-1, -1 / 2, -1 / 3])


def test_a_parameter_sees_a_schedule_at_its_own_step():
    tx = hf.chain(hf.scale_by_adam(b1=hf.linear_schedule(0.9, 0.5, 6)), hf.scale_by_schedule(lambda step: 1.0 + step))
    grads = missing_now_and_then(8)
    together, _ = run(tx, some(1), grads)
    for name in SMALL:
        own = [{name: g[name]} for g in grads if name in g]
        close([{name: u[name]} for u in together if name in u], run(tx, {name: some(1)[name]}, own)[0])


# Transformations written elsewhere


class MomentumState(NamedTuple):
    momentum: Tree
    count: Tensor


def plain_init(params: Tree) -> MomentumState:
    return MomentumState({name: torch.zeros_like(p) for name, p in params.items()}, torch.tensor(0))


def plain_update(updates: Tree, state: MomentumState, params: Tree | None = None) -> tuple[Tree, MomentumState]:
    momentum = {name: u + 0.9 * state.momentum[name] for name, u in updates.items()}
    return momentum, MomentumState({**state.momentum, **momentum}, state.count + 1)


class OtherLibrary(NamedTuple):
    """What another library calls a transformation."""

    init: Callable[..., Any]
    update: Callable[..., Any]


plain = pytest.mark.parametrize(
    "foreign",
    [
        hf.GradientTransformation(plain_init, plain_update),
        OtherLibrary(plain_init, plain_update),
        hf.GradientTransformation(
            plain_init, lambda updates, state, params=None, **extra: plain_update(updates, state)
        ),
    ],
    ids=["plain", "another class", "with extra"],
)


@plain
def test_two_functions_written_elsewhere_work_in_every_combinator(foreign):
    own = hf.trace(0.9)
    mask = {"a": True, "b": False, "c": True}
    for compose in (
        lambda tx: hf.chain(tx),
        lambda tx: hf.chain(hf.scale(0.5), hf.chain(tx, hf.clip_by_global_norm(1.0)), hf.scale(-0.1)),
        lambda tx: hf.named_chain(("x", hf.scale(0.5)), ("y", tx)),
        lambda tx: hf.partition({"x": tx, "y": hf.scale(2.0)}, {"a": "x", "b": "y", "c": "x"}),
        lambda tx: hf.masked(tx, mask, "zero"),
        lambda tx: hf.only("regular", tx),
        lambda tx: hf.with_gradient(tx, hf.chain(hf.scale(-1.0), hf.grams_sign())),
        lambda tx: hf.with_gradient(hf.scale(-1.0), hf.chain(tx, hf.grams_sign())),
        lambda tx: hf.apply_if_finite(tx, 2),
        lambda tx: hf.accumulate(tx, 2),
    ):
        assert equal(run(compose(foreign), some(1), series(4))[0], run(compose(own), some(1), series(4))[0])


@plain
def test_the_state_of_a_foreign_transformation_is_part_of_the_chains(foreign):
    tx = hf.chain(hf.scale(1.0), foreign)
    _, state = run(tx, some(1), series(2))
    named = hf.named_state(state)
    shown = {name: x for fields in named.values() for x in fields.values() for name in x}
    assert SMALL.keys() <= shown.keys()
    again = hf.load_named_state(tx.init(some(1)), copy.deepcopy(named))
    assert equal(tx.update(some(9), again, some(1))[0], tx.update(some(9), state, some(1))[0])


def test_a_foreign_transformation_sees_flat_trees_of_the_leaves_that_are_there():
    seen: list[Any] = []

    def update(updates: Tree, state: Any, params: Tree | None = None, **extra: Any) -> tuple[Tree, Any]:
        seen.append((sorted(updates), None if params is None else sorted(params)))
        return updates, state

    tx = hf.chain(hf.GradientTransformation(lambda params: (seen.append(sorted(params)), ())[1], update))
    params = {"x": {"w": torch.ones(2)}, "b": torch.ones(())}
    state = tx.init(params)
    tx.update({"x": {"w": torch.ones(2)}, "b": None}, state, params)
    updates, _ = tx.update({"x": {"w": torch.ones(2)}, "b": torch.ones(())}, state)
    assert seen == [["b", "x.w"], (["x.w"], ["b", "x.w"]), (["b", "x.w"], None)]
    assert updates["b"].shape == ()


def test_unknown_extra_arguments_are_passed_on_untouched():
    seen: dict[str, Any] = {}

    def update(updates: Tree, state: Any, params: Tree | None = None, **extra: Any) -> tuple[Tree, Any]:
        seen.update(extra)
        return updates, state

    foreign = hf.GradientTransformation(lambda params: (), update)
    tx = hf.chain(hf.trace(0.9), hf.masked(hf.with_gradient(hf.scale(2.0), hf.chain(foreign)), by_rank))
    thing, loss, lr = object(), torch.tensor(3.0), {"lr": 0.5}
    tx.update(some(2), tx.init(some(1)), some(1), thing=thing, value=loss, hyperparams=lr, flag=None)
    assert seen["thing"] is thing
    assert seen["value"] is loss
    assert seen["flag"] is None
    assert dict(seen["hyperparams"]) == lr
    assert equal(seen["grads"], {name: 2 * g for name, g in some(2).items()}), "the gradient of its with_gradient"


def test_transforms_of_this_library_ignore_extra_arguments():
    for row in ROWS:
        tx, params = row.build(), draw(1)
        plain_call = tx.update(draw(2), tx.init(params), params)
        assert equal(tx.update(draw(2), tx.init(params), params, value=torch.tensor(1.0), thing=object()), plain_call)


def test_a_foreign_update_gets_just_the_arguments_it_names():
    def update(updates: Tree, state: Any, params: Tree | None = None, *, value: Tensor) -> tuple[Tree, Any]:
        return {name: u * value for name, u in updates.items()}, state

    tx = hf.chain(hf.scale(2.0), hf.GradientTransformation(lambda params: (), update))
    updates, _ = tx.update(some(2), tx.init(some(1)), some(1), value=torch.tensor(3.0), other=1)
    assert equal(updates, {name: 6 * g for name, g in some(2).items()})


def test_a_bare_pair_of_functions_is_named_in_the_error():
    with pytest.raises(TypeError, match=r"a GradientTransformation \(init, update\) is wanted, got"):
        hf.chain((plain_init, plain_update))


def test_gradients_of_another_shape_than_the_updates_are_refused():
    with pytest.raises(ValueError, match=r"grads 'w' has shape \(1,\), its update \(2,\)"):
        hf.grams_sign().update({"w": torch.ones(2)}, hf.EmptyState(), grads={"w": torch.ones(1)})
