"""Bugs of momentum: sums and averages, ADOPT, RMSProp, Lion."""

from __future__ import annotations

from ..patching import Mutant

TRACE, TORQUE, EMA = (f"transforms.trace.{name}_leaf" for name in ("trace", "trace_tam", "ema"))
RMS, LION = (f"transforms.scale_by_rms.{name}_leaf" for name in ("rms", "lion"))
ADOPT, ADOPT_TAM = (f"transforms.scale_by_adopt.{name}_leaf" for name in ("adopt", "adopt_tam"))
NORMALISED, ACCUMULATED, ADVANCED, CLIP = (
    f"transforms.scale_by_adopt.{name}" for name in ("normalised", "accumulated", "advanced", "_clip")
)
SUMMED = "summed = u + decay * s.trace"

CORPUS = (
    Mutant("Momentum forgets to decay", TRACE, ("decay * s.trace", "s.trace"), ("momentum",)),
    Mutant(
        "Momentum is an average where a sum is meant",
        TRACE,
        (SUMMED, "summed = (1 - decay) * u + decay * s.trace"),
        ("momentum",),
    ),
    Mutant("Momentum decays what comes in too", TRACE, (SUMMED, "summed = decay * (u + s.trace)"), ("momentum",)),
    Mutant("Momentum moves by the sum of the step before", TRACE, ("else summed, ", "else s.trace, "), ("momentum",)),
    Mutant("Momentum keeps what it was", TRACE, ("TraceState(summed)", "TraceState(s.trace)"), ("momentum",)),
    Mutant("Momentum keeps sizes without signs", TRACE, ("decay * s.trace", "decay * s.trace.abs()"), ("momentum",)),
    Mutant(
        "Momentum is shared by tensors of a shape",
        TRACE,
        ("decay * s.trace", "decay * s.trace.mean(0, keepdim=True)"),
        ("momentum",),
    ),
    Mutant(
        "Momentum of a tensor depends on its place in the list",
        TRACE,
        (
            SUMMED,
            "summed = u + decay * s.trace * torch.arange(1, len(u) + 1).reshape(-1, *[1] * (u.ndim - 1))",
        ),
        ("momentum",),
    ),
    Mutant(
        "Momentum is kept in bfloat16",
        TRACE,
        ("TraceState(summed)", "TraceState(summed.bfloat16().to(u.dtype))"),
        ("momentum",),
    ),
    Mutant("Momentum is summed in place", TRACE, (SUMMED, "summed = s.trace.mul_(decay).add_(u)"), ("momentum",)),
    Mutant(
        "Momentum adds to the gradient it was given",
        TRACE,
        (SUMMED, "summed = leaf.grad.add_(decay * s.trace)"),
        ("momentum",),
    ),
    Mutant("Nesterov looks back and not ahead", TRACE, ("u + decay * summed", "u + decay * s.trace"), ("nesterov",)),
    Mutant(
        "Nesterov keeps what it looked ahead to",
        TRACE,
        ("TraceState(summed)", "TraceState(u + decay * summed if nesterov else summed)"),
        ("nesterov",),
    ),
    Mutant("Torque-aware momentum forgets eps", TORQUE, ("(damping + eps)", "damping"), ("momentum with torque",)),
    Mutant(
        "Torque-aware momentum damps the old and not the new",
        TORQUE,
        ("b1 * s.trace + (damping + eps) * u", "(damping + eps) * b1 * s.trace + u"),
        ("momentum with torque",),
    ),
    Mutant(
        "Torque-aware momentum compares with the sum that has the gradient already",
        TORQUE,
        ("torque(s.trace,", "torque(b1 * s.trace + u,"),
        ("momentum with torque",),
    ),
    Mutant(
        "Torque-aware momentum compares the gradient with itself",
        TORQUE,
        ("torque(s.trace,", "torque(u,"),
        ("momentum with torque",),
    ),
    Mutant(
        "An average forgets to undo its bias",
        EMA,
        ("debiased(mean, decay, count) if debias", "mean if debias"),
        ("average",),
    ),
    Mutant(
        "An average undoes its bias when told not to",
        EMA,
        ("if debias else", "if not debias else"),
        ("average", "biased average"),
    ),
    Mutant(
        "An average undoes the bias of the next step",
        EMA,
        ("debiased(mean, decay, count)", "debiased(mean, decay, count + 1)"),
        ("average",),
    ),
    Mutant(
        "An average undoes the bias of what it keeps",
        EMA,
        ("EmaState(count, mean)", "EmaState(count, debiased(mean, decay, count))"),
        ("average",),
    ),
    Mutant("An average takes old for new", EMA, ("average(s.ema, u, decay)", "average(u, s.ema, decay)"), ("average",)),
    Mutant("RMSProp has eps beside the root", RMS, ("(size + eps).sqrt()", "size.sqrt() + eps"), ("rms",)),
    Mutant(
        "RMSProp has eps under the root when told not to",
        RMS,
        ("safe_sqrt(size) + eps", "safe_sqrt(size + eps)"),
        ("rms, eps beside",),
    ),
    Mutant("RMSProp forgets the root", RMS, ("(size + eps).sqrt()", "(size + eps)"), ("rms",)),
    Mutant(
        "RMSProp divides by the squares of the step before",
        RMS,
        ("if bias_correction else nu", "if bias_correction else s.nu"),
        ("rms",),
    ),
    Mutant(
        "RMSProp forgets to undo its bias",
        RMS,
        ("nu / one_minus_power(decay, over(count, u)) if", "nu if"),
        ("rms, debiased",),
    ),
    Mutant(
        "RMSProp undoes the bias of the step before", RMS, ("over(count, u)", "over(s.count, u)"), ("rms, debiased",)
    ),
    Mutant(
        "RMSProp undoes its bias when told not to",
        RMS,
        ("if bias_correction else", "if not bias_correction else"),
        ("rms", "rms, debiased"),
    ),
    Mutant(
        "RMSProp without eps divides zero by zero",
        RMS,
        ("safe_sqrt(size) + eps", "safe_sqrt(size)"),
        ("rms, eps beside",),
    ),
    Mutant(
        "RMSProp begins with squares of one",
        "transforms.scale_by_rms.rms_init",
        ("initial_scale)", "initial_scale + 1.0)"),
        ("rms",),
    ),
    Mutant(
        "Lion swaps its two rates",
        LION,
        (
            "sign(b1 * s.mu + (1 - b1) * u), ScaleByLionState(b2 * s.mu + (1 - b2) * u)",
            "sign(b2 * s.mu + (1 - b2) * u), ScaleByLionState(b1 * s.mu + (1 - b1) * u)",
        ),
        ("lion",),
    ),
    Mutant(
        "Lion keeps what it took the sign of", LION, ("b2 * s.mu + (1 - b2) * u", "b1 * s.mu + (1 - b1) * u"), ("lion",)
    ),
    Mutant("Lion takes no sign", LION, ("sign(", "torch.tanh("), ("lion",)),
    Mutant(
        "Lion keeps the sign for its momentum",
        LION,
        ("ScaleByLionState(b2 * s.mu + (1 - b2) * u)", "ScaleByLionState(sign(b2 * s.mu + (1 - b2) * u))"),
        ("lion",),
    ),
    Mutant(
        "Lion sees the size of gradients",
        LION,
        ("sign(b1 * s.mu + (1 - b1) * u)", "sign(b1 * s.mu + (1 - b1) * u ** 3)"),
        ("lion",),
    ),
    Mutant(
        "ADOPT divides by a moment that has the gradient already",
        ADOPT,
        (
            "normalised(u, on, s.count, s.nu, eps, clip)",
            "normalised(u, on, s.count, accumulated(s.nu, u, on, b2), eps, clip)",
        ),
        ("adopt", "adopt without clipping"),
    ),
    Mutant("ADOPT moves at its first gradient", ADOPT, ("on * (1 - b1) *", "(1 - b1) *"), ("adopt without clipping",)),
    Mutant(
        "ADOPT's first gradient fills the second moment by a part",
        ACCUMULATED,
        ("(on * (1 - b2) + (1 - on)) * (u * u)", "(1 - b2) * (u * u)"),
        ("adopt",),
    ),
    Mutant("ADOPT adds squares to the second moment whole", ACCUMULATED, ("on * (1 - b2) + (1 - on)", "1"), ("adopt",)),
    Mutant(
        "ADOPT clips one step late",
        NORMALISED,
        ("clip(count.to(u.dtype))", "clip((count + 1).to(u.dtype))"),
        ("adopt without momentum",),
    ),
    Mutant("ADOPT never clips", NORMALISED, ("clip is None", "True"), ("adopt without momentum",)),
    Mutant(
        "ADOPT clips what is positive only",
        NORMALISED,
        ("torch.clamp(ratio, -bound, bound)", "torch.minimum(ratio, bound)"),
        ("adopt without momentum",),
    ),
    Mutant(
        "ADOPT clips by the root of the step",
        CLIP,
        ("return clip_value_fn if", "return (lambda step: step ** 0.5) if"),
        ("adopt without momentum",),
    ),
    Mutant(
        "ADOPT does not ask for another clip",
        NORMALISED,
        ("over(clip(count.to(u.dtype)), u)", "over(count.to(u.dtype) ** 0.25, u)"),
        ("adopt, other clip",),
    ),
    Mutant(
        "ADOPT adds eps where it is a floor",
        NORMALISED,
        ("torch.maximum(safe_sqrt(nu), on * eps + (1 - on))", "(safe_sqrt(nu) + on * eps + (1 - on))"),
        ("adopt",),
    ),
    Mutant("ADOPT divides by squares", NORMALISED, ("safe_sqrt(nu)", "nu"), ("adopt", "adopt without eps")),
    Mutant(
        "ADOPT counts zeros before its first gradient", ADVANCED, ("((count > 0) | any_nonzero(u))", "1"), ("adopt",)
    ),
    Mutant(
        "ADOPT stops counting at zeros",
        ADVANCED,
        ("(count > 0) | any_nonzero", "any_nonzero"),
        ("adopt without momentum",),
    ),
    Mutant(
        "ADOPT waits for all elements of its first gradient",
        ADVANCED,
        ("any_nonzero(u)", "(u != 0).reshape(u.shape[0], -1).all(1)"),
        ("adopt",),
    ),
    Mutant("ADOPT waits for all tensors of a shape", ADVANCED, ("any_nonzero(u)", "any_nonzero(u).all()"), ("adopt",)),
    Mutant(
        "ADOPT averages before it normalises",
        ADOPT,
        (
            "mu = b1 * s.mu + on * (1 - b1) * normalised(u, on, s.count, s.nu, eps, clip)",
            "mu = normalised(b1 * s.mu + on * (1 - b1) * u, on, s.count, s.nu, eps, clip)",
        ),
        ("adopt",),
    ),
    Mutant(
        "ADOPT with torque compares the momentum with the raw gradient",
        ADOPT_TAM,
        ("torque(s.mu, n,", "torque(s.mu, u,"),
        ("adopt with torque, without eps",),
    ),
    Mutant(
        "ADOPT with torque forgets eps in its damping",
        ADOPT_TAM,
        ("(damping + eps) * n", "damping * n"),
        ("adopt with torque",),
    ),
    Mutant(
        "ADOPT with torque damps its momentum too",
        ADOPT_TAM,
        ("b1 * s.mu +", "damping * b1 * s.mu +"),
        ("adopt with torque",),
    ),
    Mutant(
        "ADOPT with torque damps its second moment",
        ADOPT_TAM,
        ("accumulated(s.nu, u,", "accumulated(s.nu, damping * u,"),
        ("adopt with torque",),
    ),
    Mutant(
        "ADOPT with torque compares with the momentum that has the gradient already",
        ADOPT_TAM,
        ("torque(s.mu, n,", "torque(b1 * s.mu + (1 - b1) * n, n,"),
        ("adopt with torque",),
    ),
    Mutant(
        "ADOPT with torque counts zeros before its first gradient",
        ADOPT_TAM,
        ("advanced(s.count, u)", "s.count + 1"),
        ("adopt with torque",),
    ),
)
