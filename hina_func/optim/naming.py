"""Names of parameters: as given, or as found in the live module that owns them."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from typing import Any

import torch
from torch import Tensor, nn

from ..border import check_params
from .sharding import is_sharded

GROUP_KEYS = ("param_names", "named", "names")
"""Where a parameter group may hold its names: torch's key, sd-scripts', PEFT's."""


def names_given(group: dict[str, Any]) -> list[str] | None:
    """The names a group came with, if any.

    Raises:
        ValueError: if there are not as many names as parameters.
        TypeError: if one is no string.
    """
    for key in GROUP_KEYS:
        names = group.get(key)
        if isinstance(names, (list, tuple)) and names:
            if not all(isinstance(name, str) for name in names):
                raise TypeError(f"{key} of a parameter group must be strings, got {names!r}")
            if len(names) != len(group["params"]):
                raise ValueError(f"a parameter group has {len(group['params'])} parameters but {len(names)} {key}")
            return list(names)
    return None


def names_found(params: Sequence[Tensor], taken: Iterable[str] = ()) -> dict[int, str]:
    """``id(parameter) -> name`` for those that some live module owns.

    The module that holds the most of them names them, then the next for what is left; among equals the outermost, which
    is the one whose ``named_parameters`` the user knows, and of models built alike the one whose parameters come first.
    Where names are taken, a module's class is put in front.
    """
    wanted = {id(param): place for place, param in enumerate(params)}
    modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
    inner = {id(child) for module in modules for child in module.__dict__.get("_modules", {}).values()}
    roots = []
    for module in (module for module in modules if id(module) not in inner and "_modules" in module.__dict__):
        owned = {id(param): name for name, param in module.named_parameters() if id(param) in wanted}
        if owned:
            lengths, first = sum(map(len, owned.values())), min(wanted[key] for key in owned)
            roots.append((-len(owned), lengths, first, type(module).__name__, owned))
    found: dict[int, str] = {}
    taken = set(taken)
    for *_, kind, owned in sorted(roots, key=lambda root: (root[:4], list(root[4].values()))):
        fresh = {key: name for key, name in owned.items() if key not in found}
        prefixes = chain(("", f"{kind}."), (f"{kind}_{number}." for number in count(2)))
        prefix = next(p for p in prefixes if taken.isdisjoint(f"{p}{name}" for name in fresh.values()))
        found |= {key: f"{prefix}{name}" for key, name in fresh.items()}
        taken |= set(found.values())
    return found


def placeholder(index: int) -> str:
    """The name of a parameter that has none: its position, in a form that no module gives."""
    return f"param.{index}"


def listed(group: dict[str, Any]) -> None:
    """Make a group's parameters a list, as torch will: a generator can be read once. A set is torch's to refuse."""
    params = group.get("params")
    if isinstance(params, Tensor):
        group["params"] = [params]
    elif not isinstance(params, Iterable):
        raise ValueError(f"a parameter group must have a tensor or an iterable of them as 'params', got {params!r}")
    elif not isinstance(params, set):
        group["params"] = list(params)


def names_by_group(param_groups: list[dict[str, Any]]) -> list[list[str]]:
    """A name for every parameter of every group: its own, or a `placeholder`."""
    names: list[list[str]] = []
    position = 0
    for group in param_groups:
        size = len(group["params"])
        given = group.get("param_names") or []
        names.append(list(given) if len(given) == size else [placeholder(position + i) for i in range(size)])
        position += size
    return names


def group_names(param_groups: list[dict[str, Any]]) -> list[str]:
    """A name for every parameter, in order."""
    return [name for names in names_by_group(param_groups) for name in names]


def check_writable(params: Mapping[str, Tensor]) -> None:
    """Refuse what no transform can work on, and what cannot be written in place.

    Raises:
        ValueError, TypeError: naming the parameter.
    """
    check_params(params)
    for name, param in params.items():
        if param.numel() and any(s == 0 and n > 1 for s, n in zip(param.stride(), param.shape, strict=True)):
            raise ValueError(f"parameter {name!r} is expanded: several of its elements are one number in memory")
    ends: dict[torch.device, tuple[int, str]] = {}
    once = {id(p): (p, name) for name, p in params.items() if p.numel() and not is_sharded(p) and p.data_ptr()}
    for param, name in sorted(once.values(), key=lambda pair: pair[0].data_ptr()):
        start, (end, other) = param.data_ptr(), ends.get(param.device, (0, ""))
        if start < end:
            raise ValueError(f"parameters {other!r} and {name!r} share memory: one step would undo the other's")
        surely = param.numel() if param.is_contiguous() else 1
        ends[param.device] = start + surely * param.element_size(), name


def _are_tensors(params: Any) -> bool:
    return isinstance(params, list) and all(isinstance(param, Tensor) for param in params)


class Names:
    """Which parameter had which name when the groups were last looked at: names follow what is moved by hand."""

    def __init__(self, discover: bool) -> None:
        self.discover = discover
        self._of: dict[int, str] = {}
        self._held: list[Any] = []
        self._lists: list[Any] = []

    def taken_from(self, params: Any) -> Any:
        """What a constructor was given, with the names that live modules have for it where none were given."""
        if isinstance(params, Mapping):
            params = params.items()
        if not isinstance(params, Iterable):
            raise TypeError(f"params must be tensors, (name, tensor) pairs or groups of them, got {params!r}")
        if isinstance(params, Tensor):
            return params
        params = list(params)
        groups = params if params and isinstance(params[0], dict) else [{"params": params}]
        for group in groups:
            listed(group)
        tensors = [param for group in groups for param in group["params"]]
        if not self.discover or not _are_tensors(tensors) or any(names_given(group) for group in groups):
            return params
        found = names_found(tensors)
        if not found:
            return params
        names = [found.get(id(param), placeholder(i)) for i, param in enumerate(tensors)]
        for group in groups:
            group["param_names"], names = names[: len(group["params"])], names[len(group["params"]) :]
        return groups

    def give(self, group: dict[str, Any], groups: list[dict[str, Any]]) -> None:
        """Torch wants all groups with names, or none: where some have names, the others get what can be found."""
        listed(group)
        params = group["params"]
        if _are_tensors(params):
            given = names_given(group)
            if given is not None:
                group["param_names"] = given
            elif groups and "param_names" in groups[0]:
                taken = group_names(groups)
                found = names_found(params, taken) if self.discover else {}
                start = len(taken)
                group["param_names"] = [found.get(id(p), placeholder(start + i)) for i, p in enumerate(params)]
        if "param_names" in group:
            for other, names in zip(groups, names_by_group(groups), strict=True):
                other.setdefault("param_names", names)

    def settle(self, groups: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Every parameter by its name, in order, after naming those of groups that have names.

        Names that came with a group are its own. Where parameters were moved, added or taken out and the names left as
        they were, parameters keep theirs, and a new one in the place of an old one has its name: that is how trainers
        shard, cast and move parameters. What is left gets the name that can be found, or a `placeholder`.

        Raises:
            ValueError: if a name is there twice, or a parameter cannot be optimized.
        """
        params = [param for group in groups for param in group["params"]]
        if any("param_names" in group for group in groups):
            for group, names in zip(groups, self._settled(groups), strict=True):
                if names != group.get("param_names"):
                    group["param_names"] = names
        names = group_names(groups)
        if len(set(names)) < len(names):
            double = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"two parameters have the same name: {', '.join(double)}")
        named = dict(zip(names, params, strict=True))
        if named:
            check_writable(named)
        self._of = {id(param): name for name, param in named.items()}
        self._held = params
        self._lists = [group.get("param_names") for group in groups]
        return named

    def _settled(self, groups: list[dict[str, Any]]) -> list[list[str]]:
        given = [list(group.get("param_names") or ()) for group in groups]
        fits = [len(names) == len(group["params"]) for group, names in zip(groups, given, strict=True)]
        own = [
            fit and not any(group["param_names"] is names for names in self._lists)
            for group, fit in zip(groups, fits, strict=True)
        ]
        named: dict[int, str] = {}
        for group, names, is_own in zip(groups, given, own, strict=True):
            pairs = zip(group["params"], names, strict=True) if is_own else ()
            named |= {id(p): name for p, name in pairs}
            named |= {id(p): self._of[id(p)] for p in group["params"] if not is_own and id(p) in self._of}
        taken = set(named.values())
        for group, names, fit in zip(groups, given, fits, strict=True):
            places = zip(group["params"], names, strict=True) if fit else ()
            named |= {id(p): name for p, name in places if id(p) not in named and name not in taken}
        lost = [p for group in groups for p in group["params"] if id(p) not in named]
        if lost:
            taken = set(named.values())
            named |= names_found(lost, taken) if self.discover else {}
            free = (name for name in map(placeholder, count()) if name not in taken)
            named |= {id(p): next(free) for p in lost if id(p) not in named}
        return [[named[id(p)] for p in group["params"]] for group in groups]
