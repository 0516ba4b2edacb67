"""Every name that a library gives is read exactly, and nothing else is taken for an adapter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from hina_func.roles import FACTOR_ROLES, ROLES, ParsedName, name_parser, parse_name

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "adapter_names.json").read_text("utf-8"))
NAMES = sorted({parameter["name"] for case in CASES for parameter in case["params"]})
quick = settings(deadline=None, max_examples=200)


def same_partition(pairs: Sequence[tuple[object, object]]) -> bool:
    """Whether two labels of the same things divide them in the same way."""
    return len(set(pairs)) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def misread(case: dict[str, Any]) -> list[str]:
    """The parameters of a case whose role, base membership or pair index is wrong."""
    wrong = []
    for parameter in case["params"]:
        read = parse_name(parameter["name"])
        in_base = parameter["group"] is None
        if (read.role, read.module is None, read.pair) != (parameter["role"], in_base, parameter.get("pair")):
            wrong.append(f"{parameter['name']} is {parameter['role']}, read as {read}")
    return wrong


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_names_of_a_real_network_give_their_roles_modules_and_pairs(case: dict[str, Any]) -> None:
    assert misread(case) == []
    assert same_partition([(parameter["group"], parse_name(parameter["name"]).module) for parameter in case["params"]])


def test_no_real_name_is_misread() -> None:
    misses = [miss for case in CASES for miss in misread(case)]
    parameters = sum(len(case["params"]) for case in CASES)
    print(f"{len(CASES)} networks, {parameters} parameters, {len(misses)} misread")
    assert (len(CASES), parameters, misses) == (122, 7475, [])


# name, role, module key, pair
READINGS = [
    # LyCORIS and kohya: the module's path is flattened into one component.
    ("lycoris_mid_q.lora_down.weight", "lora_a", "lycoris_mid_q", None),
    ("lycoris_mid_q.lora_up.weight", "lora_b", "lycoris_mid_q", None),
    ("lora_unet_conv.lora_mid.weight", "regular", "lora_unet_conv", None),
    ("lora_te3_encoder_block_0.lora_down.weight", "lora_a", "lora_te3_encoder_block_0", None),
    ("lora_unet_single_blocks_0_linear1.lora_down.3.weight", "lora_a", "lora_unet_single_blocks_0_linear1", "3"),
    ("lora_unet_single_blocks_0_linear1.lora_up.0.weight", "lora_b", "lora_unet_single_blocks_0_linear1", "0"),
    ("lora_te_layers_0_q_proj.lora_A.11", "lora_a", "lora_te_layers_0_q_proj", "11"),
    ("lora_te_layers_0_q_proj.lora_B.0", "lora_b", "lora_te_layers_0_q_proj", "0"),
    ("lycoris_q.down_list.2", "lora_a", "lycoris_q", "2"),
    ("lycoris_q.up_list.2", "lora_b", "lycoris_q", "2"),
    *((f"lora_unet_mid_q_a.{factor}", factor, "lora_unet_mid_q_a", None) for factor in FACTOR_ROLES),
    ("lycoris_q.lokr_t1", "lokr_generic", "lycoris_q", None),
    *(
        (f"lycoris_q.{part}", "regular", "lycoris_q", None)
        for part in ("dora_scale", "scalar", "oft_blocks", "rescale")
    ),
    *(
        (f"lycoris_q.hada_{part}", "regular", "lycoris_q", None)
        for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")
    ),
    *((f"lycoris_q.{part}.weight", "regular", "lycoris_q", part[0]) for part in ("a1", "a2", "b1", "b2", "bm")),
    *((f"lycoris_q.{part}", "regular", "lycoris_q", None) for part in ("weight", "bias", "lambda_layer")),
    *((f"lycoris_q.{part}.weight", "regular", "lycoris_q", None) for part in ("q_layer", "p_layer")),
    ("lora_te2_q.bias", "regular", "lora_te2_q", None),
    ("q.parametrizations.weight.0.lokr_w1", "lokr_w1", "q.parametrizations.weight.0", None),
    ("q.parametrizations.weight.original", "regular", None, None),
    ("style.lycoris_q.lokr_w2_b", "lokr_w2_b", "style.lycoris_q", None),
    ("lokr.lokr_w1", "lokr_w1", "lokr", None),
    # Module names of LyCORIS begin with a prefix of the user's choice.
    ("lora_blocks_0_norm1.w_norm", "w_norm", "lora_blocks_0_norm1", None),
    ("lora_blocks_0_q_proj.weight", "regular", "lora_blocks_0_q_proj", None),
    ("lora_adapter_proj.lora_up.weight", "lora_b", "lora_adapter_proj", None),
    ("lokr_proj.lora_down.weight", "lora_a", "lokr_proj", None),
    ("w_norm_blocks_0_norm1.b_norm", "b_norm", "w_norm_blocks_0_norm1", None),
    ("lora_A_q.lokr_w2", "lokr_w2", "lora_A_q", None),
    # A module that is itself the root.
    ("lora_down.weight", "lora_a", "", None),
    ("lokr_w2_a", "lokr_w2_a", "", None),
    ("w_norm", "w_norm", "", None),
    ("lora_B", "lora_b", "", None),
    ("dora_scale", "regular", "", None),
    ("weight", "regular", None, None),
    # PEFT: the adapter's name stands behind the marker, and every adapter is a module of its own.
    ("base_model.model.q.lora_A.default.weight", "lora_a", "base_model.model.q|default", None),
    ("base_model.model.q.lora_B.default.weight", "lora_b", "base_model.model.q|default", None),
    ("base_model.model.q.lora_B.default.bias", "regular", "base_model.model.q|default", None),
    ("model.layers.0.q.lora_B.style-lora_b.weight", "lora_b", "model.layers.0.q|style-lora_b", None),
    ("base_model.model.q.lora_magnitude_vector.default.weight", "regular", "base_model.model.q|default", None),
    ("base_model.model.q.lora_diag.default", "regular", "base_model.model.q|default", None),
    ("base_model.model.emb.lora_embedding_A.default", "lora_a", "base_model.model.emb|default", None),
    ("base_model.model.emb.lora_embedding_B.default", "lora_b", "base_model.model.emb|default", None),
    ("base_model.model.q.lora_A.default", "lora_a", "base_model.model.q|default", None),
    ("base_model.model.q.lora_E.default", "regular", "base_model.model.q|default", None),
    ("base_model.model.q.ranknum.default", "regular", "base_model.model.q|default", None),
    *((f"base_model.model.q.{factor}.default", factor, "base_model.model.q|default", None) for factor in FACTOR_ROLES),
    ("base_model.model.experts.base_layer.lora_A.x.weight", "lora_a", "base_model.model.experts.base_layer|x", None),
    ("base_model.model.experts.lora_A.x.weight", "lora_a", "base_model.model.experts|x", None),
    ("base_model.model.q.base_layer.weight", "regular", None, None),
    ("base_model.model.cls.modules_to_save.default.weight", "regular", None, None),
    (
        "base_model.model.e.token_adapter.trainable_tokens_delta.x",
        "regular",
        "base_model.model.e.token_adapter|x",
        None,
    ),
    # PEFT: an adapter may be called like a factor, or like an attribute of a layer.
    ("base_model.model.q.lora_B.lora_a.weight", "lora_b", "base_model.model.q|lora_a", None),
    ("base_model.model.q.lora_A.lokr_w1.weight", "lora_a", "base_model.model.q|lokr_w1", None),
    ("base_model.model.q.lora_A.weight.weight", "lora_a", "base_model.model.q|weight", None),
    ("base_model.model.q.lora_B.bias.weight", "lora_b", "base_model.model.q|bias", None),
    ("base_model.model.q.lora_B.weight.bias", "regular", "base_model.model.q|weight", None),
    ("base_model.model.q.lora_B.7.weight", "lora_b", "base_model.model.q|7", None),
    ("base_model.model.q.lora_A.7", "lora_a", "base_model.model.q|7", None),
    ("base_model.model.q.lora_A.bias", "lora_a", "base_model.model.q|bias", None),
    ("base_model.model.q.lokr_w2_a.lokr_w1", "lokr_w2_a", "base_model.model.q|lokr_w1", None),
    ("base_model.model.q.lokr_w1.weight", "lokr_w1", "base_model.model.q|weight", None),
    ("base_model.model.q.lora_A.lokr.weight", "lora_a", "base_model.model.q|lokr", None),
    ("base_model.model.q.lora_E.x_lora_b", "regular", "base_model.model.q|x_lora_b", None),
    ("base_model.model.q.ranknum.lora_B", "regular", "base_model.model.q|lora_B", None),
    ("base_model.model.q.lora_magnitude_vector.lora_B.weight", "regular", "base_model.model.q|lora_B", None),
    ("base_model.model.q.hada_w1_a.lokr_w1", "regular", "base_model.model.q|lokr_w1", None),
    ("base_model.model.q.oft_R.lora_A.weight", "regular", "base_model.model.q|lora_A", None),
    ("base_model.model.q.shadow_update_gate.lora_A.0.weight", "regular", "base_model.model.q|lora_A", None),
    ("base_model.model.e.lora_embedding_B.lora_A", "lora_b", "base_model.model.e|lora_A", None),
    ("base_model.model.cls.modules_to_save.lora_B.weight", "regular", None, None),
    ("base_model.model.cls.modules_to_save.lora_A.dense.weight", "regular", None, None),
    # PEFT: methods that are no plain product of two factors.
    *(
        (f"base_model.model.q.{tail}", "regular", "base_model.model.q|x", None)
        for tail in (
            *("delora_A.x", "delora_B.x", "delora_lambda.x", "gralora_A.x", "gralora_B_general.x.weight"),
            *("glora_A.x.Xd", "glora_B.x.Xu", "glora_E.x.C", "poly_lora_A.x", "poly_router.x.module_logits"),
            *("supertuning_lora_A.x.weight", "lily_A.x.weight", "peanut_B.x.weight", "adamss_A.x.0", "hira_B.x"),
            *("osf_svd_params.x.U_low", "psoft_R.x.vector_a", "oft_R.x.weight", "boft_s.x", "hra_u.x", "ia3_l.x"),
            *("vera_lambda_b.x", "pvera_lambda_d.x", "vblora_logits_A.x", "randlora_gamma.x", "waveft_spectrum.x"),
            *("ln_tuning_layers.x.weight", "lora_monteclora_sampler.x.std_prior", "hada_t2.x", "miss_block.x"),
        )
    ),
    *(
        (f"base_model.model.q.{tail}", "regular", None, None)
        for tail in ("lily_B.x.weight", "tinylora_v.x.0", "unilora_theta_d.x", "vblora_vector_bank.x")
    ),
    # loralib and torchtune.
    ("0.lora_A", "lora_a", "0", None),
    ("encoder.module.fc.lora_B", "lora_b", "encoder.module.fc", None),
    ("layers.0.q_proj.lora_a.weight", "lora_a", "layers.0.q_proj", None),
    ("layers.0.q_proj.lora_b.weight", "lora_b", "layers.0.q_proj", None),
    ("layers.0.q_proj.magnitude", "regular", "layers.0.q_proj", None),
    # Hand-written adapters.
    ("q.lora_A.weight", "lora_a", "q", None),
    ("q.lora_B.bias", "regular", "q", None),
    ("layer.lokr_w1.weight", "lokr_w1", "layer", None),
    ("layer.lokr.w1.weight", "lokr_w1", "layer", None),
    ("layer.lokr.w2_b", "lokr_w2_b", "layer", None),
    ("custom.lokr.param", "lokr_generic", "custom", None),
    ("layer.w_norm.weight", "w_norm", "layer", None),
    ("layer.b_norm.weight", "b_norm", "layer", None),
    # Base models whose own names look like adapters.
    *(
        (name, "regular", None, None)
        for name in (
            *("blocks.0.lora_alpha", "blocks.0.flora_block.weight", "lora_backbone.bias", "color_adapter.weight"),
            *(
                "explora_agent.weight",
                "blocks.0.lora_adapter.1.weight",
                "pre_lora_down_proj.weight",
                "lokr_head.weight",
            ),
            *(
                "raw_norm.weight",
                "flow_norm.bias",
                "rgb_norm.weight",
                "w_norm_gate.weight",
                "layers.0.attn_sub_norm.weight",
            ),
            *("model.mm_soft_emb_norm.weight", "up_list.0.weight", "block.a1.weight", "mask.scalar.weight"),
            *("lora_A.base_layer.weight", "", "."),
        )
    ),
    # Base modules whose own names look like adapters, adapted.
    ("lycoris_blocks_0_explora_agent.lora_up.weight", "lora_b", "lycoris_blocks_0_explora_agent", None),
    ("lycoris_blocks_0_raw_norm.b_norm", "b_norm", "lycoris_blocks_0_raw_norm", None),
    ("blocks.0.lokr_head.lora_A.default.weight", "lora_a", "blocks.0.lokr_head|default", None),
    ("blocks.lokr.lora_A.default.weight", "lora_a", "blocks.lokr|default", None),
    ("blocks.lora_A.lora_A.default.weight", "lora_a", "blocks.lora_A|default", None),
]


@pytest.mark.parametrize(("name", "role", "module", "pair"), READINGS, ids=[repr(row[0]) for row in READINGS])
def test_name_reads_as_its_library_means_it(name: str, role: str, module: str | None, pair: str | None) -> None:
    assert parse_name(name) == ParsedName(role, module, pair)


@pytest.mark.parametrize(
    ("wrapped", "plain"),
    [
        ("module.fc.lora_A", "fc.lora_A"),
        ("_orig_mod.module.base_model.model.q.lora_A.x.weight", "base_model.model.q.lora_A.x.weight"),
        ("module._orig_mod.q.lokr_w1", "q.lokr_w1"),
        ("layers.0._checkpoint_wrapped_module.q.lora_B.x.weight", "layers.0.q.lora_B.x.weight"),
        ("_fsdp_wrapped_module.layers.0._fsdp_wrapped_module.q.lora_a.weight", "layers.0.q.lora_a.weight"),
        ("unet._orig_mod.lora_unet_q.lora_down.weight", "unet.lora_unet_q.lora_down.weight"),
        ("q.lora_A._fsdp_wrapped_module.x._fsdp_wrapped_module.weight", "q.lora_A.x.weight"),
    ],
)
def test_wrappers_of_torch_leave_no_trace(wrapped: str, plain: str) -> None:
    assert parse_name(wrapped) == parse_name(plain)


@quick
@given(st.sampled_from(NAMES), st.sampled_from(["_orig_mod.", "module.", "_fsdp_wrapped_module.", "_orig_mod.module."]))
def test_wrapping_a_model_changes_no_reading(name: str, wrapper: str) -> None:
    assert parse_name(wrapper + name) == parse_name(name)


# Names that torch and PEFT put into paths themselves; no adapter can be told from them.
RESERVED = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer"}
adapter_names = st.one_of(
    st.text(min_size=1).filter(lambda text: "." not in text and text not in RESERVED),
    st.sampled_from([*ROLES, "lora_A", "lora_B", "weight", "bias", "0", "lora_E", "hada_w1_a", "lokr", "scalar"]),
)
peft_tails = {
    "lora_A.{}.weight": "lora_a",
    "lora_B.{}.weight": "lora_b",
    "lora_B.{}.bias": "regular",
    "lora_A.{}": "lora_a",
    "lora_embedding_B.{}": "lora_b",
    **{f"{factor}.{{}}": factor for factor in FACTOR_ROLES},
    "lora_E.{}": "regular",
    "lora_magnitude_vector.{}.weight": "regular",
    "hada_w2_b.{}": "regular",
}


@quick
@given(adapter_names, adapter_names)
def test_the_name_of_a_peft_adapter_decides_its_module_and_never_its_role(adapter: str, other: str) -> None:
    modules = set()
    for tail, role in peft_tails.items():
        read = parse_name("base_model.model.layers.0.q_proj." + tail.format(adapter))
        assert read.role == role
        assert read.pair is None
        modules.add(read.module)
    assert len(modules) == 1
    elsewhere = parse_name(f"base_model.model.layers.0.q_proj.lora_A.{other}.weight")
    assert (elsewhere.module in modules) == (adapter == other)


@quick
@given(st.text())
def test_any_text_at_all_has_a_reading(name: str) -> None:
    assert parse_name(name).role in ROLES


def test_extra_patterns_come_before_the_known_names() -> None:
    patterns = [(r"lora_down\.weight$", "lora_b"), (r"^frozen\.", "regular")]
    assert parse_name("q.lora_down.weight", patterns) == ParsedName("lora_b", "q", None)
    assert parse_name("frozen.q.lora_A", patterns) == ParsedName("regular", None, None)
    assert parse_name("q.lora_up.weight", patterns) == parse_name("q.lora_up.weight")


def test_the_first_extra_pattern_that_is_found_decides() -> None:
    assert parse_name("q.x", [(r"x$", "lora_a"), (r"q\.x", "lora_b")]).role == "lora_a"


def test_an_extra_pattern_may_name_module_and_pair() -> None:
    patterns = [(r"adapters\.(?P<pair>\d+)\.down\.(?P<module>.+)", "lora_a")]
    assert parse_name("adapters.3.down._orig_mod.blocks.0.q", patterns) == ParsedName("lora_a", "blocks.0.q", "3")


def test_the_module_of_an_extra_pattern_is_the_text_before_it() -> None:
    assert parse_name("module.blocks.0.q.squeeze", [(r"\.squeeze$", "lora_a")]).module == "blocks.0.q"


@pytest.mark.parametrize("role", ["lora", "LORA_A", "", None])
def test_an_unknown_role_is_an_error_that_lists_the_known_ones(role: str) -> None:
    with pytest.raises(ValueError, match=r"lora_a, lora_b, lokr_w1, .*b_norm, regular; got"):
        name_parser([("x", role)])


def test_a_malformed_extra_pattern_is_an_error_that_shows_it() -> None:
    with pytest.raises(ValueError, match=r"extra_patterns: '\(' is not a regular expression"):
        parse_name("q", [("(", "lora_a")])
