"""State from and to other optimizers: torch's Adam and AdamW, and the optimizer of the guide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core import Hyper, Hyperparam
from ..lift import PerLeaf
from ..link import Link
from ..links import hyperparams_of
from ..original import original_moments_leaf
from ..state import Entry, shown_path
from ..transforms.scale_by_adam import adam_leaf
from .checkpoint import check_state_dict, match, refused
from .optimizer import Optimizer
from .renamed import Rename
from .report import LoadReport
from .rows import Rows, state_key

FLAGS = ("amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay")
"""What torch's groups hold beside numbers: how a step is run, and variants that no chain here takes over."""

FIELDS = {"exp_avg": "mu", "exp_avg_sq": "nu"}


def load_adamw_state_dict(
    optimizer: Optimizer, state_dict: Mapping[str, Any], *, strict: bool = True, rename: Rename | None = None
) -> LoadReport:
    """Continue from the state dict of ``torch.optim.AdamW`` or ``Adam``, or of the optimizer that the guide describes.

    The chain must hold one `scale_by_adam`, which takes over the moments; with ``formulas="original"`` its moments do,
    alignment included. Every counter of updates goes on from torch's step; whatever else the chain keeps starts fresh,
    anchors at the present values. Groups take over numbers by name (lr, betas, eps, weight_decay, initial_lr, ...).
    The parameters themselves are not in such a state dict.

    Args:
        optimizer: with parameters of the same names, or in the same order where either side has no names.
        state_dict: of the other optimizer.
        strict: see `Optimizer.load_state_dict`.
        rename: see `Optimizer.load_state_dict`.

    Returns:
        What became of each parameter.

    Raises:
        ValueError: if the chain has no such moments, or more than one, the state is that of ``amsgrad=True`` or
            ``maximize=True`` or of another optimizer, or it does not fit; nothing is changed.

    >>> import hina_func as hf, torch
    >>> weight = torch.nn.Parameter(torch.ones(3))
    >>> adamw = torch.optim.AdamW([("weight", weight)], lr=0.1)
    >>> weight.grad = torch.ones(3)
    >>> adamw.step()
    >>> tx = hf.chain(hf.scale_by_adam(), hf.grams_sign(), hf.scale_by_learning_rate(hf.Hyperparam("lr", 1e-3)))
    >>> optimizer = hf.Optimizer([("weight", weight)], tx)
    >>> load_adamw_state_dict(optimizer, adamw.state_dict())
    1 parameters restored
    >>> optimizer.param_groups[0]["lr"]
    0.1
    """
    check_state_dict(state_dict)
    place, _ = _moments(optimizer._link)
    for flag in ("amsgrad", "maximize"):
        if any(group.get(flag) for group in state_dict["param_groups"]):
            raise refused([f"it was saved with {flag}=True, which no chain here takes over"])
    matched = match(state_dict["param_groups"], optimizer.param_groups, optimizer._link, strict, rename)
    if matched.differences:
        raise refused(matched.differences)
    params = optimizer.named_parameters()
    with torch.no_grad():
        fresh = Rows(optimizer._link, params, {}).views
    state = {}
    for i, name in enumerate(params):
        rows = state_dict["state"].get(matched.ids[matched.sources[name]]) if name in matched.sources else None
        if rows:
            state[i] = _as_rows(name, rows, fresh[name], place)
    groups = [{key: x for key, x in group.items() if key not in FLAGS} for group in matched.groups]
    report = optimizer.load_state_dict({"state": state, "param_groups": groups}, strict)
    return replace(report, sources=matched.sources, added=matched.added, removed=matched.removed, kept=matched.kept)


def adamw_state_dict(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's state as that of a ``torch.optim.AdamW``, which loads it and goes on.

    Moments, counters and the numbers of the groups; a chain that is AdamW goes on as itself. What else a chain keeps
    has no place there.

    Args:
        optimizer: its chain must hold one `scale_by_adam` (or the moments of ``formulas="original"``) and a
            `scale_by_learning_rate`.

    Raises:
        ValueError: if it does not, or one of AdamW's numbers is a schedule.

    >>> import hina_func as hf, torch
    >>> weight = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = hf.Optimizer([weight], hf.chain(hf.scale_by_adam(), hf.scale_by_learning_rate(0.1)))
    >>> weight.grad = torch.ones(3)
    >>> optimizer.step()
    >>> adamw = torch.optim.AdamW([weight])
    >>> adamw.load_state_dict(adamw_state_dict(optimizer))
    >>> adamw.param_groups[0]["lr"], int(adamw.state[weight]["step"])
    (0.1, 1)
    """
    link = optimizer._link
    place, numbers = _moments(link)
    for _, inner in link.places():
        if isinstance(inner, PerLeaf):
            numbers = {**dict(inner.hypers), **numbers}
    if "step_size" not in numbers:
        raise ValueError("this chain has no scale_by_learning_rate, so AdamW would have no lr")
    defaults = torch.optim.AdamW([torch.zeros(())]).defaults
    saved = optimizer.state_dict()
    groups = []
    for group in saved["param_groups"]:
        b1, b2, eps, lr = (_number(numbers[key], group) for key in ("b1", "b2", "eps", "step_size"))
        weight_decay = _number(numbers.get("weight_decay", 0.0), group)
        others = {key: x for key, x in group.items() if key not in hyperparams_of(link)}
        own = {"lr": lr, "betas": (b1, b2), "eps": eps, "weight_decay": weight_decay}
        groups.append({**defaults, **others, **own})
    state = {
        i: {
            "step": rows[_key(place, "count")].to("cpu", torch.float32),
            **{key: rows[_key(place, field)].clone() for key, field in FIELDS.items()},
        }
        for i, rows in saved["state"].items()
    }
    return {"state": state, "param_groups": groups}


def _moments(link: Link) -> tuple[str, dict[str, Hyper]]:
    """Where a chain keeps Adam's moments, and the numbers they are taken with."""
    found = [
        (shown_path(path), dict(inner.hypers))
        for path, inner in link.places()
        if isinstance(inner, PerLeaf)
        and getattr(inner.formula, "func", inner.formula) in (adam_leaf, original_moments_leaf)
    ]
    if len(found) != 1:
        raise ValueError(f"AdamW's state belongs to a chain with one scale_by_adam; this one has {len(found)}")
    return found[0]


def _key(place: str, field: str) -> str:
    return state_key(Entry(place, field, ""), "")


def _as_rows(name: str, rows: Mapping[str, Any], fresh: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """The rows of a parameter, from what the other optimizer keeps for it."""
    missing = sorted({"step", *FIELDS} - rows.keys())
    if missing:
        raise refused([f"{name} has no {', '.join(missing)}, so it is not the state of Adam or AdamW"])
    step = torch.as_tensor(rows["step"])
    counted = {key: step.reshape(()).to(x) for key, x in fresh.items() if key.split("/")[-1] == "count"}
    moments = {_key(place, field): rows[key].to(fresh[_key(place, field)].dtype) for key, field in FIELDS.items()}
    alignment = _key(place, "alignment")
    if alignment in fresh:
        moments[alignment] = torch.as_tensor(rows.get("momentum_alignment", 0.0)).to(fresh[alignment])
    return {**{key: x.clone() for key, x in fresh.items()}, **counted, **moments}


def _number(hyper: Hyper, group: Mapping[str, Any]) -> Any:
    value = hyper.value(group) if isinstance(hyper, Hyperparam) else hyper
    if callable(value):
        raise ValueError("AdamW's numbers are plain: this chain has a schedule among them")
    return value
