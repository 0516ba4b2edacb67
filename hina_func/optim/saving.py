"""A training run in one file: an optimizer, its parameters, and whatever else a restart needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import sealed, sharding
from .checkpoint import aligned_state_dict, check_state_dict
from .optimizer import Optimizer
from .renamed import Rename
from .report import LoadReport


class Checkpoint(NamedTuple):
    """What `load_checkpoint` returns: ``extra`` as it was saved, and what became of each parameter."""

    extra: Any
    report: LoadReport


def save_checkpoint(path: str | os.PathLike[str], optimizer: Optimizer, extra: Any = None) -> None:
    """Save an optimizer, its parameters and what else a restart needs, in one safetensors file.

    The file is written whole or not at all: it is written beside the old one, brought to the disk and put in its place.
    A process that is killed in between leaves the old file, and at worst a hidden ``.name.*.part`` next to it.

    Args:
        path: of the file; its folder must exist, and a file that is there is replaced.
        optimizer: its state by name, its groups and the fingerprint of its chain are saved.
        extra: numbers, strings, None, dense tensors, and dicts, lists and tuples of them: a step, the states of
            schedulers and random generators, buffers of a model.

    Raises:
        OSError: if the file cannot be written.
        TypeError: if a group or ``extra`` holds anything else, or ``optimizer`` is none of this library; nothing is
            written.
        ValueError: if a parameter is sharded; ``torch.distributed.checkpoint`` saves those.

    >>> import hina_func as hf, tempfile, torch
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = hf.HinaAdamW(model.named_parameters(), use_alora=False)
    >>> path = tempfile.mkdtemp() + "/run.safetensors"
    >>> save_checkpoint(path, optimizer, {"step": 100, "rng": torch.get_rng_state()})
    >>> checkpoint = load_checkpoint(path, optimizer)
    >>> checkpoint.extra["step"], checkpoint.report
    (100, 2 parameters restored)
    """
    _require_ours(optimizer)
    params = optimizer.named_parameters()
    shards = [name for name, param in params.items() if sharding.is_sharded(param)]
    if shards:
        raise ValueError(
            f"one process has shards of {', '.join(map(repr, shards[:5]))} only; save with torch.distributed.checkpoint"
        )
    sealed.write(path, {"optimizer": optimizer.state_dict(), "params": params, "extra": extra})


def load_checkpoint(
    path: str | os.PathLike[str], optimizer: Optimizer, strict: bool = True, rename: Rename | None = None
) -> Checkpoint:
    """Continue exactly where a run was saved by `save_checkpoint`.

    Restores the optimizer as `Optimizer.load_state_dict` does, and the values of its parameters, whatever their device.
    Every byte of the file is checked, and nothing in it is ever executed.

    Args:
        path: of the file.
        optimizer: with the chain of the one that was saved.
        strict: see `Optimizer.load_state_dict`. False also takes values that were saved in another dtype.
        rename: see `Optimizer.load_state_dict`.

    Returns:
        ``extra`` and ``report``.

    Raises:
        OSError: if the file cannot be read.
        TypeError: if ``optimizer`` is none of this library.
        ValueError: if a byte of the file differs from what was written, it is no checkpoint or of a later format, or it
            does not fit the optimizer; says what, and nothing is changed.

    >>> import hina_func as hf, tempfile, torch
    >>> optimizer = hf.Optimizer({"w": torch.nn.Parameter(torch.zeros(2))}, hf.scale_by_adam())
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     load_checkpoint(file.name, optimizer)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: cannot load '...': it has 0 bytes, which hold no whole header; ... Nothing was changed.
    """
    _require_ours(optimizer)
    content = sealed.read(path)
    params = optimizer.named_parameters()
    try:
        saved, values, extra = _parts(content)
        report = aligned_state_dict(saved, optimizer.param_groups, optimizer._link, strict, rename).report
        misfits = _misfits(params, values, report.sources, strict)
        if strict and misfits:
            raise ValueError(f"the saved parameters do not fit: {'; '.join(misfits.values())}")
        optimizer.load_state_dict(saved, strict, rename)
    except (TypeError, ValueError) as error:
        raise sealed.refusal(path, str(error)) from error
    for name in misfits:
        optimizer.state.pop(params[name], None)
    fitting = {name: there for name, there in report.sources.items() if name not in misfits}
    with torch.no_grad():
        sharding.write([params[name] for name in fitting], [values[there] for there in fitting.values()])
    return Checkpoint(extra, replace(report, reset={**report.reset, **misfits}))


def _parts(content: Any) -> tuple[dict[str, Any], dict[str, Tensor], Any]:
    """What `save_checkpoint` put together."""
    if not isinstance(content, dict) or content.keys() != {"optimizer", "params", "extra"}:
        raise ValueError("it holds no optimizer")
    saved, values, extra = content["optimizer"], content["params"], content["extra"]
    check_state_dict(saved)
    if not (isinstance(values, dict) and all(isinstance(x, Tensor) for x in values.values())):
        raise ValueError("its parameters are no tensors by name")
    return saved, values, extra


def _misfits(
    params: Mapping[str, Tensor], values: Mapping[str, Tensor], sources: Mapping[str, str], strict: bool
) -> dict[str, str]:
    """Name here -> why the saved value cannot be its own."""
    found = {}
    for name, there in sources.items():
        if there not in values:
            found[name] = f"{name} has no saved value"
        elif values[there].shape != params[name].shape:
            found[name] = f"{name} has shape {tuple(params[name].shape)}, saved {tuple(values[there].shape)}"
        elif not values[there].is_floating_point() or (strict and values[there].dtype != params[name].dtype):
            found[name] = f"{name} is {params[name].dtype}, saved as {values[there].dtype}"
    return found


def _require_ours(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer must be a hina_func.Optimizer, got {type(optimizer).__name__}; "
            "where a trainer has wrapped it, pass what is inside (optimizer.optimizer in Accelerate)"
        )
