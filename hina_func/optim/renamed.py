"""The same parameter under the names of different libraries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

from ..roles import ParsedName, name_parser, unwrapped

Rename = Mapping[str, str] | Callable[[str], str]
"""Name in a file -> name here; a mapping leaves names that it does not hold as they are."""

_PREFIXES = {
    "base_model.model.": None,
    "lycoris_": None,
    "lora_unet_": "unet",
    "unet.": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "text_encoder.": "text_encoder",
    **{f"lora_te{number}_": f"text_encoder_{number}" for number in (2, 3)},
    **{f"text_encoder_{number}.": f"text_encoder_{number}" for number in (2, 3)},
}
"""What libraries put in front of a module's path -> the model it stands for, if it says so."""


def renamed(names: Sequence[str], rename: Rename | None) -> dict[str, str]:
    """Name -> what ``rename`` makes of it.

    Raises:
        ValueError: if two names become one, or one becomes no string.
    """
    if rename is None:
        return {name: name for name in names}
    new = {name: rename(name) if callable(rename) else rename.get(name, name) for name in names}
    origin: dict[str, str] = {}
    for name, name_here in new.items():
        if not isinstance(name_here, str):
            raise ValueError(f"rename must give names, it gave {name_here!r} for {name!r}")
        if origin.setdefault(name_here, name) != name:
            raise ValueError(f"rename gives both {origin[name_here]!r} and {name!r} the name {name_here!r}")
    return new


def counterparts(there: Sequence[str], here: Sequence[str], patterns: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """Name there -> name here, for names that say the same: one role in one module.

    Wrappers count for nothing; then neither do the adapter's name, the libraries' prefixes, and whether a path is
    joined by dots or by underscores. What fits two names is matched with none.

    >>> counterparts(["lora_unet_mid_proj.lora_down.weight"], ["mid.proj.lora_A.default.weight"])
    {'lora_unet_mid_proj.lora_down.weight': 'mid.proj.lora_A.default.weight'}
    """
    parse = name_parser(patterns)
    found: dict[str, str] = {}
    for key in (_as_said, _flattened):
        mine, theirs = (
            _by_key({name: key(name, parse(name)) for name in names if name not in known})
            for names, known in ((there, found.keys()), (here, set(found.values())))
        )
        for said in filter(theirs.__contains__, mine):
            (name, *doubles), (name_here, *doubles_here) = mine[said], theirs[said]
            if not doubles and not doubles_here and _same_model(name, name_here):
                found[name] = name_here
    return found


def _as_said(name: str, said: ParsedName) -> Hashable:
    """What a name says, apart from the wrappers of torch."""
    return said, ".".join(unwrapped(name)) if said.role == "regular" else None


def _flattened(name: str, said: ParsedName) -> Hashable:
    """What the name of an adapter's factor says in every library."""
    if said.role == "regular" or said.module is None:
        return name
    path = said.module.split("|")[0]
    return said.role, path.removeprefix(_prefix(path)).replace(".", "_"), said.pair


def _prefix(path: str) -> str:
    return next((prefix for prefix in _PREFIXES if path.startswith(prefix)), "")


def _same_model(name: str, other: str) -> bool:
    """Whether two names may be of one model: a unet's parameter is not a text encoder's."""
    models = {_PREFIXES.get(_prefix(".".join(unwrapped(x)))) for x in (name, other)} - {None}
    return len(models) < 2


def _by_key(keys: Mapping[str, Hashable]) -> dict[Hashable, list[str]]:
    names: dict[Hashable, list[str]] = defaultdict(list)
    for name, key in keys.items():
        names[key].append(name)
    return names
