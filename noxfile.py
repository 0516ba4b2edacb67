"""Every command of the project. Dependencies come from the extras in pyproject.toml and from nowhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "docs"]

EXTRAS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]

# HINA_CONSTRAINTS names another file of constraints; empty, it lets pip choose every version
CONSTRAINTS = os.environ.get("HINA_CONSTRAINTS", "tests/constraints.txt")


def install(session: nox.Session, *requirements: str) -> None:
    """Pip with the constraints in force."""
    session.install(*(("-c", CONSTRAINTS) if CONSTRAINTS else ()), *requirements)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install(*EXTRAS["lint"])
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strictly."""
    install(session, "-e", ".[types,demo,testing]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The whole test suite, doctests of the package included."""
    install(session, "-e", ".[test]")
    session.run("pytest", *(session.posargs or ["-n", "logical"]))


@nox.session
def docs(session: nox.Session) -> None:
    """The pages, with warnings as errors, and every example on them executed."""
    install(session, "-e", ".[docs,demo,testing]")
    session.run("sphinx-build", "-n", "-T", "-W", "-b", "html", "docs", "docs/_build/html")
    session.run("sphinx-build", "-n", "-T", "-W", "-b", "doctest", "docs", "docs/_build/doctest")


@nox.session
def demo(session: nox.Session) -> None:
    """The demo: real LoKr adapters on real digits."""
    install(session, "-e", ".[demo]")
    session.run("python", "-m", "hina_func", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks, beside other libraries; ``nox -s bench -- --help`` says what can be asked for."""
    install(session, "-e", ".[bench]")
    session.run("python", "-m", "bench", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def distributed(session: nox.Session) -> None:
    """Every transform on shards, over two and four processes, beside one process; prints the worst differences."""
    install(session, "-e", ".[test]")
    session.run("pytest", "--distributed", "tests/test_distributed.py", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """Optimizers in the hands of real clients: sd-scripts' way, LyCORIS, PEFT, Trainer, Accelerate, Lightning."""
    install(session, "-e", ".[test,clients]")
    session.run("pytest", "--all-clients", "tests/test_clients.py", "tests/test_examples.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The source archive and the wheel, checked and imported from a clean environment."""
    session.install(*EXTRAS["build"])
    dist = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    wheel = str(next(dist.glob("*.whl")))
    install(session, wheel)
    session.install("--force-reinstall", "--no-deps", wheel)
    session.cd(dist.parent)
    session.run("python", "-c", "import hina_func; print(hina_func.__file__)")
