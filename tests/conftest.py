"""How the tests run: one thread, and hypothesis profiles chosen by HYPOTHESIS_PROFILE."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

collect_ignore = ["clients", "distributed"]
"""Scripts, run in processes of their own."""

settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compile-all", action="store_true", help="compile every transform, one by one too, not a few")
    parser.addoption("--kills", type=int, default=5, help="how often a training is killed while it saves")
    parser.addoption("--distributed", action="store_true", help="shard every transform, over two and four processes")
    parser.addoption("--fuzz", type=int, default=4000, help="how many damaged checkpoints are opened")
    parser.addoption("--all-clients", action="store_true", help="drive every client, for which nox -s clients installs")
    parser.addoption("--chains", type=int, default=60, help="how many chains are drawn; a thirtieth of it, compiled")
    parser.addoption("--thorough-laws", action="store_true", help="2,000 examples of every declared law")
    parser.addoption("--law-score", action="store_true", help="ask every law of every mutant: half an hour")
    parser.addoption("--soak", action="store_true", help="test_soak.py with 10,000 transitions and 5,000 steps")


@pytest.fixture(params=["columns", "one by one"])
def execution(request: pytest.FixtureRequest) -> str:
    """How the contract suite runs a transform."""
    return request.param
