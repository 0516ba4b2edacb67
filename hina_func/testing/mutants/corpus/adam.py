"""Bugs of Adam and its relatives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....transforms.scale_by_adam import ScaleByAdamState, adam_leaf
from ..patching import Mutant

ADAM, ADATAM = "transforms.scale_by_adam.adam_leaf", "transforms.scale_by_adam.adatam_leaf"
DIVISOR = "(safe_sqrt(debiased(nu, b2, count) + eps_root) + eps)"
MOMENTS = "average(s.mu, u, b1), average(s.nu, u * u, b2)"

steps_of_all: list[int] = []


def counted_by_the_host(u: Tensor, s: ScaleByAdamState, leaf: Any, **numbers: Any) -> Any:
    """The step is a number of the process, one for all runs."""
    steps_of_all.append(1)
    return adam_leaf(u, s._replace(count=s.count * 0 + len(steps_of_all)), leaf, **numbers)


CORPUS = (
    Mutant(
        "Adam adds eps under the root",
        ADAM,
        (DIVISOR, "safe_sqrt(debiased(nu, b2, count) + eps_root + eps)"),
        ("adam",),
    ),
    Mutant("Adam has eps_root beside the root", ADAM, ("+ eps_root) + eps", ") + eps_root + eps"), ("adam",)),
    Mutant("Adam forgets eps_root", ADAM, ("debiased(nu, b2, count) + eps_root", "debiased(nu, b2, count)"), ("adam",)),
    Mutant("Adam forgets eps", ADAM, (DIVISOR, "safe_sqrt(debiased(nu, b2, count) + eps_root)"), ("adam",)),
    Mutant("Adam keeps the bias of its mean", ADAM, ("mean = debiased(mu, b1, count)", "mean = mu"), ("adam",)),
    Mutant("Adam keeps the bias of its squares", ADAM, ("debiased(nu, b2, count)", "nu"), ("adam",)),
    Mutant(
        "Adam takes the bias of its mean away twice",
        ADAM,
        ("mean = debiased(mu, b1, count)", "mean = debiased(debiased(mu, b1, count), b1, count)"),
        ("adam",),
    ),
    Mutant(
        "Adam takes the bias of its squares away with b1",
        ADAM,
        ("debiased(nu, b2, count)", "debiased(nu, b1, count)"),
        ("adam",),
    ),
    Mutant(
        "Adam debiases its squares as of the next step",
        ADAM,
        ("debiased(nu, b2, count)", "debiased(nu, b2, count + 1)"),
        ("adam",),
    ),
    Mutant(
        "Adam debiases by the step before",
        "moments.debiased",
        ("over(count, mean)", "over(count - 1, mean)"),
        ("adam",),
    ),
    Mutant(
        "Adam never counts its second step",
        ADAM,
        ("count, mu, nu = (s.count + 1,", "count, mu, nu = (0 * s.count + 1,"),
        ("adam",),
    ),
    Mutant("Adam counts twice", ADAM, ("count, mu, nu = (s.count + 1,", "count, mu, nu = (s.count + 2,"), ("adam",)),
    Mutant("Adam swaps its two rates", ADAM, (MOMENTS, "average(s.mu, u, b2), average(s.nu, u * u, b1)"), ("adam",)),
    Mutant(
        "Adam uses the squares of the step before",
        ADAM,
        ("debiased(nu, b2, count)", "debiased(s.nu, b2, count)"),
        ("adam",),
    ),
    Mutant("Adam uses the mean of the step before", ADAM, ("mean = debiased(mu,", "mean = debiased(s.mu,"), ("adam",)),
    Mutant(
        "Adam never keeps its mean",
        ADAM,
        ("ScaleByAdamState(count, mu, nu)", "ScaleByAdamState(count, s.mu, nu)"),
        ("adam",),
    ),
    Mutant(
        "Adam keeps the debiased mean",
        ADAM,
        ("ScaleByAdamState(count, mu, nu)", "ScaleByAdamState(count, debiased(mu, b1, count), nu)"),
        ("adam",),
    ),
    Mutant(
        "Adam averages sizes for squares", ADAM, ("average(s.nu, u * u, b2)", "average(s.nu, u.abs(), b2)"), ("adam",)
    ),
    Mutant(
        "Adam averages the square of the mean",
        ADAM,
        ("average(s.nu, u * u, b2)", "average(s.nu, s.mu * s.mu, b2)"),
        ("adam",),
    ),
    Mutant(
        "Adam divides by the square and not by its root",
        ADAM,
        ("safe_sqrt(debiased(nu, b2, count) + eps_root)", "(debiased(nu, b2, count) + eps_root)"),
        ("adam", "adam without eps"),
    ),
    Mutant("Adam loses the sign of its mean", ADAM, ("return (mean / (", "return (mean.abs() / ("), ("adam",)),
    Mutant(
        "Adam's mean has one norm for a whole tensor",
        ADAM,
        ("average(s.nu, u * u, b2)", "average(s.nu, (u * u).mean() + 0 * u, b2)"),
        ("adam",),
    ),
    Mutant(
        "Adam's squares are shared by tensors of a shape",
        ADAM,
        ("average(s.nu, u * u, b2)", "average(s.nu, (u * u).mean(0, keepdim=True) + 0 * u, b2)"),
        ("adam",),
    ),
    Mutant(
        "Adam writes its squares over the gradient",
        ADAM,
        ("average(s.nu, u * u, b2)", "average(s.nu, u * u + 0 * leaf.grad.neg_(), b2)"),
        ("adam",),
    ),
    Mutant(
        "Adam updates its mean in place", ADAM, ("average(s.mu, u, b1)", "s.mu.mul_(b1).add_((1 - b1) * u)"), ("adam",)
    ),
    Mutant("Adam's step is counted by the process for all runs", ADAM, counted_by_the_host, ("adam",)),
    Mutant("Averages add the new value whole", "moments.average", ("(1 - decay) * new", "new"), ("adam", "average")),
    Mutant(
        "Averages mix the other way round",
        "moments.average",
        ("decay * old + (1 - decay) * new", "(1 - decay) * old + decay * new"),
        ("biased average",),
    ),
    Mutant(
        "Averages begin with the first value and are debiased all the same",
        "moments.average",
        (
            "decay * old + (1 - decay) * new",
            "__import__('torch').where(old == 0, new, decay * old + (1 - decay) * new)",
        ),
        ("adam", "average"),
    ),
    Mutant(
        "A rate that is a tensor is not raised to the step",
        "numerics.one_minus_power",
        ("exponent * torch.log(base)", "torch.log(base)"),
        ("adam, b1 tensor",),
    ),
    Mutant(
        "Adam's eps is scaled with the bias, debiased by step or not",
        ADAM,
        (
            "safe_sqrt(nu + eps_root) + eps",
            "safe_sqrt(nu + eps_root) + eps * safe_sqrt(one_minus_power(b2, over(count, u)))",
        ),
        ("adam by step",),
    ),
    Mutant(
        "Adam debiased by step forgets the root of the bias",
        ADAM,
        ("safe_sqrt(one_minus_power(b2", "(one_minus_power(b2"),
        ("adam by step",),
    ),
    Mutant(
        "Adam debiased by step forgets eps_root", ADAM, ("safe_sqrt(nu + eps_root)", "safe_sqrt(nu)"), ("adam by step",)
    ),
    Mutant(
        "Adam debiased by step corrects for the step before",
        ADAM,
        ("/ one_minus_power(b1, over(count, u))", "/ one_minus_power(b1, over(s.count, u))"),
        ("adam by step",),
    ),
    Mutant(
        "NAdam does not correct for the step ahead",
        ADAM,
        ("debiased(mu, b1, count + 1)", "debiased(mu, b1, count)"),
        ("nadam",),
    ),
    Mutant("NAdam takes the gradient with its bias", ADAM, ("debiased(u, b1, count)", "u"), ("nadam",)),
    Mutant(
        "NAdam mixes with a rate of its own",
        ADAM,
        ("debiased(u, b1, count), b1)", "debiased(u, b1, count), 0.9)"),
        ("nadam",),
    ),
    Mutant(
        "NAdam debiased by step does not look ahead",
        ADAM,
        ("ahead = average(mu, u, b1)", "ahead = average(s.mu, u, b1)"),
        ("nadam by step",),
    ),
    Mutant(
        "AdaTAM compares the gradient with the momentum that has it already",
        ADATAM,
        ("torque(s.mu,", "torque(average(s.mu, u, b1),"),
        ("adatam",),
    ),
    Mutant(
        "AdaTAM damps the squares too",
        ADATAM,
        ("average(s.nu, u * u, b2)", "average(s.nu, (damping * u) ** 2, b2)"),
        ("adatam",),
    ),
    Mutant(
        "AdaTAM damps the momentum and not the gradient",
        ADATAM,
        ("average(s.mu, (damping + eps) * u, b1)", "damping * average(s.mu, u, b1)"),
        ("adatam",),
    ),
    Mutant("AdaTAM forgets eps in its damping", ADATAM, ("(damping + eps)", "damping"), ("adatam",)),
    Mutant("AdaTAM keeps the bias of its mean", ADATAM, ("debiased(mu, b1, count)", "mu"), ("adatam",)),
    Mutant("AdaTAM keeps the bias of its squares", ADATAM, ("debiased(nu, b2, count)", "nu"), ("adatam",)),
    Mutant("AdaTAM never keeps its alignment", ADATAM, ("mu, nu, alignment)", "mu, nu, s.alignment)"), ("adatam",)),
    Mutant(
        "Torque takes in more of a gradient that points against the momentum",
        "moments.torque",
        ("(1 + smoothed) / 2", "(1 - smoothed) / 2"),
        ("adatam", "momentum with torque"),
    ),
    Mutant(
        "Torque forgets to halve", "moments.torque", ("(1 + smoothed) / 2", "1 + smoothed"), ("momentum with torque",)
    ),
    Mutant(
        "Torque smooths the other way round",
        "moments.torque",
        ("average(over(alignment, cosine), cosine, decay)", "average(cosine, over(alignment, cosine), decay)"),
        ("momentum with torque",),
    ),
    Mutant(
        "Torque divides by one of two norms",
        "moments.torque",
        ("size * scale", "size"),
        ("momentum with torque",),
    ),
    Mutant(
        "Torque is not smoothed",
        "moments.torque",
        ("average(over(alignment, cosine), cosine, decay)", "cosine"),
        ("momentum with torque",),
    ),
    Mutant(
        "Torque adds one to the norms",
        "moments.torque",
        ("size * scale", "(size * scale + 1)"),
        ("momentum with torque",),
    ),
)
