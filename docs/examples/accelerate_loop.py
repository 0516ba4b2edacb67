"""A loop with Accelerate, saved and continued: ``python docs/examples/accelerate_loop.py FOLDER``."""

from __future__ import annotations

import sys

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hina_func as hf


def prepared() -> tuple[Accelerator, list]:
    """Model, optimizer, batches and schedule in Accelerate's hands."""
    accelerator = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=2)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    optimizer = hf.HinaAdamW(model.named_parameters(), lr=1e-2, use_alora=False)
    batches = DataLoader(TensorDataset(torch.randn(96, 16), torch.randn(96, 4)), batch_size=8)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    return accelerator, list(accelerator.prepare(model, optimizer, batches, schedule))


def train(accelerator: Accelerator, model, optimizer, batches, schedule) -> None:
    """An update for every two batches."""
    for x, y in batches:
        with accelerator.accumulate(model):
            accelerator.backward((model(x) - y).square().mean())
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def main(folder: str) -> tuple[list, list]:
    """Two epochs in one run; and the second again, from what was saved after the first."""
    accelerator, straight = prepared()
    train(accelerator, *straight)
    accelerator.save_state(folder)
    train(accelerator, *straight)

    accelerator, resumed = prepared()
    accelerator.load_state(folder)
    train(accelerator, *resumed)
    return straight, resumed


if __name__ == "__main__":
    _, (_, optimizer, _, schedule) = main(sys.argv[1])
    print(optimizer.optimizer.coverage(), schedule.get_last_lr())
