"""State dicts: what a chain's is recognised by, and how a saved one is put in order for a live optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..link import Link
from ..state import shown_path
from .naming import group_names, names_by_group
from .rows import expected_rows

FORMAT = 1
"""Number of the layout of state dicts; raised with every change that older code cannot read."""


def fingerprint(link: Link) -> list[str]:
    """What a chain is recognised by: its transforms, in order, as their state is named."""
    return [link.name, *(shown_path(path) for path, _ in link.places())]


def aligned_state_dict(saved: Mapping[str, Any], groups: list[dict[str, Any]], link: Link) -> dict[str, Any]:
    """``saved`` in the order of the live groups, with the positions of the live parameters as ids.

    Raises:
        ValueError: if it does not fit; lists what differs.
    """
    _require_form(saved)
    chain_differences = _chain_differences(saved.get("hina_func"), link)
    differences = list(chain_differences)
    saved_groups = saved["param_groups"]
    sizes, saved_sizes = ([len(group["params"]) for group in side] for side in (groups, saved_groups))
    by_name = all("param_names" in group for side in (groups, saved_groups) for group in side)
    for names, params in ((group.get("param_names"), group["params"]) for group in saved_groups):
        if names is not None and len(names) != len(params):
            raise ValueError(
                f"the saved state does not fit this optimizer: a group has {len(names)} names for {len(params)}"
            )
    order = list(range(len(groups)))
    ids = [key for group in saved_groups for key in group["params"]]
    if by_name:
        order, found = _groups_by_name(groups, saved_groups)
        differences += found
    elif sizes != saved_sizes:
        differences.append(f"parameter groups of {saved_sizes} parameters in the saved state, of {sizes} here")
    names = group_names(saved_groups) if by_name else group_names(groups)
    if not chain_differences and (by_name or not differences):
        held = {name: saved["state"][key] for name, key in zip(names, ids, strict=True) if saved["state"].get(key)}
        differences += _row_differences(held, groups, link)
    if differences:
        shown = "; ".join(differences[:20]) + " ..." * (len(differences) > 20)
        raise ValueError(f"the saved state does not fit this optimizer: {shown}")

    id_of = dict(zip(names, ids, strict=True))
    aligned_groups, state = [], {}
    position = 0
    for group, names_here, index in zip(groups, names_by_group(groups), order, strict=True):
        for offset, name in enumerate(names_here):
            if saved["state"].get(id_of[name]):
                state[position + offset] = dict(saved["state"][id_of[name]])
        renumbered = {**saved_groups[index], "params": list(range(position, position + len(names_here)))}
        if "param_names" in group:
            renumbered["param_names"] = list(group["param_names"])
        aligned_groups.append(renumbered)
        position += len(names_here)
    return {**saved, "state": state, "param_groups": aligned_groups}


def _require_form(saved: Mapping[str, Any]) -> None:
    """Refuse what is no state dict at all."""
    groups, meta = saved.get("param_groups"), saved.get("hina_func", {})
    if not (
        isinstance(saved.get("state"), Mapping)
        and isinstance(groups, list)
        and all(isinstance(group, Mapping) and isinstance(group.get("params"), list) for group in groups)
        and isinstance(meta, Mapping)
        and isinstance(meta.get("transforms", []), list)
    ):
        raise ValueError(
            "the saved state does not fit this optimizer: it is no state dict, which has a dict 'state' and a list "
            f"'param_groups' of dicts with a list 'params'; it has {', '.join(map(repr, saved)) or 'nothing'}"
        )


def _chain_differences(meta: Mapping[str, Any] | None, link: Link) -> list[str]:
    if meta is None:
        return []
    if meta.get("format") != FORMAT:
        return [f"it has format {meta.get('format')!r}, this version reads {FORMAT}"]
    here, there = fingerprint(link), meta.get("transforms", [])
    if here == there:
        return []
    gone, new = ([x for x in side if x not in other] for side, other in ((there, here), (here, there)))
    return [
        f"it was saved from another chain: only there {gone or 'none'}, only here {new or 'none'}, or another order"
    ]


def _groups_by_name(groups: list[dict[str, Any]], saved: list[dict[str, Any]]) -> tuple[list[int], list[str]]:
    """For each live group the saved one with the same parameters."""
    here = {name for group in groups for name in group["param_names"]}
    there = {name for group in saved for name in group["param_names"]}
    differences = []
    if there - here:
        differences.append(f"no parameter here for {', '.join(sorted(there - here))}")
    if here - there:
        differences.append(f"nothing saved for {', '.join(sorted(here - there))}")
    if differences:
        return [], differences
    order = []
    for i, group in enumerate(groups):
        wanted = set(group["param_names"])
        same = [j for j, other in enumerate(saved) if set(other["param_names"]) == wanted and j not in order]
        if not same or len(groups) != len(saved):
            return [], [
                f"its {len(saved)} parameter groups divide the parameters differently from the {len(groups)} here"
            ]
        order.append(i if i in same else same[0])
    return order, []


def _row_differences(held: Mapping[str, Mapping[str, Any]], groups: list[dict[str, Any]], link: Link) -> list[str]:
    """What the saved rows of the parameters here lack, have too many of, or have in another shape."""
    params = [param for group in groups for param in group["params"]]
    expected = expected_rows(link, dict(zip(group_names(groups), params, strict=True))) if held else {}
    differences = []
    for name in sorted(held.keys() & expected.keys()):
        rows, wanted = held[name], expected[name]
        differences += [f"{name} lacks {key}" for key in sorted(wanted.keys() - rows.keys())]
        differences += [
            f"{name} has {key}, which this chain does not keep" for key in sorted(rows.keys() - wanted.keys())
        ]
        for key in sorted(wanted.keys() & rows.keys()):
            shape = getattr(rows[key], "shape", None)
            if shape != wanted[key]:
                given = "no tensor" if shape is None else tuple(shape)
                differences.append(f"{name}: {key} has shape {given}, not {tuple(wanted[key])}")
    return differences
