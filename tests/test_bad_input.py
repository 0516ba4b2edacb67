"""Bad input is refused clearly and leaves no trace; odd input does what the page says."""

from __future__ import annotations

import pytest
from bad_inputs import PAGE, ROWS, Bad, Odd, Scene, attempt, page, same


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.where}: {row.given}")
def test_every_row_of_the_catalogue_is_true(row: Bad | Odd) -> None:
    scene = Scene()
    go = attempt(scene, row)
    if isinstance(row, Odd):
        row.holds(scene, go())
        return
    before = scene.kept()
    with pytest.raises(row.error) as caught:
        go()
    assert type(caught.value) is row.error
    assert row.says in str(caught.value)
    assert same(scene.kept(), before)


def test_a_change_would_be_seen() -> None:
    scene = Scene()
    before = scene.kept()
    assert same(scene.kept(), before)
    scene.opt.step()
    assert not same(scene.kept(), before)


def test_a_row_is_found_by_what_is_given_and_where() -> None:
    assert len({(row.given, row.where) for row in ROWS}) == len(ROWS)


def test_the_page_is_what_the_rows_say() -> None:
    """``python tests/bad_inputs.py`` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()
