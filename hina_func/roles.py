"""Parameter names: which adapter, which factor of it, which module.

The name of an adapter's tensor reads ``module.marker.tail``: the path of the adapted module, a component that says
which factor this is (``lora_A``, ``lokr_w1``, ``w_norm``, ...), and what the library puts behind it (``weight``, the
adapter's name, an index). The tables below list, library by library, every marker with the tails it may have.

Two rules make the reading exact. Components are compared whole, never searched, so ``flora_block``, ``lora_alpha`` and
``attn_sub_norm`` are ordinary names. And the leftmost marker with a fitting tail decides, because users name their
adapters, behind the marker, and an adapter may well be called ``lora_b``.

In the tables ``<adapter>`` is one component of any text, ``<pair>`` a number, and ``...`` anything that may follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

LORA_ROLES = ("lora_a", "lora_b")
FACTOR_ROLES = ("lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
LOKR_ROLES = (*FACTOR_ROLES, "lokr_generic")
NORM_ROLES = ("w_norm", "b_norm")
ADAPTER_ROLES = (*LORA_ROLES, *LOKR_ROLES, *NORM_ROLES)
ROLES = (*ADAPTER_ROLES, "regular")
KINDS = {**dict.fromkeys(LORA_ROLES, "lora"), **dict.fromkeys(LOKR_ROLES, "lokr"), **dict.fromkeys(NORM_ROLES, "norm")}
"""Role -> kind of adapter; "regular" has none."""

_LYCORIS_AND_KOHYA = {
    "lora_down.weight": "lora_a",
    "lora_up.weight": "lora_b",
    "lora_down.<pair>.weight": "lora_a",  # a fused projection (qkv) with one pair for each of its parts
    "lora_up.<pair>.weight": "lora_b",
    "down_list.<pair>": "lora_a",  # DyLoRA of LyCORIS: one pair for each block of ranks
    "up_list.<pair>": "lora_b",
    "lora_A.<pair>": "lora_a",  # DyLoRA of kohya: one pair for each rank
    "lora_B.<pair>": "lora_b",
    **{factor: factor for factor in FACTOR_ROLES},
    "lokr_t1": "lokr_generic",
    "w_norm": "w_norm",
    "b_norm": "b_norm",
    "lora_mid.weight": "regular",
    **dict.fromkeys(("dora_scale", "scalar", "oft_blocks", "rescale", "lambda_layer"), "regular"),
    **dict.fromkeys(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"), "regular"),
}
_LORALIB_AND_TORCHTUNE = {
    "lora_A": "lora_a",
    "lora_B": "lora_b",
    "lora_a.weight": "lora_a",
    "lora_b.weight": "lora_b",
    "magnitude": "regular",
}
_HAND_WRITTEN = {
    **{f"lora_{side}.weight": f"lora_{side.lower()}" for side in "AB"},
    **{f"lora_{side}.bias": "regular" for side in "ABab"},
    **{f"lora_{side}": f"lora_{side}" for side in "ab"},
    **{f"{factor}.weight": factor for factor in (*FACTOR_ROLES, *NORM_ROLES)},
    **{factor.replace("lokr_", "lokr."): factor for factor in FACTOR_ROLES},
    **{factor.replace("lokr_", "lokr.") + ".weight": factor for factor in FACTOR_ROLES},
}
_PEFT = {
    "lora_A.<adapter>.weight": "lora_a",
    "lora_B.<adapter>.weight": "lora_b",
    "lora_B.<adapter>.bias": "regular",
    "lora_A.<adapter>": "lora_a",  # AdaLoRA
    "lora_B.<adapter>": "lora_b",
    "lora_embedding_A.<adapter>": "lora_a",
    "lora_embedding_B.<adapter>": "lora_b",
    **{f"{factor}.<adapter>": factor for factor in FACTOR_ROLES},
}
# What PEFT keeps for an adapted module beside, or instead of, plain factors; one line for each method.
_PEFT_REGULAR = """
    lora_magnitude_vector lora_diag lora_monteclora_sampler lora_E ranknum
    adamss_A adamss_B
    beft_bias
    boft_R boft_s
    bone_block miss_block
    c3a_kernel
    deft_P deft_R
    delora_A delora_B delora_lambda
    fourierft_spectrum waveft_spectrum
    frod_lambda_l frod_lambda_s_values
    glora_A glora_B glora_C glora_D glora_E
    gralora_A gralora_B gralora_A_general gralora_B_general
    hada_w1_a hada_w1_b hada_w2_a hada_w2_b hada_t1 hada_t2
    hira_A hira_B hira_embedding_A hira_embedding_B
    hra_u
    ia3_l
    lily_A lily_router
    ln_tuning_layers
    oft_R oft_r oft_embedding_R
    osf_svd_params
    peanut_A peanut_B peanut_encoders peanut_decoders
    poly_lora_A poly_lora_B poly_router
    psoft_R
    randlora_lambda randlora_gamma
    road_theta road_alpha
    shadow_down shadow_up shadow_update_transform shadow_update_gate
    shira_weight
    supertuning_values supertuning_lora_A supertuning_lora_B
    trainable_tokens_delta
    vblora_logits_A vblora_logits_B
    vera_lambda_b vera_lambda_d pvera_lambda_b pvera_lambda_d
"""
# What many modules of PEFT share, or what is a copy of a whole module.
_PEFT_SHARED = "lily_B tinylora_v unilora_theta_d vblora_vector_bank modules_to_save"
_PEFT |= {f"{marker}.<adapter>...": "regular" for marker in _PEFT_REGULAR.split()}
_PEFT |= {f"{marker}.<adapter>...": "shared" for marker in _PEFT_SHARED.split()}

# Read when no marker fits: LyCORIS methods whose tensors have everyday names (full, IA3, GLoRA, T-LoRA), known by the
# flattened module name in front of them, and tensors of a LoKr that follow no naming above.
_FLATTENED = r"(?P<module>(?:.+\.)?(?:lycoris_|lora_unet_|lora_te\d?_|lora_(?:[^.]*_)?\d+_)[^.]+)"
_WHOLE_NAMES = {
    rf"{_FLATTENED}\.(?:weight|bias|(?:(?P<pair>[ab])[12m]|[pq]_layer)\.weight)": "regular",
    r"(?:(?P<module>.+)\.)?lokr\.[^.]+": "lokr_generic",
}
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_HOLES = {
    # PEFT calls the layer it wraps base_layer: X.lora_A.base_layer.weight belongs to a base module named lora_A.
    "<adapter>": r"(?P<adapter>(?!base_layer\.)[^.]+)",
    "<pair>": r"(?P<pair>[0-9]+)",
    re.escape("..."): r"(?:\..+)?",
}


class ParsedName(NamedTuple):
    """What a name says. ``module``: key of the adapted module, if any; ``pair``: index where it holds several pairs."""

    role: str
    module: str | None
    pair: str | None


class _Rule(NamedTuple):
    tail: re.Pattern[str]
    role: str


def _rules(*tables: Mapping[str, str]) -> dict[str, list[_Rule]]:
    """Marker -> its rules, those of the first table first."""
    rules: dict[str, list[_Rule]] = {}
    for form, role in (row for table in tables for row in table.items()):
        marker, _, tail = form.partition(".")
        pattern = re.escape(tail)
        for hole, meaning in _HOLES.items():
            pattern = pattern.replace(hole, meaning)
        rules.setdefault(marker, []).append(_Rule(re.compile(pattern), role))
    return rules


_PLAIN = (_LYCORIS_AND_KOHYA, _LORALIB_AND_TORCHTUNE, _HAND_WRITTEN)
_ANYWHERE = _rules(*_PLAIN, _PEFT)
# Under the root that PEFT gives its models, an adapter's name may also be a number, "weight" or "bias".
_UNDER_PEFT = _rules(_PEFT, *_PLAIN)
_LAST = [_Rule(re.compile(pattern), role) for pattern, role in _WHOLE_NAMES.items()]


def unwrapped(name: str) -> list[str]:
    """Path components without those that torch.compile, FSDP, checkpointing and (in front) DataParallel put in."""
    path = [component for component in name.split(".") if component not in _WRAPPERS]
    while len(path) > 1 and path[0] == "module":
        del path[0]
    return path


def _parse(name: str) -> ParsedName:
    path = unwrapped(name)
    rules = _UNDER_PEFT if path[:2] == ["base_model", "model"] else _ANYWHERE
    for i, component in enumerate(path):
        for rule in rules.get(component, ()):
            if found := rule.tail.fullmatch(".".join(path[i + 1 :])):
                if rule.role == "shared":
                    return ParsedName("regular", None, None)
                said = found.groupdict()
                module = ".".join(path[:i])
                # Two adapters of one module are two modules.
                key = f"{module}|{said['adapter']}" if "adapter" in said else module
                return ParsedName(rule.role, key, said.get("pair"))
    for rule in _LAST:
        if found := rule.tail.fullmatch(".".join(path)):
            said = found.groupdict(default="")
            return ParsedName(rule.role, said["module"], said.get("pair") or None)
    return ParsedName("regular", None, None)


def name_parser(extra_patterns: Sequence[tuple[str, str]] = ()) -> Callable[[str], ParsedName]:
    r"""`parse_name` for many names, its extra patterns checked and compiled once.

    Args:
        extra_patterns: as for `parse_name`.

    Raises:
        ValueError: as `parse_name`.

    >>> parse = name_parser([(r"\.squeeze$", "lora_a"), (r"\.expand$", "lora_b")])
    >>> parse("mlp.squeeze").module == parse("mlp.expand").module
    True
    """
    own: list[_Rule] = []
    for pattern, role in extra_patterns:
        if role not in ROLES:
            raise ValueError(f"extra_patterns: role must be one of {', '.join(ROLES)}; got {role!r} for {pattern!r}")
        try:
            own.append(_Rule(re.compile(pattern), role))
        except re.error as error:
            raise ValueError(f"extra_patterns: {pattern!r} is not a regular expression: {error}") from error

    def parse(name: str) -> ParsedName:
        for rule in own:
            if found := rule.tail.search(name):
                said = found.groupdict()
                module = said.get("module")
                if module is None and rule.role != "regular":
                    module = name[: found.start()].strip(".")
                key = None if module is None else ".".join(unwrapped(module))
                return ParsedName(rule.role, key, said.get("pair"))
        return _parse(name)

    return parse


def parse_name(name: str, extra_patterns: Sequence[tuple[str, str]] = ()) -> ParsedName:
    """Role, module key and pair index of the parameter called ``name``.

    Knows the names of LyCORIS, kohya's sd-scripts, PEFT, loralib and torchtune, also inside the wrappers of torch;
    every other name is ``regular``. A tensor that belongs to an adapted module without being one of its factors (a DoRA
    scale, a bias) is ``regular`` too, and keeps its module. Of module keys only equality matters.

    Args:
        name: a name as ``named_parameters()`` gives it.
        extra_patterns: pairs (regular expression, role), searched in the whole name before everything else. A group
            called ``module`` is the module key, without one the text before the match is; a group called ``pair`` is
            the index of the pair.

    Raises:
        ValueError: if a role is unknown or an expression is malformed.

    >>> parse_name("lora_unet_mid_block_proj_in.lora_down.weight")
    ParsedName(role='lora_a', module='lora_unet_mid_block_proj_in', pair=None)
    >>> parse_name("base_model.model.q_proj.lora_B.lora_a.weight")
    ParsedName(role='lora_b', module='base_model.model.q_proj|lora_a', pair=None)
    >>> parse_name("_orig_mod.blocks.0.flora_block.weight").role
    'regular'

    Source: the names that the libraries themselves give to their parameters.
    """
    return name_parser(extra_patterns)(name)
