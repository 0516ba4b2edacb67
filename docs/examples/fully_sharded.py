"""Train shards, save them and continue: ``torchrun --nproc-per-node 2 docs/examples/fully_sharded.py FOLDER``."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import hina_func as hf


def build() -> tuple[nn.Module, hf.HinaAdamW]:
    """Shard first, then give the optimizer what the model has now."""
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5, bias=False))
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model, hf.HinaAdamW(model.named_parameters(), lr=1e-2, use_alora=False)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Each process has batches of its own."""
    for _ in range(steps):
        model(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    """What is saved; also the form into which it is loaded."""
    return {"model": get_model_state_dict(model), "optimizer": get_optimizer_state_dict(model, optimizer)}


def main(folder: str) -> None:
    """Three steps, a checkpoint, and three more in another model."""
    model, optimizer = build()
    train(model, optimizer, 3)
    dcp.save(state_of(model, optimizer), checkpoint_id=folder)

    model, optimizer = build()
    state = state_of(model, optimizer)
    dcp.load(state, checkpoint_id=folder)
    set_model_state_dict(model, state["model"])
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    train(model, optimizer, 3)


if __name__ == "__main__":
    dist.init_process_group("gloo")
    main(sys.argv[1])
    dist.destroy_process_group()
