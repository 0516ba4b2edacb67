"""Layouts: which parameters share a column, that rows of a module are aligned, and that nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from catalog import SHAPES, draw
from hypothesis import given
from torch import Tensor

import hina_func as hf
from hina_func.layout import STACK_LIMIT, Layout, build_layout, column_key, is_column_key, key_names, spec_of

Shapes = dict[str, tuple[int, ...]]


def layout_of(leaves: dict[str, Tensor], **arguments: Any) -> Layout:
    return build_layout(spec_of(leaves), **arguments)


def groups(layout: Layout) -> set[frozenset[str]]:
    """Which names share a column."""
    return {frozenset(column.names) for column in layout.columns}


def on_meta(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


letters = st.text("abcd", min_size=1, max_size=3)
sizes = st.sampled_from([(), (1,), (2,), (2, 3), (3, 2), (2, 3, 1), (0,)])
trees = st.dictionaries(letters, sizes, min_size=1, max_size=8).flatmap(
    lambda shapes: st.permutations(list(shapes)).map(lambda names: {name: shapes[name] for name in names})
)
suffixes = {
    "lora": {"lora_A.weight": (2, 3), "lora_B.weight": (4, 2)},
    "lokr": {"lokr_w1": (2, 2), "lokr_w2": (3, 2)},
    "factored": {"lokr_w1": (2, 2), "lokr_w2_a": (3, 1), "lokr_w2_b": (1, 2)},
    "half": {"lora_A.weight": (2, 3)},
    "plain": {"weight": (2, 3)},
}


@st.composite
def networks(draw_from: st.DrawFn) -> Shapes:
    """Modules of several kinds, some of equal shapes, in any order of parameters."""
    kinds = draw_from(st.dictionaries(letters, st.sampled_from(sorted(suffixes)), min_size=1, max_size=8))
    shapes = {f"{module}.{end}": shape for module, kind in kinds.items() for end, shape in suffixes[kind].items()}
    return {name: shapes[name] for name in draw_from(st.permutations(sorted(shapes)))}


def filled(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors all of whose elements are different, so that a mistaken row shows."""
    leaves, start = {}, 1
    for name, shape in shapes.items():
        size = torch.Size(shape).numel()
        leaves[name] = torch.arange(start, start + size, dtype=torch.float64).reshape(shape)
        start += size
    return leaves


def test_parameters_share_a_column_when_role_shape_dtype_and_device_agree():
    leaves = {
        "a": torch.zeros(2),
        "b": torch.zeros(2),
        "c": torch.zeros(3),
        "d": torch.zeros(2, dtype=torch.float64),
        "e": torch.zeros(2, device="meta"),
        "f.w_norm": torch.zeros(2),
        "g": torch.zeros(2, 1),
    }
    assert groups(layout_of(leaves)) == {frozenset(x) for x in ({"a", "b"}, {"c"}, {"d"}, {"e"}, {"f.w_norm"}, {"g"})}


def test_low_precision_parameters_share_the_column_of_float32():
    leaves = {"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.bfloat16), "c": torch.zeros(2, dtype=torch.float16)}
    (column,) = layout_of(leaves).columns
    assert column.names == ("a", "b", "c")
    assert column.dtype == torch.float32


def test_labels_divide_columns():
    def by_first_letter(leaf: Any, role: str) -> Any:
        return (("", leaf.name[0]),)

    layout = layout_of(on_meta(ax=(2,), ay=(2,), bx=(2,), cx=(3,)), labels=by_first_letter)
    assert groups(layout) == {frozenset({"ax", "ay"}), frozenset({"bx"}), frozenset({"cx"})}
    assert groups(layout.part("", "a")) == {frozenset({"ax", "ay"})}
    assert groups(layout.part("", "z")) == set()
    assert groups(layout.part("/elsewhere", "a")) == set()


def test_a_label_that_all_columns_carry_is_the_whole_layout():
    layout = layout_of(on_meta(a=(2,), b=(3,)), labels=lambda leaf, role: (("", "all"),))
    assert layout.part("", "all") is layout


def test_a_table_cut_by_a_label_is_no_table_of_either_part():
    def by_side(leaf: Any, role: str) -> Any:
        return (("", role),)

    shapes = {"q.lora_A.weight": (2, 3), "q.lora_B.weight": (4, 2)}
    layout = layout_of(on_meta(**shapes), labels=by_side)
    assert len(layout.tables) == 1
    assert layout.part("", "lora_a").tables == ()


def test_parameters_above_the_stack_limit_have_columns_of_their_own():
    shapes = {"a": (5,), "b": (5,), "c": (4,), "d": (4,), "e": (2, 2), "f": (2, 2)}
    layout = layout_of(on_meta(**shapes), stack_limit=4)
    assert groups(layout) == {frozenset(x) for x in ({"a"}, {"b"}, {"c", "d"}, {"e", "f"})}
    assert groups(layout_of(on_meta(**shapes), stack_limit=-1)) == {frozenset({name}) for name in shapes}


def test_dense_tensors_are_not_stacked_by_default():
    side = 2**10
    small, large = (side, STACK_LIMIT // side), (side, STACK_LIMIT // side + 1)
    assert groups(layout_of(on_meta(a=large, b=large, c=small, d=small))) == {
        frozenset({"a"}),
        frozenset({"b"}),
        frozenset({"c", "d"}),
    }


def test_a_column_of_one_dense_row_is_the_tensor_itself():
    leaves = {"w": torch.randn(3, 4)}
    layout = layout_of(leaves)
    (stack,) = layout.stack(leaves).values()
    assert stack.data_ptr() == leaves["w"].data_ptr()
    assert layout.unstack({layout.columns[0].key: stack})["w"].data_ptr() == leaves["w"].data_ptr()


@given(networks())
def test_the_order_of_parameters_changes_nothing(shapes):
    straight, turned = layout_of(filled(shapes)), layout_of(filled(dict(reversed(shapes.items()))))
    assert straight.columns == turned.columns
    assert straight.tables == turned.tables


@given(networks())
def test_every_parameter_has_exactly_one_row(shapes):
    names = [name for column in layout_of(filled(shapes)).columns for name in column.names]
    assert sorted(names) == sorted(shapes)


@given(networks())
def test_every_row_of_a_table_holds_one_module(shapes):
    layout = layout_of(filled(shapes))
    rows = {column.key: column.names for column in layout.columns}
    tabled = []
    for table in layout.tables:
        members = [rows[place.key][place.start : place.stop] for place in table.places.values()]
        for row in zip(*members, strict=True):
            modules = {name.split(".", 1)[0] for name in row}
            assert len(modules) == 1, row
            assert {shapes[name] for name in row} == {c.shape for c in layout.columns if set(row) & set(c.names)}
            tabled += modules
    whole = {name.split(".", 1)[0] for name in shapes if name.endswith(("lora_B.weight", "lokr_w1"))}
    assert sorted(tabled) == sorted(whole)


@given(networks())
def test_roles_of_a_table_are_the_roles_of_its_columns(shapes):
    layout = layout_of(filled(shapes))
    roles = {column.key: column.role for column in layout.columns}
    for table in layout.tables:
        assert {role: roles[place.key] for role, place in table.places.items()} == {r: r for r in table.places}


@given(st.one_of(trees, networks()), st.sampled_from([STACK_LIMIT, 3, -1]))
def test_unstacking_is_the_inverse_of_stacking(shapes, limit):
    leaves = filled(shapes)
    layout = layout_of(leaves, stack_limit=limit)
    stacked = layout.stack(leaves)
    again = layout.unstack(stacked)
    assert again.keys() == leaves.keys()
    assert all(torch.equal(again[name], leaves[name]) and again[name].shape == leaves[name].shape for name in leaves)
    once_more = layout.stack(again)
    assert stacked.keys() == once_more.keys() == layout.keys
    assert all(torch.equal(stacked[key], once_more[key]) for key in stacked)


@given(trees, st.data())
def test_a_missing_leaf_is_a_row_of_zeros_and_not_present(shapes, data):
    leaves = filled(shapes)
    gone = data.draw(st.sets(st.sampled_from(sorted(leaves))))
    nothing = data.draw(st.booleans())
    some = {name: None if name in gone else x for name, x in leaves.items() if nothing or name not in gone}
    layout = layout_of(leaves)
    back = layout.unstack(layout.stack(some))
    for name, x in leaves.items():
        assert torch.equal(back[name], torch.zeros_like(x) if name in gone else x)
    present = layout.present(some)
    for column in layout.columns:
        expected = [name not in gone for name in column.names]
        assert present[column.key].tolist() == expected if column.key in present else all(expected)


def test_parameters_without_dimensions_are_a_row_of_numbers():
    leaves = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    layout = layout_of(leaves)
    (stack,) = layout.stack(leaves).values()
    assert torch.equal(stack, torch.tensor([2.0, 3.0]))
    assert {name: x.shape for name, x in layout.unstack({layout.columns[0].key: stack}).items()} == {"a": (), "b": ()}


@given(st.lists(letters, min_size=1, max_size=4))
def test_a_column_key_says_its_names(names):
    assert key_names(column_key(names)) == tuple(names)
    assert is_column_key(column_key(names))
    assert not any(map(is_column_key, names))


@pytest.mark.parametrize("missing", [(), ("bias",), ("q.lora_A.weight", "b.lokr_w2", "gain")])
def test_the_catalog_of_shapes_goes_to_columns_and_back(missing):
    leaves = {name: x for name, x in draw(1).items() if name not in missing}
    layout = layout_of(leaves)
    assert len(layout.columns) < len(leaves) <= len(SHAPES)
    assert all(torch.equal(x, leaves[name]) for name, x in layout.unstack(layout.stack(leaves)).items())


def test_mixed_precisions_in_one_column_each_get_their_own_numbers():
    tx = hf.chain(hf.trace(0.5), hf.scale(-1.0))
    params = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.ones(2, dtype=torch.float64)}
    grads = {name: torch.full_like(p, i + 1.0) for i, (name, p) in enumerate(params.items())}
    updates, _ = tx.update(grads, tx.init(params), params)
    assert {name: float(u[0]) for name, u in updates.items()} == {"a": -1, "b": -2, "c": -3}
    assert {name: p.dtype for name, p in hf.apply_updates(params, updates).items()} == {
        name: p.dtype for name, p in params.items()
    }
