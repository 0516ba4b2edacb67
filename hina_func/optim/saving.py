"""Checkpoints in one file: written whole or not at all, read only if every byte is as it was written.

The file is a safetensors file, so nothing in it is ever executed. Its header carries a manifest (groups, names, chain)
and the sha256 of the whole file, taken with the place of the digest itself at zero.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

from .optimizer import Optimizer
from .sharding import is_sharded, write

BLANK = b"0" * 64
DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')


def save_checkpoint(path: str | Path, optimizer: Optimizer, extra: Mapping[str, Any] | None = None) -> None:
    """Write parameters, state and groups of an optimizer to one file.

    The file is complete at every moment: it is written beside the old one, brought to the disk and put in its place.
    A process that is killed in between leaves the old file, and at worst a hidden ``.name.*.part`` next to it.

    Args:
        path: of the file; its folder must exist.
        optimizer: what to save.
        extra: what a training loop needs beside it, such as ``{"step": 100}``: numbers, strings, booleans, None, and
            lists, tuples and dicts of them.

    Raises:
        OSError: if the file cannot be written.
        TypeError: if a group or ``extra`` holds anything else, or ``optimizer`` is none of this library.
        ValueError: if a parameter is sharded; ``torch.distributed.checkpoint`` saves those.

    >>> import hina_func as hf, tempfile, torch
    >>> params = {"w": torch.nn.Parameter(torch.zeros(2))}
    >>> optimizer = hf.Optimizer(params, hf.scale_by_adam())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/last.safetensors", optimizer, {"step": 3})
    ...     load_checkpoint(f"{folder}/last.safetensors", optimizer)
    {'step': 3}
    """
    _require_ours(optimizer)
    shards = [name for name, param in optimizer.named_parameters().items() if is_sharded(param)]
    if shards:
        raise ValueError(
            f"one process has shards of {', '.join(map(repr, shards[:5]))} only; save with torch.distributed.checkpoint"
        )
    whole = optimizer.state_dict()
    tensors = {f"param/{name}": param for name, param in optimizer.named_parameters().items()}
    tensors |= {f"state/{i}/{key}": x for i, rows in whole["state"].items() for key, x in rows.items()}
    groups = []
    for i, group in enumerate(whole["param_groups"]):
        tensors |= {f"group/{i}/{key}": x for key, x in group.items() if isinstance(x, Tensor)}
        groups.append({key: x for key, x in group.items() if not isinstance(x, Tensor)})
    manifest = json.dumps(_told({"chain": whole["hina_func"], "groups": groups, "extra": dict(extra or {})}))
    apart = {key: x.detach().cpu().clone(memory_format=torch.contiguous_format) for key, x in tensors.items()}
    content = save(apart, {"hina_func": manifest, "sha256": BLANK.decode()})
    digest = hashlib.sha256(content).hexdigest().encode()
    _write(Path(path), DIGEST.sub(b'"sha256":"' + digest + b'"', content, count=1))


def load_checkpoint(path: str | Path, optimizer: Optimizer) -> dict[str, Any]:
    """Put parameters, state and groups back as `save_checkpoint` found them.

    Parameters are matched by name as in `Optimizer.load_state_dict`; nothing is changed unless everything fits.

    Args:
        path: of the file.
        optimizer: one of the same chain over the same parameters.

    Returns:
        The ``extra`` that was saved.

    Raises:
        OSError: if the file cannot be read.
        TypeError: if ``optimizer`` is none of this library.
        ValueError: if it is no such checkpoint, if a byte of it has changed, or if it does not fit the optimizer.

    >>> import hina_func as hf, tempfile, torch
    >>> optimizer = hf.Optimizer({"w": torch.nn.Parameter(torch.zeros(2))}, hf.scale_by_adam())
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     load_checkpoint(file.name, optimizer)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ... is no checkpoint of hina_func: there is no digest in a safetensors header
    """
    _require_ours(optimizer)
    params, state_dict, extra = _read(Path(path))
    live = optimizer.named_parameters()
    differences = [
        f"{name} is {_kind(params[name])} in the file and {_kind(live[name])} here"
        for name in sorted(params.keys() & live.keys())
        if _kind(params[name]) != _kind(live[name])
    ]
    differences += [f"{name} is only in the file" for name in sorted(params.keys() - live.keys())]
    differences += [f"{name} is only here" for name in sorted(live.keys() - params.keys())]
    if differences:
        raise ValueError(f"{path} does not fit this optimizer: {'; '.join(differences[:20])}")
    optimizer.load_state_dict(state_dict)
    with torch.no_grad():
        write([live[name] for name in params], params.values())
    return extra


def _require_ours(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer must be a hina_func.Optimizer, got {type(optimizer).__name__}; "
            "where a trainer has wrapped it, pass what is inside (optimizer.optimizer in Accelerate)"
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Parameters by name, state dict and extra of a file whose digest is right."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    found = DIGEST.search(content, 8, min(8 + size, len(content)))
    if found is None:
        raise ValueError(f"{path} is no checkpoint of hina_func: there is no digest in a safetensors header")
    blank = hashlib.sha256(content[: found.start(1)])
    blank.update(BLANK)
    blank.update(memoryview(content)[found.end(1) :])
    if blank.hexdigest().encode() != found[1]:
        raise ValueError(f"{path} is damaged: its content is not what was saved. Load an older checkpoint")
    try:
        manifest = _untold(json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["hina_func"]))
        chain, groups, extra = manifest["chain"], manifest["groups"], manifest["extra"]
        params: dict[str, Tensor] = {}
        state: dict[int, dict[str, Tensor]] = {}
        for place, x in load(content).items():
            kind, _, rest = place.partition("/")
            if kind == "param":
                params[rest] = x
            else:
                index, _, key = rest.partition("/")
                (groups[int(index)] if kind == "group" else state.setdefault(int(index), {}))[key] = x
    except (ValueError, LookupError, TypeError, AssertionError, RecursionError, safetensors.SafetensorError) as reason:
        raise ValueError(f"{path} is no checkpoint of hina_func: {reason!r}") from reason
    return params, {"state": state, "param_groups": groups, "hina_func": chain}, extra


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one go."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _kind(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"


def _told(value: Any) -> Any:
    """A value as JSON can say it: tuples and dicts by name, because JSON has no tuples and no keys but strings."""
    if isinstance(value, list):
        return [_told(part) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [_told(part) for part in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_told(key), _told(part)] for key, part in value.items()]}
    return value


def _untold(value: Any) -> Any:
    """The inverse of `_told`."""
    if isinstance(value, list):
        return [_untold(part) for part in value]
    if isinstance(value, dict):
        ((kind, parts),) = value.items()
        return {"tuple": tuple, "dict": dict}[kind](map(_untold, parts))
    return value
