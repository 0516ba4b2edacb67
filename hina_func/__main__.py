"""``python -m hina_func <command>``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import demo, report_card


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line and runs one command; the exit code is the result."""
    parser = argparse.ArgumentParser(prog="python -m hina_func", description=sys.modules[__package__].__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    demo.add_command(commands)
    report_card.add_command(commands)
    chosen = parser.parse_args(arguments)
    return int(chosen.run(chosen))


if __name__ == "__main__":
    sys.exit(main())
