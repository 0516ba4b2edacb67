"""What is optimized: named tensors as real models have them, from thousands of small ones to a few large ones."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import hina_func as hf

Shapes = dict[str, tuple[int, ...]]

DATA = Path(__file__).parent.parent / "data" / "shapes"
SIZE = 0.02
LARGEST = 2**21
"""Elements that a reduced tensor keeps: more than hina_func stacks, few enough for many float64 copies."""


@dataclass(frozen=True)
class Workload:
    """Named shapes, and the numbers that fill them."""

    name: str
    shapes: Shapes

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    def draw(self, seed: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> dict[str, Tensor]:
        """Normal numbers, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: torch.randn(shape, generator=generator).mul_(SIZE).to(device, dtype)
            for name, shape in self.shapes.items()
        }

    def meta(self) -> dict[str, Tensor]:
        """Tensors without values."""
        return {name: torch.empty(shape, device="meta") for name, shape in self.shapes.items()}

    def reduced(self, of_each: int = 2) -> Workload:
        """At least ``of_each`` tensors of every shape where there are as many, whole adapter modules, nothing large."""
        seen: Counter[tuple[int, ...]] = Counter()
        kept: Shapes = {}
        for names in self._modules():
            shapes = [self.shapes[name] for name in names]
            if any(seen[shape] < of_each for shape in shapes):
                seen.update(shapes)
                kept |= {name: _cut(self.shapes[name]) if len(names) == 1 else self.shapes[name] for name in names}
        return Workload(f"{self.name}, reduced", kept)

    def _modules(self) -> Iterator[tuple[str, ...]]:
        """The tensors that belong together; most belong to nothing."""
        adapters = hf.find_adapters(list(self.shapes))
        done: set[str] = set()
        for name in self.shapes:
            if name not in done:
                module = (name, *adapters.partners(name))
                done.update(module)
                yield module


def _cut(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Fewer rows, if the tensor is large."""
    rows = LARGEST // math.prod(shape[1:])
    return (min(shape[0], rows), *shape[1:]) if shape else shape


def lokr(factored: int, full: int, small: int, width: int = 160, rank: int = 8) -> Shapes:
    """LoKr modules in random order, every second with a w1 of 16 x 16.

    ``factored`` of them have a w2 in two factors of ``rank``, ``full`` a whole one, of half the width in ``small``.
    """
    modules: list[Shapes] = [{"lokr_w2_a": (width, rank), "lokr_w2_b": (rank, width)} for _ in range(factored)]
    modules += [{"lokr_w2": (width, width)} for _ in range(full - small)]
    modules += [{"lokr_w2": (width // 2, width // 2)} for _ in range(small)]
    random.Random(0).shuffle(modules)
    shapes: Shapes = {}
    for i, module in enumerate(modules):
        side = 16 if i % 2 else 8
        for member, shape in {"lokr_w1": (side, side), **module}.items():
            shapes[f"lora_unet_blocks_{i}_attn_to_out.{member}"] = shape
    return shapes


def dense(tensors: int, rows: int, columns: int) -> Shapes:
    """Equal weight matrices."""
    return {f"blocks.{i}.weight": (rows, columns) for i in range(tensors)}


def gpt2() -> Shapes:
    """GPT-2 small, as Hugging Face names it; the output layer is the token embedding."""
    width, layers = 768, 12
    shapes: Shapes = {"transformer.wte.weight": (50257, width), "transformer.wpe.weight": (1024, width)}
    for i in range(layers):
        block = {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "attn.c_attn.weight": (width, 3 * width),
            "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width),
            "attn.c_proj.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
            "mlp.c_fc.weight": (width, 4 * width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (4 * width, width),
            "mlp.c_proj.bias": (width,),
        }
        shapes |= {f"transformer.h.{i}.{name}": shape for name, shape in block.items()}
    return shapes | {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}


def llama_lora(layers: int, hidden: int, intermediate: int, kv: int, rank: int = 16) -> Shapes:
    """LoRA on every linear layer of a Llama, as PEFT names it."""
    sizes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden, kv),
        "self_attn.v_proj": (hidden, kv),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (hidden, intermediate),
        "mlp.up_proj": (hidden, intermediate),
        "mlp.down_proj": (intermediate, hidden),
    }
    shapes: Shapes = {}
    for i in range(layers):
        for layer, (inputs, outputs) in sizes.items():
            module = f"base_model.model.model.layers.{i}.{layer}"
            shapes[f"{module}.lora_A.default.weight"] = (rank, inputs)
            shapes[f"{module}.lora_B.default.weight"] = (outputs, rank)
    return shapes


def recorded(name: str) -> Shapes:
    """The list of a real network, from tests/data/shapes."""
    modules = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return {f"{module}.{member}": tuple(shape) for module, of in modules.items() for member, shape in of.items()}


MAKERS: dict[str, tuple[str, Callable[[], Shapes]]] = {
    "W1": ("LoKr: 610 modules", lambda: lokr(factored=380, full=230, small=48)),
    "sdxl_lokr_f8_dim8": ("LoKr of SDXL, factor 8, rank 8", lambda: recorded("sdxl_lokr_f8_dim8")),
    "sdxl_lokr": ("LoKr of SDXL, factor 8, whole w2", lambda: recorded("sdxl_lokr")),
    "sdxl_lora": ("LoRA of SDXL, rank 16", lambda: recorded("sdxl_lora")),
    "llama_lora": ("LoRA of Llama 8B, rank 16 (W1b)", lambda: recorded("llama_lora")),
    "W2": ("20 matrices of 4096 x 1024", lambda: dense(20, 4096, 1024)),
    "W3": ("GPT-2 small", gpt2),
    "tiny": ("a LoKr for trying things out", lambda: {**lokr(12, 8, 4, width=32), **dense(4, 48, 32)}),
}
"""Name -> what it is, and its maker."""

STANDARD = tuple(name for name in MAKERS if name != "tiny")


def workload(name: str) -> Workload:
    return Workload(name, MAKERS[name][1]())
