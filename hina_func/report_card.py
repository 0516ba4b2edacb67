"""The report card on the command line: which libraries, how many examples, and where the pages go."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

KNOWN = (
    "torch",
    "hina_func",
    "pytorch_optimizer",
    "heavyball",
    "timm",
    "torchopt",
    "optax",
    "schedulefree",
)
"""Libraries that can be asked for; here, so that help needs none of them."""

NEEDS = ("hypothesis", "numpy")


def some_of_the_known(text: str) -> list[str]:
    """Names between commas, each once."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in KNOWN]
    if unknown or not names:
        wrong = ", ".join(unknown) or "nothing"
        raise argparse.ArgumentTypeError(f"must be of {', '.join(KNOWN)}, separated by commas; got {wrong}")
    return names


def writable(text: str) -> Path:
    """A file that can be written when the run is over."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in a folder that exists, got {text}")
    return path


def run(arguments: argparse.Namespace) -> int:
    """The command: 0 if there is a card, whatever it says; 2 if nothing could be asked."""
    missing = [module for module in NEEDS if importlib.util.find_spec(module) is None]
    if missing:
        print(
            f"The report card also needs {', '.join(missing)}: python -m pip install 'hina_func[testing]'",
            file=sys.stderr,
        )
        return 2
    from .testing.card.command import anything_ran, report

    made = report(arguments.optimizers, arguments.profile, arguments.json, arguments.html)
    return 0 if anything_ran(made) else 2


def add_command(commands: Any) -> None:
    """Adds ``report-card`` to the command line."""
    parser = commands.add_parser("report-card", help="ask the laws of hina_func.testing of many libraries' optimizers")
    parser.add_argument(
        "--optimizers",
        type=some_of_the_known,
        default=list(KNOWN),
        metavar="LIBRARY,...",
        help=f"of {', '.join(KNOWN)} (default: all)",
    )
    parser.add_argument("--json", type=writable, metavar="FILE", help="write the data here")
    parser.add_argument("--html", type=writable, metavar="FILE", help="write one page, complete in itself, here")
    parser.add_argument(
        "--profile",
        choices=("quick", "ci", "thorough"),
        default="quick",
        help="30, 300 or 2000 examples of each law that is promised (default: quick)",
    )
    parser.set_defaults(run=run)
