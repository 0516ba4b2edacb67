"""A fresh adapter has one factor of zeros, so the gradients of the others begin at zero: no chain may leap at that.

The adapters are those of LyCORIS (w2, or its second half, is zero; or one scalar) and PEFT (B, or w1, is zero).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hina_func as hf

lycoris = pytest.importorskip("lycoris.modules")
peft = pytest.importorskip("peft")

LR, STEPS = 1e-3, 20
BOUND = 4.0
"""In units of the learning rate times the largest ratio in force; a healthy chain stays below 2."""
LYCORIS_LAYERS = {"lycoris_linear": "linear", "lycoris_conv": "conv"}

Named = dict[str, Tensor]


class Toy(nn.Module):
    """A linear layer and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 16)
        self.conv = nn.Conv2d(4, 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.tanh(self.linear(x)).reshape(-1, 4, 2, 2)).flatten(1)


def of_lycoris(algorithm: str, **options: Any) -> Callable[[], tuple[nn.Module, Named]]:
    def build() -> tuple[nn.Module, Named]:
        base = Toy().requires_grad_(False)
        module = {"lora": lycoris.locon.LoConModule, "lokr": lycoris.lokr.LokrModule}[algorithm]
        adapters = nn.ModuleDict(
            {key: module(key, getattr(base, name), **options) for key, name in LYCORIS_LAYERS.items()}
        )
        for adapter in adapters.values():
            adapter.apply_to()
        base.double(), adapters.double()
        return base, dict(adapters.named_parameters())

    return build


def of_peft(config: Callable[..., Any], **options: Any) -> Callable[[], tuple[nn.Module, Named]]:
    def build() -> tuple[nn.Module, Named]:
        options.setdefault("r", 2)
        model = peft.get_peft_model(Toy(), config(target_modules=["linear", "conv"], **options)).double()
        return model, {name: p for name, p in model.named_parameters() if p.requires_grad}

    return build


ADAPTERS = {
    "lycoris lora": of_lycoris("lora", lora_dim=2, alpha=2),
    "lycoris lora tucker": of_lycoris("lora", lora_dim=2, alpha=2, use_tucker=True),
    "lycoris lokr": of_lycoris("lokr", lora_dim=10000, alpha=1, factor=4),
    "lycoris lokr factored": of_lycoris("lokr", lora_dim=1, alpha=1, factor=4),
    "lycoris lokr tucker": of_lycoris("lokr", lora_dim=1, alpha=1, factor=4, decompose_both=True, use_tucker=True),
    "lycoris lokr scalar": of_lycoris("lokr", lora_dim=1, alpha=1, factor=4, use_scalar=True),
    "peft lora": of_peft(peft.LoraConfig),
    "peft lokr": of_peft(peft.LoKrConfig),
    "peft lokr factored": of_peft(peft.LoKrConfig, r=1, decompose_both=True, decompose_factor=4),
    "peft lokr as lycoris": of_peft(peft.LoKrConfig, init_weights="lycoris"),
}


def fresh(name: str) -> tuple[nn.Module, Named]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ADAPTERS[name]()


def with_lr(*links: hf.GradientTransformation, then: tuple[hf.GradientTransformation, ...] = ()) -> Any:
    return hf.chain(*links, hf.scale_by_learning_rate(LR), *then)


adam = hf.scale_by_adam()
CHAINS: dict[str, tuple[hf.GradientTransformation, float]] = {
    "adam": (with_lr(adam), 1),
    "adam by step": (with_lr(hf.scale_by_adam(debias="step")), 1),
    "nesterov": (with_lr(hf.scale_by_adam(nesterov=True)), 1),
    "adopt": (with_lr(hf.scale_by_adopt()), 1),
    "adatam": (with_lr(hf.scale_by_adatam()), 1),
    "adopt_tam": (with_lr(hf.scale_by_adopt_tam()), 1),
    "lion": (with_lr(hf.scale_by_lion()), 1),
    "cautious": (with_lr(adam, hf.cautious_mask()), 1),
    "cautious by count": (with_lr(adam, hf.cautious_mask("count")), 1),
    "grams": (with_lr(adam, hf.grams_sign()), 1),
    "agr": (with_lr(hf.scale_by_agr(), adam), 1),
    "orthogonal": (with_lr(hf.orthogonal_project(), adam), 1),
    "lora scale": (with_lr(adam, hf.lora_lr_scale()), 1),
    "lora plus": (with_lr(adam, hf.lora_plus_lr_scale(16.0)), 16),
    "lokr scale": (with_lr(adam, hf.lokr_lr_scale()), 16 * 0.6),
    "dynamic wd": (with_lr(adam, hf.dynamic_wd(0.1, transition_steps=5)), 1),
    "cautious wd": (with_lr(adam, hf.add_cautious_decayed_weights(0.1)), 1),
    "spd": (with_lr(adam, then=(hf.spd_penalty(1.0),)), 1),
    "spd toward zero": (with_lr(adam, then=(hf.spd_penalty(1.0, anchor="zero"),)), 1),
    "spd by ratio": (with_lr(adam, then=(hf.spd_penalty(0.06, rule="ratio", learning_rate=LR),)), 1),
    "hina_adamw": (hf.hina_adamw(LR), 16),
    "hina_adamw of adam": (hf.hina_adamw(LR, use_adopt_stability=False, use_grams=False, use_orthogonal_grad=True), 16),
}
PRESETS = ("basic", "lokr", "sd_lokr", "llm_lokr", "experimental_lokr")


def gradients(model: nn.Module) -> None:
    """The gradient of a toy regression."""
    x = torch.sin(torch.arange(16 * 12, dtype=torch.float64) ** 1.5).reshape(16, 12)
    target = torch.stack([torch.cos((k + 1) * x.sum(1)) for k in range(8)], 1)
    model.zero_grad(set_to_none=True)
    (model(x) - target).square().mean().backward()


def steps_of(name: str, advance: Callable[[Named], Callable[[], None]]) -> Iterator[float]:
    """The largest change of an entry, step by step."""
    model, params = fresh(name)
    move = advance(params)
    for _ in range(STEPS):
        for param in params.values():
            param.grad = None
        gradients(model)
        before = {key: p.detach().clone() for key, p in params.items()}
        move()
        yield max(float((p.detach() - before[key]).abs().max()) for key, p in params.items())


def functionally(tx: hf.GradientTransformation) -> Callable[[Named], Callable[[], None]]:
    """Move by the chain's updates, which are the same in columns and one by one."""
    layouts = (tx, hf.one_by_one(tx))

    def advance(params: Named) -> Callable[[], None]:
        states = [layout.init(params) for layout in layouts]

        @torch.no_grad()
        def move() -> None:
            grads = {key: p.grad for key, p in params.items()}
            (columns, states[0]), (single, states[1]) = (
                layout.update(grads, state, params) for layout, state in zip(layouts, states, strict=True)
            )
            for key, param in params.items():
                torch.testing.assert_close(columns[key], single[key], rtol=1e-9, atol=1e-12 * LR)
                param.add_(single[key])

        return move

    return advance


def behind(**preset: Any) -> Callable[[Named], Callable[[], None]]:
    return lambda params: hf.HinaAdamW(list(params.items()), **preset).step


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_no_step_of_a_chain_is_a_leap(adapter: str, chain: str) -> None:
    tx, ratio = CHAINS[chain]
    steps = list(steps_of(adapter, functionally(tx)))
    print(f"{adapter}, {chain}: largest step {max(steps) / LR:.2f} lr, ratio {ratio}")
    assert max(steps) <= BOUND * LR * ratio


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_no_step_of_a_preset_is_a_leap(adapter: str, preset: str) -> None:
    chosen = dict(getattr(hf.presets, preset))
    lr, ratio = chosen["lr"], chosen["alora_ratio"]
    behind_torch = list(steps_of(adapter, behind(**chosen)))
    alone = hf.hina_adamw(lr, **{key: value for key, value in chosen.items() if key != "lr"})
    as_function = list(steps_of(adapter, functionally(alone)))
    print(f"{adapter}, {preset}: largest step {max(behind_torch) / lr:.2f} lr, ratio {ratio}")
    assert max(behind_torch + as_function) <= BOUND * lr * ratio
    assert max(abs(a - b) for a, b in zip(behind_torch, as_function, strict=True)) <= 1e-9 * lr


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_bound_is_one_that_the_original_breaks(adapter: str) -> None:
    steps = list(steps_of(adapter, behind(lr=LR, formulas="original", alora_ratio=1.0)))
    print(f"{adapter}: step two is {steps[1] / LR:.0f} lr")
    assert max(steps[:3]) > BOUND * LR
