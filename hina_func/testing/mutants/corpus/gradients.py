"""Bugs of what looks at the gradient of the moment: scales, schedules, clips."""

from __future__ import annotations

from ..patching import Mutant

SCALE, RATE = "transforms.scale.scale_leaf", "transforms.scale.scale_by_learning_rate"
AGR, TRUST, SCHEDULE = (f"transforms.scale.{name}_leaf" for name in ("agr", "trust_ratio", "schedule"))
BY_VALUE, BY_NORM, NANS = (f"transforms.clip.{name}_leaf" for name in ("clip_by_value", "clip_by_norm", "zero_nans"))
SHRINK, BY_GLOBAL_NORM = "transforms.clip.shrink", "transforms.clip.ClipByGlobalNorm.update"

CORPUS = (
    Mutant(
        "The learning rate is applied twice",
        SCALE,
        ("sign * step_size", "sign * step_size ** 2"),
        ("learning rate", "adamw"),
    ),
    Mutant("The learning rate is forgotten", SCALE, ("sign * step_size", "sign"), ("learning rate", "adamw")),
    Mutant("The update goes uphill", SCALE, ("sign * step_size", "step_size"), ("learning rate", "adamw")),
    Mutant(
        "The learning rate is added and not multiplied with",
        SCALE,
        ("u * (sign * step_size)", "u + sign * step_size"),
        ("learning rate", "adamw"),
    ),
    Mutant("Ascent is asked for and descent done", RATE, ("-1.0 if flip_sign else 1.0", "-1.0"), ("ascent",)),
    Mutant(
        "Ascent and descent are taken for each other",
        RATE,
        ("-1.0 if flip_sign else 1.0", "1.0 if flip_sign else -1.0"),
        ("learning rate", "ascent"),
    ),
    Mutant(
        "A schedule begins at its second value",
        "lift.row_counts",
        ("torch.zeros", "torch.ones"),
        ("schedule", "scheduled learning rate"),
    ),
    Mutant("A schedule that multiplies never goes on", SCHEDULE, ("s.count + 1", "s.count"), ("schedule",)),
    Mutant("A schedule that multiplies counts twice", SCHEDULE, ("s.count + 1", "s.count + 2"), ("schedule",)),
    Mutant(
        "A scheduled number never goes on",
        "lift.PerLeaf.update",
        ("state.count[c.key] + 1", "state.count[c.key]"),
        ("scheduled learning rate",),
    ),
    Mutant(
        "A scheduled number is that of the next step",
        "lift.PerLeaf.update",
        ("state.count[column.key] if counted", "state.count[column.key] + 1 if counted"),
        ("scheduled learning rate",),
    ),
    Mutant(
        "All tensors of a shape have one schedule",
        SCHEDULE,
        ("s.count + 1", "(s.count + 1) * s.count.shape[0]"),
        ("schedule",),
    ),
    Mutant("AGR adds shares and does not damp by them", AGR, ("whole - size", "whole + size"), ("agr",)),
    Mutant("AGR takes the size of the sum", AGR, ("total(size)", "total(u).abs()"), ("agr",)),
    Mutant("AGR takes the total of all tensors of a shape", AGR, ("total(size)", "size.sum()"), ("agr",)),
    Mutant("AGR damps by signed shares", AGR, ("size = u.abs()", "size = u"), ("agr",)),
    Mutant("AGR adds one to the total", AGR, ("total(size)", "(total(size) + 1)"), ("agr",)),
    Mutant(
        "AGR takes the Euclidean norm for the sum of sizes", AGR, ("total(size)", "total(size * size).sqrt()"), ("agr",)
    ),
    Mutant("AGR damps a single element to nothing", AGR, ("row_numel(u) == 1", "False"), ("agr of one element",)),
    Mutant(
        "AGR divides by a total of zero", AGR, ("safe_divide(torch.ones_like(whole), whole)", "(1 / whole)"), ("agr",)
    ),
    Mutant(
        "The trust ratio is turned over",
        TRUST,
        ("param_norm, update_norm =", "update_norm, param_norm ="),
        ("trust ratio",),
    ),
    Mutant(
        "The trust ratio counts the updates of all tensors", TRUST, ("norm(u))", "norm(u).sum())"), ("trust ratio",)
    ),
    Mutant("The trust ratio has a root too many", TRUST, ("u * ratio", "u * ratio.sqrt()"), ("trust ratio",)),
    Mutant(
        "The trust ratio divides by an update of zero",
        TRUST,
        ("(param_norm != 0) & (update_norm != 0)", "param_norm != 0"),
        ("trust ratio",),
    ),
    Mutant(
        "Clipping by value bounds one side",
        BY_VALUE,
        ("torch.where(u < -max_delta, -max_delta, u)", "u"),
        ("clip by value",),
    ),
    Mutant("Clipping by value turns what is below", BY_VALUE, ("-max_delta, u)", "max_delta, u)"), ("clip by value",)),
    Mutant(
        "Clipping by norm takes the square of the norm",
        BY_NORM,
        ("size = norm(u)", "size = norm(u) ** 2"),
        ("clip by norm",),
    ),
    Mutant(
        "Clipping by norm takes the sum of sizes",
        BY_NORM,
        ("size = norm(u)", "size = u.abs().reshape(u.shape[0], -1).sum(1).reshape(-1, *[1] * (u.ndim - 1))"),
        ("clip by norm",),
    ),
    Mutant(
        "Clipping by norm makes short gradients longer",
        SHRINK,
        (
            "torch.where(size < max_norm, 1, max_norm / torch.where(size == 0, 1, size))",
            "max_norm / torch.where(size == 0, 1, size)",
        ),
        ("clip by norm",),
    ),
    Mutant("Clipping by norm compares with one", SHRINK, ("size < max_norm", "size < 1"), ("clip by norm",)),
    Mutant("Clipping by norm takes the longest of a shape", BY_NORM, ("norm(u)", "norm(u).amax()"), ("clip by norm",)),
    Mutant(
        "Clipping takes a NaN for a short gradient",
        SHRINK,
        ("size < max_norm", "~(size >= max_norm)"),
        ("clip by norm", "clip by global norm"),
    ),
    Mutant(
        "Clipping by global norm looks at the longest tensor",
        BY_GLOBAL_NORM,
        ("squares.sum()", "squares.amax()"),
        ("clip by global norm",),
    ),
    Mutant(
        "Clipping by global norm forgets the root",
        BY_GLOBAL_NORM,
        ("safe_sqrt(squares.sum())", "squares.sum()"),
        ("clip by global norm",),
    ),
    Mutant(
        "Clipping by global norm adds norms and not squares",
        BY_GLOBAL_NORM,
        ("safe_sqrt(squares.sum())", "safe_sqrt(squares).sum()"),
        ("clip by global norm",),
    ),
    Mutant(
        "The NaN guard swallows infinities too", NANS, ("torch.where(nan, 0, u)", "torch.nan_to_num(u)"), ("zero_nans",)
    ),
    Mutant("The NaN guard is off", NANS, ("torch.where(nan, 0, u)", "u"), ("zero_nans",)),
    Mutant(
        "The NaN guard drops the whole tensor",
        NANS,
        (
            "torch.where(nan, 0, u)",
            "torch.where(nan.reshape(u.shape[0], -1).any(1).reshape(-1, *[1] * (u.ndim - 1)), 0, u)",
        ),
        ("zero_nans",),
    ),
)
