"""State by name: what it looks like, how it is restored, and that it stands still without a gradient."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from catalog import ROWS, draw
from torch import Tensor

import hina_func as hf

PARAMS = {"w": (2, 3), "v": (2, 3), "b": (3,)}
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
keeping = pytest.mark.parametrize(
    "tx",
    [
        hf.trace(0.5),
        hf.scale_by_adam(),
        hf.scale_by_learning_rate(hf.linear_schedule(1.0, 0.0, 4)),
        hf.chain(hf.trace(0.5), hf.zero_nans(), hf.scale_by_schedule(hf.linear_schedule(1.0, 0.0, 4))),
        hf.partition({"2": hf.trace(0.5), "1": hf.ema(0.5)}, lambda name, p: str(p.ndim)),
        hf.masked(hf.scale_by_adam(), {"w": True, "v": False, "b": True}),
        hf.with_gradient(hf.ema(0.5), hf.trace(0.5)),
        hf.apply_if_finite(hf.trace(0.5), 2),
        hf.accumulate(hf.scale_by_adam(), 2),
    ],
    ids=lambda tx: type(tx.update.__self__.link).__name__,
)


def some(seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return draw(seed, dtype, PARAMS)


def values(state: Any) -> Iterator[tuple[tuple[str, str, str], Tensor]]:
    """(transform, field, parameter) and tensor of a state."""
    for transform, fields in hf.named_state(state).items():
        for field, tensors in fields.items():
            for name, x in tensors.items():
                yield (transform, field, name), x


def same(a: Any, b: Any) -> bool:
    left, right = dict(values(a)), dict(values(b))
    return left.keys() == right.keys() and all(
        x.dtype == right[key].dtype and torch.equal(x, right[key]) for key, x in left.items()
    )


def after(tx: hf.GradientTransformation, steps: int = 2, with_params: bool = True) -> Any:
    params = some() if with_params else None
    state = tx.init(some())
    for step in range(steps):
        _, state = tx.update(some(step + 1), state, params)
    return state


def test_a_state_is_shown_by_transform_field_and_parameter():
    tx = hf.chain(hf.trace(0.5), hf.apply_if_finite(hf.chain(hf.scale(2.0), hf.trace(0.5)), 3), hf.trace(0.9))
    named = hf.named_state(tx.init(some()))
    assert {name: list(fields) for name, fields in named.items()} == {
        "trace": ["trace"],
        "apply_if_finite": ["notfinite_count", "last_finite", "total_notfinite"],
        "apply_if_finite/scale": [],
        "apply_if_finite/trace": ["trace"],
        "trace_2": ["trace"],
    }
    assert named["trace"]["trace"].keys() == PARAMS.keys()
    assert named["apply_if_finite"]["notfinite_count"].keys() == {""}


def test_the_name_of_a_transform_is_the_one_it_has_alone():
    for tx, name in (
        (hf.scale_by_adam(), "scale_by_adam"),
        (hf.trace_tam(), "trace_tam"),
        (hf.scale_by_schedule(hf.linear_schedule(1.0, 0.0, 4)), "scale_by_schedule"),
    ):
        assert list(hf.named_state(hf.chain(tx).init(some()))) == [name]
        assert list(hf.named_state(tx.init(some()))) == [name]


def test_a_name_belongs_to_its_own_parameter():
    tx = hf.trace(0.0)
    grads = some(1)
    _, state = tx.update(grads, tx.init(some()))
    for name, x in hf.named_state(state)["trace"]["trace"].items():
        assert torch.equal(x, grads[name])


def test_the_tensors_shown_are_views_of_the_state():
    state = hf.trace(0.5).init(some())
    hf.named_state(state)["trace"]["trace"]["v"].fill_(7.0)
    assert hf.named_state(state)["trace"]["trace"]["v"].eq(7).all()
    assert hf.named_state(state)["trace"]["trace"]["w"].eq(0).all()


@pytest.mark.parametrize("names", [("inner", "then"), ("own", "inner"), ("first", "second"), ("a", "a.b")])
def test_transforms_keep_their_states_apart_whatever_they_are_called(names):
    tx = hf.named_chain((names[0], hf.trace(0.5)), (names[1], hf.trace(0.9)))
    state = after(tx)
    assert len(list(values(state))) == 2 * len(PARAMS)
    assert same(hf.load_named_state(tx.init(some()), hf.named_state(state)), state)
    assert torch.equal(
        tx.update(some(9), hf.load_named_state(tx.init(some()), hf.named_state(state)))[0]["w"],
        tx.update(some(9), state)[0]["w"],
    )


@rows
def test_every_tensor_of_a_state_is_shown_once(row):
    state = row.build().init(draw(1))

    def tensors(tree: Any) -> Iterator[Tensor]:
        if isinstance(tree, Tensor):
            yield tree
            return
        assert isinstance(tree, (dict, tuple)), type(tree)
        assert isinstance(tree, dict) or hasattr(tree, "_fields"), "a state is made of NamedTuples and dicts of them"
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(branch)

    assert sum(x.numel() for x in tensors(state)) == sum(x.numel() for _, x in values(state))


@rows
def test_loading_gives_back_what_was_named(row):
    tx, params = row.build(), draw(1)
    _, state = tx.update(draw(2), tx.init(params), params)
    named = copy.deepcopy(hf.named_state(state))
    assert same(hf.load_named_state(tx.init(params), named), state)
    shuffled = {t: {f: dict(reversed(x.items())) for f, x in fields.items()} for t, fields in reversed(named.items())}
    assert same(hf.load_named_state(tx.init(params), shuffled), state)


def test_a_state_moves_between_layouts():
    tx = hf.scale_by_adam()
    loop = hf.one_by_one(tx)
    state = after(tx)
    there = hf.load_named_state(loop.init(some()), hf.named_state(state))
    assert same(there, state)
    assert same(hf.load_named_state(tx.init(some()), hf.named_state(there)), state)


def test_a_named_state_that_does_not_fit_is_refused_with_both_lists():
    tx = hf.scale_by_adam()
    named = hf.named_state(tx.init(some()))
    del named["scale_by_adam"]["mu"]["v"]
    named["scale_by_adam"]["nu"]["other"] = torch.zeros(3)
    with pytest.raises(
        ValueError, match=r"missing \['scale_by_adam/mu/v'\], no place for \['scale_by_adam/nu/other'\]"
    ):
        hf.load_named_state(tx.init(some()), named)
    with pytest.raises(ValueError, match=r"missing nothing, no place for .*'trace/trace/w'"):
        hf.load_named_state(hf.identity().init(some()), hf.named_state(hf.trace(0.5).init(some())))


@pytest.mark.parametrize("shape", [(4,), (3, 2), (6,), (2, 3, 1), ()])
def test_a_value_of_another_shape_is_refused_by_name(shape):
    tx = hf.trace(0.5)
    named = hf.named_state(tx.init(some()))
    named["trace"]["trace"]["v"] = torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"v.*shape"):
        hf.load_named_state(tx.init(some()), named)


def test_loading_changes_neither_argument():
    tx = hf.scale_by_adam()
    blank, state = tx.init(some()), after(tx)
    named = hf.named_state(state)
    before = copy.deepcopy((blank, state))
    loaded = hf.load_named_state(blank, named)
    for _, x in values(loaded):
        x.zero_()
    assert same(blank, before[0])
    assert same(state, before[1])


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_state_is_as_wide_as_the_arithmetic(dtype, wide):
    tx = hf.hina_adamw()
    params = draw(1, dtype)
    state = tx.init(params)
    for step in range(2):
        _, state = tx.update(draw(step + 2, dtype), state, params)
        assert {x.dtype for _, x in values(state) if x.is_floating_point()} == {wide}


def stands_still_without_a_gradient(tx: hf.GradientTransformation, params: dict[str, Tensor] | None) -> None:
    """Whether its leaf is None or absent, whether its column has other rows or not."""
    for gone, none in product(({"b"}, {"v"}, {"w", "v"}, {"w", "v", "b"}), (True, False)):
        state = after(tx, with_params=params is not None)
        grads = {name: None if name in gone else x for name, x in some(5).items() if none or name not in gone}
        updates, new = tx.update(grads, state, params)
        assert {name for name, u in updates.items() if u is None} == (gone if none else set())
        assert updates.keys() == grads.keys()
        before, now = dict(values(state)), dict(values(new))
        assert now.keys() == before.keys(), gone
        assert all(torch.equal(now[key], x) for key, x in before.items() if key[2] in gone)
        moved = {key[2] for key, x in before.items() if not torch.equal(now[key], x)}
        assert moved - {""} <= PARAMS.keys() - gone
        assert moved or "w" in gone


@keeping
def test_what_has_no_gradient_keeps_all_of_its_state(tx):
    stands_still_without_a_gradient(tx, some())


@keeping
def test_what_has_no_gradient_keeps_its_state_even_where_no_parameters_are_given(tx):
    stands_still_without_a_gradient(tx, None)


@keeping
def test_a_gradient_that_comes_back_finds_its_state(tx):
    """A parameter that skips a step is where it would be, had that step never been."""
    state, skipped = after(tx), after(tx)
    _, skipped = tx.update({name: x for name, x in some(5).items() if name != "b"}, skipped, some())
    updates, _ = tx.update(some(6), skipped, some())
    expected, _ = tx.update(some(6), state, some())
    assert torch.equal(updates["b"], expected["b"])


def test_a_state_for_other_parameters_is_refused_by_name():
    tx = hf.scale_by_adam()
    state = tx.init({"w": torch.zeros(2), "old": torch.zeros(2)})
    other = {"w": torch.zeros(2), "new": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"\['old'\].*\['new'\]"):
        tx.update(other, state, other)
    with pytest.raises(ValueError, match="new"):
        tx.update({"new": torch.zeros(3)}, tx.init({"w": torch.zeros(2)}), {"w": torch.zeros(2), "new": torch.zeros(3)})


def test_an_update_without_a_parameter_is_refused_by_name():
    tx = hf.scale_by_adam()
    params = {"w": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"\['v'\].*not among params"):
        tx.update({"v": torch.zeros(2)}, tx.init(params), params)
    with pytest.raises(ValueError, match=r"'w' of shape \(3,\).*has shape \(2,\)"):
        tx.update({"w": torch.zeros(3)}, tx.init(params), params)
    with pytest.raises(ValueError, match="'w' must be a dense floating-point tensor, got sparse"):
        tx.update({"w": torch.zeros(2).to_sparse()}, tx.init(params), params)


def test_a_row_of_a_moment_has_the_shape_of_its_parameter():
    tx, params = hf.scale_by_adam(), {"scalar": torch.tensor(1.0), "one": torch.ones(1), "w": torch.ones(2, 3)}
    mu = hf.named_state(tx.init(params))["scale_by_adam"]["mu"]
    assert {name: m.shape for name, m in mu.items()} == {name: p.shape for name, p in params.items()}
