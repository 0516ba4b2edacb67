"""The page of the laws: what each says, why, and who keeps it. ``python law_pages.py`` writes docs/laws.md."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import hina_func as hf
from hina_func.testing import laws
from hina_func.testing.checking import Law
from hina_func.testing.declared import DECLARED
from hina_func.testing.subjects import as_subject

PAGE = Path(__file__).parent.parent / "docs" / "laws.md"

HEAD = """# Laws

What each law of `hina_func.testing.laws` says, why one would expect it, and which transformations keep it. Who keeps
what is declared in `hina_func.testing.declared` and checked in both directions: a law that is declared holds in every
example that is tried, and a law that is not declared has a counterexample. This page is written from the declarations
(`cd tests && python law_pages.py`). A name with something in parentheses is the transformation with other arguments; a
schedule is asked as the factor of `scale_by_schedule`. What is not promised is no fault.
"""

OTHER = object()
NUMBERS = {
    "accumulates": {"other": OTHER},
    "bounded": {"limit": 1.0},
    "equals": {"other": OTHER},
    "maximizes": {"other": OTHER},
    "no_blow_up": {"limit": 1.0},
    "scale_equivariance": {"degree": 1},
    "schedule_bounds": {"low": 0.0, "high": 1.0},
}
"""What a law must be given before it says what it states."""

WHY = {
    "absence": "A parameter that took no part in a step has no gradient, which is not a gradient of zero: momentum "
    "must not go on, and counters must not advance.",
    "accumulates": "The gradient of a mean is the mean of the gradients, so several small batches are one large one.",
    "bounded": "For a sign or a clip by definition; for Adam by the inequality of Cauchy and Schwarz between its two "
    "averages, which gives (1 - b1) / sqrt((1 - b2)(1 - b1^2 / b2)).",
    "chain_associativity": "A chain is the composition of functions, with their states side by side.",
    "chain_identity": "`identity` returns what it is given and keeps nothing.",
    "closure": "The contract of `torch.optim.Optimizer.step`.",
    "company_independence": "An update is a function of one parameter and its gradient; a global norm, a shared "
    "counter or a mixed-up pair breaks it.",
    "continuity": "A composition of continuous functions is one. A sign, a mask and a division by something that "
    "vanishes are not.",
    "decay_shrinks": "Without a gradient what is left is p <- (1 - lr wd) p, with a factor between 0 and 1.",
    "determinism": "The formulas draw nothing at random and read no clock.",
    "dtype_kept": "A parameter is written in place: a move of another dtype would be rounded or refused.",
    "elementwise": "Where a formula has no sum over a tensor, an element cannot know of another.",
    "equals": "The definition of a twin. With `functools.partial` it says that flags change nothing: `foreach=True`, "
    "`fused=True`, `capturable=True` or `torch.compile` against the plain loop.",
    "finite": "Every division has a denominator that is kept from zero.",
    "finite_after_nan": "A NaN in a moment stays there: what is to recover must not let it in.",
    "first_step_descends": "Before there is a momentum a move is the gradient times something that is not negative.",
    "homogeneity": "What is made of parameters, gradients, their norms and their ratios has one dimension. It asks "
    "less than scale equivariance does of what reads the parameter.",
    "idempotence": "P(P u) = P u is what makes a map a projection: onto a ball, a box, a subspace or an orthant.",
    "layout_independence": "Strides say where an element is stored, not what it is.",
    "lokr_gauge": "(c w1) x (w2 / c) is the same weight, and only what the weight does can be observed.",
    "lora_gauge": "(c B)(A / c) is the same weight, so an algorithm on weights could not tell them apart; see LoRA-"
    "RITE, arXiv 2410.20625.",
    "mask_is_removal": "A masked transformation is handed only what the mask lets through.",
    "maximizes": "The largest value of f is where the smallest of -f is.",
    "monotone_decay": "A schedule that falls, or an average that has settled, never takes a longer step than the last.",
    "names_do_not_matter": "Names are for states and reports.",
    "never_against_the_gradient": "What cautious masks (arXiv 2411.16085) and Grams (arXiv 2412.17107) are made for.",
    "no_blow_up": "A factor whose partner is zero has the gradient zero, and a second moment of zero with it: the "
    "first gradient that is not zero must not be divided by it.",
    "order_independence": "A tree is a mapping from names: its order says nothing.",
    "orthogonal_to_parameter": "<p, u - (<p, u> / <p, p>) p> = 0; tried on tensors of two or more elements.",
    "partition_of_one": "A partition hands each part to its transformation, and here there is one part.",
    "permutation_equivariance": "A sum over a tensor does not depend on the order of its terms.",
    "precision": "A formula that is well conditioned turns a rounding error into one of the same size.",
    "purity": "State goes in and comes out; what was given may be needed again, for a retry or another branch.",
    "reordered_resume": "State belongs to a parameter, not to a place in a list.",
    "replicas": "Data-parallel training averages gradients and then trusts every process to take the same step.",
    "rests_without_gradient": "Every moment of zeros is zero.",
    "resume": "A state that is complete is all that the future depends on.",
    "resume_in_bfloat16": "The same, where loading has an occasion to round.",
    "rotation_equivariance": "Inner products and norms do not see a rotation, and linear maps commute with it.",
    "saved_stays": "A state dict is a copy: a checkpoint in memory must not train on.",
    "scale_equivariance": "Degree 1: the move is linear in the size of the gradients. Degree 0: their size divides "
    "out, as in Adam without eps.",
    "schedule_bounds": "A schedule interpolates between the numbers it was given.",
    "separate_runs": "What a run needs is in its state.",
    "shape_independence": "Where a formula does not look at dimensions, a vector is a matrix of one row.",
    "sign_symmetry": "Turning all axes of the parameter space around changes no problem.",
    "state_dtype_kept": "torch's loader casts state to the parameter's dtype unless it is told not to.",
    "still_at_zero_lr": "p - 0 u = p.",
    "translation_invariance": "Only differences of parameters matter, unless the parameter itself is read.",
    "trees_alike": "A tree of updates is a tree of the parameters' form.",
}


def made(name: str) -> Law:
    """A law, with numbers where it needs them."""
    law: Law = getattr(laws, name)(**NUMBERS.get(name, {}))
    return law


def why(name: str) -> str:
    """The reason: from the list, or what a law's docstring says below its first line."""
    rest = (inspect.getdoc(getattr(laws, name)) or "").partition("\n\n")[2]
    return WHY.get(name, " ".join(rest.split()))


def keepers(name: str) -> Iterator[tuple[str, str]]:
    """Who is declared to keep it, and with which numbers."""
    for who, declaration in DECLARED.items():
        for law in declaration.kept():
            if law.name == name:
                shown = {key: x for key, x in law.numbers.items() if x is not None and key != "tolerance"}
                yield who, ", ".join(f"{key} {x:.4g}" for key, x in shown.items() if key != "other")


def kept_by(name: str) -> str:
    """Who keeps a law with which numbers, and how many of the declared break it."""
    found: dict[str, list[str]] = {}
    for who, numbers in keepers(name):
        found.setdefault(numbers, []).append(who)
    if not found:
        return "Not declared of any transformation: it is asked of optimizers, or of two of them."
    if list(found) == [""]:
        return f"Kept by {_all_or_some(found[''])}."
    lines = [f"- {numbers}: {_all_or_some(names)}" for numbers, names in found.items()]
    return "Kept with\n\n" + "\n".join(lines)


def _all_or_some(names: list[str]) -> str:
    missing = [who for who in DECLARED if who not in names]
    if len(missing) >= len(names):
        return listed(names)
    return "all but " + listed(missing) if missing else "all"


def listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def page() -> str:
    """The page, law by law, by the files they are in."""
    parts, last = [HEAD], ""
    for name in sorted(laws.__all__, key=lambda name: (getattr(laws, name).__module__, name)):
        home = sys.modules[getattr(laws, name).__module__].__doc__ or ""
        if home != last:
            parts.append(f"\n## {home.splitlines()[0].removesuffix('.')}\n")
            last = home
        law = made(name)
        missing = [key for key in law.numbers if key in NUMBERS.get(name, {})]
        heading = f"{name}({', '.join(f'{key}=' for key in missing)})" if missing else name
        of = "" if law.concerns(as_subject(hf.identity())) else " Asked of torch optimizers."
        parts.append(f"\n### `{heading}`\n\n*{law.statement}*{of}\n\n{why(name)}\n\n{kept_by(name)}\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
