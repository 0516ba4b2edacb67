"""Adapters as data: which parameters of a model belong together, and in which role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from .roles import FACTOR_ROLES, LORA_ROLES, NORM_ROLES, ROLES, ParsedName, name_parser
from .tree import flatten

Shape = tuple[int, ...]

_KINDS = {
    **dict.fromkeys(LORA_ROLES, "lora"),
    **dict.fromkeys(FACTOR_ROLES, "lokr"),
    **dict.fromkeys(NORM_ROLES, "norm"),
}

# Axes that are summed over when the factors are multiplied, and must agree: (role, axis, role, axis).
_LORA_AXES = (("lora_b", 1, "lora_a", 0),)
_LOKR_AXES = (("lokr_w1_a", 1, "lokr_w1_b", 0), ("lokr_w2_a", 1, "lokr_w2_b", 0))
_TUCKER_AXES = (("lokr_w1_a", 1, "lokr_w1_b", 0), ("lokr_t2", 0, "lokr_w2_a", 0), ("lokr_t2", 1, "lokr_w2_b", 0))
_PRINTED_UNMATCHED = 5


@dataclass(frozen=True, eq=False)
class AdapterModule:
    """One adapter of one module, or one of its pairs where it has several.

    Attributes:
        key: of the adapted module; ``key``, ``pair`` and ``kind`` together are unique.
        pair: index of the pair inside the module, ``None`` where there is only one.
        kind: ``"lora"``, ``"lokr"`` or ``"norm"``.
        members: role -> parameter name.
        problem: why no rule for modules can use it, ``None`` if one can.
    """

    key: str
    pair: str | None
    kind: str
    members: Mapping[str, str]
    problem: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every factor is there, once, in shapes that fit."""
        return self.problem is None


@dataclass(frozen=True, eq=False, repr=False)
class AdapterMap:
    """The roles and modules of a set of parameters; `find_adapters` makes one.

    Attributes:
        modules: one record for each module, pair and kind, in the order of the parameters.
    """

    modules: tuple[AdapterModule, ...]
    _parsed: Mapping[str, ParsedName]
    _record: Mapping[str, AdapterModule]

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters, in the order given."""
        return tuple(self._parsed)

    def role(self, name: str) -> str:
        """One of `hina_func.ROLES`."""
        return self._of(name).role

    def module(self, name: str) -> str | None:
        """Key of the adapted module, ``None`` for a parameter of the base model. Only equality of keys matters."""
        return self._of(name).module

    def pair(self, name: str) -> str | None:
        """Index of the pair inside a module that holds several, else ``None``."""
        return self._of(name).pair

    def partners(self, name: str) -> tuple[str, ...]:
        """The other members of the record that ``name`` belongs to."""
        self._of(name)
        record = self._record.get(name)
        return () if record is None else tuple(other for other in record.members.values() if other != name)

    def counts(self) -> dict[str, int]:
        """Role -> number of parameters, for every role."""
        found = Counter(parsed.role for parsed in self._parsed.values())
        return {role: found[role] for role in ROLES}

    def unmatched(self) -> dict[str, str]:
        """Parameter -> reason, for the adapter parameters that no rule for modules can use."""
        problems = {name: self._record[name].problem for name in self._parsed if name in self._record}
        return {name: problem for name, problem in problems.items() if problem is not None}

    def __str__(self) -> str:
        found: dict[tuple[str, str], list[str]] = {}
        for record in self.modules:
            if record.complete:
                found.setdefault((record.kind, " ".join(record.members)), []).append(record.key)
        rows = [("kind", "modules", "members", "for example")]
        rows += [(kind, str(len(keys)), members, repr(keys[0])) for (kind, members), keys in found.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d}" for a, b, c, d in rows]
        if not found:
            lines = ["no complete adapter modules"]
        lines += [f"{count} {role}" for role, count in self.counts().items() if count and role not in _KINDS]
        unmatched = self.unmatched()
        if unmatched:
            lines.append(f"{len(unmatched)} unmatched:")
            lines += [f"  {name}: {reason}" for name, reason in list(unmatched.items())[:_PRINTED_UNMATCHED]]
            if len(unmatched) > _PRINTED_UNMATCHED:
                lines.append(f"  ... and {len(unmatched) - _PRINTED_UNMATCHED} more, all in .unmatched()")
        return "\n".join(lines)

    def _of(self, name: str) -> ParsedName:
        if name not in self._parsed:
            close = get_close_matches(name, self._parsed, n=3)
            hint = f"; similar: {', '.join(map(repr, close))}" if close else ""
            raise KeyError(f"{name!r} is none of the {len(self._parsed)} parameters of this map{hint}")
        return self._parsed[name]


def find_adapters(names_or_tree_or_model: Any, extra_patterns: Sequence[tuple[str, str]] = ()) -> AdapterMap:
    """The adapters among some parameters: role, module and partners of each.

    Names alone decide what belongs together; neither order nor parameter groups matter. Where shapes are known, factors
    that cannot be multiplied are reported by `AdapterMap.unmatched` and nothing is guessed: the pairs of a grouped
    convolution are such, and those of a fused projection. Printing the map shows what was found.

    Args:
        names_or_tree_or_model: a module, a named tree (so also ``{name: tensor}``), or an iterable of names or of
            (name, tensor) pairs.
        extra_patterns: pairs (regular expression, role) that come before the known names, see
            `hina_func.roles.parse_name`.

    Raises:
        ValueError: if a name comes twice, or an extra pattern is wrong.
        TypeError: if the first argument is none of the above.

    >>> import torch
    >>> q = {"lora_A": torch.zeros(4, 32), "lora_B": torch.zeros(64, 4), "bias": torch.zeros(64)}
    >>> adapters = find_adapters({"q": q})
    >>> adapters.partners("q.lora_B")
    ('q.lora_A',)
    >>> print(adapters)
    kind  modules  members        for example
    lora        1  lora_a lora_b  'q'
    1 regular
    """
    shapes = _shapes(names_or_tree_or_model)
    parse = name_parser(extra_patterns)
    parsed = {name: parse(name) for name in shapes}
    claims: dict[tuple[str, str | None, str], dict[str, list[str]]] = {}
    for name, (role, module, pair) in parsed.items():
        if role in _KINDS and module is not None:
            claims.setdefault((module, pair, _KINDS[role]), {}).setdefault(role, []).append(name)

    records: list[AdapterModule] = []
    record_of: dict[str, AdapterModule] = {}
    for (module, pair, kind), claimed in claims.items():
        members = {role: claimed[role][0] for role in ROLES if role in claimed}
        problem = _problem(kind, claimed, {role: shapes[name] for role, name in members.items()})
        records.append(AdapterModule(module, pair, kind, members, problem))
        record_of.update((name, records[-1]) for names in claimed.values() for name in names)
    return AdapterMap(tuple(records), parsed, record_of)


def _shapes(source: Any) -> dict[str, Shape | None]:
    """Name -> shape, ``None`` where only the name is known."""
    if isinstance(source, nn.Module):
        source = dict(source.named_parameters())
    elif isinstance(source, str) or not isinstance(source, Iterable):
        raise TypeError(f"find_adapters takes a module, a named tree, names or (name, tensor) pairs, got {source!r}")
    elif not isinstance(source, (Mapping, Tensor)):
        source = source if isinstance(source, (list, tuple)) else list(source)
        if all(isinstance(item, str) for item in source):
            return dict.fromkeys(_distinct(source))
        if all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in source):
            _distinct(name for name, _ in source)
            source = dict(source)
    leaves: dict[str, Tensor | None] = flatten(source)
    return {name: None if leaf is None else tuple(leaf.shape) for name, leaf in leaves.items()}


def _distinct(names: Iterable[str]) -> list[str]:
    count = Counter(names)
    twice = [name for name, times in count.items() if times > 1]
    if twice:
        raise ValueError(f"each parameter name may come once, these come more often: {', '.join(map(repr, twice))}")
    return list(count)


def _problem(kind: str, claimed: Mapping[str, list[str]], shapes: Mapping[str, Shape | None]) -> str | None:
    """Why the factors of a module do not make up an adapter, ``None`` if they do."""
    for role, names in claimed.items():
        if len(names) > 1:
            return f"{' and '.join(map(repr, names))} all claim to be {role} of one module"
    if kind == "norm":
        return None if "w_norm" in claimed else "b_norm without w_norm"
    if kind == "lora":
        missing = next((role for role in LORA_ROLES if role not in claimed), None)
        return f"no {missing} in its module" if missing else _misfit(_LORA_AXES, shapes)
    for side in ("lokr_w1", "lokr_w2"):
        factors = [role for role in (f"{side}_a", f"{side}_b") if role in claimed]
        if side in claimed and factors:
            return f"its module has {side} as well as {' and '.join(factors)}"
        if side not in claimed and not factors:
            return f"no {side} in its module, neither whole nor factored"
        if len(factors) == 1:
            return f"its module has {factors[0]} without its other half"
    if "lokr_t2" in claimed and "lokr_w2" in claimed:
        return "its module has lokr_t2 as well as a whole lokr_w2"
    return _misfit(_TUCKER_AXES if "lokr_t2" in claimed else _LOKR_AXES, shapes)


def _misfit(axes: Iterable[tuple[str, int, str, int]], shapes: Mapping[str, Shape | None]) -> str | None:
    for left, i, right, j in axes:
        a, b = shapes.get(left), shapes.get(right)
        if a is not None and b is not None and (not a[i : i + 1] or a[i : i + 1] != b[j : j + 1]):
            return f"axis {i} of {left} {list(a)} does not fit axis {j} of {right} {list(b)}"
    return None
