"""Adapter modules: trained ones, and fresh ones as each library initialises them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import hypothesis.strategies as st

from ..subjects import Values
from .gradients import SMALLEST, nonzero, tensors

sides = st.sampled_from([2, 1, 3])


@st.composite
def lora_modules(draw: st.DrawFn, fresh: bool = False, key: str = "q") -> Values:
    """The factors of a LoRA of a linear layer under PEFT's names; of a fresh one B is zero."""
    rank, out, into = draw(sides), draw(sides), draw(sides)
    b = st.just(0.0) if fresh else nonzero
    return {
        f"{key}.lora_A.weight": draw(tensors((rank, into), nonzero)),
        f"{key}.lora_B.weight": draw(tensors((out, rank), b)),
    }


@st.composite
def lokr_modules(draw: st.DrawFn, fresh: bool = False, key: str = "m") -> Values:
    """The factors of a LoKr under LyCORIS' names; of a fresh one the last factor of w2 is zero."""
    out, into, rows, columns, rank = (draw(sides) for _ in range(5))
    last = st.just(0.0) if fresh else nonzero
    w1 = {f"{key}.lokr_w1": draw(tensors((out, into), nonzero))}
    if draw(st.booleans()):
        return w1 | {f"{key}.lokr_w2": draw(tensors((rows, columns), last))}
    return w1 | {
        f"{key}.lokr_w2_a": draw(tensors((rows, rank), nonzero)),
        f"{key}.lokr_w2_b": draw(tensors((rank, columns), last)),
    }


class Start(NamedTuple):
    """What a library gives a factor to begin with: its dimensions, by letters and numbers, and how it is filled."""

    dims: str
    fill: str = "kaiming"


_ZERO, _NORMAL = "zero", "normal"
_UP = Start("o r", _ZERO)
_W1, _W2 = Start("a b"), Start("c d")
_SPLIT_W1 = {"lokr_w1_a": Start("a r"), "lokr_w1_b": Start("r b")}
_SPLIT_W2 = {"lokr_w2_a": Start("c r"), "lokr_w2_b": Start("r d", _ZERO)}


def _named(key: str, factors: Mapping[str, Start], tail: str = "") -> dict[str, Start]:
    return {f"{key}.{factor}{tail}": start for factor, start in factors.items()}


def _peft(factors: Mapping[str, Start], tail: str = ".default") -> dict[str, Start]:
    return _named("base_model.model.q", factors, tail)


INITIALISATIONS: Mapping[str, Mapping[str, Start]] = {
    "peft lora": _peft({"lora_A": Start("r i"), "lora_B": _UP}, ".default.weight"),
    "peft lora gaussian": _peft({"lora_A": Start("r i", _NORMAL), "lora_B": _UP}, ".default.weight"),
    "peft lora random": _peft({"lora_A": Start("r i"), "lora_B": Start("o r")}, ".default.weight"),
    "peft lora embedding": _peft({"lora_embedding_A": Start("r i", _ZERO), "lora_embedding_B": Start("o r", _NORMAL)}),
    "peft lora convolution": _peft({"lora_A": Start("r i 2 2"), "lora_B": Start("o r 1 1", _ZERO)}, ".default.weight"),
    "peft lokr": _peft({"lokr_w1": Start("a b", _ZERO), "lokr_w2": _W2}),
    "peft lokr factored": _peft(
        {
            "lokr_w1_a": Start("a r", _ZERO),
            "lokr_w1_b": Start("r b"),
            "lokr_w2_a": Start("c r"),
            "lokr_w2_b": Start("r d"),
        }
    ),
    "peft lokr in LyCORIS' way": _peft({"lokr_w1": _W1, **_SPLIT_W2}),
    "kohya lora": _named("lora_unet_q", {"lora_down": Start("r i"), "lora_up": _UP}, ".weight"),
    "kohya lora convolution": _named(
        "lora_unet_q", {"lora_down": Start("r i 2 2"), "lora_up": Start("o r 1 1", _ZERO)}, ".weight"
    ),
    "kohya lora of a fused projection": _named(
        "lora_unet_qkv",
        {f"{side}.{k}": start for k in (0, 1) for side, start in (("lora_down", Start("r i")), ("lora_up", _UP))},
        ".weight",
    ),
    "kohya lokr": _named("lora_unet_q", {"lokr_w1": _W1, **_SPLIT_W2}),
    "kohya dylora": _named(
        "lora_unet_q",
        {
            f"{side}.{k}": start
            for side, start in (("lora_A", Start("1 i")), ("lora_B", Start("o 1", _ZERO)))
            for k in (0, 1)
        },
    ),
    "lycoris locon": _named("lycoris_q", {"lora_down": Start("r i"), "lora_up": _UP}, ".weight"),
    "lycoris lokr": _named("lycoris_q", {"lokr_w1": _W1, "lokr_w2": Start("c d", _ZERO)}),
    "lycoris lokr factored": _named("lycoris_q", {"lokr_w1": _W1, **_SPLIT_W2}),
    "lycoris lokr decompose_both": _named("lycoris_q", {**_SPLIT_W1, **_SPLIT_W2}),
    "lycoris lokr convolution": _named("lycoris_q", {"lokr_w1": _W1, "lokr_w2": Start("c d 2 2", _ZERO)}),
    "lycoris lokr tucker": _named(
        "lycoris_q",
        {"lokr_w1": _W1, "lokr_t2": Start("r r 2 2"), "lokr_w2_a": Start("r c"), "lokr_w2_b": Start("r d", _ZERO)},
    ),
    "lycoris lokr use_scalar": _named("lycoris_q", {"lokr_w1": _W1, "lokr_w2": _W2, "scalar": Start("", _ZERO)}),
    "lycoris norm": _named("lycoris_norm", {"w_norm": Start("o", _ZERO), "b_norm": Start("o", _ZERO)}),
    "loralib lora": _named("q", {"lora_A": Start("r i"), "lora_B": _UP}),
    "loralib lora embedding": _named("q", {"lora_A": Start("r i", _ZERO), "lora_B": Start("o r", _NORMAL)}),
    "torchtune lora": _named("q", {"lora_a": Start("r i"), "lora_b": _UP}, ".weight"),
}
"""Library and method -> name of each tensor of a fresh module -> how it begins."""


libraries = st.sampled_from(list(INITIALISATIONS))


@st.composite
def fresh_modules(draw: st.DrawFn, of: st.SearchStrategy[str] = libraries) -> Values:
    """A module as a library makes it: its names, the factor that is zero, the others of the size it gives them.

    Args:
        draw: hypothesis'.
        of: keys of `INITIALISATIONS`.
    """
    starts = INITIALISATIONS[draw(of)]
    letters = sorted({side for start in starts.values() for side in start.dims.split() if side.isalpha()})
    size = {letter: draw(sides) for letter in letters}
    module = {}
    for name, (dims, fill) in starts.items():
        shape = tuple(size[side] if side.isalpha() else int(side) for side in dims.split())
        if fill == _ZERO:
            module[name] = draw(tensors(shape, st.just(0.0)))
        else:
            bound = 1.0 if fill == _NORMAL else 1 / math.sqrt(math.prod(shape[1:]))
            module[name] = bound * draw(tensors(shape, _UNIT))
    return module


_UNIT = st.sampled_from([0.5, -0.5, 1.0, -1.0]) | st.floats(-1, 1, width=32).filter(lambda x: abs(x) > SMALLEST)
"""Inside the bound of a uniform distribution; one deviation of a normal one."""


_WEIGHTS = {"weight": (2, 3), "head.weight": (2, 3), "bias": (2,), "gain": (), "one": (1,)}


@st.composite
def models(draw: st.DrawFn, max_modules: int = 2) -> Values:
    """Weights under everyday names and adapters under their libraries', trained or fresh; a second of a kind at times.

    Args:
        draw: hypothesis'.
        max_modules: the most adapter modules, a second of a kind not counted.
    """
    weights = draw(st.lists(st.sampled_from(list(_WEIGHTS)), min_size=1, max_size=3, unique=True))
    model = {name: draw(tensors(_WEIGHTS[name])) for name in weights}
    for module in draw(st.lists(st.one_of(fresh_modules(), lora_modules(), lokr_modules()), max_size=max_modules)):
        model |= module
        if draw(st.booleans()):
            model |= {f"blocks.1.{name}": 2 * x for name, x in module.items()}
    return model
