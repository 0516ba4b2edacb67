"""LyCORIS LoKr modules as sd-scripts trains them: ``python docs/examples/sd_scripts.py``."""

from __future__ import annotations

import argparse
import ast
import importlib
import logging
import shlex
import sys
from collections.abc import Sequence

import torch
from torch import nn

COMMAND = """
--network_module lycoris.kohya --network_dim 4 --network_alpha 4 --network_args "algo=lokr" "factor=4" "preset=full-lin"
--optimizer_type hina_func.HinaAdamW --text_encoder_lr 4e-4 --unet_lr 8e-4
--optimizer_args "alora_ratio=16.0" "wd_transition_steps=500" "wd_decay_factor=0.75"
"wd_min_ratio=0.15" "spd_lambda=0.06"
"""


class CLIPMLP(nn.Sequential):
    """LyCORIS finds what it adapts by the name of its class."""


class Transformer2DModel(nn.Sequential):
    """Likewise."""


def arguments(command: Sequence[str]) -> argparse.Namespace:
    """Those that matter here."""
    parser = argparse.ArgumentParser()
    for name, kind in {"network_dim": int, "network_alpha": float, "text_encoder_lr": float, "unet_lr": float}.items():
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("--network_module")
    parser.add_argument("--optimizer_type")
    parser.add_argument("--network_args", nargs="*", default=[])
    parser.add_argument("--optimizer_args", nargs="*", default=[])
    return parser.parse_args(command)


def network_of(args: argparse.Namespace, text_encoder: nn.Module, unet: nn.Module) -> nn.Module:
    """What the network module makes, its arguments given as text."""
    given = dict(text.split("=") for text in args.network_args)
    module = importlib.import_module(args.network_module)
    network = module.create_network(1.0, args.network_dim, args.network_alpha, None, [text_encoder], unet, **given)
    network.apply_to([text_encoder], unet, True, True)
    return network


def get_optimizer(args: argparse.Namespace, groups: list[dict]) -> torch.optim.Optimizer:
    """A class named by its path; its arguments are Python literals."""
    given = dict(text.split("=") for text in args.optimizer_args)
    values = {key: ast.literal_eval(value) for key, value in given.items()}
    module, _, name = args.optimizer_type.rpartition(".")
    return getattr(importlib.import_module(module), name)(groups, lr=args.unet_lr, **values)


def main(command: Sequence[str]) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Ten steps on adapters of a text encoder and of a denoiser, each with a learning rate of its own."""
    args = arguments(command)
    torch.manual_seed(0)
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    text_encoder = nn.Sequential(CLIPMLP(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 16))).requires_grad_(False)
    unet = nn.Sequential(Transformer2DModel(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4))).requires_grad_(False)
    network = network_of(args, text_encoder, unet)
    groups, _ = network.prepare_optimizer_params(args.text_encoder_lr, args.unet_lr, args.unet_lr)
    optimizer = get_optimizer(args, groups)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4))
    for _ in range(10):
        (unet(text_encoder(torch.randn(16, 8))) - 1).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(network.get_trainable_params(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
    return network, optimizer


if __name__ == "__main__":
    print(main(sys.argv[1:] or shlex.split(COMMAND))[1].adapters())
