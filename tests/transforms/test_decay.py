"""Laws of hina_func/transforms/decay.py."""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from laws import close, law, norm, once, run, same, train
from strategies import mapped, nonzero, positive, rates, tree_pairs, upto
from torch.utils._pytree import tree_map

import hina_func as hf

strengths = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(1e-4, 10)
pairs = tree_pairs()

# add_decayed_weights


@law(pair=pairs, strength=strengths)
def test_decay_adds_the_parameter_to_the_direction(pair, strength):
    u, p = pair
    same(once(hf.add_decayed_weights(strength), u, p), mapped(lambda x, y: x + strength * y, u, p))


@law(pair=tree_pairs(nonzero), strength=st.floats(1e-4, 1), lr=st.floats(1e-4, 1))
def test_decay_alone_takes_the_parameter_toward_zero(pair, strength, lr):
    g, p = pair
    tx = hf.chain(hf.set_to_zero(), hf.add_decayed_weights(strength), hf.scale_by_learning_rate(lr))
    close(train(tx, [g], p), [mapped(lambda x: (1 - lr * strength) * x, p)])


@law(pair=pairs, strength=strengths, lr=rates)
def test_decay_is_of_the_parameter_before_the_step(pair, strength, lr):
    g, p = pair
    tx = hf.chain(hf.add_decayed_weights(strength), hf.scale_by_learning_rate(lr))
    expected = mapped(lambda x, y: (1 - lr * strength) * y - lr * x, g, p)
    close(train(tx, [g], p), [expected], scale=1e2)


@law(pair=pairs, strength=strengths)
def test_a_mask_says_where_to_decay(pair, strength):
    u, p = pair
    mask = {"b": False, "v": True, "w": False}
    for make in (hf.add_decayed_weights, hf.add_cautious_decayed_weights):
        everywhere, there = once(make(strength), u, p), once(make(strength, mask), u, p)
        same(there, {**u, "v": everywhere["v"]})


def test_without_a_strength_nothing_decays():
    for make in (hf.add_decayed_weights, hf.add_cautious_decayed_weights):
        same(once(make(), PARAMS, PARAMS), PARAMS)


# add_cautious_decayed_weights


@law(pair=pairs, strength=st.floats(1e-4, 1))
def test_cautious_decay_spares_entries_that_the_step_takes_outward(pair, strength):
    u, p = pair
    opposite = mapped(torch.neg, u)
    for name, x in once(hf.add_cautious_decayed_weights(strength), u, p, grads=opposite).items():
        outward = u[name] * p[name] < 0
        same(x[outward], u[name][outward])
        same(x[~outward], (u[name] + strength * p[name])[~outward])


@law(pair=pairs, strength=st.floats(1e-4, 1))
def test_cautious_decay_never_opposes_the_step(pair, strength):
    u, p = pair
    for name, x in once(hf.add_cautious_decayed_weights(strength), u, p).items():
        assert ((x - u[name]) * u[name] >= 0).all()
        assert (x.abs() >= u[name].abs()).all()


@law(pair=pairs)
def test_cautious_decay_of_no_strength_changes_nothing(pair):
    u, p = pair
    same(once(hf.add_cautious_decayed_weights(0.0), u, p), u)


@law(pair=pairs, strength=strengths)
def test_cautious_decay_acts_where_the_update_is_zero_and_not_where_the_parameter_is(pair, strength):
    u, p = pair
    zero = mapped(torch.zeros_like, u)
    same(once(hf.add_cautious_decayed_weights(strength), zero, p), mapped(lambda x: strength * x, p))
    same(once(hf.add_cautious_decayed_weights(strength), u, zero), u)


# dynamic_wd

PARAMS = {
    "q.lora_A.weight": torch.tensor([[1.0, -2.0]], dtype=torch.float64),
    "q.lora_B.weight": torch.tensor([[3.0]], dtype=torch.float64),
    "m.lokr_w1": torch.tensor([[1.5]], dtype=torch.float64),
    "m.lokr_w2_a": torch.tensor([[2.0]], dtype=torch.float64),
    "m.lokr_w2_b": torch.tensor([[0.5]], dtype=torch.float64),
    "norm.w_norm": torch.tensor([1.0], dtype=torch.float64),
    "dense.weight": torch.tensor([[7.0]], dtype=torch.float64),
}
ZERO = mapped(torch.zeros_like, PARAMS)
UPDATES = mapped(lambda x: 0.25 - x, PARAMS)
settings = st.fixed_dictionaries(
    {
        "weight_decay": st.floats(1e-4, 1),
        "transition_steps": st.integers(1, 4) | st.floats(0.5, 4),
        "decay_factor": upto(1),
        "min_ratio": upto(1),
    }
)


def kind(name: str) -> str:
    return "lora" if "lora" in name else "lokr" if "lokr" in name else "other"


def remaining(steps: int, *, weight_decay, transition_steps, decay_factor, min_ratio) -> list[dict[str, float]]:
    """The share of the decay that is left for each kind of parameter, as the guide words it."""
    shares = []
    for t in range(1, steps + 1):
        p = (t - transition_steps) / transition_steps
        lora = max(min_ratio, decay_factor ** min(p, 2)) if p > 0 else 1.0
        lokr = max(1.5 * min_ratio, decay_factor ** (0.7 * min(p, 1.5))) if p > 0 else 1.0
        shares.append({"lora": lora, "lokr": lokr, "other": 1.0})
    return shares


@law(chosen=settings, steps=st.integers(1, 12))
def test_dynamic_decay_fades_by_role_as_the_guide_says(chosen, steps):
    shares = remaining(steps, **chosen)
    for u, share in zip(run(hf.dynamic_wd(**chosen), [UPDATES] * steps, PARAMS), shares, strict=True):
        for name, x in u.items():
            close(x, UPDATES[name] + chosen["weight_decay"] * share[kind(name)] * PARAMS[name], scale=1)


@law(chosen=settings)
def test_dynamic_decay_is_whole_until_the_transition_and_never_again(chosen):
    steps = 8
    for t, u in enumerate(run(hf.dynamic_wd(**chosen), [ZERO] * steps, PARAMS), 1):
        for name, x in u.items():
            whole = chosen["weight_decay"] * PARAMS[name]
            if kind(name) == "other" or t <= chosen["transition_steps"]:
                same(x, whole)
            elif chosen["decay_factor"] <= 0.99 and chosen["min_ratio"] <= 0.6:
                assert norm(x) < norm(whole)


@law(chosen=settings, pair=tree_pairs())
def test_dynamic_decay_of_plain_parameters_is_decay(chosen, pair):
    u, p = pair
    same(once(hf.dynamic_wd(**chosen), u, p), once(hf.add_decayed_weights(chosen["weight_decay"]), u, p))


def test_the_default_decay_is_whole_for_a_thousand_steps():
    tx = hf.dynamic_wd()
    for count, share in ((999, 1.0), (1000, 0.7**0.001)):
        late = tree_map(lambda x, c=count: torch.full_like(x, c), tx.init(PARAMS))
        u, _ = tx.update(ZERO, late, PARAMS)
        close(u["q.lora_B.weight"], 0.01 * share * PARAMS["q.lora_B.weight"])


def test_the_defaults_stop_where_the_exponents_stop():
    chosen = {"weight_decay": 1.0, "transition_steps": 1, "decay_factor": 0.7, "min_ratio": 0.1}
    last = run(hf.dynamic_wd(**chosen), [ZERO] * 9, PARAMS)[-1]
    close(last["q.lora_B.weight"] / PARAMS["q.lora_B.weight"], [[0.49]])
    close(last["m.lokr_w1"] / PARAMS["m.lokr_w1"], [[0.7**1.05]])


@law(strength=positive, steps=st.integers(1, 3))
def test_a_parameter_counts_its_own_updates_only(strength, steps):
    tx = hf.dynamic_wd(strength, transition_steps=1, decay_factor=0.5)
    state = tx.init(PARAMS)
    others = {name: None if name == "m.lokr_w1" else x for name, x in ZERO.items()}
    for _ in range(steps):
        _, state = tx.update(others, state, PARAMS)
    u, _ = tx.update(ZERO, state, PARAMS)
    same(u["m.lokr_w1"], strength * PARAMS["m.lokr_w1"])
    assert norm(u["q.lora_B.weight"]) < strength * norm(PARAMS["q.lora_B.weight"])
