"""Optimizers used the way real clients use them: the scripts in ``clients``, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
ROOT = CLIENTS.parent.parent

QUICK = (
    "torch_contract",
    "state_dict_resume",
    "amp_gradscaler",
    "optim_info_suite",
    "lr_schedulers",
    "kohya_client",
    "lycoris_lokr",
    "hf_trainer",
)
"""Run with the suite: each takes less than a minute."""

LONG = ("dist_client",)
"""Run by ``nox -s clients``."""

QUIRKS = {
    ("lycoris_lokr", "Original"): "a second gradient is divided by eps after a zero first one, as the original does",
}
"""What the original formula set is held to, quirks included, and a client therefore objects to."""


@pytest.mark.parametrize("factory", ["Published", "Original", "Composed"])
@pytest.mark.parametrize("script", [*QUICK, *LONG])
def test_a_client_finds_nothing_to_object_to(script: str, factory: str, request: pytest.FixtureRequest) -> None:
    if script in LONG and not request.config.getoption("--all-clients"):
        pytest.skip("driven with --all-clients only")
    if (script, factory) in QUIRKS:
        request.applymarker(pytest.mark.xfail(reason=QUIRKS[script, factory], strict=True))
    optimizer = f"factories:{factory}"
    path = os.pathsep.join((str(ROOT), str(CLIENTS)))
    done = subprocess.run(
        [sys.executable, str(CLIENTS / f"{script}.py"), optimizer, "--cls", optimizer],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=CLIENTS,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "SUMMARY " in done.stdout
