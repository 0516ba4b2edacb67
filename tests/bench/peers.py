"""Other libraries' optimizers; each is imported when it is built, so that one that is not installed stops nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from torch.nn import Parameter

from .contender import FEW, NUMBERS, Contender

Named = dict[str, Parameter]

HEAVYBALL_MODE = "max-autotune-no-cudagraphs"
"""What HeavyBall compiles with, unless told otherwise."""


class HeavyBall:
    """HeavyBall's AdamW; whether it compiles is a global that it reads at every step."""

    def __init__(self, named: Named, mode: str | None, **options: Any) -> None:
        import heavyball.utils

        self.library = heavyball.utils
        self.mode = mode
        self.optimizer = heavyball.AdamW(list(named.values()), **NUMBERS, **options)

    @property
    def state(self) -> Any:
        return self.optimizer.state

    def step(self) -> None:
        self.library.compile_mode = self.mode
        self.optimizer.step()


def torchopt_adamw(named: Named) -> Any:
    import torchopt

    return torchopt.AdamW(tuple(named.values()), **NUMBERS)


def pytorch_optimizer(name: str, **options: Any) -> Callable[[Named], Any]:
    """Learning rate and decay as everyone's, betas and eps as the method's authors have them."""

    def build(named: Named) -> Any:
        import pytorch_optimizer

        numbers = {key: NUMBERS[key] for key in ("lr", "weight_decay")}
        return getattr(pytorch_optimizer, name)(list(named.values()), weight_decouple=True, **numbers, **options)

    return build


def torchao_adamw(name: str) -> Callable[[Named], Any]:
    def build(named: Named) -> Any:
        import torchao.optim

        return getattr(torchao.optim, name)(list(named.values()), **NUMBERS)

    return build


def _heavyball(name: str, label: str, compiled: bool, **options: Any) -> Contender:
    mode = HEAVYBALL_MODE if compiled else None
    return Contender(
        name,
        label,
        "peer",
        lambda named: HeavyBall(named, mode, **options),
        "moves",
        compiled=compiled,
        consumes_grads=True,
        most_tensors=FEW if compiled else math.inf,
    )


PEERS = (
    Contender(
        "torchopt-adamw",
        "TorchOpt AdamW",
        "peer",
        torchopt_adamw,
        "torch loop",
        state_of=attrgetter("state_groups"),
    ),
    _heavyball("heavyball-adamw-compiled", "HeavyBall AdamW, compiled", True),
    _heavyball("heavyball-adamw", "HeavyBall AdamW, eager", False),
    _heavyball("heavyball-cautious-compiled", "HeavyBall cautious AdamW, compiled", True, caution=True),
    _heavyball("heavyball-cautious", "HeavyBall cautious AdamW, eager", False, caution=True),
    Contender(
        "pytorch-optimizer-adopt", "pytorch_optimizer ADOPT", "peer", pytorch_optimizer("ADOPT", foreach=True), "moves"
    ),
    Contender(
        "pytorch-optimizer-cautious",
        "pytorch_optimizer cautious ADOPT",
        "peer",
        pytorch_optimizer("ADOPT", cautious=True),
        "moves",
    ),
    Contender(
        "pytorch-optimizer-grams", "pytorch_optimizer Grams", "peer", pytorch_optimizer("Grams", foreach=True), "moves"
    ),
    Contender("torchao-adamw", "torchao AdamW, compiled", "peer", torchao_adamw("_AdamW"), "torch loop", compiled=True),
    Contender(
        "torchao-adamw8bit", "torchao AdamW 8 bit, compiled", "peer", torchao_adamw("AdamW8bit"), "moves", compiled=True
    ),
)
