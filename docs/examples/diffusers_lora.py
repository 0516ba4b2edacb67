"""LoRA in the manner of diffusers' training scripts: ``python docs/examples/diffusers_lora.py``."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

import hina_func as hf


def tiny_unet() -> UNet2DConditionModel:
    """A denoiser of the shape that Stable Diffusion's has."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def main() -> tuple[UNet2DConditionModel, hf.HinaAdamW]:
    """One epoch of twelve batches."""
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    unet = tiny_unet().requires_grad_(False)
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    lora_layers = filter(lambda param: param.requires_grad, unet.parameters())
    optimizer = hf.HinaAdamW(lora_layers, lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-2, eps=1e-8)
    lr_scheduler = get_scheduler("cosine", optimizer=optimizer, num_warmup_steps=3, num_training_steps=12)
    batches = DataLoader(TensorDataset(torch.randn(24, 4, 8, 8), torch.randn(24, 3, 8)), batch_size=2)
    unet, optimizer, batches, lr_scheduler = accelerator.prepare(unet, optimizer, batches, lr_scheduler)

    noises = DDPMScheduler()
    for latents, text in batches:
        noise = torch.randn_like(latents)
        timesteps = torch.randint(noises.config.num_train_timesteps, (len(latents),))
        predicted = unet(noises.add_noise(latents, noise, timesteps), timesteps, text).sample
        accelerator.backward(mse_loss(predicted, noise))
        accelerator.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        lr_scheduler.step()
        optimizer.zero_grad()
    return accelerator.unwrap_model(unet), optimizer.optimizer


if __name__ == "__main__":
    print(main()[1].adapters())
