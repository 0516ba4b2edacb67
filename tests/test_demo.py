"""The demo runs end to end on real LyCORIS modules, and its verdict is honest."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from hina_func import demo
from hina_func.__main__ import main


@pytest.mark.slow
def test_quick_demo_prints_its_tables_and_draws_its_picture(tmp_path: Path) -> None:
    picture = tmp_path / "curves.png"
    command = [sys.executable, "-m", "hina_func", "demo", "--quick", "--out", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    for expected in [
        "lokr_w1",
        "lokr_w2",
        "lokr_w2_a",
        "test loss",
        "steps to 90%",
        "Lowest test loss",
        *demo.OPTIMIZERS,
    ]:
        assert expected in done.stdout
    assert "6/6" in done.stderr


def test_missing_packages_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "NEEDS", {"no_such_module": "no-such-package", "torch": "torch"})
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == ("The demo also needs no-such-package: python -m pip install 'hina_func[demo]'\n")


def test_one_seed_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--seeds", "1"])
    assert "must be at least 2, got 1" in capsys.readouterr().err


def runs(*losses: float) -> list[demo.Run]:
    return [demo.Run([1.0, loss], loss, 1 - loss, math.inf if loss > 0.5 else 10, 1.0) for loss in losses]


def test_verdict_calls_a_steady_lead_a_win_and_a_noisy_one_not() -> None:
    steady = demo.verdict({"a": runs(0.1, 0.2, 0.3), "b": runs(0.2, 0.3, 0.41)})
    assert "Lowest test loss: a." in steady
    assert "on 3 of 3 seeds: a clear win" in steady
    assert "no clear win" in demo.verdict({"a": runs(0.1, 0.2, 0.3), "b": runs(0.2, 0.1, 0.6)})
    assert "no clear win" in demo.verdict({"a": runs(0.1, 0.2), "b": runs(0.2, 0.3)})


def test_table_says_never_for_a_target_that_was_missed() -> None:
    table = demo.closing_table({"a": 0.1, "b": 0.01}, {"a": runs(0.1, 0.2, 0.6), "b": runs(0.7, 0.8)})
    assert "10 (10 to never)" in table
    assert table.splitlines()[-1].split()[-2:] == ["never", "1.0"]
