"""The plugin runs a user's optimizers through the laws."""

from __future__ import annotations

import pytest

import hina_func.testing  # noqa: F401 - pytester forgets what a test imports, and torch cannot be imported twice

pytest_plugins = ["pytester"]

MINE = """
    import pytest, torch
    import hina_func as hf
    from hina_func.testing import Transform, laws

    def sgd(params):
        return torch.optim.SGD(params, lr=0.1)

    pytestmark = pytest.mark.optimizers(
        sgd, Transform(hf.trace(0.9), "heavy ball"), laws=[laws.elementwise(), laws.closure(), laws.bounded(limit=1.0)]
    )

    def test_it_keeps_the_law(optimizer, law, check_law):
        check_law(law, optimizer)

    def test_it_has_a_name(optimizer):
        assert str(optimizer) in ("sgd", "heavy ball")
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "hina_func.testing.plugin", "-p", "no:cacheprovider", "-rA", *arguments)


def test_each_law_is_asked_of_each_optimizer_it_is_about(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MINE)
    result = run(pytester)
    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "PASSED *::test_it_keeps_the_law[[]sgd-elementwise()]",
            "PASSED *::test_it_keeps_the_law[[]sgd-closure()]",
            "PASSED *::test_it_keeps_the_law[[]heavy ball-elementwise()]",
            "PASSED *::test_it_has_a_name[[]heavy ball]",
            "FAILED *::test_it_keeps_the_law[[]heavy ball-bounded(limit=1.0)]*",
            "E  *Counterexample: heavy ball breaks the law bounded(limit=1.0)",
            "E  *step 1: w moved by 2, farther than 1",
        ]
    )


def test_the_command_line_says_how_many_examples(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_profile(check_law):
            assert check_law.keywords == {"profile": "thorough"}
        """
    )
    run(pytester, "--law-profile=thorough").assert_outcomes(passed=1)
    run(pytester, "--law-profile=long").stderr.fnmatch_lines(["*invalid choice: 'long'*"])


def test_every_law_of_conduct_is_asked_where_none_is_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        import hina_func as hf

        @pytest.mark.optimizers(hf.scale(1.0))
        def test_laws(optimizer, law):
            assert law.concerns(optimizer)
        """
    )
    result = run(pytester, "--strict-markers")
    assert result.parseoutcomes()["passed"] >= 10


def test_a_law_is_made_before_it_is_asked(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        import hina_func as hf
        from hina_func.testing import laws

        @pytest.mark.optimizers(hf.scale(1.0), laws=[laws.elementwise])
        def test_laws(optimizer, law):
            pass
        """
    )
    run(pytester).stdout.fnmatch_lines(["*TypeError: law must be a law, as laws.determinism() makes one, got *"])


def test_without_the_mark_nothing_happens(pytester: pytest.Pytester) -> None:
    """Fixtures of these names are the user's."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def optimizer():
            return "mine"

        @pytest.fixture(params=[1, 2])
        def law(request):
            return request.param

        def test_mine(optimizer, law):
            assert optimizer == "mine"
        """
    )
    run(pytester).assert_outcomes(passed=2)


def test_a_conftest_asks_for_it(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["hina_func.testing.plugin"]')
    pytester.makepyfile("def test_profile(check_law): assert check_law.keywords == {'profile': 'quick'}")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
