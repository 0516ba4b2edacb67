"""The chains that are run on shards, and what comes back of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from catalog import ROWS, draw
from torch import Tensor

import hina_func as hf


class Difference(NamedTuple):
    """The largest difference of two runs, and where it is.

    It is relative to the largest element of its tensor; that of a row's number, a counter or a cosine, is absolute.
    """

    size: float = 0.0
    where: str = "nowhere"


def momentum_init(params: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(param) for name, param in params.items()}


def momentum_update(updates: dict[str, Tensor], state: Any, params: Any = None) -> Any:
    moved = {**state, **{name: 0.9 * state[name] + u for name, u in updates.items()}}
    return {name: moved[name] for name in updates}, moved


CHAINS: dict[str, Callable[[], hf.GradientTransformation]] = {
    **{row.name: row.build for row in ROWS},
    "spd_penalty (tree)": lambda: hf.spd_penalty(0.5, anchor=draw(3)),
    "scheduled rates of modules": lambda: hf.lokr_lr_scale(ratio=hf.linear_schedule(16.0, 1.0, 4)),
    "written elsewhere": lambda: hf.GradientTransformation(momentum_init, momentum_update),
}
"""Every transform of the catalog, and forms that it has not."""

SHARDINGS = ("first dimension", "last dimension", "in part", "grid")
"""Where parameters lie; `jobs.MADE` says how."""
