"""Running a chain for an optimizer: columns and programs are kept, and made anew when they no longer fit."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Set
from itertools import repeat
from operator import attrgetter, is_, is_not
from typing import Any

import torch
from torch import Tensor

from ..link import Link
from ..links import hyperparams_of
from ..roles import parse_name
from .engine import Engine
from .fused import FusedAdamW, as_adamw
from .naming import Names, group_names
from .program import can_compile
from .rows import ParamState, Rows, by_column
from .stepwise import Stepwise

logger = logging.getLogger("hina_func")

WORTH_COMPILING = 2**21
"""Elements from which a compiled step earns its compilation back within some hundred steps."""


_layout = attrgetter("layout")


class Runner:
    """The steps of one optimizer.

    ``compile="auto"`` compiles chains that can be compiled for parameters of `WORTH_COMPILING` elements and more on a
    CPU, if there is a compiler; it says once, to the logger "hina_func", which way it went.
    """

    def __init__(self, link: Link, compile: str | bool, names: Names) -> None:
        self.link = link
        self.compile = compile
        self.names = names
        self.params: list[Tensor] = []
        self.name_lists: list[Any] = []
        self.named: dict[str, Tensor] = {}
        self.rows: Rows | None = None
        self.adamw = None if compile is False else as_adamw(link)
        self.engine: Engine | Stepwise | None = None
        self.fused: FusedAdamW | None = None

    def step(self, groups: list[dict[str, Any]], state: dict[Tensor, ParamState]) -> None:
        """One update, in place, of every parameter that has a gradient."""
        self._meet(groups)
        grads = [param.grad for param in self.params]
        present = grads if all(map(is_not, grads, repeat(None))) else [grad for grad in grads if grad is not None]
        if not present:
            return
        there: Set[str] = self.named.keys()
        if len(present) < len(grads):
            there = {name for name, grad in zip(self.named, grads, strict=True) if grad is not None}
        if set(map(_layout, present)) != {torch.strided}:
            sparse = next(name for name in there if _layout(self.named[name].grad) != torch.strided)
            raise RuntimeError(f"hina_func does not support sparse gradients; the gradient of {sparse!r} is sparse")
        rows = self._rows_for(there, state)
        hyperparams = self._hyperparams(rows, groups)
        if self.adamw is not None and self.fused is None and not rows.sharded:
            self.fused = FusedAdamW(self.adamw, rows)
        given = grads
        if len(rows.params) < len(grads):
            given = [grad for name, grad in zip(self.named, grads, strict=True) if name in rows.params]
        rows.check_gradients(given)
        if self.fused is not None and self.fused.step(given, hyperparams):
            return
        if self.engine is None:
            self.engine = self._engine_for(rows)
        self.engine.step(given, hyperparams)

    def _meet(self, groups: list[dict[str, Any]]) -> None:
        """Read the groups: they, their tensors and names may have been replaced since the last step."""
        params = [param for group in groups for param in group["params"]]
        name_lists = [group.get("param_names") for group in groups]
        same = len(params) == len(self.params) and all(map(is_, params, self.params))
        if not same or len(name_lists) != len(self.name_lists) or not all(map(is_, name_lists, self.name_lists)):
            self.named = self.names.settle(groups)
            self.params, self.name_lists = params, [group.get("param_names") for group in groups]
            self._forget()

    def _forget(self) -> None:
        self.rows, self.engine, self.fused = None, None, None

    def _rows_for(self, there: Set[str], state: dict[Tensor, ParamState]) -> Rows:
        """The columns of every parameter that was or may be updated, and of the frozen factors of adapters."""
        if self.rows is not None:
            known = self.rows.params
            grown = len(known) < len(self.named) and any(
                name not in known and (param.requires_grad or param.grad is not None or param in state)
                for name, param in self.named.items()
            )
            if grown or not there <= self.rows.tracked.keys() or not self.rows.fits(state):
                self._forget()
        if self.rows is None:
            saved = {param: rows for param, rows in state.items() if rows}
            patterns = self.link.patterns()
            params = {
                name: param
                for name, param in self.named.items()
                if param.requires_grad
                or param.grad is not None
                or param in saved
                or parse_name(name, patterns).role != "regular"
            }
            # A parameter's state begins with the value it has at its first gradient, so a new one means new columns.
            self.rows = Rows(self.link, params, saved)
            for name, param in params.items():
                if name in self.rows.tracked or name in there:
                    state[param] = self.rows.track(name)
        return self.rows

    def _hyperparams(self, rows: Rows, groups: list[dict[str, Any]]) -> dict[str, Any]:
        groups = [group for group in groups if group["params"]]
        group_of: Mapping[str, int] = {}
        if len(groups) > 1:
            names = iter(group_names(groups))
            group_of = {next(names): i for i, group in enumerate(groups) for _ in group["params"]}
        keys = hyperparams_of(self.link)
        return {key: by_column(rows.layout, group_of, [group[key] for group in groups]) for key in keys}

    def _engine_for(self, rows: Rows) -> Engine | Stepwise:
        if self.link.columnwise() and not rows.sharded:
            return Engine(self.link, rows, self._compiles(rows))
        if self.compile is True:
            why = "the parameters are sharded" if rows.sharded else "the chain looks across parameters"
            logger.warning("hina_func runs uncompiled, operation by operation: %s", why)
        return Stepwise(self.link, rows)

    def _compiles(self, rows: Rows) -> bool:
        if self.compile is False:
            return False
        size = sum(param.numel() for param in rows.params.values())
        on_cpu = all(param.device.type == "cpu" for param in rows.params.values())
        if self.compile == "auto" and (size < WORTH_COMPILING or not on_cpu):
            return False
        without = "there is no C++ compiler (g++) on this machine" if on_cpu and not shutil.which("g++") else ""
        if not can_compile():
            without = f"compiling needs torch 2.8, this is {torch.__version__}"
        if without:
            logger.warning("hina_func runs uncompiled, in eager columns: %s", without)
            return False
        logger.info("hina_func compiles its step for %d parameters of %d elements", len(rows.params), size)
        return True
