"""LoRA in the Trainer of transformers, stopped and resumed: ``python docs/examples/hf_trainer.py FOLDER``."""

from __future__ import annotations

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Trainer, TrainingArguments

import hina_func as hf


def build() -> PreTrainedModel:
    """A small language model with adapters."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    return get_peft_model(LlamaForCausalLM(config), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))


def by_class(model: PreTrainedModel) -> dict:
    """The Trainer builds the optimizer; the learning rate is among the arguments."""
    return {"optimizer_cls_and_kwargs": (hf.HinaAdamW, dict(hf.presets.llm_lokr))}


def built_before(model: PreTrainedModel) -> dict:
    """The optimizer comes built; the Trainer adds the schedule that its arguments name."""
    trained = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    return {"optimizers": (hf.HinaAdamW(trained, **hf.presets.llm_lokr), None)}


def trainer(folder: str, optimizer=by_class) -> Trainer:
    """Eight steps, with a checkpoint after four."""
    model = build()
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=8,
        save_steps=4,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    tokens = torch.randint(32, (64, 8), generator=torch.Generator().manual_seed(0))
    return Trainer(model, arguments, train_dataset=[{"input_ids": x, "labels": x} for x in tokens], **optimizer(model))


def main(folder: str, optimizer=by_class) -> tuple[Trainer, Trainer]:
    """To the end in one run, and from the checkpoint in another."""
    straight = trainer(folder, optimizer)
    straight.train()
    resumed = trainer(folder, optimizer)
    resumed.train(resume_from_checkpoint=f"{folder}/checkpoint-4")
    return straight, resumed


if __name__ == "__main__":
    for way in (by_class, built_before):
        _, resumed = main(f"{sys.argv[1]}/{way.__name__}", way)
        print(resumed.optimizer.optimizer.coverage())
