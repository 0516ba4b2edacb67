"""What every public transform promises, whatever its formula."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from catalog import ROWS, SHAPES, Row, draw
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import grad, vmap
from torch.utils._pytree import tree_flatten, tree_map

import hina_func as hf

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name, indirect=True)
tunable_rows = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.hyper], ids=lambda row: row.name, indirect=True
)
STEPS = 3
HYPERS = [
    (name, argument)
    for name, make in inspect.getmembers(hf, inspect.isfunction)
    for argument, parameter in inspect.signature(make).parameters.items()
    if inspect.signature(make).return_annotation == "GradientTransformation"
    if parameter.annotation.split(" ")[0] in ("Hyper", "float") and name != "scale_by_schedule"
]
"""Function and argument: every number that a public transform takes."""


@pytest.fixture
def row(request: pytest.FixtureRequest, execution: str) -> Row:
    """A row of the catalog whose transforms run in columns or one by one; compiled, see `test_execution`."""
    if execution == "columns":
        return request.param
    return replace(request.param, make=lambda number: hf.one_by_one(request.param.make(number)))


def run(
    tx: hf.GradientTransformation, params: dict[str, Tensor], steps: int = STEPS, first: int = 100, **extra: Any
) -> tuple[list[dict[str, Tensor]], Any]:
    """Updates of some steps along which the parameters move, and the last state."""
    state, history = tx.init(params), []
    for step in range(steps):
        grads = {name: x for name, x in draw(first + step).items() if name in params}
        updates, state = tx.update(
            {name: x.to(params[name].dtype) for name, x in grads.items()}, state, params, **extra
        )
        params = hf.apply_updates(params, updates)
        history.append(updates)
    return history, state


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def assert_equal(left: Any, right: Any, tolerance: float = 0.0) -> None:
    a, b = tensors(left), tensors(right)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def test_every_public_transform_has_a_row():
    transforms = {
        name
        for name in hf.__all__
        if callable(getattr(hf, name))
        and getattr(getattr(hf, name), "__annotations__", {}).get("return") == "GradientTransformation"
    }
    assert transforms - {"one_by_one"} == {row.name.split(" ")[0] for row in ROWS}


@rows
def test_arguments_are_left_untouched(row):
    tx, params, grads = row.build(), draw(1), draw(2)
    state = tx.init(params)
    _, state = tx.update(draw(3), state, params)
    before = copy.deepcopy((params, grads, state))
    tx.update(grads, state, params)
    assert_equal((params, grads, state), before)


@rows
def test_the_same_arguments_give_the_same_result(row):
    assert_equal(run(row.build(), draw(1)), run(row.build(), draw(1)))


@rows
def test_state_keeps_structure_dtype_shape_and_stride(row):
    for dtype, wide in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ):
        params, tx = draw(1, dtype), row.build()
        state = tx.init(params)
        _, structure = tree_flatten(state)
        facts = [(x.dtype, x.shape, x.stride()) for x in tensors(state)]
        for step in range(STEPS):
            updates, state = tx.update(draw(step, dtype), state, params)
            assert tree_flatten(state)[1] == structure
            assert [(x.dtype, x.shape, x.stride()) for x in tensors(state)] == facts
            assert {name: u.shape for name, u in updates.items()} == {name: p.shape for name, p in params.items()}
        assert all(x.dtype in (wide, torch.int64, torch.bool) for x in tensors(state))


@rows
def test_the_order_of_parameters_is_irrelevant(row):
    params = draw(1)
    backwards = dict(reversed(params.items()))
    straight, turned = run(row.build(), params)[0], run(row.build(), backwards)[0]
    for a, b in zip(straight, turned, strict=True):
        assert_equal(a, {name: b[name] for name in a})


@rows
def test_an_unrelated_parameter_is_irrelevant(row):
    if row.whole_tree:
        pytest.skip("reads the whole tree")
    params = draw(1)
    alone = {name: x for name, x in params.items() if not name.startswith(("weight", "k.", "b."))}
    both, single = run(row.build(), params)[0], run(row.build(), alone)[0]
    for a, b in zip(both, single, strict=True):
        assert_equal({name: a[name] for name in b}, b, 1e-14)


@rows
def test_columns_equal_the_plain_loop(row):
    stacked, _ = run(row.build(), draw(1))
    looped, _ = run(hf.one_by_one(row.build()), draw(1))
    assert_equal(stacked, looped, 1e-12)


@rows
def test_a_missing_gradient_freezes_exactly_its_rows(row):
    tx, params = row.build(), draw(1)
    _, state = tx.update(draw(2), tx.init(params), params)
    gone = {"q.lora_A.weight", "b.lokr_w2", "bias"}
    some = {name: None if name == "bias" else x for name, x in draw(3).items() if name == "bias" or name not in gone}
    updates, after = tx.update(some, state, params)
    assert updates.keys() == some.keys()
    assert updates["bias"] is None
    before, now = hf.named_state(state), hf.named_state(after)
    for transform, fields in before.items():
        for field, values in fields.items():
            for name in gone & values.keys():
                assert torch.equal(values[name], now[transform][field][name]), (transform, field, name)
    if not row.whole_tree:
        full, full_state = tx.update(draw(3), state, params)
        assert_equal(
            {name: u for name, u in updates.items() if u is not None}, {n: full[n] for n in updates if n != "bias"}
        )
        there = hf.named_state(full_state)
        for transform, fields in there.items():
            for field, values in fields.items():
                for name in values.keys() - gone:
                    assert torch.equal(values[name], now[transform][field][name]), (transform, field, name)


@rows
def test_zero_gradients_and_zero_parameters_give_finite_updates(row):
    zeros = {name: torch.zeros_like(x) for name, x in draw(1).items()}
    for params in (zeros, draw(1)):
        for grads in (zeros, draw(2)):
            tx = row.build()
            state = tx.init(params)
            for _ in range(STEPS):
                updates, state = tx.update(grads, state, params)
                assert all(torch.isfinite(x).all() for x in tensors((updates, state)))


@rows
def test_state_goes_through_names_and_back_into_another_layout(row):
    params, tx = draw(1), row.build()
    _, state = run(tx, params)
    assert_equal(hf.load_named_state(tx.init(params), hf.named_state(state)), state)
    loop = hf.one_by_one(tx)
    moved = hf.load_named_state(loop.init(params), hf.named_state(state))
    assert_equal(tx.update(draw(5), state, params)[0], loop.update(draw(5), moved, params)[0], 1e-12)


@rows
def test_nested_trees_and_flat_ones_are_the_same(row):
    def nested(flat: dict[str, Tensor]) -> Any:
        heads = dict.fromkeys(name.split(".", 1)[0] for name in flat)
        tree = {h: {n.split(".", 1)[1]: x for n, x in flat.items() if n.startswith(f"{h}.")} for h in heads}
        return {head: tree[head] or flat[head] for head in heads}

    tx, params, grads = row.build(), draw(1), draw(2)
    flat, _ = tx.update(grads, tx.init(params), params)
    deep, _ = tx.update(nested(grads), tx.init(nested(params)), nested(params))
    assert deep.keys() == nested(grads).keys()
    assert_equal(nested(flat), deep)


@rows
def test_in_a_chain_it_does_what_it_does_alone(row):
    alone = run(row.build(), draw(1))[0]
    for tx in (hf.chain(row.build()), hf.chain(hf.chain(row.build()), hf.identity())):
        assert_equal(run(tx, draw(1))[0], alone, 1e-14)


@tunable_rows
def test_a_hyperparameter_is_the_number_it_stands_for(row):
    given = {row.hyper: torch.tensor(row.other, dtype=torch.float64)}
    assert_equal(run(row.tunable(), draw(1))[0], run(row.build(), draw(1))[0])
    assert_equal(
        run(row.tunable(), draw(1), hyperparams={row.hyper: row.other})[0], run(row.make(row.other), draw(1))[0]
    )
    assert_equal(run(row.tunable(), draw(1), hyperparams=given)[0], run(row.make(row.other), draw(1))[0], 1e-12)
    if row.whole_tree and row.name != "apply_if_finite":
        return
    per_name = dict.fromkeys(SHAPES, row.other)
    expected = run(row.make(row.other), draw(1))[0]
    assert_equal(run(row.tunable(), draw(1), hyperparams={row.hyper: per_name})[0], expected, 1e-12)


@tunable_rows
def test_vmap_over_a_hyperparameter_equals_the_loop(row):
    def updates(number: Tensor) -> dict[str, Tensor]:
        return run(row.tunable(), draw(1), steps=2, hyperparams={row.hyper: number})[0][-1]

    numbers = torch.tensor([row.value, row.other], dtype=torch.float64)
    batched = vmap(updates)(numbers)
    for i, number in enumerate(numbers):
        assert_equal(tree_map(lambda x, i=i: x[i], batched), updates(number), 1e-12)


@rows
def test_vmap_over_parameters_equals_the_loop(row):
    def updates(params: dict[str, Tensor]) -> dict[str, Tensor]:
        return run(row.build(), params, steps=2)[0][-1]

    both = {name: torch.stack([x, 2 * x]) for name, x in draw(1).items()}
    batched = vmap(updates)(both)
    for i in range(2):
        alone = updates({name: x[i] for name, x in both.items()})
        assert_equal({name: x[i].expand_as(alone[name]) for name, x in batched.items()}, alone, 1e-12)


def directional(f: Any, x: dict[str, Tensor], along: dict[str, Tensor], h: float) -> float:
    """The central difference of ``f`` at ``x``."""
    ahead, behind = ({name: value + sign * h * along[name] for name, value in x.items()} for sign in (1, -1))
    return float((f(ahead) - f(behind)) / (2 * h))


@rows
@pytest.mark.parametrize("at_zero", [False, True], ids=["somewhere", "at zero"])
def test_gradients_go_through_update(row, at_zero):
    """With respect to gradients and parameters, as finite differences have it."""
    tx, params, weights, along = row.build(), draw(1), draw(7), draw(8)
    grads = {name: torch.zeros_like(x) for name, x in params.items()} if at_zero else draw(2)
    _, state = tx.update(draw(3), tx.init(draw(4)), draw(4))

    def of_grads(g: dict[str, Tensor]) -> Tensor:
        return sum((weights[n] * u).sum() for n, u in tx.update(g, state, params)[0].items())  # type: ignore[return-value]

    def of_params(p: dict[str, Tensor]) -> Tensor:
        return sum((weights[n] * u).sum() for n, u in tx.update(grads, state, p)[0].items())  # type: ignore[return-value]

    for f, x in ((of_grads, grads), (of_params, params)):
        slope = grad(f)(x)
        assert all(torch.isfinite(d).all() for d in slope.values())
        if at_zero and not row.smooth_at_zero:
            continue
        expected = directional(f, x, along, 1e-6)
        found = float(sum((slope[name] * along[name]).sum() for name in x))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


@tunable_rows
def test_gradients_go_through_hyperparameters(row):
    def f(number: Tensor) -> Tensor:
        history, _ = run(row.tunable(), draw(1), hyperparams={row.hyper: number})
        return sum((draw(9)[name] * u).sum() for name, u in history[-1].items())  # type: ignore[return-value]

    number, h = torch.tensor(row.value, dtype=torch.float64), 1e-6
    found = float(grad(f)(number))
    assert found == pytest.approx(float((f(number + h) - f(number - h)) / (2 * h)), rel=1e-5, abs=1e-6)


def compiles_once(row: Row, backend: str) -> None:
    tx = row.tunable() if row.hyper else row.build()
    small = {name: x.float() for name, x in draw(1).items() if not name.startswith(("t.", "conv."))}
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(tx.update, fullgraph=True, backend=counter)
    state = expected_state = tx.init(small)
    for step in range(4):
        grads = {name: draw(10 + step)[name].float() for name in small}
        extra = {"hyperparams": {row.hyper: torch.tensor(row.value * (1 - 0.1 * step))}} if row.hyper else {}
        updates, state = compiled(grads, state, small, **extra)
        expected, expected_state = tx.update(grads, expected_state, small, **extra)
        assert_equal((updates, state), (expected, expected_state), 1e-5)
    assert counter.frame_count == 1


@rows
@pytest.mark.compile
def test_it_compiles_as_one_graph_and_once(row, execution, pytestconfig):
    """With ``--compile-all`` through autograd's tracing, too, and one by one."""
    thorough = pytestconfig.getoption("--compile-all")
    if execution != "columns" and not thorough:
        pytest.skip("compiled with --compile-all only")
    compiles_once(row, "aot_eager" if thorough else "eager")


@pytest.mark.compile
@pytest.mark.parametrize("name", ["scale_by_adopt", "lokr_lr_scale"])
def test_a_sample_compiles_to_machine_code(name):
    compiles_once(next(row for row in ROWS if row.name == name), "inductor")


@rows
def test_bad_arguments_are_refused_where_they_are_given(row):
    for call, error, message in row.bad:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(("name", "argument"), HYPERS)
def test_no_number_is_taken_unchecked(name, argument):
    others = {other: 0.5 for each, other in HYPERS if each == name}
    for value in (float("nan"), *(() if name == "scale" else (-1.0,))):
        with pytest.raises(ValueError, match=f"{argument} must"):
            getattr(hf, name)(**{**others, argument: value})


@rows
def test_missing_params_are_asked_for_by_name(row):
    if not row.needs_params:
        row.build().update(draw(2), row.build().init(draw(1)))
        return
    with pytest.raises(ValueError, match=r"needs the parameters: call update\(updates, state, params\)"):
        row.build().update(draw(2), row.build().init(draw(1)))


@rows
def test_it_can_be_pickled(row):
    again = pickle.loads(pickle.dumps(row.build()))
    assert_equal(run(again, draw(1))[0], run(row.build(), draw(1))[0])


@rows
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "no parameters"),
        ({"w": torch.zeros(2, dtype=torch.int64)}, "'w' must be a dense floating-point tensor, got int64"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "got complex64"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "got sparse"),
        ({"w.x": torch.zeros(1), "w": {"x": torch.zeros(1)}}, "same name 'w.x'"),
        ({"a\nb": torch.zeros(1)}, "line break"),
    ],
)
def test_impossible_parameters_are_refused_at_init(row, params, message):
    with pytest.raises(ValueError, match=message):
        row.build().init(params)
