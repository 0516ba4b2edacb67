"""The laws of `hina_func.testing` under pytest, where ``pytest_plugins`` of a ``conftest.py`` names this module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from .checking import check, require_law
from .laws import CONDUCT
from .subjects import as_subject

MARK = "optimizers(*things, laws=None): run the test for each thing, and for each law that is about it"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("hina_func").addoption(
        "--law-profile",
        choices=("quick", "ci", "thorough"),
        default="quick",
        help="how many examples the fixture check_law tries: 40, 300 or 2000",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Fill in ``optimizer`` and ``law`` where a test, or its module, has the mark."""
    mark = metafunc.definition.get_closest_marker("optimizers")
    if mark is None or "optimizer" not in metafunc.fixturenames:
        return
    subjects = [as_subject(thing) for thing in mark.args]
    if "law" not in metafunc.fixturenames:
        metafunc.parametrize("optimizer", subjects, ids=str)
        return
    laws = mark.kwargs.get("laws") or CONDUCT
    for law in laws:
        require_law(law)
    pairs = [(subject, law) for subject in subjects for law in laws if law.concerns(subject)]
    metafunc.parametrize(("optimizer", "law"), pairs, ids=[f"{subject}-{law}" for subject, law in pairs])


@pytest.fixture(scope="session")
def check_law(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`hina_func.testing.check` with the profile of the command line."""
    return partial(check, profile=request.config.getoption("--law-profile"))
