"""Bugs of what looks at the parameter: decay, and pulls toward an anchor."""

from __future__ import annotations

from ..patching import Mutant

DECAY, CAUTIOUS, DYNAMIC = (f"transforms.decay.{name}_leaf" for name in ("decay", "cautious_decay", "dynamic_wd"))
LEFT = "transforms.decay.decay_multiplier"
SPD, RATIO, PENALTY = (f"transforms.penalty.{name}" for name in ("selective_leaf", "ratio_leaf", "spd_penalty"))
ANCHORED = "leaf.param - s.anchor if isinstance(s, SpdPenaltyState) else leaf.param"

CORPUS = (
    Mutant(
        "Decay is doubled", DECAY, ("weight_decay * leaf.param", "2 * weight_decay * leaf.param"), ("decay", "adamw")
    ),
    Mutant("Decay grows the parameter", DECAY, ("u + weight_decay", "u - weight_decay"), ("shrinking", "adamw")),
    Mutant("Decay is squared", DECAY, ("weight_decay * leaf.param", "weight_decay ** 2 * leaf.param"), ("decay",)),
    Mutant(
        "Decay is of the parameter after the step",
        DECAY,
        ("weight_decay * leaf.param", "weight_decay * (leaf.param - u)"),
        ("decay", "adamw"),
    ),
    Mutant(
        "Decay pulls by a constant",
        DECAY,
        ("weight_decay * leaf.param", "weight_decay * leaf.param.sign()"),
        ("decay",),
    ),
    Mutant("Decay is of the gradient", DECAY, ("weight_decay * leaf.param", "weight_decay * leaf.grad"), ("decay",)),
    Mutant(
        "Decay goes where the mask says not to",
        "transforms.decay.add_decayed_weights",
        ("tx if mask is None else masked(tx, mask)", "tx"),
        ("decay of some",),
    ),
    Mutant(
        "Cautious decay pulls where the step goes outward",
        CAUTIOUS,
        ("u * leaf.param >= 0", "u * leaf.param <= 0"),
        ("cautious decay",),
    ),
    Mutant(
        "Cautious decay is not cautious",
        CAUTIOUS,
        ("torch.where(u * leaf.param >= 0, leaf.param, 0)", "leaf.param"),
        ("cautious decay",),
    ),
    Mutant(
        "Cautious decay spares elements that rest",
        CAUTIOUS,
        ("u * leaf.param >= 0", "u * leaf.param > 0"),
        ("cautious decay",),
    ),
    Mutant(
        "Fading decay forgets the update",
        DYNAMIC,
        ("u + weight_decay * left", "weight_decay * left"),
        ("fading decay of LoRA",),
    ),
    Mutant(
        "Fading decay begins one update late",
        DYNAMIC,
        ("over(after.count, u)", "over(s.count, u)"),
        ("fading decay of LoRA",),
    ),
    Mutant(
        "Fading decay fades outside adapters",
        DYNAMIC,
        ("leaf.kind not in ('lora', 'lokr')", "False"),
        ("fading decay of weights",),
    ),
    Mutant(
        "Fading decay fades from the first update on",
        LEFT,
        ("(count - transition_steps) / transition_steps", "count / transition_steps"),
        ("fading decay of LoRA",),
    ),
    Mutant(
        "Fading decay takes LoRA for LoKr",
        LEFT,
        ("kind == 'lora'", "kind != 'lora'"),
        ("fading decay of LoRA", "fading decay of LoKr"),
    ),
    Mutant(
        "Fading decay of LoKr has the floor of LoRA", LEFT, ("1.5 * min_ratio", "min_ratio"), ("fading decay of LoKr",)
    ),
    Mutant(
        "Fading decay of LoKr is as fast as LoRA's",
        LEFT,
        ("0.7 * progress", "progress"),
        ("fading decay of LoKr", "fast fading of LoKr"),
    ),
    Mutant(
        "Fading decay of LoKr goes on for too long",
        LEFT,
        ("progress.clamp_max(1.5)", "progress.clamp_max(2)"),
        ("fast fading of LoKr",),
    ),
    Mutant(
        "Fading decay of LoRA never stops",
        LEFT,
        ("progress.clamp_max(2)", "progress"),
        ("fading decay of LoRA", "endless fading of LoRA"),
    ),
    Mutant(
        "Fading decay has its floor before the transition too",
        LEFT,
        ("(progress > 0) & (left < floor)", "progress <= 0"),
        ("fading decay of LoRA",),
    ),
    Mutant("Fading decay never counts", DYNAMIC, ("s.count + 1", "s.count"), ("fading decay of LoRA",)),
    Mutant("The anchor is forgotten", SPD, (ANCHORED, "leaf.param"), ("spd from the start",)),
    Mutant(
        "The anchor moves with the parameter",
        SPD,
        ("* landed, s)", "* landed, SpdPenaltyState(leaf.param) if isinstance(s, SpdPenaltyState) else s)"),
        ("spd from the start",),
    ),
    Mutant(
        "The anchor is where the step lands",
        SPD,
        ("* landed, s)", "* landed, SpdPenaltyState(leaf.param + u) if isinstance(s, SpdPenaltyState) else s)"),
        ("spd from the start",),
    ),
    Mutant(
        "The anchor at zero is where the parameter started",
        PENALTY,
        ("anchor == 'zero' else", "anchor == 'init' else"),
        ("spd", "spd from the start"),
    ),
    Mutant(
        "The anchor is half of the start",
        "transforms.penalty.spd_init",
        ("param.clone()", "0.5 * param"),
        ("spd from the start",),
    ),
    Mutant("The pull is away from the anchor", SPD, ("u - leaving", "u + leaving"), ("spd",)),
    Mutant(
        "The pull is along the parameter and not along the landing",
        SPD,
        ("strength * landed", "strength * leaf.param"),
        ("spd",),
    ),
    Mutant(
        "The pull is a share of the distance before",
        SPD,
        (
            "safe_divide(norm(landed) - norm(before), norm(landed))",
            "safe_divide(norm(landed) - norm(before), norm(before))",
        ),
        ("spd",),
    ),
    Mutant(
        "The pull is there for gradients that lead to the anchor",
        SPD,
        ("dot(leaf.grad, before) > noise", "dot(leaf.grad, before) < noise"),
        ("spd",),
    ),
    Mutant(
        "The pull is there for every step that grows",
        SPD,
        ("(dot(leaf.grad, before) > noise)", "(dot(leaf.grad, before) == dot(leaf.grad, before))"),
        ("spd",),
    ),
    Mutant("The pull is there for steps that come nearer", SPD, (".clamp(0, 1)", ""), ("spd, downhill",)),
    Mutant("The pull ignores its strength", SPD, ("growth * strength", "growth"), ("spd by half",)),
    Mutant(
        "The pull asks the step and not the gradient",
        SPD,
        ("dot(leaf.grad, before) > noise", "dot(u, before) > noise"),
        ("spd, downhill",),
    ),
    Mutant(
        "The pull asks where the step has landed",
        SPD,
        ("dot(leaf.grad, before) > noise", "dot(leaf.grad, landed) > noise"),
        ("spd",),
    ),
    Mutant(
        "The pull asks for the sizes of the gradient",
        SPD,
        ("dot(leaf.grad, before)", "dot(leaf.grad.abs(), before)"),
        ("spd",),
    ),
    Mutant(
        "The pull begins at a fixed inner product",
        SPD,
        ("dot(leaf.grad, before) > noise", "dot(leaf.grad, before) > 100"),
        ("spd",),
    ),
    Mutant(
        "The pull by ratio forgets the learning rate",
        RATIO,
        ("learning_rate * strength", "strength"),
        ("spd by ratio",),
    ),
    Mutant(
        "The pull by ratio is a distance and no ratio",
        RATIO,
        ("safe_divide(norm(drift), norm(landed))", "norm(drift)"),
        ("spd by ratio", "spd by ratio, from the start"),
    ),
    Mutant(
        "The pull by ratio is away from the anchor",
        RATIO,
        ("u - learning_rate", "u + learning_rate"),
        ("spd by ratio",),
    ),
    Mutant(
        "The pull by ratio forgets the anchor",
        RATIO,
        ("landed - s.anchor if isinstance(s, SpdPenaltyState) else landed", "landed"),
        ("spd by ratio, from the start",),
    ),
    Mutant(
        "The pull by ratio divides by a landing at zero",
        RATIO,
        ("safe_divide(norm(drift), norm(landed))", "norm(drift) / norm(landed)"),
        ("spd by ratio",),
    ),
    Mutant(
        "The pull by ratio is of the parameter before the step",
        RATIO,
        ("landed = leaf.param + u", "landed = leaf.param"),
        ("spd by ratio",),
    ),
)
