"""HinaAdamW as a torch optimizer, and the guide's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor

from ..checks import require_pair
from ..core import Hyperparam
from ..recipes import hina_adamw
from .optimizer import Optimizer


class HinaAdamW(Optimizer):
    """The recipe of `hina_func.hina_adamw` as a ``torch.optim.Optimizer``.

    lr, betas, eps, weight_decay, spd_lambda, tam_beta, alora_ratio and the three ``wd_`` numbers are entries of
    ``param_groups`` and may change at any step. Construction reports how many adapter modules the rules cover: to the
    logger "hina_func", as a warning if none.

    Args:
        params: as for `Optimizer`; ``model.parameters()`` will do.
        lr: learning rate, >= 0; a number or a 1-element tensor.
        betas: decay rates of the moments, in [0, 1).
        eps: >= 0.
        weight_decay: >= 0.
        use_spd: hold parameters back where a step takes them further from the anchor.
        spd_lambda: its strength, >= 0.
        use_cautious: drop what the gradient disagrees with; no effect beside ``use_grams``.
        use_orthogonal_grad: project the gradient.
        use_adopt_stability: ADOPT instead of Adam.
        use_grams: the gradient's sign for the update's.
        use_agr: adaptive gradient regularisation.
        use_tam: torque-aware momentum.
        tam_beta: its decay rate, in [0, 1].
        use_alora: learning rates of adapter modules.
        alora_ratio: how much faster the zero-initialised factor learns, >= 0.
        dynamic_weight_decay: let the decay of adapters fade.
        wd_transition_steps: when, in updates, > 0.
        wd_decay_factor: how fast, in [0, 1].
        wd_min_ratio: how far, in [0, 1].
        formulas: "published" or "original".
        compile: "auto", True or False.
        discover_names: look up plain tensors in the live modules that own them.
        extra_patterns: see `hina_func.find_adapters`.

    Raises:
        ValueError: if an argument is out of range.

    >>> import hina_func as hf, torch
    >>> factors = {"proj.lokr_w1": torch.ones(2, 2), "proj.lokr_w2": torch.zeros(4, 4)}
    >>> optimizer = HinaAdamW(factors, **hf.presets.lokr)
    >>> optimizer.get_optimization_info()["lokr_stats"]["lokr_groups"]
    1
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        use_spd: bool = True,
        spd_lambda: float = 0.06,
        use_cautious: bool = True,
        use_orthogonal_grad: bool = False,
        use_adopt_stability: bool = True,
        use_grams: bool = True,
        use_agr: bool = True,
        use_tam: bool = True,
        tam_beta: float = 0.999,
        use_alora: bool = True,
        alora_ratio: float = 16.0,
        dynamic_weight_decay: bool = True,
        wd_transition_steps: float = 1000,
        wd_decay_factor: float = 0.7,
        wd_min_ratio: float = 0.1,
        formulas: str = "published",
        *,
        compile: str | bool = "auto",
        discover_names: bool = True,
        extra_patterns: Any = (),
    ) -> None:
        switches = {
            "use_spd": use_spd,
            "use_cautious": use_cautious,
            "use_orthogonal_grad": use_orthogonal_grad,
            "use_adopt_stability": use_adopt_stability,
            "use_grams": use_grams,
            "use_agr": use_agr,
            "use_tam": use_tam,
            "use_alora": use_alora,
            "dynamic_weight_decay": dynamic_weight_decay,
        }
        numbers = {
            "eps": eps,
            "weight_decay": weight_decay,
            "spd_lambda": spd_lambda,
            "tam_beta": tam_beta,
            "alora_ratio": alora_ratio,
            "wd_transition_steps": wd_transition_steps,
            "wd_decay_factor": wd_decay_factor,
            "wd_min_ratio": wd_min_ratio,
        }
        require_pair(betas=betas)
        self.formulas = formulas
        self.features: dict[str, Any] = {name.removeprefix("use_"): on for name, on in switches.items()}
        if use_grams and use_cautious and formulas == "published":
            self.features["cautious"] = "no effect beside grams"
        tx = hina_adamw(
            Hyperparam("lr", lr),
            betas=tuple(Hyperparam("betas", tuple(betas))[i] for i in range(2)),
            formulas=formulas,
            extra_patterns=extra_patterns,
            **switches,
            **{name: Hyperparam(name, number) for name, number in numbers.items()},  # type: ignore[arg-type]
        )
        super().__init__(params, tx, compile=compile, discover_names=discover_names)

    def get_optimization_info(self) -> dict[str, Any]:
        """What is switched on and what the adapter rules cover: the guide's dictionary.

        Counts are of tensors; ``lora_pairs``, ``lokr_pairs`` and ``norm_pairs`` of modules that are whole.
        """
        adapters = self.adapters()
        counts = adapters.counts()
        complete = [module for module in adapters.modules if module.complete]
        whole = {kind: sum(module.kind == kind for module in complete) for kind in ("lora", "lokr")}
        norms = sum(
            module.kind == "norm" and {"w_norm", "b_norm"} <= module.members.keys() for module in adapters.modules
        )
        group = self.param_groups[0]
        features = {**self.features, **{key: group[key] for key in _REPORTED if key in group}}
        return {
            "optimizer_type": "HinaAdamW",
            "formulas": self.formulas,
            "total_params": sum(len(group["params"]) for group in self.param_groups),
            "features": features,
            "lora_stats": {
                "lora_a_params": counts["lora_a"],
                "lora_b_params": counts["lora_b"],
                "lora_pairs": whole["lora"],
            },
            "lokr_stats": {
                **{f"{role}_params": counts[role] for role in counts if role.startswith("lokr_")},
                "lokr_pairs": whole["lokr"],
                "lokr_groups": sum(module.kind == "lokr" for module in adapters.modules),
                "w_norm_params": counts["w_norm"],
                "b_norm_params": counts["b_norm"],
                "norm_pairs": norms,
            },
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "formulas": self.formulas, "features": self.features}


_REPORTED = ("alora_ratio", "spd_lambda", "tam_beta", "wd_transition_steps", "wd_decay_factor", "wd_min_ratio")


class Presets:
    """The guide's configurations, as mappings of keyword arguments of `HinaAdamW`.

    >>> import hina_func as hf
    >>> hf.presets.lokr["wd_transition_steps"]
    600
    """

    basic: Mapping[str, Any] = MappingProxyType(
        {
            "lr": 1e-3,
            "use_alora": True,
            "alora_ratio": 18.0,
            "dynamic_weight_decay": True,
            "wd_transition_steps": 500,
            "wd_decay_factor": 0.75,
            "wd_min_ratio": 0.15,
            "use_spd": True,
            "use_cautious": True,
        }
    )
    lokr: Mapping[str, Any] = MappingProxyType(
        {
            "lr": 1e-3,
            "use_alora": True,
            "alora_ratio": 16.0,
            "dynamic_weight_decay": True,
            "wd_transition_steps": 600,
            "wd_decay_factor": 0.8,
            "wd_min_ratio": 0.18,
            "use_spd": True,
            "spd_lambda": 0.08,
            "use_cautious": True,
            "use_adopt_stability": True,
            "use_tam": True,
            "tam_beta": 0.995,
        }
    )
    sd_lokr: Mapping[str, Any] = MappingProxyType(
        {
            "lr": 8e-4,
            "alora_ratio": 16.0,
            "wd_transition_steps": 500,
            "wd_decay_factor": 0.75,
            "wd_min_ratio": 0.15,
            "use_spd": True,
            "spd_lambda": 0.06,
            "use_cautious": True,
            "use_grams": True,
        }
    )
    llm_lokr: Mapping[str, Any] = MappingProxyType(
        {
            "lr": 5e-4,
            "alora_ratio": 20.0,
            "wd_transition_steps": 800,
            "wd_decay_factor": 0.85,
            "wd_min_ratio": 0.20,
            "use_spd": True,
            "spd_lambda": 0.10,
            "use_cautious": True,
            "use_adopt_stability": True,
        }
    )
    experimental_lokr: Mapping[str, Any] = MappingProxyType(
        {
            "lr": 1.2e-3,
            "alora_ratio": 22.0,
            "wd_transition_steps": 400,
            "wd_decay_factor": 0.70,
            "wd_min_ratio": 0.12,
            "use_spd": True,
            "spd_lambda": 0.12,
            "use_cautious": True,
            "use_orthogonal_grad": True,
            "use_grams": True,
            "use_agr": True,
            "use_tam": True,
        }
    )


presets = Presets()
