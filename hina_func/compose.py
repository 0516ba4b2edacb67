"""Composition: chains, partitions by label or role, gradients for masks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor

from .border import link_of, transformation
from .checks import require_choice
from .core import GradientTransformation, Tree
from .lift import as_patterns
from .link import Link
from .links import (
    Chain,
    Identity,
    InRoles,
    LabelsByName,
    Only,
    Partition,
    SetToZero,
    StatelessFunction,
    WithGradient,
    as_chain,
    composed,
)
from .roles import ROLES
from .tree import flatten

Mask = Tree | Mapping[str, Any] | Callable[[str, Tensor], Any]
"""Labels (or booleans) of parameters: a tree of them, ``{name: label}``, or ``f(name, tensor) -> label``.

The function gets a tensor without data: a label may depend on name, shape and dtype, not on values.
"""


def identity() -> GradientTransformation:
    """Pass the updates through.

    >>> import hina_func as hf, torch
    >>> identity().update({"w": torch.ones(1)}, hf.EmptyState())
    ({'w': tensor([1.])}, EmptyState())
    """
    return transformation(Identity())


def set_to_zero() -> GradientTransformation:
    """Updates of zero: what it is applied to stands still.

    >>> import hina_func as hf, torch
    >>> set_to_zero().update({"w": torch.ones(1)}, hf.EmptyState())[0]
    {'w': tensor([0.])}
    """
    return transformation(SetToZero())


def stateless(f: Callable[[Tree, Tree | None], Tree]) -> GradientTransformation:
    """A transform that keeps nothing, from ``f(updates, params) -> updates`` on flat trees.

    Args:
        f: the function; ``params`` is None where none were given.

    >>> import torch
    >>> sign = stateless(lambda updates, params: {name: u.sign() for name, u in updates.items()})
    >>> sign.update({"w": torch.tensor([-3.0])}, sign.init({"w": torch.zeros(1)}))[0]
    {'w': tensor([-1.])}
    """
    if not callable(f):
        raise TypeError(f"f must be a function of updates and params, got {f!r}")
    return transformation(StatelessFunction("stateless", f))


def chain(*transforms: GradientTransformation) -> GradientTransformation:
    """Transforms one after the other, each fed with the updates of the one before.

    The state is a dict by transform name (a second ``scale`` is ``scale_2``). A chain inside a chain is the same as its
    transforms written out.

    Args:
        transforms: any number of them; none is `identity`.

    Raises:
        TypeError: if something in it is not a transformation.
        ValueError: if two `Hyperparam` of one name have different defaults.

    >>> import hina_func as hf, torch
    >>> tx = chain(hf.clip_by_value(1.0), hf.scale(-0.5))
    >>> tx.update({"w": torch.tensor([4.0])}, tx.init({"w": torch.zeros(1)}))[0]
    {'w': tensor([-0.5000])}
    """
    links: list[tuple[str, Link]] = []
    for tx in transforms:
        link = link_of(tx)
        inner = link.links if type(link) is Chain and link.name == "chain" else ((link.name, link),)
        for _, part in inner:
            links.append((_fresh(part.name, {name for name, _ in links}), part))
    return composed(Chain("chain", tuple(links)))


def named_chain(*transforms: tuple[str, GradientTransformation]) -> GradientTransformation:
    """A chain whose transforms have names of your own, under which their state is kept.

    Args:
        transforms: pairs (name, transform).

    Raises:
        ValueError: if a name is used twice or contains "/" or a line break.

    >>> import hina_func as hf, torch
    >>> tx = named_chain(("clip", hf.clip_by_value(1.0)), ("lr", hf.scale(-0.5)))
    >>> list(tx.init({"w": torch.zeros(1)}))
    ['clip', 'lr']
    """
    names = [name for name, _ in transforms]
    for name in names:
        if not isinstance(name, str) or not name or name[0] == "." or {"/", "\n"} & {*name} or names.count(name) > 1:
            raise ValueError(f"the names of a named_chain must be different words without '/', got {name!r}")
    return composed(Chain("named_chain", tuple((name, link_of(tx)) for name, tx in transforms)))


def partition(transforms: Mapping[str, GradientTransformation], labels: Mask) -> GradientTransformation:
    """Different transforms for different parameters.

    Args:
        transforms: ``{label: transform}``.
        labels: a tree of labels, ``{name: label}``, or ``f(name, tensor) -> label`` of static facts only.

    Raises:
        TypeError: if ``transforms`` is no mapping.
        ValueError: at ``init``, if a parameter has no label or one without a transform.

    >>> import hina_func as hf, torch
    >>> by_ndim = lambda name, p: "matrix" if p.ndim == 2 else "rest"
    >>> tx = partition({"matrix": hf.scale(2.0), "rest": hf.scale(3.0)}, by_ndim)
    >>> params = {"w": torch.ones(1, 1), "b": torch.ones(1)}
    >>> tx.update(params, tx.init(params))[0]
    {'w': tensor([[2.]]), 'b': tensor([3.])}
    """
    if not isinstance(transforms, Mapping):
        raise TypeError(f"transforms must be a mapping {{label: transform}}, got {transforms!r}")
    links = tuple((str(label), as_chain(link_of(tx))) for label, tx in transforms.items())
    return composed(Partition("partition", links, LabelsByName("partition", _table(labels))))


def masked(tx: GradientTransformation, mask: Mask, otherwise: str = "pass") -> GradientTransformation:
    """Apply ``tx`` where the mask is true, exactly as if the other parameters did not exist.

    Args:
        tx: the transform.
        mask: like the labels of `partition`, with booleans.
        otherwise: "pass" leaves the other updates as they are, "zero" sets them to zero.

    >>> import hina_func as hf, torch
    >>> tx = masked(hf.scale(2.0), {"w": True, "b": False}, otherwise="zero")
    >>> params = {"w": torch.ones(1), "b": torch.ones(1)}
    >>> tx.update(params, tx.init(params))[0]
    {'w': tensor([2.]), 'b': tensor([0.])}
    """
    require_choice(("pass", "zero"), otherwise=otherwise)
    other = Identity() if otherwise == "pass" else SetToZero()
    return composed(
        Partition(
            "masked",
            (("in", as_chain(link_of(tx))), ("out", other)),
            LabelsByName("masked", _table(mask), boolean=True),
        )
    )


def freeze(mask: Mask) -> GradientTransformation:
    """Zero updates where the mask is true; put it last.

    Args:
        mask: like the labels of `partition`, with booleans.

    >>> import torch
    >>> tx = freeze({"w": True, "b": False})
    >>> params = {"w": torch.ones(1), "b": torch.ones(1)}
    >>> tx.update(params, tx.init(params))[0]
    {'w': tensor([0.]), 'b': tensor([1.])}
    """
    links = (("in", SetToZero()), ("out", Identity()))
    return composed(Partition("freeze", links, LabelsByName("freeze", _table(mask), boolean=True)))


def only(roles: Any, tx: GradientTransformation, extra_patterns: Any = ()) -> GradientTransformation:
    """Apply ``tx`` to adapter parameters of these roles; all others pass.

    Args:
        roles: a role or several, see `hina_func.ADAPTER_ROLES`; "regular" is everything that is no adapter.
        tx: the transform.
        extra_patterns: see `hina_func.find_adapters`.

    Raises:
        ValueError: if there is no such role.

    >>> import hina_func as hf, torch
    >>> tx = only("lora_b", hf.scale(16.0))
    >>> params = {"q.lora_A.weight": torch.ones(1, 1), "q.lora_B.weight": torch.ones(1, 1)}
    >>> tx.update(params, tx.init(params))[0]
    {'q.lora_A.weight': tensor([[1.]]), 'q.lora_B.weight': tensor([[16.]])}
    """
    wanted = frozenset(roles if isinstance(roles, Collection) and not isinstance(roles, str) else (roles,))
    for role in wanted:
        require_choice(ROLES, role=role)
    links = (("in", as_chain(link_of(tx))), ("out", Identity()))
    return composed(Only("only", links, InRoles(wanted), wanted, as_patterns(extra_patterns)))


def with_gradient(first: GradientTransformation, then: GradientTransformation) -> GradientTransformation:
    """Run ``first`` on the gradient, then ``then`` on the result; inside ``then``, that result is *the* gradient.

    So a mask inside ``then`` compares with the clipped or projected gradient that the moments saw. In a plain chain it
    compares with the gradient as it entered the outermost chain.

    Args:
        first: from the gradient to what counts as the gradient, such as a clip or a projection.
        then: the rest.

    >>> import hina_func as hf, torch
    >>> tx = with_gradient(hf.scale(-1.0), chain(hf.scale(2.0), hf.cautious_mask()))
    >>> tx.update({"w": torch.ones(1)}, tx.init({"w": torch.zeros(1)}))[0]
    {'w': tensor([-2.])}
    """
    return composed(
        WithGradient("with_gradient", (("first", as_chain(link_of(first))), (".then", as_chain(link_of(then)))))
    )


def _table(labels: Mask) -> Any:
    return labels if callable(labels) else flatten(labels, leaf_type=object)


def _fresh(name: str, taken: set[str]) -> str:
    number = 2
    fresh = name
    while fresh in taken:
        fresh, number = f"{name}_{number}", number + 1
    return fresh
