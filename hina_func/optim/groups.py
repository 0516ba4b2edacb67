"""The numbers in parameter groups, to which anybody may write between steps: checked when they have changed."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any

from ..checks import require_number, require_value
from ..link import Link

_GONE = object()


class Watched:
    """What the groups of an optimizer held when they were last looked at."""

    def __init__(self, link: Link) -> None:
        self._hyperparams = list(link.hyperparams())
        self._keys = ("params", *dict.fromkeys(hyper.name for hyper in self._hyperparams))
        self._groups: list[dict[str, Any]] = []
        self._values: list[Any] = []

    def unchanged(self, groups: list[dict[str, Any]]) -> bool:
        """Whether the numbers are the very objects they were."""
        values = [group.get(key, _GONE) for group in groups for key in self._keys]
        return len(values) == len(self._values) and all(map(is_, values, self._values))

    def is_bare(self, group: dict[str, Any]) -> bool:
        """Whether a group was put into the list by hand, without the numbers that `add_param_group` fills in."""
        return not group.keys() >= set(self._keys) and not any(group is known for known in self._groups)

    def check(self, groups: list[dict[str, Any]]) -> None:
        """Refuse numbers that are gone or out of range.

        Raises:
            ValueError: for a key that is gone, or a number out of range.
            TypeError: for what is no number.
        """
        for i, group in enumerate(groups):
            gone = [key for key in self._keys if key not in group]
            if gone:
                raise ValueError(f"parameter group {i} has no {', '.join(map(repr, gone))} any more")
            self.check_numbers(group)
        self._groups = list(groups)
        self._values = [group[key] for group in groups for key in self._keys]

    def check_numbers(self, values: Mapping[str, Any]) -> None:
        """Refuse numbers out of range; of a rate, only what is not finite: schedules that end at 0 round below it."""
        for hyper in self._hyperparams:
            require = require_number if hyper.name == "lr" else require_value
            require(hyper, values[hyper.name])

    def know(self, group: dict[str, Any]) -> None:
        """Take a group for complete, so that what it lacks later was taken out."""
        self._groups.append(group)
