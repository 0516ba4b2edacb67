"""The libraries that can be on a card."""

from __future__ import annotations

from collections.abc import Mapping

from . import of_hina, of_peers, of_pytorch_optimizer, of_torch
from .library import Library

LIBRARIES: Mapping[str, Library] = {
    library.name: library
    for library in (of_torch.LIBRARY, of_hina.LIBRARY, of_pytorch_optimizer.LIBRARY, *of_peers.LIBRARIES)
}
"""By their name on the command line."""
