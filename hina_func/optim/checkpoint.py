"""State dicts: what a chain's is recognised by, and how a saved one is put in order for a live optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..link import Link
from ..state import shown_path
from .naming import group_names, names_by_group
from .renamed import Rename, counterparts, renamed
from .report import LoadReport
from .rows import expected_rows

FORMAT = 1
"""Number of the layout of state dicts; raised with every change that older code cannot read."""

Group = dict[str, Any]


def fingerprint(link: Link) -> list[str]:
    """What a chain is recognised by: its transforms, in order, as their state is named."""
    return [link.name, *(shown_path(path) for path, _ in link.places())]


def refused(differences: list[str]) -> ValueError:
    """The error for a saved state that is not loaded."""
    shown = "; ".join(differences[:20]) + " ..." * (len(differences) > 20)
    return ValueError(f"the saved state does not fit this optimizer: {shown}")


class Aligned(NamedTuple):
    """A state dict for the live groups, and what became of each parameter."""

    state_dict: dict[str, Any]
    report: LoadReport


def aligned_state_dict(
    saved: Mapping[str, Any], groups: list[Group], link: Link, strict: bool = True, rename: Rename | None = None
) -> Aligned:
    """``saved`` in the order of the live groups, with the positions of the live parameters as ids.

    Raises:
        ValueError: if it does not fit; lists what differs.
    """
    check_state_dict(saved)
    chain_differences = _chain_differences(saved.get("hina_func"), link)
    differences = list(chain_differences)
    matched = match(saved["param_groups"], groups, link, strict, rename)
    differences += matched.differences
    ids = matched.ids
    held = {
        name: saved["state"][ids[there]] for name, there in matched.sources.items() if saved["state"].get(ids[there])
    }
    reset: dict[str, str] = {}
    if not chain_differences:
        found = _row_differences(held, groups, link)
        differences += [difference for name in sorted(found) for difference in found[name]] if strict else []
        reset = {} if strict else {name: why[0] for name, why in sorted(found.items())}
    if differences:
        raise refused(differences)
    state = {i: dict(held[name]) for i, name in enumerate(group_names(groups)) if name in held and name not in reset}
    report = LoadReport(matched.sources, matched.added, matched.removed, reset, matched.kept)
    return Aligned({**saved, "state": state, "param_groups": matched.groups}, report)


class Match(NamedTuple):
    """Whose state and numbers the live parameters and groups get.

    ``sources``: name here -> name there; ``ids``: name there -> its id; ``groups``: with the ids that parameters have
    here; ``kept``: what live groups keep because those there disagree.
    """

    sources: dict[str, str]
    ids: dict[str, Any]
    groups: list[Group]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    differences: list[str]


def match(
    saved: list[Group], groups: list[Group], link: Link, strict: bool = True, rename: Rename | None = None
) -> Match:
    """The parameters and groups of a saved state dict that belong to the live ones.

    By name where both sides have names, else by position.
    """
    there, here = group_names(saved), group_names(groups)
    ids = dict(zip(there, (key for group in saved for key in group["params"]), strict=True))
    differences: list[str] = []
    if all("param_names" in group for side in (groups, saved) for group in side):
        new = renamed(there, rename)
        known = set(here)
        sources = {new[name]: name for name in there if new[name] in known}
        unmatched = [name for name in there if new[name] not in known], [name for name in here if name not in sources]
        guessed = counterparts(*unmatched, link.patterns()) if all(unmatched) else {}
        if not strict:
            sources |= {name: other for other, name in guessed.items()}
        used = set(sources.values())
        removed = tuple(name for name in there if name not in used)
        added = tuple(name for name in here if name not in sources)
        if strict and removed:
            differences.append(f"no parameter here for {', '.join(sorted(removed))}")
        if strict and added:
            differences.append(f"nothing saved for {', '.join(sorted(added))}")
        if strict and guessed:
            differences.append(f"strict=False would match {len(guessed)} of them by module and role")
    else:
        sizes, sizes_there = ([len(group["params"]) for group in side] for side in (groups, saved))
        sources, added, removed = {}, (), ()
        if rename is not None:
            differences.append("rename needs names on both sides")
        if sizes == sizes_there:
            sources = dict(zip(here, there, strict=True))
        else:
            differences.append(f"parameter groups of {sizes_there} parameters in the saved state, of {sizes} here")
    if differences:
        return Match(sources, ids, [], added, removed, (), differences)
    regrouped, kept = _regrouped(saved, groups, sources)
    return Match(sources, ids, regrouped, added, removed, () if strict else kept, list(kept) if strict else [])


def _regrouped(
    saved: list[Group], groups: list[Group], sources: Mapping[str, str]
) -> tuple[list[Group], tuple[str, ...]]:
    """The live groups with the numbers of the saved ones, and where those disagree about a live group.

    A live group gets what all saved groups that its parameters come from agree in.
    """
    origin = {name: i for i, names in enumerate(names_by_group(saved)) for name in names}
    empty = iter([i for i, group in enumerate(saved) if not group["params"]])
    regrouped, kept, position = [], [], 0
    for number, (group, names) in enumerate(zip(groups, names_by_group(groups), strict=True)):
        origins = sorted({origin[sources[name]] for name in names if name in sources})
        if not names:
            origins = [i for i in (next(empty, None),) if i is not None]
        values = {key: value for key, value in group.items() if key != "params"}
        if origins:
            first, *others = (saved[i] for i in origins)
            agreed = {key: x for key, x in first.items() if all(key in o and _equal(x, o[key]) for o in others)}
            open_keys = sorted({key for i in origins for key in saved[i]} - agreed.keys() - {"params", "param_names"})
            kept += [
                f"{key} of group {number}, for which groups {origins} of the saved state differ" for key in open_keys
            ]
            values = agreed | {key: values[key] for key in (*open_keys, "param_names") if key in values}
        regrouped.append({**values, "params": list(range(position, position + len(names)))})
        position += len(names)
    return regrouped, tuple(kept)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def check_state_dict(saved: Any) -> None:
    """Refuse what has not the shape that torch gives a state dict.

    Raises:
        TypeError: if it is no mapping.
        ValueError: says what is wrong with it.
    """
    if not isinstance(saved, Mapping):
        raise TypeError(f"state_dict must be what state_dict() returned, got {saved!r}")
    problem = next(_malformed(saved), None)
    if problem is not None:
        raise refused([problem])


def _malformed(saved: Mapping[str, Any]) -> Iterator[str]:
    if not {"state", "param_groups"} <= saved.keys():
        yield "it is no state dict with 'state' and 'param_groups'"
        return
    state, groups, meta = saved["state"], saved["param_groups"], saved.get("hina_func")
    if not isinstance(state, Mapping) or not all(isinstance(rows, Mapping) for rows in state.values()):
        yield "its 'state' must hold a dict for each parameter"
    if meta is not None and not (
        isinstance(meta, Mapping)
        and isinstance(meta.get("format"), int)
        and isinstance(meta.get("transforms"), (list, tuple))
        and all(isinstance(name, str) for name in meta["transforms"])
    ):
        yield "its 'hina_func' must hold a number 'format' and a list of names 'transforms'"
    if not isinstance(groups, (list, tuple)) or not all(isinstance(group, Mapping) for group in groups):
        yield "its 'param_groups' must be a list of dicts"
        return
    for group in groups:
        params, names = group.get("params"), group.get("param_names", [])
        if not isinstance(params, (list, tuple)) or not all(isinstance(key, (int, str)) for key in params):
            yield "a group's 'params' must be a list of ids"
        elif not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            yield "a group's 'param_names' must be a list of names"
        elif "param_names" in group and len(names) != len(params):
            yield f"a group has {len(names)} names for {len(params)} parameters"
    names = group_names(groups)  # type: ignore[arg-type]
    if len(set(names)) < len(names):
        yield f"it has two parameters named {next(name for name in names if names.count(name) > 1)!r}"


def _chain_differences(meta: Mapping[str, Any] | None, link: Link) -> list[str]:
    if meta is None:
        return []
    if meta["format"] != FORMAT:
        return [f"it has format {meta['format']!r}, this version reads {FORMAT}"]
    here, there = fingerprint(link), list(meta["transforms"])
    if here == there:
        return []
    gone, new = ([x for x in side if x not in other] for side, other in ((there, here), (here, there)))
    return [
        f"it was saved from another chain: only there {gone or 'none'}, only here {new or 'none'}, or another order"
    ]


def _row_differences(held: Mapping[str, Mapping[str, Any]], groups: list[Group], link: Link) -> dict[str, list[str]]:
    """What the saved rows of the parameters here lack, have too many of, or have in another shape: by parameter."""
    params = [param for group in groups for param in group["params"]]
    expected = expected_rows(link, dict(zip(group_names(groups), params, strict=True))) if held else {}
    differences: dict[str, list[str]] = {}
    for name, rows in held.items():
        wanted = expected[name]
        found = [f"{name} lacks {key}" for key in sorted(wanted.keys() - rows.keys())]
        found += [
            f"{name} has {key}, which this chain does not keep" for key in sorted(rows.keys() - wanted.keys(), key=str)
        ]
        for key in sorted(wanted.keys() & rows.keys()):
            row, shape = rows[key], tuple(wanted[key].shape)
            if not isinstance(row, Tensor) or row.shape != shape:
                given = tuple(row.shape) if isinstance(row, Tensor) else "no tensor"
                found.append(f"{name}: {key} has shape {given}, not {shape}")
            elif _kind(row) != _kind(wanted[key]):
                found.append(f"{name}: {key} is {_kind(row)}, not {_kind(wanted[key])}")
        if found:
            differences[name] = found
    return differences


def _kind(row: Tensor) -> str:
    """What cannot be changed into each other without loss of meaning."""
    if row.layout != torch.strided:
        return "sparse"
    if row.is_complex():
        return "complex"
    if row.is_floating_point():
        return "of floating-point numbers"
    return "of truth values" if row.dtype == torch.bool else "of integers"
