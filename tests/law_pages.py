"""The page of the laws: what each says, why, and who keeps it. ``python law_pages.py`` writes docs/laws.md."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import hina_func as hf
from hina_func.testing import laws
from hina_func.testing.checking import Law
from hina_func.testing.declared import DECLARED
from hina_func.testing.mutants import EXHIBITS
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
STAND_INS = {"other": OTHER, "response": torch.mul, "rates": torch.mul, "factor": float, "boost": max}
"""What a law must be given before it says what it states, where a number will not do."""

WHY = {
    "absence": "A parameter that took no part in a step has no gradient, which is not a gradient of zero: momentum "
    "must not go on, and counters must not advance.",
    "absence_of_one": "Counters and moments are each parameter's own: who pauses does not hold up the others.",
    "accumulates": "The gradient of a mean is the mean of the gradients, so several small batches are one large one.",
    "affine_in_the_last_gradient": "ADOPT (arXiv 2411.02853) divides by the second moment of the steps before, so "
    "that a gradient is not part of what normalises it.",
    "alternating_response": "A gradient that turns at every step tells the first moment, which cancels, from the "
    "second, which does not.",
    "ball": "The projection onto a ball, and what `clip_by_norm` and `clip_by_global_norm` are.",
    "bfloat16_rounds_once": "An average that moves by less than half a unit of bfloat16 stands still in it, so memory "
    "is kept in float32 and a move is rounded once.",
    "bounded": "For a sign or a clip by definition; for Adam by the inequality of Cauchy and Schwarz between its two "
    "averages, which gives (1 - b1) / sqrt((1 - b2)(1 - b1^2 / b2)).",
    "chain_associativity": "A chain is the composition of functions, with their states side by side.",
    "chain_identity": "`identity` returns what it is given and keeps nothing.",
    "closure": "The contract of `torch.optim.Optimizer.step`.",
    "company_independence": "An update is a function of one parameter and its gradient; a global norm, a shared "
    "counter or a mixed-up pair breaks it.",
    "constant_response": "Under a constant gradient an unbiased average is the gradient at every step. A forgotten or "
    "a doubled correction is seen at the first ones.",
    "continuity": "A composition of continuous functions is one. A sign, a mask and a division by something that "
    "vanishes are not.",
    "decay_shrinks": "Without a gradient what is left is p <- (1 - lr wd) p, with a factor between 0 and 1.",
    "decoupled_decay": "Decay beside the gradient and not through its moments (AdamW, arXiv 1711.05101).",
    "determinism": "The formulas draw nothing at random and read no clock.",
    "diagonal_invariance": "Adam divides each element by its own size, so the units of an element cancel.",
    "dtype_kept": "A parameter is written in place: a move of another dtype would be rounded or refused.",
    "elementwise": "Where a formula has no sum over a tensor, an element cannot know of another.",
    "equals": "The definition of a twin. With `functools.partial` it says that flags change nothing: `foreach=True`, "
    "`fused=True`, `capturable=True` or `torch.compile` against the plain loop.",
    "fading": "An exponential average of zeros shrinks by its rate at every step.",
    "finite": "Every division has a denominator that is kept from zero.",
    "finite_after_nan": "A NaN in a moment stays there: what is to recover must not let it in.",
    "first_response": "Before there is memory a formula can be written down.",
    "first_step_descends": "Before there is a momentum a move is the gradient times something that is not negative.",
    "frozen_do_not_matter": "`freeze` and `masked` leave a parameter out of everything, sums over the tree included.",
    "gated": "A mask passes or drops, and what it makes up for the dropped it makes up by one number (arXiv "
    "2411.16085).",
    "holds_distance": "Selective projection decay (arXiv 2411.01713) pulls back towards where training began, and "
    "only when the gradient leads away.",
    "homogeneity": "What is made of parameters, gradients, their norms and their ratios has one dimension. It asks "
    "less than scale equivariance does of what reads the parameter.",
    "idempotence": "P(P u) = P u is what makes a map a projection: onto a ball, a box, a subspace or an orthant.",
    "impulse_response": "What one gradient leaves behind is the kernel of the average; it shows in which order decay, "
    "correction and clip come.",
    "layout_independence": "Strides say where an element is stored, not what it is.",
    "length_kept": "A change of direction that is scaled back to the length it had, or to the parameter's as in LARS "
    "and LAMB.",
    "linear_in_lr": "The learning rate is the last factor, applied once.",
    "lokr_gauge": "(c w1) x (w2 / c) is the same weight, and only what the weight does can be observed.",
    "lokr_rates": "What a rule for modules reads is the weight they stand for: norm(w1) norm(w2) is the norm of their "
    "Kronecker product.",
    "lora_gauge": "(c B)(A / c) is the same weight, so an algorithm on weights could not tell them apart; see "
    "LoRA-RITE, arXiv 2410.20625.",
    "lora_rates": "What a rule for modules reads is the weight they stand for, the product B A.",
    "mask_is_removal": "A masked transformation is handed only what the mask lets through.",
    "maximizes": "The largest value of f is where the smallest of -f is.",
    "modules_apart": "Factors pair by name, whatever stands beside them in a column.",
    "monotone_decay": "A schedule that falls, or an average that has settled, never takes a longer step than the last.",
    "names_do_not_matter": "Names are for states and reports.",
    "nan_is_zero": "What `zero_nans` says it does, and no more.",
    "nan_shows": "A NaN that turns into a step of zero or of one is a fault that nobody sees.",
    "never_against_the_gradient": "What cautious masks (arXiv 2411.16085) and Grams (arXiv 2412.17107) are made for.",
    "no_blow_up": "A factor whose partner is zero has the gradient zero, and a second moment of zero with it: the "
    "first gradient that is not zero must not be divided by it.",
    "not_finite_is_absence": "A batch that overflowed says nothing: it must leave neither a move nor a trace in the "
    "moments.",
    "order_independence": "A tree is a mapping from names: its order says nothing.",
    "orphans_pass": "A factor without its partners stands for nothing yet, so no rule for modules can say anything of "
    "it.",
    "orthogonal_to_parameter": "<p, u - (<p, u> / <p, p>) p> = 0; tried on tensors of two or more elements.",
    "partition_of_one": "A partition hands each part to its transformation, and here there is one part.",
    "pause_response": "A zero between two gradients of different size: what was clipped, corrected or kept in which "
    "order shows in the moves after it.",
    "permutation_equivariance": "A sum over a tensor does not depend on the order of its terms.",
    "precision": "A formula that is well conditioned turns a rounding error into one of the same size. What "
    "cancels has no direction left, and a formula that asks for one is not.",
    "pull": "Without gradients all that moves is the decay, at the rate its schedule and its bounds give.",
    "purity": "State goes in and comes out; what was given may be needed again, for a retry or another branch.",
    "rate_gauge": "Rates are functions of the product, which a gauge leaves alone.",
    "reordered_resume": "State belongs to a parameter, not to a place in a list.",
    "replicas": "Data-parallel training averages gradients and then trusts every process to take the same step.",
    "rests_on_collinear_gradients": "What is left of a gradient along the parameter is rounding, which must not be "
    "scaled up to a step.",
    "rests_without_gradient": "Every moment of zeros is zero.",
    "resume": "A state that is complete is all that the future depends on.",
    "resume_in_bfloat16": "The same, where loading has an occasion to round.",
    "rotation_equivariance": "Inner products and norms do not see a rotation, and linear maps commute with it.",
    "rows_keep_their_mean": "What gradient centralization (arXiv 2004.01461) takes away is the mean of each row.",
    "same_sizes": "Grams (arXiv 2412.17107) takes sizes from the update and signs from the gradient.",
    "saved_stays": "A state dict is a copy: a checkpoint in memory must not train on.",
    "scale_equivariance": "Degree 1: the move is linear in the size of the gradients. Degree 0: their size divides "
    "out, as in Adam without eps.",
    "schedule_bounds": "A schedule interpolates between the numbers it was given.",
    "separate_runs": "What a run needs is in its state.",
    "shape_independence": "Where a formula does not look at dimensions, a vector is a matrix of one row.",
    "shares_damped": "AGR (arXiv 2407.16944) damps each element by its share of the gradient's sum, and shares add up "
    "to one.",
    "short_passes": "The projection onto a box.",
    "sign_symmetry": "Turning all axes of the parameter space around changes no problem.",
    "state_dtype_kept": "torch's loader casts state to the parameter's dtype unless it is told not to.",
    "steady": "An average without a bias of one number is that number, at every step.",
    "still_at_zero_lr": "p - 0 u = p.",
    "superposition": "A linear recurrence: momentum and averages of gradients.",
    "tensors_apart": "Tensors of one shape are stacked and must not be mixed.",
    "translation_invariance": "Only differences of parameters matter, unless the parameter itself is read.",
    "trees_alike": "A tree of updates is a tree of the parameters' form.",
    "waits": "ADOPT begins with the first gradient there is: it has nothing to divide by before.",
    "zero_factor_leads": "The factor at zero is the one that moves first, so it is the one that LoRA+ (arXiv "
    "2402.12354) speeds up, whichever it is.",
}


def needed(name: str) -> list[str]:
    """The names of the numbers that a law must be given."""
    asked = inspect.signature(getattr(laws, name)).parameters.values()
    return [p.name for p in asked if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def made(name: str) -> Law:
    """A law, with numbers where it needs them."""
    law: Law = getattr(laws, name)(**{key: STAND_INS.get(key, 1.0) for key in needed(name)})
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
                yield who, ", ".join(f"{key} {_shown(x)}" for key, x in shown.items() if key != "other")


def _shown(number: Any) -> str:
    return f"`{number.__name__}`" if callable(number) else f"{number:.4g}"


def kept_by(name: str) -> str:
    """Who keeps a law with which numbers, and how many of the declared break it."""
    found: dict[str, list[str]] = {}
    for who, numbers in keepers(name):
        found.setdefault(numbers, []).append(who)
    if not found:
        shown = [who for who, exhibit in EXHIBITS.items() if any(law.name == name for law in exhibit.keeps)]
        asked = (
            f"Kept by these exhibits of bugs: {listed(shown)}." if shown else "It is asked of optimizers, or of two."
        )
        return f"Not declared of any transformation. {asked}"
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
        given = ", ".join(f"{key}=" for key in needed(name))
        heading = f"{name}({given})" if given else name
        of = "" if law.concerns(as_subject(hf.identity())) else " Asked of torch optimizers."
        parts.append(f"\n### `{heading}`\n\n*{law.statement}*{of}\n\n{why(name)}\n\n{kept_by(name)}\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
