"""All contenders: chains of hina_func, torch's AdamW in its implementations, and the peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import Parameter

import hina_func as hf

from .contender import FEW, NUMBERS, Contender
from .peers import PEERS

Named = dict[str, Parameter]


def hina(formulas: str, compile: bool) -> Callable[[Named], Any]:
    """The whole recipe, with every trick that is on by default."""
    return lambda named: hf.HinaAdamW(list(named.items()), formulas=formulas, compile=compile)


def chain(compile: bool | str, *masks: hf.GradientTransformation) -> Callable[[Named], Any]:
    """AdamW as a chain, its numbers in param_groups."""
    b1, b2 = hf.Hyperparam("betas", NUMBERS["betas"])
    lr, eps, weight_decay = (hf.Hyperparam(name, NUMBERS[name]) for name in ("lr", "eps", "weight_decay"))
    tx = hf.chain(
        hf.scale_by_adam(b1, b2, eps),
        *masks,
        hf.add_decayed_weights(weight_decay),
        hf.scale_by_learning_rate(lr),
    )
    return lambda named: hf.Optimizer(list(named.items()), tx, compile=compile)


def adamw(compile: bool = False, **implementation: Any) -> Callable[[Named], Any]:
    """torch's own, in one of its implementations."""

    def build(named: Named) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(named.values(), **NUMBERS, **implementation)
        if compile:
            optimizer.step = torch.compile(optimizer.step)  # type: ignore[method-assign]
        return optimizer

    return build


def _ours(name: str, label: str, build: Callable[[Named], Any], compiled: bool = False) -> Contender:
    return Contender(name, label, "ours", build, "one by one", compiled)


BASELINE = Contender("torch-fused", "torch AdamW, fused", "torch", adamw(fused=True), "torch loop")
"""What every ratio is to, in the same round."""

LOOP = Contender("torch-loop", "torch AdamW, loop", "torch", adamw(foreach=False, fused=False), "torch loop")

OURS = (
    _ours("hina-compiled", "HinaAdamW, compiled", hina("published", True), True),
    _ours("hina-eager", "HinaAdamW, eager", hina("published", False)),
    _ours("hina-original-compiled", "HinaAdamW (original), compiled", hina("original", True), True),
    _ours("hina-original-eager", "HinaAdamW (original), eager", hina("original", False)),
    _ours("adamw-auto", 'AdamW chain, "auto"', chain("auto")),
    _ours("adamw-compiled", "AdamW chain, compiled", chain(True), True),
    _ours("adamw-eager", "AdamW chain, eager", chain(False)),
    _ours("cautious-compiled", "cautious AdamW chain, compiled", chain(True, hf.cautious_mask()), True),
    _ours("cautious-eager", "cautious AdamW chain, eager", chain(False, hf.cautious_mask())),
)

# torch does not compile its fused kernel: torch.optim disables the compiler there.
TORCH = (
    BASELINE,
    Contender("torch-foreach", "torch AdamW, foreach", "torch", adamw(foreach=True), "torch loop"),
    LOOP,
    Contender(
        "torch-foreach-compiled",
        "torch AdamW, foreach, compiled",
        "torch",
        adamw(compile=True, foreach=True),
        "torch loop",
        compiled=True,
        most_tensors=FEW,
    ),
)

CONTENDERS = {contender.name: contender for contender in (*OURS, *TORCH, *PEERS)}
