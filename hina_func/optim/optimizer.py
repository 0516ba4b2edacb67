"""A chain behind ``torch.optim``: names, groups as values per row, state by name, exact resume."""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..adapters import AdapterMap, find_adapters
from ..border import link_of
from ..checks import callers_level, require_choice, require_value
from ..core import GradientTransformation
from ..links import as_whole, hyperparams_of
from .checkpoint import FORMAT, aligned_state_dict, check_state_dict, fingerprint
from .groups import Watched
from .naming import Names, group_names, placeholder
from .renamed import Rename
from .report import LoadReport
from .run import Runner
from .zero import lost_under_zero

logger = logging.getLogger("hina_func")


class Optimizer(torch.optim.Optimizer):
    r"""A `GradientTransformation` as a ``torch.optim.Optimizer``.

    ``param_groups`` hold the chain's `Hyperparam`, so LR schedulers work and groups may differ; all groups go through
    one chain together, so an A and a B in different groups still pair. ``state[param]`` holds the state by name, as
    float32 for parameters of lower precision.

    Args:
        params: what torch's optimizers take, a mapping ``{name: tensor}``, or groups with ``param_names``, ``named`` or
            ``names``. Names are kept in ``param_groups[i]["param_names"]``.
        tx: the chain.
        compile: "auto", True or False: whether to run the chain compiled.
        discover_names: look up plain tensors in the live modules that own them.
        hyperparams: values of the chain's `Hyperparam`, instead of their defaults.

    Raises:
        TypeError: for a hyperparameter that the chain does not have, or a parameter that is no tensor.
        ValueError: for values out of range, duplicate names, sparse, complex or integer parameters, or no parameters.

    >>> import hina_func as hf, torch
    >>> model = torch.nn.Linear(2, 1)
    >>> tx = hf.chain(hf.scale_by_adam(), hf.scale_by_learning_rate(hf.Hyperparam("lr", 1e-3)))
    >>> optimizer = Optimizer(model.named_parameters(), tx, lr=0.1)
    >>> model(torch.ones(2)).sum().backward()
    >>> optimizer.step()
    >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["param_names"]
    (0.1, ['weight', 'bias'])
    """

    def __init__(
        self,
        params: Any,
        tx: GradientTransformation,
        *,
        compile: str | bool = "auto",
        discover_names: bool = True,
        **hyperparams: Any,
    ) -> None:
        require_choice(("auto", True, False), compile=compile)
        self.tx = tx
        self.compile = compile
        self.discover_names = discover_names
        self._prepare()
        defaults = hyperparams_of(self._link)
        unknown = sorted(hyperparams.keys() - defaults.keys())
        if unknown:
            known = ", ".join(sorted(defaults)) or "none"
            raise TypeError(f"unknown hyperparameter {', '.join(unknown)}; this chain has: {known}")
        super().__init__(self._names.taken_from(params), {**defaults, **hyperparams})
        self._report_coverage()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, at any time; hyperparameters it does not give are the defaults.

        Raises:
            ValueError: for values out of range, duplicate names, or parameters that cannot be optimized.
        """
        before = [dict(group) for group in self.param_groups]
        try:
            if isinstance(param_group, dict):
                self._names.give(param_group, self.param_groups)
                self._check_values({**self.defaults, **param_group})
            super().add_param_group(param_group)
            self._names.settle(self.param_groups)
            self._watched.know(self.param_groups[-1])
        except (TypeError, ValueError):
            del self.param_groups[len(before) :]
            for group, old in zip(self.param_groups, before, strict=True):
                group.clear()
                group.update(old)
            raise

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient.

        Args:
            closure: reevaluates the model with gradients on and returns the loss; run first.

        Returns:
            What the closure returned.

        Raises:
            RuntimeError: if a gradient is sparse.
            ValueError, TypeError: if a number in ``param_groups`` is none, or tensors or state were replaced by others
                that do not fit. Nothing has changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            _step(self)
        return loss

    def named_parameters(self) -> dict[str, Tensor]:
        """Every parameter of every group by its name; ``param.3`` is the fourth if it has none."""
        params = [param for group in self.param_groups for param in group["params"]]
        return dict(zip(group_names(self.param_groups), params, strict=True))

    def adapters(self) -> AdapterMap:
        """The adapter modules among the parameters; print it to see what the adapter rules cover."""
        return find_adapters(self.named_parameters(), self._link.patterns())

    def coverage(self) -> str:
        """One line: how many adapter modules the chain's rules cover.

        >>> import hina_func as hf, torch
        >>> params = {"q.lokr_w1": torch.zeros(2, 2), "q.lokr_w2": torch.zeros(2, 2)}
        >>> Optimizer(params, hf.lokr_lr_scale()).coverage()
        'lokr_lr_scale: 1 LoKr modules matched among 2 parameters'
        """
        spelled = {"lora": "LoRA", "lokr": "LoKr"}
        rules = "; ".join(
            f"{', '.join(dict.fromkeys(name for name, k in self._link.module_rules() if k == kind))}: "
            f"{count} {spelled[kind]} modules matched"
            for kind, count in sorted(self._covered().items(), key=lambda item: -item[1])
        )
        return f"{rules or 'no adapter rules'} among {len(self.named_parameters())} parameters"

    def state_dict(self) -> dict[str, Any]:
        """torch's, with the names of the parameters and the fingerprint of the chain."""
        return {**super().state_dict(), "hina_func": {"format": FORMAT, "transforms": fingerprint(self._link)}}

    def load_state_dict(  # type: ignore[override]
        self, state_dict: dict[str, Any], strict: bool = True, rename: Rename | None = None
    ) -> LoadReport:
        """Continue exactly where the saved optimizer was.

        Parameters are matched by name, in any order and grouping; by position where the saved state or this optimizer
        has no names. A group takes over the numbers that its parameters were saved with. Every tensor keeps the dtype
        it was saved with.

        Args:
            state_dict: what `state_dict` returned, here or in a file.
            strict: refuse what does not fit. False: parameters that are new or have another shape start fresh, those
                that are gone are dropped, and names that say the same module and role in the manner of another library
                are matched; the report says which.
            rename: saved name -> name here, a mapping or a function, for names that cannot be guessed.

        Returns:
            What became of each parameter.

        Raises:
            ValueError: if it was saved from another chain, or (strict) does not fit; lists the differences, and nothing
                is changed.
            TypeError: if it is no state dict.
        """
        check_state_dict(state_dict)
        aligned: dict[str, Any] = {}
        reports: list[LoadReport] = []

        def align(_: torch.optim.Optimizer, given: dict[str, Any]) -> dict[str, Any]:
            found, report = aligned_state_dict(given, self.param_groups, self._link, strict, rename)
            for group in found["param_groups"]:
                self._watched.check_numbers({**self.defaults, **group})
            aligned.update(found)
            reports.append(report)
            return aligned

        def keep_dtypes(_: torch.optim.Optimizer) -> None:
            params = [param for group in self.param_groups for param in group["params"]]
            exact = {
                params[i]: {key: x.to(params[i].device, copy=True) for key, x in rows.items()}
                for i, rows in aligned["state"].items()
            }
            self.state = defaultdict(dict, exact)

        # torch casts state to the parameter's dtype; between its hooks and the user's, ours put back what was saved.
        before = self.register_load_state_dict_pre_hook(align)
        after = self.register_load_state_dict_post_hook(keep_dtypes, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()
        return reports[0]

    def __getstate__(self) -> dict[str, Any]:
        kept = {"tx", "compile", "discover_names", *super().__getstate__()}
        return {key: value for key, value in self.__dict__.items() if key in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._prepare()
        for group in self.param_groups:
            for key, default in self.defaults.items():
                if key != "differentiable":
                    group.setdefault(key, default)

    def _prepare(self) -> None:
        """Everything that follows from the chain and is not saved."""
        self._link = as_whole(link_of(self.tx))
        self._names = Names(self.discover_names)
        self._runner = Runner(self._link, self.compile, self._names)
        self._watched = Watched(self._link)

    def _settle_groups(self) -> None:
        """Take in what was done to ``param_groups`` by hand since the last step."""
        if self._watched.unchanged(self.param_groups):
            return
        for i, group in enumerate(self.param_groups):
            if self._watched.is_bare(group):
                del self.param_groups[i]
                try:
                    self.add_param_group(group)
                    group = self.param_groups.pop()
                finally:
                    self.param_groups.insert(i, group)
        self._watched.check(self.param_groups)

    def _check_values(self, values: Mapping[str, Any]) -> None:
        for hyper in self._link.hyperparams():
            require_value(hyper, values[hyper.name])

    def _report_coverage(self) -> None:
        """Say what the adapter rules cover; nothing at all is worth a warning."""
        ruled = sorted(self._link.roles())
        if ruled and set(self.named_parameters()) == set(map(placeholder, range(len(self.named_parameters())))):
            warnings.warn(
                f"the parameters have no names, so the adapter rules for {', '.join(ruled)} are off; "
                "the other rules work. Pass model.named_parameters(), or groups with 'param_names'.",
                stacklevel=callers_level(self),
            )
        elif any(self._link.module_rules()):
            if any(self._covered().values()):
                logger.info("%s", self.coverage())
            else:
                warnings.warn(self.coverage(), stacklevel=callers_level(self))
        for sentence in lost_under_zero(self._link, list(self.named_parameters().values())):
            warnings.warn(sentence, stacklevel=callers_level(self))

    def _covered(self) -> dict[str, int]:
        """Kind of adapter -> number of modules that the rules of this chain act on."""
        complete = [module.kind for module in self.adapters().modules if module.complete]
        return {kind: complete.count(kind) for _, kind in self._link.module_rules()}


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _step(optimizer: Optimizer) -> None:
    """Opaque to a compiler that traces ``optimizer.step``: what pays here is compiled within."""
    optimizer._settle_groups()
    optimizer._runner.step(optimizer.param_groups, optimizer.state)
