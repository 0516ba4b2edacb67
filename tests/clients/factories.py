"""The optimizers that the clients drive: the recipe in both formula sets, and a chain composed by hand."""

from __future__ import annotations

from typing import Any

import hina_func as hf


class Published(hf.HinaAdamW):
    """The recipe as it comes."""


class Original(hf.HinaAdamW):
    """The recipe with the numbers of the optimizer that the guide was written for."""

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, formulas="original")


class Composed(hf.Optimizer):
    """Cautious AdamW with the rates of adapter modules, as a class that clients can build."""

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2
    ) -> None:
        b1, b2 = hf.Hyperparam("betas", (0.9, 0.999))
        tx = hf.chain(
            hf.scale_by_adam(b1, b2, hf.Hyperparam("eps", 1e-8)),
            hf.cautious_mask(),
            hf.lora_lr_scale(),
            hf.lokr_lr_scale(),
            hf.add_decayed_weights(hf.Hyperparam("weight_decay", 1e-2)),
            hf.scale_by_learning_rate(hf.Hyperparam("lr", 1e-3)),
        )
        super().__init__(params, tx, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
