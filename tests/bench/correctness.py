"""A step that is timed must be the right step: contenders are compared, on a reduced workload, before they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

import hina_func as hf

from .contender import Contender
from .contenders import LOOP
from .workloads import Workload

STEPS = 3
TOLERANCE = {
    ("ours", torch.float64): 1e-12,
    ("ours", torch.float32): 1e-5,
    ("torch", torch.float32): 1e-5,
    ("peer", torch.float32): 1e-4,
}
"""Allowed difference, in units of the distance that the reference moved."""

Values = dict[str, Tensor]


def check(contender: Contender, work: Workload, device: str) -> dict[str, Any]:
    """What the contender was compared with, and the largest difference for each dtype.

    Raises:
        AssertionError: if a parameter did not move, is not finite, or is not where it should be.
    """
    if contender.equals == "moves":
        _walk(contender, work.draw(0, device=device), _gradients(work, torch.float32, device))
        return {"to": "moves"}
    result: dict[str, Any] = {"to": contender.equals}
    exact: Values | None = None
    for dtype in (dtype for family, dtype in TOLERANCE if family == contender.family):
        start, grads = work.draw(0, dtype, device), _gradients(work, dtype, device)
        landed, optimizer = _walk(contender, start, grads)
        if contender.equals == "one by one":
            wanted = _one_by_one(optimizer.tx, start, grads)
        else:
            wanted, _ = _walk(LOOP, start, grads)
        what = f"{contender.label}, {contender.equals}, {dtype}"
        error = assert_equal(what, start, landed, wanted, TOLERANCE[contender.family, dtype], exact)
        result[str(dtype).removeprefix("torch.")] = error
        exact = exact or wanted
    return result


def _gradients(work: Workload, dtype: torch.dtype, device: str) -> list[Values]:
    return [work.draw(1 + step, dtype, device) for step in range(STEPS)]


def _walk(contender: Contender, start: Values, grads: Sequence[Values]) -> tuple[Values, Any]:
    """Where the contender puts the parameters, and its optimizer."""
    params = {name: Parameter(x.clone()) for name, x in start.items()}
    optimizer = contender.build(params)
    for given in grads:
        handed = {name: grad.clone() for name, grad in given.items()}
        for name, param in params.items():
            param.grad = handed[name]
        optimizer.step()
        if not contender.consumes_grads:
            spoilt = [name for name, grad in given.items() if not torch.equal(handed[name], grad)]
            assert not spoilt, (
                f"{contender.label} writes into the gradients of {', '.join(spoilt[:3])}: others share them"
            )
    landed = {name: param.detach() for name, param in params.items()}
    assert_moved(contender.label, start, landed)
    return landed, optimizer


def assert_moved(label: str, start: Values, landed: Values) -> None:
    still = [name for name, x in start.items() if torch.equal(landed[name], x)]
    assert not still, f"{label} did not move {', '.join(still[:3])}: {len(still)} of {len(start)} parameters"
    broken = [name for name, x in landed.items() if not torch.isfinite(x).all()]
    assert not broken, f"{label} made {', '.join(broken[:3])} infinite or NaN"


def assert_equal(
    what: str, start: Values, landed: Values, wanted: Values, tolerance: float, exact: Values | None = None
) -> float:
    """The largest difference between two ends, in units of the way to the second.

    Where it is known what the second is but for rounding, it is no reference for more than that.
    """
    errors = {name: _difference(landed[name], wanted[name], start[name]) for name in start}
    for name, error in errors.items():
        allowed = tolerance + (_difference(wanted[name], exact[name], start[name]) if exact else 0)
        assert error <= allowed, f"{what}: {name} is {error:.1e} of the distance moved off, {allowed:.1e} is allowed"
    return max(errors.values())


def _one_by_one(tx: hf.GradientTransformation, start: Values, grads: Sequence[Values]) -> Values:
    """The plain, functional, uncompiled loop over parameters."""
    loop, params = hf.one_by_one(tx), start
    state = loop.init(params)
    for given in grads:
        updates, state = loop.update(given, state, params)
        params = hf.apply_updates(params, updates)
    return params


def _difference(landed: Tensor, wanted: Tensor, start: Tensor) -> float:
    landed, wanted, start = (x.double() for x in (landed, wanted, start))
    return float((landed - wanted).norm() / (wanted - start).norm())
