"""Recorded trajectories: parameters, gradients and the parameters after each step, in float64."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

DATA = Path(__file__).parent / "data"


class Recording:
    """One file of recordings; see tests/data/README.md."""

    def __init__(self, name: str) -> None:
        with safe_open(str(DATA / f"{name}.safetensors"), "pt") as file:
            spec = json.loads(file.metadata()["spec"])
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self.steps: int = spec["steps"]
        self.cases: dict[str, dict[str, Any]] = spec["cases"]

    def named(self, prefix: str) -> dict[str, Tensor]:
        found = {key.removeprefix(prefix): x.clone() for key, x in self.tensors.items() if key.startswith(prefix)}
        assert found, f"nothing is recorded under {prefix!r}"
        return found

    def grads(self) -> Iterator[dict[str, Tensor]]:
        return (self.named(f"grad|{step}|") for step in range(self.steps))

    def worst_error(self, case: str, trajectory: list[dict[str, Tensor]]) -> float:
        """Largest distance from the record, relative to the distance moved, over steps and parameters."""
        start, worst = self.named("init||"), 0.0
        for step, params in enumerate(trajectory):
            for name, expected in self.named(f"{case}|{step}|").items():
                moved = torch.linalg.vector_norm(expected - start[name])
                error = torch.linalg.vector_norm(params[name] - expected)
                worst = max(worst, float(error / moved) if moved > 0 else float(error))
        return worst
