"""What shows the mutants, by name."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Exhibit
from .gradients import GRADIENTS
from .moments import MOMENTS
from .optimizers import OPTIMIZERS
from .parameters import PARAMETERS

EXHIBITS: Mapping[str, Exhibit] = {**MOMENTS, **GRADIENTS, **PARAMETERS, **OPTIMIZERS}
"""Name -> how it is built, and what it keeps beside the laws of conduct."""

__all__ = ["EXHIBITS", "Exhibit"]
