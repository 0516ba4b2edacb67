"""Properties of one's own, under pytest."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from .checking import PROFILES
from .strategies import histories
from .subjects import as_subject


def given_optimizer(
    thing: Any, examples: st.SearchStrategy[Any] | None = None, *, profile: str = "quick"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test ``f(subject, example)`` a property: hypothesis draws the example, and shrinks it if the test fails.

    Args:
        thing: as for `hina_func.testing.check`.
        examples: what is drawn; ``hina_func.testing.strategies.histories`` by default.
        profile: "quick", "ci" or "thorough": 40, 300 or 2000 examples.

    >>> import hina_func as hf
    >>> from hina_func.testing import moves
    >>> @given_optimizer(hf.scale_by_lion())
    ... def test_no_element_moves_by_more_than_one(subject, history):
    ...     assert all(u.abs().max() <= 1 for move in moves(subject, *history) for u in move.values())
    >>> test_no_element_moves_by_more_than_one()
    """
    drawn = histories() if examples is None else examples

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        subject, example, *_ = inspect.signature(test).parameters
        strategies = {subject: st.just(as_subject(thing)), example: drawn}
        return settings(max_examples=PROFILES[profile], deadline=None)(given(**strategies)(test))

    return decorate
