"""What each transformation is known to keep it keeps, and what it is not known to keep it breaks."""

from __future__ import annotations

import pytest
from catalog import ROWS

import hina_func as hf
from hina_func.testing import laws
from hina_func.testing.checking import PROFILES
from hina_func.testing.declared import DECLARED
from hina_func.testing.declaring import SEARCHED, unbroken, unkept

rows = pytest.mark.parametrize("name", DECLARED)


@pytest.fixture(scope="session")
def effort(request: pytest.FixtureRequest) -> dict[str, int]:
    """How many examples of each law are drawn, and every how many scenarios one is tried."""
    thorough = request.config.getoption("--thorough-laws")
    return {"examples": PROFILES["thorough"], "every": 1} if thorough else {"examples": 3, "every": 4}


@rows
def test_it_keeps_what_it_is_declared_to_keep(name: str, effort: dict[str, int]) -> None:
    failures = [str(failure) for failure in unkept(DECLARED[name], **effort)]
    assert not failures, "\n\n".join(failures)


@rows
def test_it_breaks_what_it_is_not_declared_to_keep(name: str) -> None:
    failures = [str(failure) for failure in unbroken(DECLARED[name], SEARCHED)]
    assert not failures, "\n\n".join(failures)


def test_every_transformation_of_the_catalog_is_declared() -> None:
    assert {row.name for row in ROWS} - DECLARED.keys() == set()


def test_every_schedule_is_declared() -> None:
    schedules = {name for name in hf.__all__ if getattr(getattr(hf, name), "__module__", "") == hf.schedules.__name__}
    assert schedules - DECLARED.keys() == set()
    for name in schedules:
        assert laws.schedule_bounds.__name__ in {law.name for law in DECLARED[name].keeps}
