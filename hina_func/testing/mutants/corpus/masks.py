"""Bugs of masks and projections."""

from __future__ import annotations

from ..patching import Mutant

CAUTIOUS, GRAMS = (f"transforms.mask.{name}_leaf" for name in ("cautious", "grams"))
ORTHOGONAL, CENTRALIZE = (f"transforms.project.{name}_leaf" for name in ("orthogonal", "centralize"))
RESCALED = "rest * torch.where(is_direction, size / torch.where(is_direction, rest_size, 1), 0)"
AGREE = "u * leaf.grad > 0"

CORPUS = (
    Mutant("The cautious mask compares the update with itself", CAUTIOUS, (AGREE, "u * u > 0"), ("cautious",)),
    Mutant("The cautious mask keeps what disagrees", CAUTIOUS, (AGREE, "u * leaf.grad < 0"), ("cautious",)),
    Mutant(
        "The cautious mask keeps elements without a gradient", CAUTIOUS, (AGREE, "u * leaf.grad >= 0"), ("cautious",)
    ),
    Mutant("The cautious mask wants more than agreement", CAUTIOUS, (AGREE, "u * leaf.grad > 1"), ("cautious",)),
    Mutant(
        "The cautious mask compares elements with their neighbours",
        CAUTIOUS,
        (AGREE, "u * leaf.grad.flip(-1) > 0"),
        ("cautious",),
    ),
    Mutant("The cautious mask is not rescaled", CAUTIOUS, ("u * agree * boost", "u * agree"), ("cautious",)),
    Mutant(
        "The cautious mask is scaled down and not up",
        CAUTIOUS,
        ("u * agree * boost", "u * agree / boost"),
        ("cautious",),
    ),
    Mutant(
        "The cautious mask is rescaled over all tensors of a shape",
        CAUTIOUS,
        ("total(agree) / n", "agree.mean()"),
        ("cautious",),
    ),
    Mutant(
        "The cautious mask takes a root of the share",
        CAUTIOUS,
        ("total(agree) / n", "(total(agree) / n).sqrt()"),
        ("cautious",),
    ),
    Mutant("The cautious mask loses signs", CAUTIOUS, ("u * agree * boost", "u.abs() * agree * boost"), ("cautious",)),
    Mutant("The cautious mask divides by no survivors", CAUTIOUS, (".clamp_min(0.001)", ""), ("cautious",)),
    Mutant(
        "The cautious mask by count counts one less",
        CAUTIOUS,
        ("total(agree) + 1", "total(agree)"),
        ("cautious, by count",),
    ),
    Mutant(
        "The cautious mask has no bound",
        CAUTIOUS,
        ("torch.where(boost < max_scale, boost, max_scale)", "boost"),
        ("cautious, bounded",),
    ),
    Mutant(
        "The cautious mask rescales when told not to",
        CAUTIOUS,
        ("return (u * agree, s)", "return (u * agree * row_numel(u) / total(agree).clamp_min(1), s)"),
        ("cautious, unscaled",),
    ),
    Mutant("Grams takes the sign of the update", GRAMS, ("sign(leaf.grad)", "sign(u)"), ("grams",)),
    Mutant(
        "Grams moves elements without a gradient",
        GRAMS,
        ("sign(leaf.grad)", "torch.where(leaf.grad < 0, -1.0, 1.0)"),
        ("grams",),
    ),
    Mutant("Grams keeps the sign of the update beside the gradient's", GRAMS, ("u.abs() *", "u *"), ("grams",)),
    Mutant("Grams goes the other way", GRAMS, ("u.abs() *", "-u.abs() *"), ("grams",)),
    Mutant(
        "Grams takes sizes from the gradient and signs from the update",
        GRAMS,
        ("u.abs() * sign(leaf.grad)", "leaf.grad.abs() * torch.sign(u)"),
        ("grams",),
    ),
    Mutant(
        "Grams drops where it should reflect",
        GRAMS,
        ("u.abs() * sign(leaf.grad)", "u * (u * leaf.grad > 0)"),
        ("grams",),
    ),
    Mutant(
        "A sign makes zeros of NaN",
        "numerics.sign",
        ("torch.maximum(x.sign(), x.clamp_max(-2))", "torch.sign(x)"),
        ("grams", "lion"),
    ),
    Mutant("The projection is not brought back to size", ORTHOGONAL, (RESCALED, "rest"), ("orthogonal",)),
    Mutant(
        "The projection adds the component along the parameter",
        ORTHOGONAL,
        ("u - safe_divide", "u + safe_divide"),
        ("orthogonal",),
    ),
    Mutant(
        "The projection keeps the component along the parameter alone",
        ORTHOGONAL,
        ("u - safe_divide", "0 * u + safe_divide"),
        ("orthogonal",),
    ),
    Mutant(
        "The projection takes away half of the component",
        ORTHOGONAL,
        ("u - safe_divide", "u - 0.5 * safe_divide"),
        ("orthogonal",),
    ),
    Mutant(
        "The projection divides by a norm and not by its square",
        ORTHOGONAL,
        ("dot(leaf.param, leaf.param)", "norm(leaf.param)"),
        ("orthogonal",),
    ),
    Mutant(
        "The projection multiplies with sizes of the parameter",
        ORTHOGONAL,
        ("dot(leaf.param, u)", "dot(leaf.param.abs(), u)"),
        ("orthogonal",),
    ),
    Mutant(
        "The projection mixes tensors of a shape",
        ORTHOGONAL,
        ("dot(leaf.param, u)", "dot(leaf.param, u).sum()"),
        ("orthogonal",),
    ),
    Mutant(
        "The projection blows rounding noise up to size",
        ORTHOGONAL,
        ("rest_size > PARALLEL * torch.finfo(u.dtype).eps * size", "rest_size > 0"),
        ("orthogonal",),
    ),
    Mutant(
        "The projection divides by a parameter of zero",
        ORTHOGONAL,
        (
            "safe_divide(dot(leaf.param, u), dot(leaf.param, leaf.param))",
            "dot(leaf.param, u) / dot(leaf.param, leaf.param)",
        ),
        ("orthogonal",),
    ),
    Mutant(
        "The projection takes everything from a single element",
        ORTHOGONAL,
        ("row_numel(u) == 1", "False"),
        ("orthogonal, one element",),
    ),
    Mutant(
        "Centralizing takes the mean of the whole tensor",
        CENTRALIZE,
        ("range(2, u.ndim)", "range(1, u.ndim)"),
        ("centralize",),
    ),
    Mutant("Centralizing takes the mean of columns", CENTRALIZE, ("tuple(range(2, u.ndim))", "1"), ("centralize",)),
    Mutant("Centralizing takes half of the mean", CENTRALIZE, ("u - u.mean(", "u - 0.5 * u.mean("), ("centralize",)),
    Mutant(
        "Centralizing takes vectors for rows",
        CENTRALIZE,
        ("return (u, s)", "return (u - u.mean(-1, keepdim=True), s)"),
        ("centralize",),
    ),
    Mutant(
        "Centralizing in an optimizer sees flat tensors",
        "transforms.project.centralize",
        ("reads_shape=True", "reads_shape=False"),
        ("centralized sgd",),
    ),
)
