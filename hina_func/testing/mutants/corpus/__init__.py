"""The corpus: realistic bugs, by family."""

from __future__ import annotations

from . import adam, adapters, gradients, machinery, masks, momentum, parameters

CORPUS = (
    *adam.CORPUS,
    *momentum.CORPUS,
    *gradients.CORPUS,
    *masks.CORPUS,
    *parameters.CORPUS,
    *adapters.CORPUS,
    *machinery.CORPUS,
)
"""Bugs of this library's own formulas, as optimizers have had them."""
