"""Laws of hina_func/transforms/lr_scale.py."""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from laws import close, delta, effective_w1, effective_w2, law, norm, once, same
from strategies import (
    factors,
    invertible,
    like,
    lokr_modules,
    lora_modules,
    mapped,
    nonzero,
    positive,
    powers_of_two,
    roles_of,
    tensors,
    upto,
)

import hina_func as hf
from hina_func.transforms import lr_scale
from hina_func.transforms.lr_scale import column_gram, row_gram

A, B = "q.lora_A.weight", "q.lora_B.weight"
etas = st.sampled_from([0.5, 1.0, 2.0]) | st.floats(0.1, 10)
ratios = st.sampled_from([0.0, 1.0, 16.0]) | positive


def ones(tree):
    return mapped(torch.ones_like, tree)


def renamed(p, old, new):
    """The tensors of a module as those of another."""
    return {name.replace(old, new): x for name, x in p.items()}


def product(p):
    """The weight change of a LoRA, output rows first."""
    return p[B].flatten(1) @ p[A].flatten(1)


def sizes(p):
    """What the rows of the product could be at most: the scale of its rounding."""
    return p[B].flatten(1).abs() @ torch.linalg.vector_norm(p[A].flatten(1), dim=1)


class Alone(dict[str, torch.Tensor]):
    """The factors of one module as the formulas get them."""

    def each(self, statistic, *roles):
        return statistic(*(self[role] for role in roles))


# lora_lr_scale


@law(p=lora_modules())
def test_row_norms_are_those_of_the_formed_product(p):
    ours = lr_scale.lora_row_norms(p[A][None], p[B][None])[0]
    close(ours**2, torch.linalg.vector_norm(product(p), dim=1) ** 2, scale=sizes(p) ** 2)


@law(x=nonzero, y=nonzero, c=nonzero)
def test_a_product_that_cancels_has_a_norm_of_almost_zero_and_not_of_nan(x, y, c):
    a = torch.tensor([[[c * x], [c * y]]], dtype=torch.float64)
    b = torch.tensor([[[y, -x]]], dtype=torch.float64)
    noise = 1e-7 * norm(a) * norm(b)
    assert 0 <= lr_scale.lora_row_norms(a, b) <= noise
    assert 0 <= lr_scale.product_norm(column_gram(b), row_gram(a)) <= noise
    core, one = b.reshape(1, 2, 1, 1), torch.ones(1, 1, 1, dtype=torch.float64)
    assert 0 <= lr_scale.tucker_norm(core, a, one) <= noise


@law(p=lora_modules(st.floats(0.1, 2)), eta=etas)
def test_rows_of_b_learn_at_one_over_the_root_of_their_norm_and_a_at_the_mean(p, eta):
    u = once(hf.lora_lr_scale(eta), ones(p), p)
    rows = 1 / (torch.linalg.vector_norm(product(p), dim=1) + 1 / eta**2).sqrt()
    close(u[B].flatten(1), rows[:, None].expand_as(u[B].flatten(1)))
    close(u[A], rows.mean().expand_as(u[A]))


@law(p=lora_modules(), eta=etas, c=st.floats(1, 10))
def test_the_rate_of_a_row_is_at_most_eta_and_falls_with_its_norm(p, eta, c):
    near, far = (once(hf.lora_lr_scale(eta), ones(p), q)[B] for q in (p, {**p, B: c * p[B]}))
    assert (near > 0).all()
    assert (near <= eta * (1 + 1e-12)).all()
    assert (far <= near * (1 + 1e-12)).all()


@law(p=lora_modules(), u=st.data(), eta=etas, zero=st.sampled_from([A, B]))
def test_a_fresh_lora_learns_at_eta(p, u, eta, zero):
    updates = u.draw(like(p))
    p[zero] = torch.zeros_like(p[zero])
    close(once(hf.lora_lr_scale(eta), updates, p), mapped(lambda x: eta * x, updates))


@law(p=lora_modules(), data=st.data())
def test_rates_move_with_their_rows(p, data):
    updates = data.draw(like(p))
    order = torch.tensor(data.draw(st.permutations(range(p[B].shape[0]))))
    turned = once(hf.lora_lr_scale(), {**updates, B: updates[B][order]}, {**p, B: p[B][order]})
    plain = once(hf.lora_lr_scale(), updates, p)
    close(turned[B], plain[B][order], scale=norm(plain[B]))
    close(turned[A], plain[A])


@law(p=lora_modules(st.floats(0.1, 2)), data=st.data(), eta=etas)
def test_the_rates_of_a_lora_depend_on_its_product_only(p, data, eta):
    gauge = data.draw(invertible(p[A].shape[0]))
    turned = {
        A: torch.einsum("rs,s...->r...", gauge.inverse(), p[A]),
        B: torch.einsum("or...,rs->os...", p[B], gauge),
    }
    close(once(hf.lora_lr_scale(eta), ones(p), turned), once(hf.lora_lr_scale(eta), ones(p), p), tolerance=1e-10)


@law(p=lora_modules(), data=st.data(), a=powers_of_two)
def test_lora_rates_are_linear_in_the_update(p, data, a):
    updates = data.draw(like(p))
    scaled = once(hf.lora_lr_scale(), mapped(lambda x: -a * x, updates), p)
    same(scaled, mapped(lambda x: -a * x, once(hf.lora_lr_scale(), updates, p)))
    same(once(hf.lora_lr_scale(), mapped(torch.zeros_like, p), p), mapped(torch.zeros_like, p))


# lora_plus_lr_scale


@law(p=lora_modules(), data=st.data(), ratio=ratios)
def test_lora_plus_multiplies_b_and_leaves_a(p, data, ratio):
    updates = data.draw(like(p))
    for start in (p, {**p, B: torch.zeros_like(p[B])}, mapped(torch.zeros_like, p)):
        same(once(hf.lora_plus_lr_scale(ratio), updates, start), {A: updates[A], B: ratio * updates[B]})


@law(p=lora_modules(), data=st.data(), ratio=ratios)
def test_lora_plus_multiplies_a_where_a_is_what_starts_at_zero(p, data, ratio):
    updates = data.draw(like(p))
    start = {**p, A: torch.zeros_like(p[A])}
    same(once(hf.lora_plus_lr_scale(ratio), updates, start), {A: ratio * updates[A], B: updates[B]})


@law(p=lora_modules(), ratio=positive)
def test_lora_plus_remembers_which_factor_started_at_zero(p, ratio):
    tx = hf.lora_plus_lr_scale(ratio)
    started = tx.init({**p, A: torch.zeros_like(p[A])})
    later, _ = tx.update(ones(p), started, p)
    same(later, {A: torch.full_like(p[A], ratio), B: torch.ones_like(p[B])})
    plain, _ = tx.update(ones(p), tx.init(p), {**p, A: torch.zeros_like(p[A])})
    same(plain, {A: torch.ones_like(p[A]), B: torch.full_like(p[B], ratio)})


@law(p=lora_modules(), data=st.data())
def test_lora_plus_of_ratio_one_changes_nothing(p, data):
    updates = data.draw(like(p))
    same(once(hf.lora_plus_lr_scale(1.0), updates, p), updates)


@law(p=lora_modules(), data=st.data(), orphan=st.sampled_from([A, B]))
def test_a_lora_factor_without_its_partner_passes(p, data, orphan):
    """Also where it stands in one column with factors of whole modules."""
    params = {**renamed(p, "q.", "k."), orphan: p[orphan]}
    updates = data.draw(like(params))
    for tx in (hf.lora_plus_lr_scale(16.0), hf.lora_lr_scale(2.0)):
        same(once(tx, updates, params)[orphan], updates[orphan])
        same(once(tx, {orphan: updates[orphan]}, {orphan: p[orphan]}), {orphan: updates[orphan]})


@law(p=lora_modules(st.floats(0.1, 2)), q=lora_modules(st.floats(0.1, 2), "v"), data=st.data())
def test_lora_modules_do_not_mix(p, q, data):
    twin = renamed(data.draw(like(p, st.floats(0.1, 2))), "q.", "k.")
    twin["k.lora_A.weight"] = torch.zeros_like(twin["k.lora_A.weight"])
    everything = {**p, **twin, **q}
    for tx in (hf.lora_lr_scale(), hf.lora_plus_lr_scale(8.0)):
        alone = [once(tx, ones(module), module) for module in (p, twin, q)]
        close(once(tx, ones(everything), everything), {name: x for u in alone for name, x in u.items()})


# lokr_lr_scale


def w2_side(p):
    """The member that is to learn faster."""
    return next(name for name in p if name.endswith(("lokr_w2", "lokr_w2_b")))


def rate(p, damping, **options):
    """The factor that all members but one of a module get."""
    return once(hf.lokr_lr_scale(damping, 1.0, 1.0, **options), ones(p), p)


@law(p=lokr_modules(st.floats(0.1, 2)), damping=upto(2))
def test_a_lokr_module_is_damped_by_the_norm_of_its_kronecker_product(p, damping):
    expected = 1 / (1 + damping * norm(delta(roles_of(p))))
    close(rate(p, damping), mapped(lambda x: expected.expand_as(x), p))


def test_a_lokr_module_has_the_guides_numbers_unless_told():
    p = {"q.lokr_w1": torch.tensor([[2.0]]), "q.lokr_w2": torch.tensor([[3.0, 4.0]])}
    same(once(hf.lokr_lr_scale(), ones(p), p), once(hf.lokr_lr_scale(0.3, ratio=16.0, w2_factor=0.6), ones(p), p))


@law(p=lokr_modules())
def test_the_product_of_norms_is_the_norm_of_the_kronecker_product(p):
    roles = roles_of(p)
    ours = lr_scale.lokr_norm(Alone(mapped(lambda x: x[None], roles))).squeeze()
    bound = torch.stack([x.abs().sum() for x in p.values()]).prod()
    close(ours**2, norm(delta(roles)) ** 2, scale=bound**2)
    close(norm(effective_w1(roles)) * norm(effective_w2(roles)), norm(delta(roles)), scale=bound)


@law(p=lokr_modules(w1=st.just("full"), w2=st.just("tucker")))
def test_the_norm_of_a_tucker_product_is_that_of_the_formed_product(p):
    t, a, b = (roles_of(p)[role] for role in ("lokr_t2", "lokr_w2_a", "lokr_w2_b"))
    ours = lr_scale.tucker_norm(t[None], a[None], b[None]).squeeze()
    close(ours**2, norm(effective_w2(roles_of(p))) ** 2, scale=(t.abs().sum() * a.abs().sum() * b.abs().sum()) ** 2)


@law(p=lokr_modules(w1=st.just("factored"), w2=st.sampled_from(["factored", "factored conv"])))
def test_the_norms_of_factored_sides_are_those_of_the_formed_products(p):
    roles = roles_of(p)
    for side in ("lokr_w1", "lokr_w2"):
        a, b = roles[f"{side}_a"], roles[f"{side}_b"]
        ours = lr_scale.product_norm(column_gram(a[None]), row_gram(b[None])).squeeze()
        close(ours**2, norm(a @ b) ** 2, scale=(a.abs().sum() * b.abs().sum()) ** 2)


@law(p=lokr_modules(), data=st.data(), ratio=ratios, w2_factor=ratios)
def test_only_the_w2_side_gets_the_ratio(p, data, ratio, w2_factor):
    updates = data.draw(like(p))
    u = once(hf.lokr_lr_scale(0.0, ratio, w2_factor), updates, p)
    fast = w2_side(p)
    close(u, {**updates, fast: ratio * w2_factor * updates[fast]})


@law(p=lokr_modules(w2=st.sampled_from(["factored", "factored conv", "tucker"])), ratio=positive)
def test_the_ratio_is_on_w2_a_where_w2_a_is_what_starts_at_zero(p, ratio):
    a = next(name for name in p if name.endswith("lokr_w2_a"))
    tx = hf.lokr_lr_scale(0.0, ratio, 1.0)
    started = tx.init({**p, a: torch.zeros_like(p[a])})
    close(tx.update(ones(p), started, p)[0], {**ones(p), a: torch.full_like(p[a], ratio)})
    b = w2_side(p)
    started = tx.init({**p, b: torch.zeros_like(p[b])})
    close(tx.update(ones(p), started, p)[0], {**ones(p), b: torch.full_like(p[b], ratio)})


@law(p=lokr_modules(st.floats(0.1, 2)), c=st.sampled_from([0.25, 0.5, 3.0, 8.0]), data=st.data())
def test_the_rate_of_a_lokr_module_depends_on_its_product_only(p, c, data):
    turned = dict(p)
    w1 = next(name for name in p if "lokr_w1" in name)
    w2 = next(name for name in p if "lokr_w2" in name or "lokr_t2" in name)
    turned[w1], turned[w2] = c * p[w1], p[w2] / c
    if "m.lokr_w2_a" in p and "m.lokr_t2" not in p:
        gauge = data.draw(invertible(p["m.lokr_w2_a"].shape[1]))
        turned["m.lokr_w2_a"] = turned["m.lokr_w2_a"] @ gauge
        turned["m.lokr_w2_b"] = gauge.inverse() @ turned["m.lokr_w2_b"]
    if "m.lokr_w1_a" in p:
        gauge = data.draw(invertible(p["m.lokr_w1_a"].shape[1]))
        turned["m.lokr_w1_a"] = turned["m.lokr_w1_a"] @ gauge
        turned["m.lokr_w1_b"] = gauge.inverse() @ turned["m.lokr_w1_b"]
    close(rate(turned, 0.3), rate(p, 0.3), tolerance=1e-10)


@law(p=lokr_modules(), damping=upto(2), c=st.floats(1, 10))
def test_the_rate_of_a_lokr_module_is_at_most_one_and_falls_as_it_grows(p, damping, c):
    w1 = next(name for name in p if "lokr_w1" in name)
    near, far = rate(p, damping), rate({**p, w1: c * p[w1]}, damping)
    for name in p:
        assert (near[name] > 0).all()
        assert (near[name] <= 1).all()
        assert (far[name] <= near[name] * (1 + 1e-7)).all()


@law(p=lokr_modules(), data=st.data(), zero=st.integers(0, 3))
def test_a_fresh_lokr_is_not_damped(p, data, zero):
    updates = data.draw(like(p))
    name = list(p)[zero % len(p)]
    p[name] = torch.zeros_like(p[name])
    same(once(hf.lokr_lr_scale(ratio=1.0, w2_factor=1.0), updates, p), updates)


@law(p=lokr_modules(st.floats(0.1, 2)), q=lokr_modules(st.floats(0.1, 2), "x"), data=st.data())
def test_lokr_modules_do_not_mix(p, q, data):
    twin = renamed(data.draw(like(p, st.floats(0.1, 2))), "m.", "k.")
    if "k.lokr_w2_a" in twin:
        twin["k.lokr_w2_a"] = torch.zeros_like(twin["k.lokr_w2_a"])
    everything = {**p, **twin, **q}
    tx = hf.lokr_lr_scale()
    alone = [once(tx, ones(module), module) for module in (p, twin, q)]
    close(once(tx, ones(everything), everything), {name: x for u in alone for name, x in u.items()})


@law(p=lokr_modules(), data=st.data(), member=st.integers(0, 5))
def test_a_lokr_module_that_lacks_a_factor_passes(p, data, member):
    """Also where its factors stand in one column with those of whole modules."""
    needed = [name for name in p if not name.endswith("lokr_t2")]
    part = {name: x for name, x in p.items() if name != needed[member % len(needed)]}
    params = {**renamed(p, "m.", "k."), **part}
    updates = data.draw(like(params))
    u = once(hf.lokr_lr_scale(), updates, params)
    same({name: u[name] for name in part}, {name: updates[name] for name in part})


def test_modules_of_equal_ranks_share_a_call_and_keep_their_own_numbers(monkeypatch):
    calls = []

    def counted(p, s, **numbers):
        calls.append(len(s.on_a))
        return lokr_factors(p, s, **numbers)

    lokr_factors = lr_scale.lokr_factors
    monkeypatch.setattr(lr_scale, "lokr_factors", counted)
    draw = torch.Generator().manual_seed(0)
    sizes = {"a": (2, 4, 3), "b": (3, 5, 3), "c": (3, 5, 3), "d": (2, 4, 2)}
    params = {}
    for name, (side, width, rank) in sizes.items():
        shapes = {"lokr_w1": (side, side), "lokr_w2_a": (width, rank), "lokr_w2_b": (rank, width)}
        params |= {f"{name}.{role}": torch.randn(shape, generator=draw) for role, shape in shapes.items()}
    hypers = {"ratio": {name: float(ord(name[0])) for name in params}}
    tx = hf.lokr_lr_scale(ratio=hf.Hyperparam("ratio", 16.0))
    together, _ = tx.update(ones(params), tx.init(params), params, hyperparams=hypers)
    assert calls == [3, 1]
    for module in sizes:
        own = {name: x for name, x in params.items() if name.startswith(module)}
        alone, _ = tx.update(ones(own), tx.init(own), own, hyperparams={"ratio": float(ord(module))})
        same({name: together[name] for name in own}, alone)


@law(w=tensors((2, 2), factors))
def test_adapter_rates_leave_other_parameters_alone(w):
    p = {"dense.weight": w, "dense.dora_scale": w, "n.w_norm": w, "x.lokr.param": w}
    for tx in (hf.lora_lr_scale(2.0), hf.lora_plus_lr_scale(16.0), hf.lokr_lr_scale()):
        same(once(tx, p, p), p)
