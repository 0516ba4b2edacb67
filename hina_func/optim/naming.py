"""Names of parameters: as given, or as found in the live module that owns them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

GROUP_KEYS = ("param_names", "named", "names")
"""Where a parameter group may hold its names: torch's key, sd-scripts', PEFT's."""


def names_given(group: dict[str, Any]) -> list[str] | None:
    """The names a group came with, if any.

    Raises:
        ValueError: if there are not as many names as parameters, or one is no string.
    """
    for key in GROUP_KEYS:
        names = group.get(key)
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names) and names:
            if len(names) != len(group["params"]):
                raise ValueError(f"a parameter group has {len(group['params'])} parameters but {len(names)} {key}")
            return list(names)
    return None


def names_found(params: Sequence[Tensor]) -> dict[int, str]:
    """``id(parameter) -> name`` for those that some live module owns.

    The module that holds the most of them names them, then the next for what is left; among equals the outermost, which
    is the one whose ``named_parameters`` the user knows. A name that is taken gets the module's class in front.
    """
    wanted = {id(param) for param in params}
    modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
    inner = {id(child) for module in modules for child in module.__dict__.get("_modules", {}).values()}
    roots = []
    for module in (module for module in modules if id(module) not in inner and "_modules" in module.__dict__):
        owned = {id(param): name for name, param in module.named_parameters() if id(param) in wanted}
        if owned:
            roots.append((type(module).__name__, owned))
    found: dict[int, str] = {}
    for kind, owned in sorted(roots, key=lambda root: (-len(root[1]), sum(map(len, root[1].values())))):
        taken = set(found.values())
        for key, name in owned.items():
            if key not in found:
                found[key] = name if name not in taken else f"{kind}.{name}"
    return found


def placeholder(index: int) -> str:
    """The name of a parameter that has none: its position."""
    return f"param_{index}"


def group_names(param_groups: list[dict[str, Any]]) -> list[str]:
    """A name for every parameter, in order."""
    names: list[str] = []
    for group in param_groups:
        given = group.get("param_names")
        if given is not None and len(given) == len(group["params"]):
            names += given
        else:
            names += [placeholder(len(names) + i) for i in range(len(group["params"]))]
    return names
