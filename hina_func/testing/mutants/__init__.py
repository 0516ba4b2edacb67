"""Realistic bugs of optimizers, planted in this library's own formulas, and a score: which laws find which."""

from __future__ import annotations

from .corpus import CORPUS
from .exhibits import EXHIBITS, Exhibit
from .patching import Mutant
from .scoring import Kill, Score, score

__all__ = ["CORPUS", "EXHIBITS", "Exhibit", "Kill", "Mutant", "Score", "score"]
