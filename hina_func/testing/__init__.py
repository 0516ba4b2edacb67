"""Property tests for optimizers: strategies that draw what training brings, laws, and a search for counterexamples.

Needs the extra: ``pip install 'hina_func[testing]'``.
"""

from . import laws, strategies
from .checking import Counterexample, Law, Violation, check, law
from .differential import compare
from .properties import given_optimizer
from .subjects import Functional, Torch, Transform, moves

__all__ = [
    "Counterexample",
    "Functional",
    "Law",
    "Torch",
    "Transform",
    "Violation",
    "check",
    "compare",
    "given_optimizer",
    "law",
    "laws",
    "moves",
    "strategies",
]
