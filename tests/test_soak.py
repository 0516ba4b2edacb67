"""Random lives of an optimizer, beside the plain functional chain; and memory that does not grow."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from torch import Tensor, nn

import hina_func as hf
from hina_func.layout import compute_dtype
from hina_func.state import map_state

SHAPES = [(2, 3), (2, 3), (3,), (), (1,), (0, 2)]
DTYPES = st.sampled_from([torch.float64, torch.float32])
DEFAULTS = {"lr": 0.1, "weight_decay": 0.01, "betas": (0.9, 0.999)}
VALUES = {
    "lr": st.sampled_from([0.0, 1e-3, 0.1]),
    "weight_decay": st.sampled_from([0.0, 0.01, 0.5]),
    "betas": st.sampled_from([(0.9, 0.999), (0.5, 0.9), [0.0, 0.5]]),
}


def chain() -> hf.GradientTransformation:
    """Moments, a schedule, an anchor and every kind of number; no parameter sees another."""
    b1, b2 = hf.Hyperparam("betas", DEFAULTS["betas"])
    return hf.skip_not_finite(
        hf.chain(
            hf.clip_by_norm(2.0),
            hf.scale_by_adam(b1, b2, eps=0.01),
            hf.add_decayed_weights(hf.Hyperparam("weight_decay", DEFAULTS["weight_decay"])),
            hf.scale_by_schedule(hf.linear_schedule(1.0, 0.5, 10)),
            hf.scale_by_learning_rate(hf.Hyperparam("lr", DEFAULTS["lr"])),
            hf.spd_penalty(0.1, rule="ratio"),
        )
    )


class Model:
    """One parameter, the functional chain for it alone, and its numbers. Its state begins with its first gradient."""

    def __init__(self, param: Tensor, numbers: dict[str, Any]) -> None:
        self.param, self.numbers = param, numbers
        self.state: Any = None

    def step(self, tx: hf.GradientTransformation, grad: Tensor) -> None:
        params = {"p": self.param}
        state = tx.init(params) if self.state is None else map_state(self._cast, self.state)
        updates, self.state = tx.update({"p": grad}, state, params, hyperparams=self.numbers)
        self.param = hf.apply_updates(params, updates)["p"]

    def _cast(self, entry: Any, tensor: Tensor) -> Tensor:
        return tensor.to(compute_dtype(self.param.dtype)) if tensor.is_floating_point() else tensor


def rows(state: Any) -> dict[str, Tensor]:
    """A model's state under the keys of an optimizer's."""
    if state is None:
        return {}
    return {f"{t}/{f}": x["p"] for t, fields in hf.named_state(state).items() for f, x in fields.items()}


def transition(**strategies: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule after which the optimizer trains for a few steps, or for none: two changes may come at once."""

    def register(change: Callable[..., None]) -> Any:
        def run(self: Life, steps: int, **drawn: Any) -> None:
            change(self, **drawn)
            for _ in range(steps):
                self.step()

        run.__name__ = change.__name__
        return rule(steps=st.integers(0, 2), **strategies)(run)

    return register


class Life(RuleBasedStateMachine):
    """What happens to optimizers, in any order."""

    transitions: ClassVar[int] = 0

    @initialize(groups=st.integers(1, 2))
    def begin(self, groups: int) -> None:
        self.tx = chain()
        self.clock = 0
        self.params: dict[str, nn.Parameter] = {}
        self.models: dict[str, Model] = {}
        self.saved: Any = None
        self.was_float32 = False
        given = [self.fresh_group() for _ in range(groups)]
        self.opt = hf.Optimizer(given, self.tx, compile=False)

    def fresh_group(self, **numbers: Any) -> dict[str, Any]:
        """Parameters of several shapes under new names, the numbers of which are kept in the models too."""
        start = len(self.params)
        names = [f"p{start + i}" for i in range(3)]
        for i, name in enumerate(names, start):
            generator = torch.Generator().manual_seed(i)
            value = torch.randn(SHAPES[i % len(SHAPES)], generator=generator, dtype=torch.float64)
            self.params[name] = nn.Parameter(value.clone())
            self.models[name] = Model(value, {**DEFAULTS, **numbers})
        return {"params": [(name, self.params[name]) for name in names], **numbers}

    def step(self) -> None:
        """Three in ten have no gradient; one in ten has a NaN in it, which counts as none."""
        self.clock += 1
        generator = torch.Generator().manual_seed(self.clock)
        still = {}
        for name, p in self.params.items():
            grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
            fate = float(torch.rand((), generator=generator))
            if fate < 0.3 or not p.requires_grad:
                p.grad = None
                still[name] = p.detach().clone()
            else:
                p.grad = torch.full_like(grad, torch.nan) if fate > 0.9 else grad
                self.models[name].step(self.tx, p.grad)
        self.opt.step()
        assert all(torch.equal(self.params[name], before) for name, before in still.items())

    @transition()
    def train(self) -> None:
        self.step()

    @transition()
    def zero_grad(self) -> None:
        self.opt.zero_grad()

    @transition(data=st.data(), key=st.sampled_from(sorted(VALUES)))
    def change_a_number(self, data: st.DataObject, key: str) -> None:
        group = data.draw(st.sampled_from(self.opt.param_groups))
        group[key] = data.draw(VALUES[key])
        for name in group["param_names"]:
            self.models[name].numbers = {**self.models[name].numbers, key: group[key]}

    @precondition(lambda self: len(self.params) < 12)
    @transition(lr=VALUES["lr"])
    def add_a_group(self, lr: float) -> None:
        self.opt.add_param_group(self.fresh_group(lr=lr))

    @transition(data=st.data())
    def freeze_or_unfreeze(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.params)))
        self.params[name].requires_grad_(not self.params[name].requires_grad)

    def remember(self) -> None:
        states = {name: (model.state, model.numbers) for name, model in self.models.items()}
        self.saved = copy.deepcopy((self.opt.state_dict(), states))

    @transition()
    def save(self) -> None:
        self.remember()

    @transition()
    def load(self) -> None:
        """What was saved, else what is there: the optimizer must go on with other tensors of the same values.

        A state of fewer parameters is refused, and nothing has changed: the invariant would see it.
        """
        if self.saved is None:
            self.remember()
        given, states = copy.deepcopy(self.saved)
        if states.keys() != self.models.keys():
            with pytest.raises(ValueError, match="nothing saved for"):
                self.opt.load_state_dict(given)
            return
        self.opt.load_state_dict(given)
        for name, (state, numbers) in states.items():
            self.models[name].state, self.models[name].numbers = state, numbers

    @transition(data=st.data(), dtype=DTYPES)
    def cast(self, data: st.DataObject, dtype: torch.dtype) -> None:
        name = data.draw(st.sampled_from(sorted(self.params)))
        self.was_float32 |= dtype == torch.float32
        self.params[name].grad = None
        self.params[name].data = self.params[name].data.to(dtype)
        self.models[name].param = self.models[name].param.to(dtype)

    @transition(how=st.sampled_from([copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))]))
    def move(self, how: Callable[[hf.Optimizer], hf.Optimizer]) -> None:
        """To another place: a copy goes on with copies of the parameters."""
        self.opt = how(self.opt)
        self.params = self.opt.named_parameters()  # type: ignore[assignment]

    @transition()
    def fork(self) -> None:
        """A new optimizer over clones, in another order, goes on from the state of this one."""
        clones = {name: nn.Parameter(p.detach().clone(), p.requires_grad) for name, p in self.params.items()}
        groups = [
            {"params": [(name, clones[name]) for name in reversed(group["param_names"])]}
            for group in reversed(self.opt.param_groups)
        ]
        fresh = hf.Optimizer(groups, self.tx, compile=False)
        fresh.load_state_dict(self.opt.state_dict())
        self.opt, self.params = fresh, clones

    @transition(data=st.data())
    def replace_a_tensor(self, data: st.DataObject) -> None:
        """As sharding does after construction: the new tensor takes over the old one's state."""
        name = data.draw(st.sampled_from(sorted(self.params)))
        old = self.params[name]
        new = nn.Parameter(old.detach().clone(), old.requires_grad)
        for group in self.opt.param_groups:
            group["params"] = [new if p is old else p for p in group["params"]]
        if old in self.opt.state:
            self.opt.state[new] = self.opt.state.pop(old)
        self.params[name] = new

    @transition(data=st.data())
    def throw_state_away(self, data: st.DataObject) -> None:
        """It begins anew with the next gradient."""
        name = data.draw(st.sampled_from(sorted(self.params)))
        self.opt.state.pop(self.params[name], None)
        self.models[name].state = None

    @invariant()
    def parameters_and_state_are_those_of_the_chain(self) -> None:
        Life.transitions += 1
        tolerance = 1e-4 if self.was_float32 else 1e-11
        assert self.opt.named_parameters().keys() == self.models.keys()
        for name, model in self.models.items():
            param = self.params[name]
            assert param.dtype == model.param.dtype
            torch.testing.assert_close(param.detach(), model.param, rtol=tolerance, atol=tolerance)
            expected, held = rows(model.state), self.opt.state.get(param, {})
            assert held.keys() == expected.keys()
            for key, x in expected.items():
                torch.testing.assert_close(held[key], x, rtol=tolerance, atol=tolerance, check_dtype=False)


def live(lives: int, length: int, derandomize: bool = True) -> int:
    """Some random lives, of up to this many transitions each; how many transitions there were."""
    profile = settings(
        max_examples=lives,
        stateful_step_count=length,
        deadline=None,
        database=None,
        derandomize=derandomize,
        suppress_health_check=list(HealthCheck),
    )
    before = Life.transitions
    run_state_machine_as_test(Life, settings=profile)
    return Life.transitions - before


@pytest.mark.slow
def test_an_optimizer_lives_as_the_chain_does(pytestconfig: pytest.Config) -> None:
    wanted = 10_000 if pytestconfig.getoption("--soak") else 200
    found = 0
    while found < wanted:
        found += live(200, 50, derandomize=False) if wanted > 200 else live(15, 25)
    print(f"{found} transitions")


# Memory


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(step: Callable[[int], Any], steps: int) -> tuple[int, int]:
    """Bytes of Python objects and of the process that some steps leave behind, after others to warm up."""
    for i in range(200):
        step(i)
    gc.collect()
    tracemalloc.start()
    objects, process = tracemalloc.get_traced_memory()[0], resident()
    for i in range(steps):
        step(i)
    gc.collect()
    objects, process = tracemalloc.get_traced_memory()[0] - objects, resident() - process
    tracemalloc.stop()
    return objects, process


def trainer(*more: hf.GradientTransformation) -> Callable[[int], None]:
    """A step with another learning rate and another pattern of missing gradients each time; saved now and then."""
    rate = hf.scale_by_learning_rate(hf.Hyperparam("lr", 0.1))
    tx = hf.chain(*more, hf.scale_by_adam(), rate, hf.spd_penalty(0.1))
    params = {name: nn.Parameter(torch.ones(shape)) for name, shape in {"w": (4, 4), "v": (4, 4), "b": (4,)}.items()}
    opt = hf.Optimizer(params, tx, compile=False)

    def step(i: int) -> None:
        opt.param_groups[0]["lr"] = 0.1 / (1 + i)
        for j, p in enumerate(params.values()):
            p.grad = None if (i >> j) % 2 else torch.full_like(p, 0.1 + i % 7)
        opt.step()
        if i % 100 == 0:
            opt.load_state_dict(opt.state_dict())

    return step


OBJECTS, PROCESS = 200_000, 8 * 2**20
"""Bytes that may be left behind, by however many steps: tables of the interpreter, pages of the allocator."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("whole_tree", [False, True], ids=["columns", "whole tree"])
def test_memory_is_flat(pytestconfig: pytest.Config, whole_tree: bool) -> None:
    steps = 5_000 if pytestconfig.getoption("--soak") else 500
    step = trainer(hf.clip_by_global_norm(1.0)) if whole_tree else trainer()
    objects, process = growth(step, steps)
    print(f"{steps} steps: {objects} bytes of objects, {process} of the process")
    assert objects < OBJECTS
    assert process < PROCESS


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_leak_would_be_seen() -> None:
    """A tensor of forty thousand numbers and its shell for every step."""
    kept, step = [], trainer()

    def leaks(i: int) -> None:
        step(i)
        kept.append([torch.ones(40_000), bytearray(500)])

    objects, process = growth(leaks, 500)
    assert objects > OBJECTS
    assert process > PROCESS
