"""A module of Lightning, stopped and resumed: ``python docs/examples/lightning_module.py FOLDER``."""

from __future__ import annotations

import sys

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hina_func as hf


class Regression(lightning.LightningModule):
    """Lightning asks it for the optimizer and the schedule."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return (self.model(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self) -> dict:
        optimizer = hf.HinaAdamW(self.named_parameters(), lr=1e-2, use_alora=False)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=24)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(folder: str, checkpoint: str | None = None) -> lightning.LightningModule:
    """Two epochs of twelve batches, with a checkpoint after the first."""
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        gradient_clip_val=1.0,
        callbacks=[ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(96, 16, generator=generator), torch.randn(96, 4, generator=generator))
    module = Regression()
    trainer.fit(module, DataLoader(data, batch_size=8), ckpt_path=checkpoint)
    return module


def main(folder: str) -> tuple[lightning.LightningModule, lightning.LightningModule]:
    """To the end in one run, and from the checkpoint in another."""
    straight = fit(folder)
    resumed = fit(f"{folder}/again", f"{folder}/epoch=0.ckpt")
    return straight, resumed


if __name__ == "__main__":
    _, resumed = main(sys.argv[1])
    print(resumed.optimizers().optimizer.param_groups[0]["lr"])
