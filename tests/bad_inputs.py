"""The catalogue of bad and odd inputs: one row each, what is given, where, and what must happen.

A `Bad` input is refused: with this error, in these words, and nothing has changed. An `Odd` one is taken, and what is
said about it holds. ``python tests/bad_inputs.py`` writes docs/bad-input.md from the rows. Readers of files get rows
here as well: another entry in `ROWS`, and one in `ATTEMPTS` if their input needs preparing.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import hina_func as hf

PAGE = Path(__file__).parent.parent / "docs" / "bad-input.md"
SHAPES = {"w": (2, 3), "v": (2, 3), "b": (3,)}
NAN, INF = math.nan, math.inf


def numbers(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}


def adamw() -> hf.GradientTransformation:
    b1, b2 = hf.Hyperparam("betas", (0.9, 0.999))
    decay = hf.add_decayed_weights(hf.Hyperparam("weight_decay", 0.01))
    return hf.chain(hf.scale_by_adam(b1, b2), decay, hf.scale_by_learning_rate(hf.Hyperparam("lr", 0.1)))


class Scene:
    """A chain two updates old, as functions and behind an optimizer, and gradients for a third."""

    def __init__(self) -> None:
        self.tx = adamw()
        self.params, self.grads = numbers(1), numbers(9)
        self.state = self.tx.init(self.params)
        self.leaves = {name: nn.Parameter(p.clone()) for name, p in self.params.items()}
        self.opt = hf.Optimizer(list(self.leaves.items()), adamw(), compile=False)
        for seed in (2, 3):
            updates, self.state = self.tx.update(numbers(seed), self.state, self.params)
            self.params = hf.apply_updates(self.params, updates)
            self.give(numbers(seed))
            self.opt.step()
        self.give(self.grads)

    def give(self, grads: dict[str, Tensor]) -> None:
        for name, p in self.leaves.items():
            p.grad = grads[name].clone()

    def update(self, updates: Any = None, state: Any = None, params: Any = None, tx: Any = None, **more: Any) -> Any:
        """The third update, with some arguments replaced."""
        given = (self.grads if updates is None else updates, self.state if state is None else state)
        return (tx or self.tx).update(*given, self.params if params is None else params, **more)

    def numbers(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.leaves.items()}

    def kept(self) -> Any:
        """All that must not change when something is refused."""
        grads = {name: p.grad for name, p in self.leaves.items()}
        state = {name: dict(self.opt.state.get(p, {})) for name, p in self.leaves.items()}
        groups = [{key: x for key, x in group.items() if key != "params"} for group in self.opt.param_groups]
        ids = [[id(p) for p in group["params"]] for group in self.opt.param_groups]
        return copy.deepcopy((self.params, self.grads, self.state, self.numbers(), grads, state, groups, ids))


@dataclass(frozen=True)
class Bad:
    """``do`` makes the input, at some places from the scene; see `ATTEMPTS`. ``says`` is part of the message."""

    given: str
    where: str
    do: Callable[[Any], Any]
    error: type[Exception]
    says: str


@dataclass(frozen=True)
class Odd:
    """``holds`` asserts about the scene and what came back that ``happens`` is true."""

    given: str
    where: str
    do: Callable[[Any], Any]
    happens: str
    holds: Callable[[Scene, Any], Any]


def step(scene: Scene, do: Callable[[Any], Any]) -> Callable[[], Any]:
    """``do`` edits the scene; then comes a step."""
    do(scene)
    return scene.opt.step


def load(scene: Scene, do: Callable[[Any], Any]) -> Callable[[], Any]:
    """``do`` edits a saved state dict, or returns another."""
    saved = copy.deepcopy(scene.opt.state_dict())
    edited = do(saved)
    return lambda: scene.opt.load_state_dict(saved if edited is None else edited)


ATTEMPTS: dict[str, Callable[[Scene, Callable[[Any], Any]], Callable[[], Any]]] = {
    "init": lambda scene, do: lambda: scene.tx.init(do(scene)),
    "add_param_group": lambda scene, do: lambda: scene.opt.add_param_group(do(scene)),
    "step": step,
    "load_state_dict": load,
}
"""Where -> what is attempted with what ``do`` makes; elsewhere, ``do(scene)`` is the attempt itself."""


def attempt(scene: Scene, row: Bad | Odd) -> Callable[[], Any]:
    return ATTEMPTS.get(row.where, lambda scene, do: lambda: do(scene))(scene, row.do)


def same(a: Any, b: Any) -> bool:
    """Equal to the bit; NaN is NaN."""
    if isinstance(a, Tensor):
        if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype or a.layout != b.layout:
            return False
        a, b = (x.to_dense() if x.layout != torch.strided else x for x in (a, b))
        return bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or bool(a != a and b != b)


def leaf(*shape: int, **how: Any) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape, **how))


def whole_numbers() -> nn.Parameter:
    return nn.Parameter(torch.ones(2).long(), requires_grad=False)


def sparse_csr() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the layout young
        return torch.eye(2).to_sparse_csr()


def optimizer(params: Any, tx: Any = None, **more: Any) -> hf.Optimizer:
    return hf.Optimizer(params, adamw() if tx is None else tx, compile=False, **more)


def gradient(**leaves: Any) -> Callable[[Scene], Any]:
    """An update with some gradients replaced."""
    return lambda scene: scene.update({**scene.grads, **leaves})


def grads(**leaves: Any) -> Callable[[Scene], Any]:
    """An update with ``grads``, some of them replaced."""
    return lambda scene: scene.update(grads={**scene.grads, **leaves})


def hyper(name: str, value: Any) -> Callable[[Scene], Any]:
    return lambda scene: scene.update(hyperparams={name: value})


def edit(key: str, value: Any) -> Callable[[Scene], None]:
    """Write into the first group."""
    return lambda scene: scene.opt.param_groups[0].__setitem__(key, value)


def edit_state(key: str, value: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.opt.state[scene.leaves["w"]].__setitem__(key, value)


def both_over(memory: Tensor) -> list[tuple[str, nn.Parameter]]:
    """The first four of six numbers, and the last four."""
    return [("b", nn.Parameter(memory[2:])), ("a", nn.Parameter(memory[:4]))]


def saved_state(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda saved: saved["state"][0].__setitem__(key, value)


def saved_group(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda saved: saved["param_groups"][0].__setitem__(key, value)


def without(*path: Any) -> Callable[[Any], None]:
    """Take an entry out."""

    def take(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        del tree[path[-1]]

    return take


def renamed(scene: Scene) -> Any:
    params, given = (
        {{"w": "x"}.get(name, name): x for name, x in tree.items()} for tree in (scene.params, scene.grads)
    )
    return scene.update(given, params=params)


def reshape_in_place(scene: Scene) -> None:
    w = scene.leaves["w"]
    w.grad = None
    w.data = torch.ones(3, 2, dtype=torch.float64)
    w.grad = torch.ones_like(w)


def swap_leaf(other: nn.Parameter) -> Callable[[Scene], None]:
    def swap(scene: Scene) -> None:
        scene.opt.param_groups[0]["params"][0] = other
        other.grad = torch.ones_like(other)

    return swap


DENSE = "must be a dense floating-point tensor, got"
WANTED = "a GradientTransformation (init, update) is wanted, got"
FINITE = "must be a finite number, a schedule or a Hyperparam, got"
FIT = "the saved state does not fit this optimizer: "
LEAF = "must be a Tensor or None, got"
BREAK = "a parameter's name must not contain a line break, got 'a\\nb'"
MU = "scale_by_adam/mu"

f8 = torch.float8_e4m3fn
elsewhere = torch.ones(2, 3, device="meta")

PARAMETERS = (
    Bad("no parameters", "init", lambda s: {}, ValueError, "there are no parameters"),
    Bad("only empty leaves", "init", lambda s: {"w": None}, ValueError, "there are no parameters"),
    Bad("an integer parameter", "init", lambda s: {"w": torch.ones(2).long()}, ValueError, f"'w' {DENSE} int64"),
    Bad("a boolean parameter", "init", lambda s: {"w": torch.ones(2) > 0}, ValueError, f"'w' {DENSE} bool"),
    Bad("a complex parameter", "init", lambda s: {"w": torch.ones(2) * 1j}, ValueError, f"'w' {DENSE} complex64"),
    Bad("a float8 parameter", "init", lambda s: {"w": torch.ones(2).to(f8)}, ValueError, f"'w' {DENSE} float8_e4m3fn"),
    Bad("a sparse parameter", "init", lambda s: {"w": torch.eye(2).to_sparse()}, ValueError, f"'w' {DENSE} sparse"),
    Bad("a sparse parameter (CSR)", "init", lambda s: {"w": sparse_csr()}, ValueError, f"'w' {DENSE} sparse"),
    Bad("a number for a tensor", "init", lambda s: {"w": 1.0}, TypeError, f"leaf 'w' {LEAF} float"),
    Bad("a NumPy array", "init", lambda s: {"w": np.ones(2)}, TypeError, f"leaf 'w' {LEAF} ndarray"),
    Bad(
        "two leaves of one name",
        "init",
        lambda s: {"a.b": torch.ones(1), "a": {"b": torch.ones(1)}},
        ValueError,
        "two leaves of the tree have the same name 'a.b'",
    ),
    Bad(
        "the names 1 and '1'",
        "init",
        lambda s: {1: torch.ones(1), "1": torch.ones(1)},
        ValueError,
        "two leaves of the tree have the same name '1'",
    ),
    Bad("a name with a line break", "init", lambda s: {"a\nb": torch.ones(1)}, ValueError, BREAK),
)

UPDATES = (
    Bad(
        "no params where they are needed",
        "update",
        lambda s: s.tx.update(s.grads, s.state),
        ValueError,
        "add_decayed_weights needs the parameters: call update(updates, state, params)",
    ),
    Bad(
        "a reshaped gradient",
        "update",
        gradient(w=torch.ones(3, 2)),
        ValueError,
        "update 'w' of shape (3, 2) has no counterpart: the parameter has shape (2, 3)",
    ),
    Bad(
        "a gradient that would broadcast",
        "update",
        gradient(w=torch.ones(1, 3)),
        ValueError,
        "update 'w' of shape (1, 3) has no counterpart: the parameter has shape (2, 3)",
    ),
    Bad(
        "a gradient of an unknown parameter",
        "update",
        gradient(x=torch.ones(2)),
        ValueError,
        "updates ['x'] have no counterpart: they are not among params",
    ),
    Bad("a sparse gradient", "update", gradient(b=torch.ones(3).to_sparse()), ValueError, f"update 'b' {DENSE} sparse"),
    Bad("a complex gradient", "update", gradient(b=torch.ones(3) * 1j), ValueError, f"update 'b' {DENSE} complex64"),
    Bad("an integer gradient", "update", gradient(b=torch.ones(3).long()), ValueError, f"update 'b' {DENSE} int64"),
    Bad(
        "a gradient on another device",
        "update",
        gradient(w=elsewhere),
        ValueError,
        "update 'w' is on meta, its parameter on cpu",
    ),
    Bad("a NumPy array for a gradient", "update", gradient(b=np.ones(3)), TypeError, f"leaf 'b' {LEAF} ndarray"),
    Bad(
        "`grads` of another shape",
        "update",
        grads(w=torch.ones(3, 2)),
        ValueError,
        "grads 'w' has shape (3, 2), its update (2, 3)",
    ),
    Bad("complex `grads`", "update", grads(b=torch.ones(3) * 1j), ValueError, f"grads 'b' {DENSE} complex64"),
    Bad(
        "`grads` on another device", "update", grads(w=elsewhere), ValueError, "grads 'w' is on meta, its update on cpu"
    ),
    Bad("no state", "update", lambda s: s.tx.update(s.grads, None, s.params), TypeError, "a state holds tensors only"),
    Bad(
        "an empty state",
        "update",
        lambda s: s.update(state={}),
        ValueError,
        "the state does not fit scale_by_adam -> add_decayed_weights -> scale_by_learning_rate: missing",
    ),
    Bad(
        "the state of another transform",
        "update",
        lambda s: s.update(tx=hf.trace(0.9), state=hf.ema(0.9).init(s.params)),
        ValueError,
        "the state does not fit trace: missing ['trace/trace/b', 'trace/trace/v w'], no place for ['ema/",
    ),
    Bad(
        "the state of another chain",
        "update",
        lambda s: s.update(state=hf.chain(hf.trace(0.9), hf.scale(0.1)).init(s.params)),
        ValueError,
        "no place for ['trace/trace/b', 'trace/trace/v w']; call init(params) again",
    ),
    Bad(
        "parameters renamed since `init`",
        "update",
        renamed,
        ValueError,
        "without a counterpart in params ['w'], without one in the state ['x']; call init(params) again",
    ),
    Bad(
        "a parameter fewer than at `init`",
        "update",
        lambda s: s.update({"w": s.grads["w"]}, params={"w": s.params["w"]}),
        ValueError,
        "without a counterpart in params ['b', 'v'], without one in the state none; call init(params) again",
    ),
    Bad(
        "a parameter more than at `init`",
        "update",
        lambda s: s.update(params={**s.params, "z": torch.ones(1)}),
        ValueError,
        "missing ['scale_by_adam/count/z', 'scale_by_adam/mu/z', 'scale_by_adam/nu/z']",
    ),
    Bad(
        "a parameter reshaped since `init`",
        "update",
        lambda s: s.update({**s.grads, "b": torch.ones(1, 3)}, params={**s.params, "b": torch.ones(1, 3)}),
        ValueError,
        "scale_by_adam/mu/b of shape (1, 3) where (1, 1, 3) belongs",
    ),
    Bad(
        "a state that would broadcast",
        "update",
        lambda s: hf.trace(0.9).update({"w": torch.ones(2, 3)}, hf.trace(0.9).init({"w": torch.ones(1, 3)})),
        ValueError,
        "trace/trace/w of shape (1, 1, 3) where (1, 2, 3) belongs",
    ),
    Bad(
        "a parameter that became complex",
        "update",
        lambda s: s.update(params={**s.params, "w": s.params["w"] * 1j}),
        ValueError,
        f"parameter 'w' {DENSE} complex128",
    ),
    Bad("a string for a number", "update", hyper("lr", "0.5"), TypeError, "lr must be a number or a tensor, got '0.5'"),
    Bad(
        "a tensor of two elements for a number",
        "update",
        hyper("lr", torch.ones(2)),
        TypeError,
        "lr must be a number or a 1-element tensor, got one of shape (2,)",
    ),
    Bad("one number for `betas`", "update", hyper("betas", 0.9), TypeError, "betas must be 2 numbers, got 0.9"),
    Bad(
        "a schedule that returns no number",
        "update",
        lambda s: s.update(tx=hf.scale(lambda step: "x"), state=hf.scale(lambda step: "x").init(s.params)),
        TypeError,
        "the value of a schedule must be a number or a tensor, got 'x'",
    ),
    Bad(
        "a function in `stateless` that returns nothing",
        "update",
        lambda s: s.update(tx=hf.stateless(lambda u, p: None), state=hf.EmptyState()),
        ValueError,
        "stateless must return updates b (3,), v (2, 3), w (2, 3), got None",
    ),
    Bad(
        "a function in `stateless` that reshapes",
        "update",
        lambda s: s.update(tx=hf.stateless(lambda u, p: {**u, "w": u["w"][0]}), state=hf.EmptyState()),
        ValueError,
        "stateless must return updates b (3,), v (2, 3), w (2, 3), got w (3,)",
    ),
    Bad(
        "an update of another shape than its parameter",
        "apply_updates",
        lambda s: hf.apply_updates(s.params, {"w": torch.ones(1, 3)}),
        ValueError,
        "update 'w' of shape (1, 3) has no parameter of this name and shape",
    ),
    Bad(
        "an update of an integer parameter",
        "apply_updates",
        lambda s: hf.apply_updates({"w": torch.ones(2).long()}, {"w": torch.ones(2)}),
        ValueError,
        "parameter 'w' and its update must be real, got torch.int64, torch.float32",
    ),
    Bad(
        "a named state that lacks fields",
        "load_named_state",
        lambda s: hf.load_named_state(s.state, {}),
        ValueError,
        "the named state does not fit: missing ['scale_by_adam/count/b'",
    ),
)

MADE: tuple[tuple[str, Callable[[], Any], type[Exception], str], ...] = (
    (
        "a negative learning rate",
        lambda: hf.scale_by_learning_rate(-1.0),
        ValueError,
        "learning_rate must be >= 0, got -1.0",
    ),
    ("NaN for a number", lambda: hf.scale_by_learning_rate(NAN), ValueError, "learning_rate must be >= 0, got nan"),
    ("infinity for a number", lambda: hf.scale(INF), ValueError, "step_size must be a finite number, got inf"),
    ("a string for a number", lambda: hf.scale("1"), TypeError, f"step_size {FINITE} '1'"),
    ("a boolean for a number", lambda: hf.scale(True), TypeError, f"step_size {FINITE} True"),
    ("None for a number", lambda: hf.scale(None), TypeError, f"step_size {FINITE} None"),
    ("a complex number", lambda: hf.scale(1j), TypeError, f"step_size {FINITE} 1j"),
    (
        "a complex tensor for a number",
        lambda: hf.scale(torch.tensor(1j)),
        TypeError,
        "Tensor step_size must be real, got torch.complex64",
    ),
    (
        "a tensor of two elements for a number",
        lambda: hf.scale(torch.ones(2)),
        ValueError,
        "Tensor step_size must be 1-element, got a tensor of shape (2,)",
    ),
    ("a decay rate of 1", lambda: hf.scale_by_adam(1.0), ValueError, "b1 must be in [0, 1), got 1.0"),
    ("a negative eps", lambda: hf.scale_by_adam(eps=-1), ValueError, "eps must be >= 0, got -1"),
    (
        "an unknown choice",
        lambda: hf.cautious_mask("sum"),
        ValueError,
        "rescale must be one of 'mean', 'count', None, got 'sum'",
    ),
    (
        "an unknown formula set",
        lambda: hf.hina_adamw(formulas="best"),
        ValueError,
        "formulas must be one of 'published', 'original', got 'best'",
    ),
    (
        "a schedule of length 0",
        lambda: hf.linear_schedule(1.0, 0.0, 0),
        ValueError,
        "transition_steps must be a number of steps > 0, got 0",
    ),
    (
        "a warmup longer than the schedule",
        lambda: hf.warmup_cosine_decay_schedule(0.0, 1.0, 10, 5),
        ValueError,
        "decay_steps must be > warmup_steps = 10, which it includes, got 5",
    ),
    (
        "boundaries that fall",
        lambda: hf.join_schedules([hf.constant_schedule(1.0)] * 3, [5, 3]),
        ValueError,
        "boundaries must increase, got (5, 3)",
    ),
    (
        "no schedules to join",
        lambda: hf.join_schedules([], []),
        ValueError,
        "schedules must be one or more functions of the step, got ()",
    ),
    (
        "a schedule where one number is wanted",
        lambda: hf.clip_by_global_norm(lambda step: 1.0),
        TypeError,
        "max_norm must be a number or a Hyperparam, not a schedule",
    ),
    ("a number in a chain", lambda: hf.chain(hf.scale(1.0), 3), TypeError, f"{WANTED} 3"),
    (
        "a factory in a chain, not called",
        lambda: hf.chain(hf.scale_by_adam),
        TypeError,
        f"{WANTED} <function scale_by_adam",
    ),
    (
        "a list of transforms for a chain",
        lambda: hf.chain([hf.scale(1.0)]),
        TypeError,
        f"{WANTED} [GradientTransformation(scale)]",
    ),
    (
        "a torch optimizer in a chain",
        lambda: hf.chain(torch.optim.AdamW),
        TypeError,
        f"{WANTED} <class 'torch.optim.adamw.AdamW'>",
    ),
    (
        "a name used twice in a chain",
        lambda: hf.named_chain(("a", hf.identity()), ("a", hf.identity())),
        ValueError,
        "the names of a named_chain must be different words without '/', got 'a'",
    ),
    (
        "a name with a slash in a chain",
        lambda: hf.named_chain(("a/b", hf.identity())),
        ValueError,
        "the names of a named_chain must be different words without '/', got 'a/b'",
    ),
    (
        "a number for a name in a chain",
        lambda: hf.named_chain((1, hf.identity())),
        ValueError,
        "the names of a named_chain must be different words without '/', got 1",
    ),
    (
        "two defaults of one Hyperparam",
        lambda: hf.chain(*(hf.scale(hf.Hyperparam("a", x)) for x in (1.0, 2.0))),
        ValueError,
        "Hyperparam 'a' has two defaults: 1.0 and 2.0",
    ),
    (
        "a string as a default",
        lambda: hf.Hyperparam("lr", "x"),
        TypeError,
        "Hyperparam 'lr': the default must be a number or a tuple of numbers, got 'x'",
    ),
    (
        "a part that is not there",
        lambda: hf.Hyperparam("betas", (0.9, 0.99))[2],
        IndexError,
        "Hyperparam 'betas' has 2 parts, got index 2",
    ),
    (
        "a number for a Hyperparam's name",
        lambda: hf.Hyperparam(3, 1.0),
        TypeError,
        "the name of a Hyperparam must be a string, got 3",
    ),
    (
        "a list of transforms for a partition",
        lambda: hf.partition([hf.scale(1.0)], {"w": "a"}),
        TypeError,
        "transforms must be a mapping {label: transform}, got [",
    ),
    (
        "a label without a transform",
        lambda: hf.partition({"a": hf.scale(1.0)}, lambda n, p: "b").init(numbers(1)),
        ValueError,
        "partition: the label of 'b' must be one of a, got 'b'",
    ),
    (
        "a mask that lacks a parameter",
        lambda: hf.masked(hf.scale(1.0), {"w": True}).init(numbers(1)),
        ValueError,
        "masked: there is no label for parameter 'b'",
    ),
    (
        "a mask of elements",
        lambda: hf.freeze({n: x > 0 for n, x in numbers(1).items()}).init(numbers(1)),
        TypeError,
        "freeze: the mask of 'b' must be True or False, got tensor(",
    ),
    ("an unknown role", lambda: hf.only("lora_c", hf.identity()), ValueError, "role must be one of 'lora_a', 'lora_b'"),
    (
        "a pattern that is no pair",
        lambda: hf.only("lora_a", hf.identity(), "x"),
        TypeError,
        "extra_patterns must be pairs (regular expression, role), got 'x'",
    ),
    (
        "a pattern that is no regular expression",
        lambda: hf.find_adapters(["w"], [("(", "lora_a")]),
        ValueError,
        "extra_patterns: '(' is not a regular expression",
    ),
    (
        "an anchor that lacks a parameter",
        lambda: hf.spd_penalty(0.1, anchor={"w": torch.ones(2, 3)}).init(numbers(1)),
        ValueError,
        "spd_penalty: anchor has no leaf for parameter b, v",
    ),
    (
        "an anchor of another shape",
        lambda: hf.spd_penalty(0.1, anchor={**numbers(1), "w": torch.ones(3, 2)}).init(numbers(1)),
        ValueError,
        "spd_penalty: anchor 'w' has shape (3, 2), not (2, 3)",
    ),
    (
        "an accumulation of 1.5 gradients",
        lambda: hf.accumulate(hf.identity(), 1.5),
        ValueError,
        "every must be a whole number >= 1, got 1.5",
    ),
    (
        "no errors allowed in a row",
        lambda: hf.apply_if_finite(hf.identity(), 0),
        ValueError,
        "max_consecutive_errors must be a whole number >= 1, got 0",
    ),
    (
        "a number for a model",
        lambda: hf.find_adapters(3),
        TypeError,
        "find_adapters takes a module, a named tree, names or (name, tensor) pairs, got 3",
    ),
)
CONSTRUCTORS = tuple(
    Bad(given, "constructors", lambda s, make=make: make(), error, says) for given, make, error, says in MADE
)

PARAMS = "params must be tensors, (name, tensor) pairs or groups of them, got"
BUILT: tuple[tuple[str, Callable[[Any], Any], type[Exception], str], ...] = (
    ("no parameters", lambda s: optimizer([]), ValueError, "optimizer got an empty parameter list"),
    ("None for parameters", lambda s: optimizer(None), TypeError, f"{PARAMS} None"),
    ("a module for parameters", lambda s: optimizer(nn.Linear(2, 2)), TypeError, f"{PARAMS} Linear("),
    (
        "a bare tensor",
        lambda s: optimizer(torch.ones(2)),
        TypeError,
        "params argument given to the optimizer should be an iterable of Tensors or dicts",
    ),
    (
        "numbers for tensors",
        lambda s: optimizer([1]),
        TypeError,
        "optimizer can only optimize Tensors, but one of the params is int",
    ),
    (
        "a group of a set",
        lambda s: optimizer([{"params": {leaf(2)}}]),
        TypeError,
        "optimizer parameters need to be organized in ordered collections",
    ),
    ("a tensor with a history", lambda s: optimizer([leaf(2) * 2]), ValueError, "can't optimize a non-leaf Tensor"),
    ("an integer parameter", lambda s: optimizer([("w", whole_numbers())]), ValueError, f"'w' {DENSE} int64"),
    (
        "a complex parameter",
        lambda s: optimizer([("w", leaf(2, dtype=torch.complex64))]),
        ValueError,
        f"'w' {DENSE} complex64",
    ),
    (
        "a sparse parameter",
        lambda s: optimizer([("w", nn.Parameter(torch.eye(2).to_sparse()))]),
        ValueError,
        f"'w' {DENSE} sparse",
    ),
    (
        "an expanded parameter",
        lambda s: optimizer([("w", nn.Parameter(torch.ones(1).expand(3)))]),
        ValueError,
        "parameter 'w' is expanded: several of its elements are one number in memory",
    ),
    (
        "two parameters over one memory",
        lambda s: optimizer(both_over(torch.ones(6))),
        ValueError,
        "parameters 'a' and 'b' share memory: one step would undo the other's",
    ),
    (
        "two parameters of one name",
        lambda s: optimizer([("a", leaf(2)), ("a", leaf(2))]),
        ValueError,
        "two parameters have the same name: a",
    ),
    (
        "the name that a nameless one gets",
        lambda s: optimizer([{"params": [("param.1", leaf(2))]}, {"params": [leaf(2)]}]),
        ValueError,
        "two parameters have the same name: param.1",
    ),
    (
        "names for some of a group",
        lambda s: optimizer([("a", leaf(2)), leaf(2)]),
        ValueError,
        "all optimizer params should be with/without names",
    ),
    (
        "a number for a name",
        lambda s: optimizer([(1, leaf(2))]),
        TypeError,
        "a parameter's name must be a string, got 1",
    ),
    (
        "numbers for `param_names`",
        lambda s: optimizer([{"params": [leaf(2)], "param_names": [1]}]),
        TypeError,
        "param_names of a parameter group must be strings, got [1]",
    ),
    (
        "fewer names than parameters",
        lambda s: optimizer([{"params": [leaf(2), leaf(2)], "names": ["a"]}]),
        ValueError,
        "a parameter group has 2 parameters but 1 names",
    ),
    ("a name with a line break", lambda s: optimizer([("a\nb", leaf(2))]), ValueError, BREAK),
    (
        "one tensor in two groups",
        lambda s: optimizer([{"params": [s.leaves["w"]]}, {"params": [s.leaves["w"]]}]),
        ValueError,
        "some parameters appear in more than one parameter group",
    ),
    (
        "an unknown hyperparameter",
        lambda s: optimizer([leaf(2)], momentum=0.9),
        TypeError,
        "unknown hyperparameter momentum; this chain has: betas, lr, weight_decay",
    ),
    ("a negative learning rate", lambda s: optimizer([leaf(2)], lr=-0.1), ValueError, "lr must be >= 0, got -0.1"),
    (
        "a string for the learning rate",
        lambda s: optimizer([leaf(2)], lr="0.1"),
        TypeError,
        "lr must be >= 0, got '0.1'",
    ),
    (
        "a boolean for the learning rate",
        lambda s: optimizer([leaf(2)], lr=True),
        TypeError,
        "lr must be >= 0, got True",
    ),
    (
        "a learning rate of two elements",
        lambda s: optimizer([leaf(2)], lr=torch.ones(2)),
        ValueError,
        "Tensor lr must be 1-element, got a tensor of shape (2,)",
    ),
    (
        "betas out of range",
        lambda s: optimizer([leaf(2)], betas=(1.0, 0.9)),
        ValueError,
        "betas must be in [0, 1), got 1.0",
    ),
    ("one beta", lambda s: optimizer([leaf(2)], betas=(0.9,)), ValueError, "betas must be 2 numbers, got (0.9,)"),
    (
        "a word for `compile`",
        lambda s: hf.Optimizer([leaf(2)], adamw(), compile="yes"),
        ValueError,
        "compile must be one of 'auto', True, False, got 'yes'",
    ),
    ("a word for the chain", lambda s: hf.Optimizer([leaf(2)], "adam"), TypeError, f"{WANTED} 'adam'"),
)
OPTIMIZER = tuple(Bad(given, "Optimizer", do, error, says) for given, do, error, says in BUILT)

ADDED: tuple[tuple[str, Callable[[Any], Any], type[Exception], str], ...] = (
    ("a list for a group", lambda s: [leaf(2)], TypeError, "param_group must be a dict, but got <class 'list'>"),
    (
        "a group without parameters",
        lambda s: {"lr": 1.0},
        ValueError,
        "a parameter group must have a tensor or an iterable of them as 'params', got None",
    ),
    (
        "a parameter it has already",
        lambda s: {"params": [s.leaves["w"]]},
        ValueError,
        "some parameters appear in more than one parameter group",
    ),
    (
        "a name it has already",
        lambda s: {"params": [("w", leaf(2))]},
        ValueError,
        "two parameters have the same name: w",
    ),
    (
        "NaN for the weight decay",
        lambda s: {"params": [("x", leaf(2))], "weight_decay": NAN},
        ValueError,
        "weight_decay must be >= 0, got nan",
    ),
    ("an integer parameter", lambda s: {"params": [("x", whole_numbers())]}, ValueError, f"'x' {DENSE} int64"),
)
GROUPS = tuple(Bad(given, "add_param_group", do, error, says) for given, do, error, says in ADDED)

ROW_OF_W = f"state '{MU}' of parameter 'w' must be a tensor of shape"
STEPPED: tuple[tuple[str, Callable[[Any], Any], type[Exception], str], ...] = (
    (
        "a sparse gradient",
        lambda s: setattr(s.leaves["b"], "grad", s.grads["b"].to_sparse()),
        RuntimeError,
        "hina_func does not support sparse gradients; the gradient of 'b' is sparse",
    ),
    ("NaN written into a group", edit("lr", NAN), ValueError, "lr must be a finite number, got nan"),
    ("a string written into a group", edit("lr", "0.1"), TypeError, "lr must be a finite number, got '0.1'"),
    ("None written into a group", edit("lr", None), TypeError, "lr must be a finite number, got None"),
    (
        "a tensor of two elements written into a group",
        edit("lr", torch.ones(2)),
        ValueError,
        "Tensor lr must be 1-element, got a tensor of shape (2,)",
    ),
    ("one beta written into a group", edit("betas", (0.9,)), ValueError, "betas must be 2 numbers, got (0.9,)"),
    (
        "a number taken out of a group",
        lambda s: without(0, "lr")(s.opt.param_groups),
        ValueError,
        "parameter group 0 has no 'lr'",
    ),
    ("two names made one", edit("param_names", ["a", "a", "b"]), ValueError, "two parameters have the same name: a"),
    ("a parameter reshaped in training", reshape_in_place, ValueError, f"{ROW_OF_W} (3, 2), got one of shape (2, 3)"),
    (
        "a parameter replaced by a complex one",
        swap_leaf(leaf(2, dtype=torch.complex64)),
        ValueError,
        f"'w' {DENSE} complex64",
    ),
    (
        "a state tensor taken out",
        lambda s: without(MU)(s.opt.state[s.leaves["w"]]),
        ValueError,
        f"{ROW_OF_W} (2, 3), got None",
    ),
    (
        "a state tensor that would broadcast",
        edit_state(MU, torch.ones(1)),
        ValueError,
        f"{ROW_OF_W} (2, 3), got one of shape (1,)",
    ),
)
STEPS = (
    *(Bad(given, "step", do, error, says) for given, do, error, says in STEPPED),
    Bad(
        "a gradient of another shape",
        "assignment to `grad`",
        lambda s: setattr(s.leaves["b"], "grad", torch.ones(4).double()),
        RuntimeError,
        "attempting to assign a gradient of size '[4]' to a tensor of size '[3]'",
    ),
    Bad(
        "a gradient on another device",
        "assignment to `grad`",
        lambda s: setattr(s.leaves["w"], "grad", elsewhere.double()),
        RuntimeError,
        "attempting to assign a gradient with device type 'meta' to a tensor with device type 'cpu'",
    ),
)

LOADED: tuple[tuple[str, Callable[[Any], Any], type[Exception], str], ...] = (
    ("a word", lambda saved: "x", TypeError, "state_dict must be what state_dict() returned, got 'x'"),
    (
        "another chain",
        lambda saved: optimizer([("w", leaf(2, 3))], hf.trace(0.9)).state_dict(),
        ValueError,
        f"{FIT}it was saved from another chain: only there ['trace']",
    ),
    (
        "a format of the future",
        lambda saved: saved["hina_func"].update(format=99),
        ValueError,
        f"{FIT}it has format 99, this version reads",
    ),
    ("no format", without("hina_func", "format"), ValueError, f"{FIT}its 'hina_func' must hold a number 'format'"),
    (
        "another name",
        saved_group("param_names", ["w", "v", "c"]),
        ValueError,
        f"{FIT}no parameter here for c; nothing saved for b",
    ),
    ("a name twice", saved_group("param_names", ["w", "w", "b"]), ValueError, f"{FIT}it has two parameters named 'w'"),
    ("fewer names than parameters", saved_group("param_names", ["w"]), ValueError, f"{FIT}a group has 1 names for 3"),
    ("no groups", lambda saved: saved.update(param_groups=[]), ValueError, f"{FIT}nothing saved for b, v, w"),
    ("NaN for the learning rate", saved_group("lr", NAN), ValueError, "lr must be a finite number, got nan"),
    ("a string for the learning rate", saved_group("lr", "x"), TypeError, "lr must be a finite number, got 'x'"),
    ("a tensor that is missing", without("state", 0, MU), ValueError, f"{FIT}w lacks {MU}"),
    ("a tensor too many", saved_state("x", torch.ones(1)), ValueError, f"{FIT}w has x, which this chain does not keep"),
    ("a reshaped tensor", saved_state(MU, torch.ones(3, 2)), ValueError, f"{FIT}w: {MU} has shape (3, 2), not (2, 3)"),
    (
        "a complex tensor",
        saved_state(MU, torch.ones(2, 3) * 1j),
        ValueError,
        f"{FIT}w: {MU} is complex, not of floating-",
    ),
    ("a sparse tensor", saved_state(MU, torch.ones(2, 3).to_sparse()), ValueError, f"{FIT}w: {MU} is sparse, not of"),
    ("integers for a moment", saved_state(MU, torch.ones(2, 3).int()), ValueError, f"{FIT}w: {MU} is of integers, not"),
    ("None for a tensor", saved_state(MU, None), ValueError, f"{FIT}w: {MU} has shape no tensor, not (2, 3)"),
    (
        "two parameters' states exchanged",
        saved_group("params", [2, 1, 0]),
        ValueError,
        f"{FIT}b: {MU} has shape (2, 3), not (3,)",
    ),
)
LOADING = tuple(Bad(given, "load_state_dict", do, error, says) for given, do, error, says in LOADED)


def check(condition: bool) -> None:
    assert condition


def in_layout(make: Callable[[Tensor], Tensor]) -> Callable[[Scene], Any]:
    """Two updates: with tensors in this layout, and with their contiguous copies."""

    def do(scene: Scene) -> Any:
        image = torch.arange(24.0).reshape(1, 2, 3, 4)
        p, g = make(image), make(image.flip(-1) + 1)
        tx = hf.chain(hf.scale_by_adam(), hf.orthogonal_project(), hf.add_decayed_weights(0.1))
        trees = [({"w": p}, {"w": g}), ({"w": p.contiguous()}, {"w": g.contiguous()})]
        return [tx.update(grads, tx.init(params), params)[0]["w"] for params, grads in trees]

    return do


def one_bad_element(bad: float) -> Callable[[Scene], Any]:
    def do(scene: Scene) -> Any:
        grad = scene.grads["w"].clone()
        grad[0, 0] = bad
        return scene.update({**scene.grads, "w": grad})[0]

    return do


def only_there(scene: Scene, updates: Any) -> None:
    clean = scene.update()[0]
    assert updates["w"][0, 0].isnan()
    assert torch.equal(updates["w"].ravel()[1:], clean["w"].ravel()[1:])
    assert all(torch.equal(updates[name], clean[name]) for name in ("v", "b"))


def live_as(name: str) -> Callable[[Scene], Any]:
    """Two steps of both kinds with a parameter of this name, saved and loaded before each."""

    def do(scene: Scene) -> Any:
        params, given = {name: torch.ones(2), "other": torch.ones(2)}, {name: torch.ones(2), "other": -torch.ones(2)}
        state = scene.tx.init(params)
        leaves = {name: nn.Parameter(p.clone()) for name, p in params.items()}
        opt = optimizer(list(leaves.items()))
        for _ in range(2):
            state = hf.load_named_state(scene.tx.init(params), hf.named_state(state))
            opt.load_state_dict(copy.deepcopy(opt.state_dict()))
            updates, state = scene.tx.update(given, state, params)
            params = hf.apply_updates(params, updates)
            for key, p in leaves.items():
                p.grad = given[key]
            opt.step()
        return name, params, leaves, opt

    return do


def lived(scene: Scene, found: Any) -> None:
    name, params, leaves, opt = found
    assert all(torch.equal(params[key], p) and bool((p != 1).all()) for key, p in leaves.items())
    assert opt.param_groups[0]["param_names"] == [name, "other"]


def third_step(**hyperparams: Any) -> dict[str, Tensor]:
    """The parameters after the third step of the functional chain."""
    scene = Scene()
    return hf.apply_updates(scene.params, scene.update(hyperparams=hyperparams)[0])


def twice_in_a_group(scene: Scene) -> str:
    w = leaf(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer([w, w])
    return str(caught[0].message)


def stepped(opt: hf.Optimizer) -> hf.Optimizer:
    """After a step with gradients of one."""
    for p in opt.named_parameters().values():
        p.grad = torch.ones_like(p)
    opt.step()
    return opt


def on_two_devices(scene: Scene) -> hf.Optimizer:
    return stepped(optimizer([("m", leaf(2, device="meta")), ("w", leaf(2))]))


def without_elements(scene: Scene) -> hf.Optimizer:
    params = [("e", leaf(0, 3)), ("w", leaf(2))]
    return stepped(hf.Optimizer(params, hf.chain(hf.orthogonal_project(), adamw()), compile=False))


def tolerant_groups(scene: Scene) -> hf.Optimizer:
    return stepped(optimizer([{"params": [leaf(2)], "name": "unet", "betas": [0, 0.5], "lr": 1}, {"params": []}]))


def moved(opt: hf.Optimizer, name: str) -> bool:
    return bool((opt.named_parameters()[name] != 1).all())


def loaded(edit: Callable[[Any], Any]) -> Callable[[Scene], Any]:
    """A fresh optimizer that has loaded an edited state."""

    def do(scene: Scene) -> hf.Optimizer:
        saved = copy.deepcopy(scene.opt.state_dict())
        edit(saved)
        fresh = optimizer([(name, nn.Parameter(p.detach().clone())) for name, p in scene.leaves.items()])
        fresh.load_state_dict(saved)
        return fresh

    return do


def rows_of(opt: hf.Optimizer, name: str) -> dict[str, Tensor]:
    return dict(opt.state.get(opt.named_parameters()[name], {}))


def as_saved(scene: Scene, opt: hf.Optimizer) -> None:
    assert all(same(rows_of(opt, name), rows_of(scene.opt, name)) for name in SHAPES)


def names_in(state: Any) -> list[str]:
    return [*hf.named_state(state)["scale_by_adam"]["mu"]]


def nan_moments(scene: Scene) -> Any:
    adam = scene.state["scale_by_adam"]
    return {**scene.state, "scale_by_adam": adam._replace(mu={key: x * NAN for key, x in adam.mu.items()})}


def all_nan(tree: Any) -> bool:
    return all(bool(x.isnan().all()) for x in tree.values())


Row = tuple[str, str, Callable[[Any], Any], str, Callable[[Scene, Any], Any]]
TAKEN_ROWS: tuple[Row, ...] = (
    (
        "a lone tensor",
        "init",
        lambda s: torch.ones(2),
        "it is a tree of one leaf, named ''",
        lambda s, state: check(names_in(state) == [""]),
    ),
    (
        "a number for a name",
        "init",
        lambda s: {1: torch.ones(2)},
        "it is written out: '1'",
        lambda s, state: check(names_in(state) == ["1"]),
    ),
    (
        "a tensor under two names",
        "init",
        lambda s: dict.fromkeys("ab", torch.ones(2)),
        "each has a state of its own",
        lambda s, state: check(names_in(state) == ["a", "b"]),
    ),
    (
        "a parameter on the device meta",
        "init",
        lambda s: {"w": elsewhere},
        "its state is there too",
        lambda s, state: check(state["scale_by_adam"].mu["w\n"].is_meta),
    ),
    (
        "an empty chain",
        "constructors",
        lambda s: hf.chain(),
        "it is the identity",
        lambda s, tx: check(same(tx.update(s.grads, tx.init(s.params))[0], s.grads)),
    ),
    (
        "a mask with names that are not there",
        "constructors",
        lambda s: hf.freeze({**dict.fromkeys(SHAPES, False), "x": True}),
        "they are ignored",
        lambda s, tx: check(same(tx.update(s.grads, tx.init(s.params))[0], s.grads)),
    ),
    (
        "NaN in a 0-d tensor for a number",
        "constructors",
        lambda s: hf.scale(torch.tensor(NAN)),
        "values of tensors are not read: the updates are NaN",
        lambda s, tx: check(all_nan(tx.update(s.grads, hf.EmptyState())[0])),
    ),
    (
        "non-contiguous tensors",
        "update",
        in_layout(lambda x: x.transpose(1, 3)),
        "as their contiguous copies, to the bit",
        lambda s, both: check(torch.equal(*both)),
    ),
    (
        "channels-last tensors",
        "update",
        in_layout(lambda x: x.contiguous(memory_format=torch.channels_last)),
        "as their contiguous copies, to the bit",
        lambda s, both: check(torch.equal(*both)),
    ),
    (
        "expanded tensors",
        "update",
        in_layout(lambda x: x[:, :1, :1, 1:2].expand(1, 2, 3, 4)),
        "as their contiguous copies, to the bit",
        lambda s, both: check(torch.equal(*both)),
    ),
    (
        "NaN in a gradient",
        "update",
        one_bad_element(NAN),
        "NaN in that element alone (here Adam); elsewhere as without it",
        only_there,
    ),
    (
        "infinity in a gradient",
        "update",
        one_bad_element(INF),
        "NaN in that element alone (here Adam); elsewhere as without it",
        only_there,
    ),
    (
        "NaN in a parameter",
        "update",
        lambda s: s.update(params={**s.params, "w": s.params["w"] * NAN})[0],
        "NaN in its own update alone (here through the decay)",
        lambda s, u: check(bool(u["w"].isnan().all()) and torch.equal(u["v"], s.update()[0]["v"])),
    ),
    (
        "NaN in a state",
        "update",
        lambda s: s.update(state=nan_moments(s))[0],
        "the updates are NaN",
        lambda s, u: check(all_nan(u)),
    ),
    (
        "no gradient for any parameter",
        "update",
        lambda s: s.update(dict.fromkeys(SHAPES)),
        "no updates, the same state",
        lambda s, both: check(
            both[0] == dict.fromkeys(SHAPES) and same(hf.named_state(both[1]), hf.named_state(s.state))
        ),
    ),
    (
        "float32 gradients of float64 parameters",
        "update",
        lambda s: s.update({n: g.float() for n, g in s.grads.items()})[0],
        "computed in float64",
        lambda s, u: check(same(u, s.update({n: g.float().double() for n, g in s.grads.items()})[0])),
    ),
    (
        "parameters cast to float32 since `init`",
        "update",
        lambda s: s.update(params={n: p.float() for n, p in s.params.items()})[1],
        "the state keeps its float64",
        lambda s, state: check(state["scale_by_adam"].mu["b\n"].dtype == torch.float64),
    ),
    (
        "a hyperparameter that the chain does not have",
        "update",
        lambda s: s.update(hyperparams={"momentum": 0.9})[0],
        "it is ignored, as other transforms may have it",
        lambda s, u: check(same(u, s.update()[0])),
    ),
    (
        "a tensor without elements",
        "Optimizer",
        without_elements,
        "nothing to do for it; the others move",
        lambda s, opt: check(moved(opt, "w")),
    ),
    (
        "an empty group, foreign keys, betas as a list, whole numbers",
        "Optimizer",
        tolerant_groups,
        "taken as they are",
        lambda s, opt: check(opt.param_groups[0]["name"] == "unet" and moved(opt, "param.0")),
    ),
    (
        "a tensor twice in a group",
        "Optimizer",
        twice_in_a_group,
        "torch's warning",
        lambda s, said: check("duplicate parameters" in said),
    ),
    (
        "parameters on several devices",
        "Optimizer",
        on_two_devices,
        "each has its state where it is",
        lambda s, opt: check(rows_of(opt, "m")[MU].is_meta and moved(opt, "w")),
    ),
    (
        "NaN in a gradient",
        "step",
        lambda s: s.leaves["w"].grad.mul_(NAN),
        "that parameter becomes NaN, the others move as without it; see `skip_not_finite`",
        lambda s, _: check(bool(s.leaves["w"].isnan().all()) and torch.equal(s.leaves["v"], third_step()["v"])),
    ),
    (
        "no gradients at all",
        "step",
        lambda s: s.opt.zero_grad(),
        "nothing happens",
        lambda s, _: check(same(s.numbers(), s.params)),
    ),
    (
        "a negative learning rate written into a group",
        "step",
        edit("lr", -0.1),
        "uphill: between steps it has only to be finite, as schedules that end at 0 round below it",
        lambda s, _: check(same(s.numbers(), third_step(lr=-0.1))),
    ),
    (
        "parameters renamed in a group",
        "step",
        edit("param_names", ["x", "y", "z"]),
        "the state stays with the tensors",
        lambda s, _: check(same(s.numbers(), third_step())),
    ),
    (
        "a state without names",
        "loading",
        loaded(lambda saved: saved["param_groups"][0].pop("param_names")),
        "matched by position, as in torch",
        as_saved,
    ),
    (
        "a state without the chain's fingerprint",
        "loading",
        loaded(lambda saved: saved.pop("hina_func")),
        "taken if every tensor fits",
        as_saved,
    ),
    (
        "state of no parameter",
        "loading",
        loaded(lambda saved: saved["state"].update({77: {"x": torch.ones(1)}})),
        "it is ignored",
        as_saved,
    ),
    (
        "a parameter without saved state",
        "loading",
        loaded(lambda saved: saved["state"].pop(0)),
        "it begins with its next gradient",
        lambda s, opt: check(not rows_of(opt, "w") and same(rows_of(opt, "b"), rows_of(s.opt, "b"))),
    ),
    (
        "NaN in a saved state",
        "loading",
        loaded(saved_state(MU, torch.full((2, 3), NAN))),
        "loaded as it is",
        lambda s, opt: check(bool(rows_of(opt, "w")[MU].isnan().all())),
    ),
    (
        "a learning rate that was not saved",
        "loading",
        loaded(lambda saved: saved["param_groups"][0].pop("lr")),
        "the default",
        lambda s, opt: check(opt.param_groups[0]["lr"] == 0.1),
    ),
)
NAMES = {
    "a name with spaces": "my layer 1",
    "a name in other scripts": "模型.层→ü",
    "a name of 10,000 characters": "x" * 10_000,
    "a name with path separators": "../a/b\\c",
    "a name of dots": "..",
    "a name with percent signs": "%2E%25",
    "a name with a tab and a zero byte": "a\tb\0c",
    "a name with a carriage return and a line separator": "a\rb\u2028c",
    "an empty name": "",
}
NOTED = (
    *(Odd(*row) for row in TAKEN_ROWS),
    *(
        Odd(what, "names", live_as(name), "trained, saved and loaded like any other", lived)
        for what, name in NAMES.items()
    ),
)

ROWS: tuple[Bad | Odd, ...] = (
    *(*PARAMETERS, *UPDATES, *CONSTRUCTORS, *OPTIMIZER, *GROUPS, *STEPS, *LOADING),
    *NOTED,
)

HEAD = """# Bad input

What happens when something is given that is wrong, or merely odd. The tables are written from the test suite
(`python tests/bad_inputs.py`), which holds each row to its word: a refusal is this error with these words, and neither
parameters nor gradients, state or groups have changed. Some of the words are torch's own.
"""
REFUSED = "| given | to | error | in these words |\n|---|---|---|---|\n"
TAKEN = "| given | to | what happens |\n|---|---|---|\n"
PLACES = (
    "init",
    "update",
    "apply_updates",
    "load_named_state",
    "Optimizer",
    "add_param_group",
    "step",
    "load_state_dict",
)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def shown(where: str) -> str:
    return f"`{where}`" if where in PLACES else where


def page() -> str:
    """The page, from the rows."""
    refused = [
        f"| {cell(row.given)} | {shown(row.where)} | {row.error.__name__} | `{cell(row.says)}` |\n"
        for row in ROWS
        if isinstance(row, Bad)
    ]
    taken = [
        f"| {cell(row.given)} | {shown(row.where)} | {cell(row.happens)} |\n" for row in ROWS if isinstance(row, Odd)
    ]
    parts = ("Refused", REFUSED, refused), ("Taken", TAKEN, taken)
    return HEAD + "".join(f"\n## {name}\n\n{len(rows)} inputs.\n\n{head}{''.join(rows)}" for name, head, rows in parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
