"""LyCORIS without a trainer, saved and continued: ``python docs/examples/lycoris_lokr.py FOLDER``."""

from __future__ import annotations

import logging
import sys

import torch
from lycoris import LycorisNetwork, create_lycoris
from torch import nn

import hina_func as hf


def build() -> tuple[nn.Module, LycorisNetwork, hf.HinaAdamW]:
    """A frozen model, its LoKr factors, and their optimizer."""
    torch.manual_seed(0)
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)).requires_grad_(False)
    LycorisNetwork.apply_preset({"target_module": ["Linear"]})
    network = create_lycoris(model, 1.0, algo="lokr", linear_dim=4, linear_alpha=4, factor=4, use_scalar=True)
    network.apply_to()
    return model, network, hf.HinaAdamW(network.parameters(), **hf.presets.lokr)


def train(model: nn.Module, optimizer: hf.HinaAdamW, steps: range) -> None:
    """The seed of a batch is the number of its step."""
    for step in steps:
        batch = torch.randn(16, 64, generator=torch.Generator().manual_seed(step))
        (model(batch) - 1).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def main(folder: str) -> tuple[hf.HinaAdamW, hf.HinaAdamW]:
    """Twenty steps in one run and in two."""
    model, _, straight = build()
    train(model, straight, range(20))

    model, _, optimizer = build()
    train(model, optimizer, range(10))
    hf.save_checkpoint(f"{folder}/last.safetensors", optimizer, {"step": 10})

    model, _, resumed = build()
    extra, _ = hf.load_checkpoint(f"{folder}/last.safetensors", resumed)
    train(model, resumed, range(extra["step"], 20))
    return straight, resumed


if __name__ == "__main__":
    straight, resumed = main(sys.argv[1])
    print(resumed.adapters())
