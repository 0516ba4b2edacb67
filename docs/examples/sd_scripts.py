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
from lycoris.kohya import LycorisNetworkKohya, create_network
from torch import nn

COMMAND = """
--optimizer_type hina_func.HinaAdamW --text_encoder_lr 4e-4 --unet_lr 8e-4 \
--optimizer_args "alora_ratio=16.0" "spd_lambda=0.06" "betas=(0.9, 0.99)"
"""


class CLIPMLP(nn.Sequential):
    """LyCORIS finds what it adapts by the name of its class."""


class Transformer2DModel(nn.Sequential):
    """Likewise."""


def get_optimizer(args: argparse.Namespace, groups: list[dict]) -> torch.optim.Optimizer:
    """The class is named by its path, its arguments are Python literals."""
    module, _, name = args.optimizer_type.rpartition(".")
    given = dict(text.split("=") for text in args.optimizer_args)
    values = {key: ast.literal_eval(value) for key, value in given.items()}
    return getattr(importlib.import_module(module), name)(groups, lr=args.unet_lr, **values)


def main(command: Sequence[str]) -> tuple[LycorisNetworkKohya, torch.optim.Optimizer]:
    """Ten steps on adapters of a text encoder and of a denoiser, each with a learning rate of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--optimizer_type")
    parser.add_argument("--optimizer_args", nargs="*", default=[])
    parser.add_argument("--text_encoder_lr", type=float, default=4e-4)
    parser.add_argument("--unet_lr", type=float, default=8e-4)
    args = parser.parse_args(command)

    torch.manual_seed(0)
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    text_encoder = nn.Sequential(CLIPMLP(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 16)))
    unet = nn.Sequential(Transformer2DModel(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4)))
    network = create_network(
        1.0, 4, 4, None, [text_encoder], unet, warn_on_unmatched=False, algo="lokr", factor="4", preset="full-lin"
    )
    network.apply_to([text_encoder], unet, True, True)
    text_encoder.requires_grad_(False)
    unet.requires_grad_(False)

    groups, _ = network.prepare_optimizer_params(args.text_encoder_lr, args.unet_lr, args.unet_lr)
    optimizer = get_optimizer(args, groups)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4))
    for _ in range(10):
        prediction = unet(text_encoder(torch.randn(16, 8)))
        (prediction - 1).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(network.get_trainable_params(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
    return network, optimizer


if __name__ == "__main__":
    print(main(sys.argv[1:] or shlex.split(COMMAND))[1].adapters())
