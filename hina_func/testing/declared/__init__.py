"""What is known of each public transformation: which laws it keeps, and so which it breaks."""

from collections.abc import Mapping

from ..declaring import Declaration
from .compositions import COMPOSITIONS
from .constraints import CONSTRAINTS
from .parameters import PARAMETERS
from .scales import SCALES
from .schedules import SCHEDULES

DECLARED: Mapping[str, Declaration] = {**SCALES, **CONSTRAINTS, **PARAMETERS, **COMPOSITIONS, **SCHEDULES}
"""Name of a transformation, what matters of its arguments in parentheses -> what is known of it."""

__all__ = ["DECLARED"]
