"""However a step is executed, in pieces, whole or compiled, it is the same step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from bench.costs import borrowed
from catalog import ROWS, draw
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import hina_func as hf
from hina_func.border import link_of
from hina_func.layout import Column
from hina_func.links import as_whole
from hina_func.numerics import sign
from hina_func.optim import engine, pieces
from hina_func.optim.fused import as_adamw
from hina_func.optim.program import compiled as compiled_program
from hina_func.optim.program import select_signs

COMPILED = ("scale_by_adopt_tam", "lora_lr_scale")
"""A sample, as every one takes a while; ``--compile-all`` compiles the others too."""

torch_rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def leaves(seed: int = 1, dtype: torch.dtype = torch.float64) -> dict[str, torch.nn.Parameter]:
    return {name: torch.nn.Parameter(x) for name, x in draw(seed, dtype).items()}


def give(params: dict[str, torch.nn.Parameter], step: int, missing: tuple[str, ...] = ()) -> dict[str, Tensor]:
    grads = {name: x.to(params[name].dtype) for name, x in draw(100 + step).items() if name not in missing}
    for name, param in params.items():
        param.grad = grads.get(name)
    return grads


def takes_the_functional_step(tx, compile: bool, tolerance: float) -> None:
    """With gradients missing now and then."""
    params = leaves()
    optimizer = hf.Optimizer(params, tx, compile=compile)
    plain = {name: p.detach().clone() for name, p in params.items()}
    state = tx.init(plain)
    for step in range(4):
        grads = give(params, step, ("bias", "q.lora_A.weight") if step == 2 else ())
        optimizer.step()
        updates, state = tx.update(grads, state, plain)
        plain = hf.apply_updates(plain, updates)
        for name, param in params.items():
            torch.testing.assert_close(param.detach(), plain[name], rtol=tolerance, atol=tolerance)


@torch_rows
@pytest.mark.parametrize("piece", [1, 7, 2**17])
def test_the_adapter_takes_the_functional_step(row, piece, monkeypatch):
    """Whatever the size of the pieces."""
    monkeypatch.setattr(pieces, "PIECE", piece)
    takes_the_functional_step(row.build(), compile=False, tolerance=1e-12)


@pytest.mark.parametrize("cross", [hf.clip_by_global_norm(0.5), hf.apply_if_finite(hf.identity(), 9)])
def test_momentum_without_a_gradient_has_no_part_in_what_looks_across_parameters(cross):
    takes_the_functional_step(hf.chain(hf.trace(0.9), cross), compile=False, tolerance=1e-12)


@torch_rows
@pytest.mark.compile
def test_the_compiled_adapter_takes_the_functional_step(row, pytestconfig):
    if row.name not in COMPILED and not pytestconfig.getoption("--compile-all"):
        pytest.skip("compiled with --compile-all only")
    takes_the_functional_step(row.build(), compile=True, tolerance=1e-12)


ADAMW = {
    "Adam": (hf.scale_by_adam(0.8, 0.9, 1e-3), hf.scale_by_learning_rate(0.1)),
    "AdamW": (hf.scale_by_adam(), hf.add_decayed_weights(hf.Hyperparam("wd", 0.1)), hf.scale_by_learning_rate(0.1)),
}


@pytest.mark.parametrize("links", ADAMW.values(), ids=ADAMW)
def test_torchs_kernel_takes_the_step_of_a_chain_that_is_adamw(links):
    tx = hf.chain(*links)
    assert as_adamw(as_whole(link_of(tx))) is not None
    takes_the_functional_step(tx, compile="auto", tolerance=1e-12)


@pytest.mark.parametrize(
    "links",
    [
        (hf.scale_by_adam(nesterov=True), hf.scale_by_learning_rate(0.1)),
        (hf.scale_by_adam(debias="step"), hf.scale_by_learning_rate(0.1)),
        (hf.scale_by_adam(eps_root=0.1), hf.scale_by_learning_rate(0.1)),
        (hf.scale_by_adam(), hf.scale_by_learning_rate(0.1), hf.add_decayed_weights(0.1)),
        (hf.scale_by_adam(), hf.scale_by_learning_rate(hf.linear_schedule(0.1, 0.2, 3))),
        (hf.scale_by_adam(), hf.cautious_mask(), hf.scale_by_learning_rate(0.1)),
        (hf.scale_by_adam(), hf.scale_by_learning_rate(0.1, flip_sign=False)),
        (hf.masked(hf.scale_by_adam(), lambda name, x: x.ndim > 1), hf.scale_by_learning_rate(0.1)),
    ],
    ids=["nesterov", "debias", "eps_root", "order", "schedule", "mask", "uphill", "masked"],
)
def test_a_chain_that_is_nearly_adamw_runs_as_it_is_written(links):
    tx = hf.chain(*links)
    assert as_adamw(as_whole(link_of(tx))) is None
    takes_the_functional_step(tx, compile="auto", tolerance=1e-12)


def test_a_transposed_or_channels_last_parameter_takes_the_same_step():
    turned = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
    last = torch.nn.Parameter(torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last))
    straight = [torch.nn.Parameter(x.detach().contiguous().clone()) for x in (turned, last)]
    one, other = (hf.HinaAdamW([("a", a), ("b", b)], use_alora=False) for a, b in ((turned, last), tuple(straight)))
    for _ in range(3):
        for x, y in zip((turned, last), straight, strict=True):
            y.grad = torch.ones_like(y)
            x.grad = torch.ones_like(x)
        one.step()
        other.step()
    assert torch.equal(turned, straight[0])
    assert torch.equal(last, straight[1])


def test_chains_that_look_across_columns_say_so():
    assert not link_of(hf.chain(hf.clip_by_global_norm(1.0), hf.scale_by_adam())).columnwise()
    assert link_of(hf.hina_adamw()).columnwise()
    assert link_of(hf.hina_adamw(formulas="original")).columnwise()


def lokr(modules: int) -> dict[str, torch.nn.Parameter]:
    """Modules in two shapes and a plain weight, in float32, small enough that a step is not lost in their rounding."""
    shapes: dict[str, tuple[int, ...]] = {"weight": (6, 5)}
    for i in range(modules):
        shapes |= {f"m{i}.lokr_w1": (2, 2), f"m{i}.lokr_w2_a": (5 + i % 2, 3), f"m{i}.lokr_w2_b": (3, 7)}
    return {name: torch.nn.Parameter(x / 64) for name, x in draw(1, torch.float32, shapes).items()}


def train(params: dict[str, torch.nn.Parameter], steps: int, compile: Any, **group: Any) -> list[dict[str, Tensor]]:
    optimizer = hf.HinaAdamW(list(params.items()), compile=compile, wd_transition_steps=2, **group)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    trajectory = []
    for step in range(steps):
        shapes = {name: tuple(p.shape) for name, p in params.items()}
        grads = draw(50 + step, torch.float32, shapes)
        gone = {name for i, name in enumerate(params) if step and (i + step) % 5 == 0}
        for name, param in params.items():
            param.grad = None if name in gone else grads[name]
        optimizer.param_groups[0]["weight_decay"] = 0.01 * (step + 1)
        optimizer.step()
        schedule.step()
        trajectory.append({name: p.detach().clone() for name, p in params.items()})
    return trajectory


@pytest.mark.compile
@pytest.mark.parametrize("formulas", ["published", "original"])
def test_a_compiled_step_is_the_plain_step_and_compiles_once(formulas, monkeypatch):
    """While learning rate, weight decay and the pattern of missing gradients change at every step."""
    programs = []
    monkeypatch.setattr(
        engine, "compiled", lambda *given, **how: programs.append(compiled_program(*given, **how)) or programs[-1]
    )
    train(lokr(4), 1, compile=True, formulas=formulas)
    in_one_step = len(programs)
    assert in_one_step > 0
    compiled = train(lokr(4), 8, compile=True, formulas=formulas)
    assert len(programs) == 2 * in_one_step
    again = train(lokr(4), 8, compile=True, formulas=formulas)
    plain = train(lokr(4), 8, compile=False, formulas=formulas)
    start = {name: p.detach() for name, p in lokr(4).items()}
    for name in start:
        moved = (plain[-1][name] - start[name]).norm()
        assert (compiled[-1][name] - plain[-1][name]).norm() <= 1e-5 * moved, name
        assert torch.equal(again[-1][name], compiled[-1][name])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: hf.only("lora_a", tx),
        lambda tx: hf.masked(tx, lambda name, x: "lo" not in name),
        lambda tx: hf.partition({"q": tx, "rest": hf.identity()}, lambda name, x: "q" if name[0] == "q" else "rest"),
        lambda tx: hf.partition({"a/b": hf.accumulate(tx, 2)}, lambda name, x: "a/b"),
    ],
    ids=["only half a module", "no module", "some modules", "a label with a slash"],
)
@pytest.mark.parametrize("scheduled", [False, True], ids=["columns", "operation by operation"])
def test_a_rule_for_modules_sees_those_that_its_partition_leaves_it(wrap, scheduled):
    """A module of which it gets half is none."""
    eta = hf.constant_schedule(2.0) if scheduled else 2.0
    rules = hf.chain(hf.lora_lr_scale(eta), hf.lora_plus_lr_scale(16.0), hf.lokr_lr_scale())
    takes_the_functional_step(wrap(rules), compile=False, tolerance=1e-12)


LONG = {"weight": (512, 640), "lora_A.weight": (3, 64), "lora_B.weight": (110_000, 3)}


def long() -> dict[str, torch.nn.Parameter]:
    return {name: torch.nn.Parameter(x / 16) for name, x in draw(1, torch.float32, LONG).items()}


@pytest.mark.compile
@pytest.mark.parametrize("formulas", ["published", "original"])
@pytest.mark.filterwarnings("ignore:.*modules matched")
def test_a_tensor_that_fits_no_cache_takes_the_plain_step_compiled(formulas):
    """With an anchor and without; its programs compute again what others store, and round the parameter once more."""
    assert all(math.prod(LONG[name]) > 2 * pieces.PIECE for name in ("weight", "lora_B.weight"))
    compiled = train(long(), 4, compile=True, formulas=formulas)[-1]
    plain = train(long(), 4, compile=False, formulas=formulas)[-1]
    for name, start in long().items():
        rounding = torch.finfo(start.dtype).eps * start.norm()
        assert (compiled[name] - plain[name]).norm() <= 1e-5 * (plain[name] - start).norm() + rounding, name


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:.*modules matched")
def test_a_step_of_tensors_that_fit_no_cache_borrows_next_to_nothing():
    """Not the size of one of them."""
    params = long()
    for param in params.values():
        param.grad = torch.ones_like(param)
    optimizer = hf.HinaAdamW(list(params.items()), compile=True, use_alora=False)
    optimizer.step()
    peak, _ = borrowed(optimizer.step, "cpu")
    assert peak < min(map(math.prod, (LONG["weight"], LONG["lora_B.weight"]))) / 100


@pytest.mark.parametrize("fixed", [(), (0,), (16,), (61,), (63,), (250,), (2000,), (16384,)], ids=str)
def test_the_compiler_is_shown_short_rows_of_sizes_that_have_nothing_in_common(fixed):
    column = Column("k", ("a", "b"), "lora_b", (7, *fixed), torch.float32, torch.device("cpu"), ())
    piece = pieces.Piece(column, slice(0, 2), (7, *fixed), [0, 1], [torch.empty(7, *fixed)] * 2, {})
    example, _ = engine._example(piece, [torch.empty(2, 7, *fixed), torch.empty(3)], fixed)
    rows, first, *rest = example.shape
    assert rest == list(fixed)
    assert len({rows, first, *fixed, 1}) == 3 + len(fixed)
    assert first == 3 or first * math.prod(fixed) < 4096


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_signs_are_selected_to_the_bit(dtype):
    smallest = torch.finfo(dtype).smallest_normal
    x = torch.tensor([[0.0, -0.0, math.nan, math.inf], [-math.inf, smallest, -smallest, -1.0]], dtype=dtype)
    program = make_fx(lambda x, y: sign(x) - sign(y), tracing_mode="symbolic")(x, x.clone())
    select_signs(program, dtype)
    assert torch.ops.aten.sign.default not in {node.target for node in program.graph.nodes}
    torch.testing.assert_close(program(x, x.flip(0)), sign(x) - sign(x.flip(0)), rtol=0, atol=0, equal_nan=True)


def test_a_lora_without_output_rows_takes_a_step_like_others():
    shapes = {
        "q.lora_A.weight": (4, 8),
        "q.lora_B.weight": (0, 4),
        "k.lora_A.weight": (4, 8),
        "k.lora_B.weight": (2, 4),
    }
    params = {name: torch.nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    optimizer = hf.Optimizer(params, hf.chain(hf.lora_lr_scale(), hf.scale_by_learning_rate(0.5)), compile=False)
    for param in params.values():
        param.grad = torch.ones_like(param)
    optimizer.step()
    rate = 1 / ((4 * 4 * 8) ** 0.5 + 1) ** 0.5  # a row of B A is eight fours
    assert torch.allclose(params["k.lora_B.weight"], torch.tensor(1 - 0.5 * rate))
