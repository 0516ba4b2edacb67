"""Property tests for optimizers: strategies that draw what training brings, laws, and a search for counterexamples.

Needs the extra: ``pip install 'hina_func[testing]'``.
"""

from . import laws, strategies
from .checking import Counterexample, Law, Violation, check, law
from .declaring import Declaration, Undeclared, check_declared
from .differential import compare
from .properties import given_optimizer
from .subjects import Functional, Torch, Transform, moves

__all__ = [
    "Counterexample",
    "Declaration",
    "Functional",
    "Law",
    "Torch",
    "Transform",
    "Undeclared",
    "Violation",
    "check",
    "check_declared",
    "compare",
    "given_optimizer",
    "law",
    "laws",
    "moves",
    "strategies",
]
