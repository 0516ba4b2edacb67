"""The vocabulary: what a gradient transformation is, and the numbers it may be built from.

A gradient transformation is optax's: two pure functions, ``init`` and ``update``. Everything else in this library is a
way of writing such pairs down (`lift`), of putting them together (`compose`) or of running them (`border`, `optim`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, cast

from torch import Tensor

Tree: TypeAlias = Any
"""A tensor, or any nesting of dict, list, tuple and NamedTuple whose leaves are tensors or None."""

State: TypeAlias = Any
"""What a transform keeps: NamedTuples (and dicts of them) whose leaves are tensors."""

Columns: TypeAlias = dict[str, Tensor]
"""Column key -> ``[rows, *shape]``; see `hina_func.layout`."""

Schedule: TypeAlias = Callable[[Tensor], Tensor]
"""A pure function of the step; a tensor of steps gives a tensor of values of the same shape."""


class GradientTransformation(NamedTuple):
    """A pair of pure functions, exactly as in optax.

    ``init(params) -> state`` and ``update(updates, state, params=None, **extra) -> (updates, state)``; the updates are
    *added* to the parameters. Any two such functions make a transformation that works inside every combinator here.

    >>> import torch
    >>> def update(updates, state, params=None, **extra):
    ...     return {name: u / 2 for name, u in updates.items()}, state
    >>> halve = GradientTransformation(lambda params: (), update)
    >>> halve.update({"w": torch.tensor([2.0])}, halve.init({}))
    ({'w': tensor([1.])}, ())
    >>> import hina_func as hf
    >>> hf.chain(hf.scale_by_adam(), halve, hf.scale(-0.1))
    GradientTransformation(scale_by_adam -> foreign -> scale)
    """

    init: Callable[[Tree], State]
    update: Callable[..., tuple[Tree, State]]

    def __repr__(self) -> str:
        function = getattr(self.update, "__qualname__", self.update)
        return f"GradientTransformation({getattr(self.update, '__self__', None) or function})"


class EmptyState(NamedTuple):
    """The state of a transform that keeps nothing."""


@dataclass(frozen=True)
class Hyperparam:
    """A number that can be changed at every ``update`` through ``hyperparams={name: value}``.

    Behind `hina_func.Optimizer` it is an entry of ``param_groups``. The value may be a number, a 0-d tensor (no
    recompilation when it changes; gradients flow through it) or a mapping ``{parameter name: value}``.

    Args:
        name: the key in ``hyperparams`` and in ``param_groups``.
        default: used while nobody passes a value; a finite number, or a tuple of them. A tuple is taken apart by
            indexing or unpacking: ``b1, b2 = Hyperparam("betas", (0.9, 0.999))``.

    Raises:
        TypeError: if the name is no string, or the default neither a number nor a tuple of numbers.

    >>> lr = Hyperparam("lr", 1e-3)
    >>> b1, b2 = Hyperparam("betas", (0.9, 0.999))
    >>> b2.value({"betas": (0.9, 0.99)}), lr.value({})
    (0.99, 0.001)
    """

    name: str
    default: Any
    index: int | None = None
    rules: set[str] = field(default_factory=set, init=False, compare=False, repr=False)
    """What the transforms that use it allow, by the names of `hina_func.checks`; filled by them."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"the name of a Hyperparam must be a string, got {self.name!r}")
        parts = self.default if isinstance(self.default, tuple) else (self.default,)
        if not all(isinstance(part, (int, float, Tensor)) for part in parts):
            raise TypeError(
                f"Hyperparam {self.name!r}: the default must be a number or a tuple of numbers, got {self.default!r}"
            )

    def __getitem__(self, index: int) -> Hyperparam:
        if not isinstance(self.default, tuple) or self.index is not None:
            raise TypeError(f"Hyperparam {self.name!r} is one number, not a tuple")
        if not -len(self.default) <= index < len(self.default):
            raise IndexError(f"Hyperparam {self.name!r} has {len(self.default)} parts, got index {index}")
        return Hyperparam(self.name, self.default, index)

    def value(self, hyperparams: Mapping[str, Any]) -> Any:
        """The value in force: what ``hyperparams`` says, else the default."""
        value = hyperparams.get(self.name, self.default)
        return value if self.index is None or isinstance(value, Mapping) else cast(Sequence[Any], value)[self.index]


Hyper: TypeAlias = float | Tensor | Schedule | Hyperparam
"""Wherever a number is allowed: a number, a 0-d tensor, a schedule or a `Hyperparam`."""
