"""torch's fused AdamW kernel, for chains that say what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import Hyper, Hyperparam
from ..lift import PerLeaf
from ..link import Link
from ..links import Chain
from ..state import entries, rows_of
from ..transforms.decay import decay_leaf
from ..transforms.scale import scale_leaf
from ..transforms.scale_by_adam import adam_leaf
from .rows import Rows


class AdamW(NamedTuple):
    """The numbers of a chain that is AdamW."""

    b1: Hyper
    b2: Hyper
    eps: Hyper
    weight_decay: Hyper
    learning_rate: Hyper

    def values(self, hyperparams: Mapping[str, Any]) -> list[float] | None:
        """What is in force, None where it is not one plain number for all parameters."""
        values = [hyper.value(hyperparams) if isinstance(hyper, Hyperparam) else hyper for hyper in self]
        if not all(isinstance(value, (int, float)) for value in values):
            return None
        return [float(value) for value in values]  # type: ignore[arg-type]


def as_adamw(link: Link) -> AdamW | None:
    """The numbers, if the chain is scale_by_adam, add_decayed_weights (or nothing) and scale_by_learning_rate."""
    links = [inner for _, inner in link.places()]
    if not _is_chain(link) or len(links) not in (2, 3) or not all(isinstance(inner, PerLeaf) for inner in links):
        return None
    formulas = [_formula(inner) for inner in links]  # type: ignore[arg-type]
    hypers = {name: hyper for inner in links for name, hyper in inner.hypers}  # type: ignore[attr-defined]
    adam, rate = (adam_leaf, {"nesterov": False, "debias": "moments"}), (scale_leaf, {"sign": -1.0})
    if formulas not in ([adam, rate], [adam, (decay_leaf, {}), rate]) or hypers["eps_root"] != 0.0:
        return None
    if any(callable(hyper) for hyper in hypers.values()):
        return None  # a schedule counts the updates of each parameter
    return AdamW(hypers["b1"], hypers["b2"], hypers["eps"], hypers.get("weight_decay", 0.0), hypers["step_size"])


def _is_chain(link: Link) -> bool:
    return isinstance(link, PerLeaf) or (isinstance(link, Chain) and all(_is_chain(inner) for _, inner in link.links))


def _formula(link: PerLeaf) -> tuple[Any, dict[str, Any]]:
    formula = link.formula
    return (formula.func, formula.keywords) if isinstance(formula, partial) else (formula, {})


class FusedAdamW:
    """One call of torch's kernel over the rows of the columns of an optimizer."""

    def __init__(self, numbers: AdamW, rows: Rows) -> None:
        self.numbers = numbers
        self._columns = rows.layout.columns
        self._counts = [x for entry, x in entries(rows.state) if entry.field == "count"]
        self._steps = [count.to(torch.float32) for count in self._counts]
        names = [name for column in self._columns for name in column.names]
        steps = dict(zip(names, (row for step in self._steps for row in step), strict=True))
        mu, nu = _by_name(rows, "mu"), _by_name(rows, "nu")
        self._names = list(rows.params)
        self._rows = [[x[name] for name in self._names] for x in (rows.params, mu, nu, steps)]
        facts = {(column.dtype, column.device) for column in self._columns}
        self._alike = len(facts | {(param.dtype, param.device) for param in rows.params.values()}) == 1

    def step(self, grads: Sequence[Tensor | None], hyperparams: Mapping[str, Any]) -> bool:
        """One update with these gradients, in the order of the rows' parameters.

        Returns:
            False, with nothing done, where the kernel does not do: it knows one number for all, and on a CPU it is
            wrong for tensors that are not contiguous.
        """
        values = self.numbers.values(hyperparams)
        if values is None or not self._alike:
            return False
        rows, given = self._rows, list(grads)
        there = [i for i, grad in enumerate(given) if grad is not None]
        missing = len(there) < len(given)
        if missing:
            given = [given[i] for i in there]
            rows = [[x[i] for i in there] for x in rows]
        if not _contiguous(rows[0]) or not _contiguous(given):  # type: ignore[arg-type]
            return False
        self._count({self._names[i] for i in there} if missing else None)
        params, mu, nu, steps = rows
        b1, b2, eps, weight_decay, lr = values
        torch._fused_adamw_(
            params,
            given,  # type: ignore[arg-type]
            mu,
            nu,
            [],
            steps,
            lr=lr,
            beta1=b1,
            beta2=b2,
            weight_decay=weight_decay,
            eps=eps,
            amsgrad=False,
            maximize=False,
        )
        return True

    def _count(self, names: set[str] | None) -> None:
        """One more update of the parameters with these names, or of all; the kernel wants the count in float32."""
        for column, count, step in zip(self._columns, self._counts, self._steps, strict=True):
            if names is None:
                count += 1
            else:
                count += torch.tensor([name in names for name in column.names], device=count.device)
            step.copy_(count)


def _by_name(rows: Rows, field: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for entry, tensor in entries(rows.state):
        if entry.field == field:
            found |= rows_of(entry, tensor)
    return found


def _contiguous(tensors: Sequence[Tensor]) -> bool:
    return all(map(Tensor.is_contiguous, tensors))
