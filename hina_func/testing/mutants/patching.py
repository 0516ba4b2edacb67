"""A mutant, and how it takes the place of the right formula for a while."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True)
class Mutant:
    """A formula of this library with one bug.

    Args:
        name: the bug in a sentence.
        formula: the function it is in, in the package: ``"transforms.trace.trace_leaf"``, ``"lift.PerLeaf.update"``.
        edit: the text that is replaced and the text instead, both as `ast.unparse` writes them, so that neither layout
            nor comments nor quotes matter; or another function.
        shown_by: names of `EXHIBITS` that show it.

    >>> import hina_func as hf, torch
    >>> bug = Mutant("Momentum forgets to decay", "transforms.trace.trace_leaf", ("decay * s.trace", "s.trace"))
    >>> with bug.applied():
    ...     wrong = hf.trace(0.5)
    ...     state = wrong.init({"w": torch.zeros(1)})
    ...     for _ in range(2):
    ...         u, state = wrong.update({"w": torch.tensor([2.0])}, state)
    >>> u
    {'w': tensor([4.])}
    """

    name: str
    formula: str
    edit: tuple[str, str] | Function
    shown_by: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def right(self) -> Function:
        """The function as it is.

        Raises:
            ValueError: if there is none of this name.
        """
        parts = f"hina_func.{self.formula}".split(".")
        for end in range(len(parts) - 1, 0, -1):
            module = sys.modules.get(".".join(parts[:end]))
            if module is not None:
                found: Any = module
                for part in parts[end:]:
                    found = getattr(found, part, None)
                if inspect.isfunction(found):
                    return found
        raise ValueError(f"hina_func has no function {self.formula}")

    def wrong(self) -> Function:
        """The function with the bug.

        Raises:
            ValueError: if its text does not hold what is replaced.
        """
        formula = self.right()
        if not isinstance(self.edit, tuple):
            return self.edit
        old, new = self.edit
        text = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(formula))))
        if old not in text:
            raise ValueError(f"{self.formula} has no {old!r}:\n{text}")
        namespace = dict(vars(sys.modules[formula.__module__]))
        exec(compile(text.replace(old, new), "<mutant>", "exec", annotations.compiler_flag), namespace)
        made: Function = namespace[formula.__name__]
        return made

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The bug is in the library; transforms built inside have it. Those built before keep what they were built of.

        Raises:
            ValueError: if the text has changed, so that the mutant must be written anew.
        """
        formula, wrong = self.right(), self.wrong()
        places = list(_places(formula))
        for owner, key in places:
            setattr(owner, key, wrong)
        try:
            yield
        finally:
            for owner, key in places:
                setattr(owner, key, formula)


def _places(formula: Function) -> Iterator[tuple[Any, str]]:
    """Where the library keeps a function: in the modules that import it, or in its class."""
    owners = [module for name, module in sys.modules.items() if name.startswith("hina_func.")]
    owners = [sys.modules["hina_func"], *(owner for owner in owners if ".testing" not in owner.__name__)]
    if "." in formula.__qualname__:
        owners = [getattr(sys.modules[formula.__module__], formula.__qualname__.partition(".")[0])]
    return ((owner, key) for owner in owners for key, value in list(vars(owner).items()) if value is formula)
