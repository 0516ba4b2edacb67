"""Property tests for optimizers: strategies that draw what training brings, laws, and a search for counterexamples.

Needs the extra: ``pip install 'hina_func[testing]'``.
"""

from . import laws, strategies
from .checking import Counterexample, Law, Violation, check, law
from .subjects import Torch, Transform, moves

__all__ = [
    "Counterexample",
    "Law",
    "Torch",
    "Transform",
    "Violation",
    "check",
    "law",
    "laws",
    "moves",
    "strategies",
]
