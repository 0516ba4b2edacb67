"""LoRA and LoKr adapters of one PEFT model: ``python docs/examples/peft_adapters.py``."""

from __future__ import annotations

import torch
from peft import LoKrConfig, LoraConfig, PeftMixedModel, get_peft_model
from torch import nn

import hina_func as hf


def build() -> tuple[PeftMixedModel, hf.HinaAdamW]:
    """Three adapters, of which one is called like a factor; the optimizer is built while all of them are active."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["0", "2"]), adapter_name="style", mixed=True)
    model.add_adapter("lora_A", LoraConfig(r=2, target_modules=["0", "2"]))
    model.add_adapter("detail", LoKrConfig(r=4, target_modules=["2"], init_weights="lycoris"))
    model.set_adapter(["style", "lora_A", "detail"])
    trained = [param for param in model.parameters() if param.requires_grad]
    return model, hf.HinaAdamW(trained, **hf.presets.llm_lokr)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Toward 1."""
    for _ in range(steps):
        (model(torch.randn(8, 16)) - 1).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def main() -> tuple[PeftMixedModel, hf.HinaAdamW]:
    """All adapters together, then one of them alone."""
    model, optimizer = build()
    train(model, optimizer, 5)
    model.set_adapter("lora_A")
    train(model, optimizer, 5)
    return model, optimizer


if __name__ == "__main__":
    _, optimizer = main()
    print(optimizer.coverage())
    print(optimizer.adapters())
