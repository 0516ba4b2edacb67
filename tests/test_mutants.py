"""The laws can fail: each of these formulas has one thing wrong with it, and the law beside it says so.

A mutant is a formula with one edit, written as the old text and the new, or another formula altogether. The text is
that of `ast.unparse`, so that neither layout nor comments nor quotes matter.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import test_finite
import torch
from torch import Tensor
from transforms import (
    test_clip,
    test_decay,
    test_lr_scale,
    test_mask,
    test_penalty,
    test_project,
    test_scale,
    test_scale_by_adam,
    test_scale_by_adopt,
    test_scale_by_rms,
    test_trace,
)

import hina_func as hf
from hina_func import gates, lift, modules, moments, numerics, state
from hina_func.transforms import (
    clip,
    decay,
    lr_scale,
    mask,
    penalty,
    project,
    scale,
    scale_by_adam,
    scale_by_adopt,
    scale_by_rms,
    trace,
)

Law = Callable[[], None]
Edit = tuple[Callable[..., Any], str, str] | tuple[Callable[..., Any], Callable[..., Any]]

FAMILIES = "hina_func.transforms"


def size_of(gram: Tensor) -> Tensor:
    """The norm of the factor that a Gram matrix belongs to."""
    return gram.diagonal(dim1=1, dim2=2).sum(1, keepdim=True).sqrt()


def row_norms_multiplied(gram_of_a: Tensor, b: Tensor) -> Tensor:
    """As if nothing cancelled in the product of two factors of a LoRA."""
    return torch.linalg.vector_norm(b.flatten(2), dim=2) * size_of(gram_of_a)


def norms_multiplied(columns_of_a: Tensor, rows_of_b: Tensor) -> Tensor:
    """As if nothing cancelled in the product of two factors of one side of a LoKr."""
    return size_of(columns_of_a) * size_of(rows_of_b)


MUTANTS: dict[str, dict[Law, list[Edit]]] = {
    "scale": {
        test_scale.test_scale_multiplies_each_entry: [
            (scale.scale_leaf, "sign * step_size", "sign + step_size"),
        ],
    },
    "scale_by_learning_rate": {
        test_scale.test_the_learning_rate_turns_the_direction_downhill: [
            (scale.scale_by_learning_rate, "-1.0 if flip_sign else 1.0", "1.0 if flip_sign else -1.0"),
        ],
        test_scale.test_a_scheduled_learning_rate_is_the_schedule_times_minus_one: [
            (scale.scale_leaf, "sign * step_size", "step_size"),
        ],
    },
    "scale_by_schedule": {
        test_scale.test_a_schedule_sees_the_number_of_updates_before_this_one: [
            (lift.row_counts, "torch.zeros", "torch.ones"),
            (lift.PerLeaf.update, "state.count[c.key] + 1", "state.count[c.key]"),
            (scale.schedule_leaf, "s.count + 1", "s.count"),
        ],
    },
    "scale_by_agr": {
        test_scale.test_agr_keeps_signs_and_damps_each_entry_by_its_share: [
            (scale.agr_leaf, "whole - size", "whole + size"),
            (scale.agr_leaf, "total(size)", "total(u).abs()"),
            (scale.agr_leaf, "total(size)", "size.sum()"),
        ],
        test_scale.test_agr_takes_the_square_norm_over_the_one_norm_from_the_one_norm: [
            (scale.agr_leaf, "size = u.abs()", "size = u"),
        ],
        test_scale.test_agr_follows_the_scale_of_the_gradient_and_its_sign: [
            (scale.agr_leaf, "total(size)", "(total(size) + 1)"),
        ],
        test_scale.test_agr_shrinks_a_uniform_gradient_by_one_over_its_size: [
            (scale.agr_leaf, "total(size)", "total(size * size).sqrt()"),
        ],
        test_scale.test_agr_maps_a_one_hot_gradient_to_zero: [
            (scale.agr_leaf, "total(size)", "(total(size) + 1e-08)"),
        ],
        test_scale.test_agr_passes_tensors_of_one_element: [
            (scale.agr_leaf, "row_numel(u) == 1", "False"),
        ],
        test_scale.test_agr_passes_a_zero_gradient: [
            (scale.agr_leaf, "safe_divide(torch.ones_like(whole), whole)", "(1 / whole)"),
        ],
    },
    "scale_by_lion": {
        test_scale_by_rms.test_lion_gives_the_sign_of_the_old_momentum_mixed_with_the_gradient: [
            (scale_by_rms.lion_leaf, "sign(b1 * s.mu", "sign(b2 * s.mu"),
            (scale_by_rms.lion_leaf, "b2 * s.mu + (1 - b2) * u", "b1 * s.mu + (1 - b1) * u"),
        ],
        test_scale_by_rms.test_lion_starts_with_the_sign_of_the_gradient: [
            (scale_by_rms.lion_leaf, "sign(", "torch.tanh("),
        ],
        test_scale_by_rms.test_lion_does_not_see_the_scale_of_the_gradients: [
            (
                scale_by_rms.lion_leaf,
                "sign(b1 * s.mu + (1 - b1) * u)",
                "sign(b1 * s.mu + (1 - b1) * torch.tanh(u))",
            ),
        ],
    },
    "scale_by_rms": {
        test_scale_by_rms.test_rms_divides_by_the_root_of_the_weighted_mean_square: [
            (scale_by_rms.rms_leaf, "(size + eps).sqrt()", "size.sqrt() + eps"),
            (scale_by_rms.rms_leaf, "if bias_correction else nu", "if bias_correction else s.nu"),
        ],
        test_scale_by_rms.test_rms_without_eps_does_not_see_the_scale_of_the_gradients: [
            (scale_by_rms.rms_leaf, "(size + eps).sqrt()", "size + eps"),
        ],
        test_scale_by_rms.test_rms_with_bias_correction_maps_a_constant_gradient_to_its_sign: [
            (scale_by_rms.rms_leaf, "nu / one_minus_power(decay, over(count, u)) if", "nu if"),
            (scale_by_rms.rms_leaf, "over(count, u)", "over(s.count, u)"),
        ],
        test_scale_by_rms.test_rms_without_bias_correction_starts_too_fast_by_the_root_of_the_missing_weight: [
            (scale_by_rms.rms_leaf, "if bias_correction else", "if not bias_correction else"),
        ],
        test_scale_by_rms.test_rms_leaves_a_zero_gradient_at_zero: [
            (scale_by_rms.rms_leaf, "safe_sqrt(size) + eps", "safe_sqrt(size)"),
        ],
    },
    "scale_by_trust_ratio": {
        test_scale.test_the_trust_ratio_gives_the_update_the_size_of_the_parameter: [
            (scale.trust_ratio_leaf, "param_norm, update_norm =", "update_norm, param_norm ="),
            (scale.trust_ratio_leaf, "norm(u))", "norm(u).sum())"),
        ],
        test_scale.test_the_trust_ratio_follows_the_scale_of_the_parameter_and_not_of_the_update: [
            (scale.trust_ratio_leaf, "u * ratio", "u * ratio.sqrt()"),
        ],
        test_scale.test_the_trust_ratio_counts_no_norm_below_its_floor: [
            (scale.trust_ratio_leaf, "torch.where(n <= min_norm, min_norm, n)", "n"),
        ],
        test_scale.test_the_trust_ratio_passes_updates_of_zero_parameters_and_zero_updates: [
            (scale.trust_ratio_leaf, "(param_norm != 0) & (update_norm != 0)", "update_norm != 0"),
        ],
    },
    "scale_by_adam": {
        test_scale_by_adam.test_adam_divides_the_weighted_mean_by_the_root_of_the_weighted_mean_square: [
            (
                scale_by_adam.adam_leaf,
                "average(s.mu, u, b1), average(s.nu, u * u, b2)",
                "average(s.mu, u, b2), average(s.nu, u * u, b1)",
            ),
            (
                scale_by_adam.adam_leaf,
                "(safe_sqrt(debiased(nu, b2, count) + eps_root) + eps)",
                "safe_sqrt(debiased(nu, b2, count) + eps_root + eps)",
            ),
            (scale_by_adam.adam_leaf, "debiased(nu, b2, count) + eps_root", "debiased(nu, b2, count)"),
        ],
        test_scale_by_adam.test_adam_without_eps_starts_with_the_sign_of_the_gradient: [
            (scale_by_adam.adam_leaf, "mean = debiased(mu, b1, count)", "mean = mu"),
        ],
        test_scale_by_adam.test_adam_maps_a_constant_gradient_to_its_sign_at_every_step: [
            (scale_by_adam.adam_leaf, "debiased(nu, b2, count)", "debiased(nu, b2, count + 1)"),
            (moments.average, "(1 - decay) * new", "new"),
        ],
        test_scale_by_adam.test_adam_without_eps_does_not_see_the_scale_of_the_gradients: [
            (
                scale_by_adam.adam_leaf,
                "safe_sqrt(debiased(nu, b2, count) + eps_root)",
                "(debiased(nu, b2, count) + eps_root)",
            ),
        ],
        test_scale_by_adam.test_adam_follows_the_sign_of_the_gradients: [
            (scale_by_adam.adam_leaf, "return (mean / (", "return (mean.abs() / ("),
        ],
        test_scale_by_adam.test_debias_by_step_is_debias_of_moments_with_a_larger_eps_at_first: [
            (
                scale_by_adam.adam_leaf,
                "safe_sqrt(nu + eps_root) + eps",
                "safe_sqrt(nu + eps_root) + eps * safe_sqrt(one_minus_power(b2, over(count, u)))",
            ),
            (scale_by_adam.adam_leaf, "safe_sqrt(one_minus_power(b2", "(one_minus_power(b2"),
            (scale_by_adam.adam_leaf, "safe_sqrt(nu + eps_root)", "safe_sqrt(nu)"),
        ],
        test_scale_by_adam.test_nesterov_looks_one_step_ahead_in_the_mean: [
            (scale_by_adam.adam_leaf, "debiased(mu, b1, count + 1)", "debiased(mu, b1, count)"),
            (scale_by_adam.adam_leaf, "debiased(u, b1, count)", "u"),
        ],
        test_scale_by_adam.test_nesterov_with_debias_by_step_mixes_the_gradient_into_the_mean_once_more: [
            (scale_by_adam.adam_leaf, "ahead = average(mu, u, b1)", "ahead = average(s.mu, u, b1)"),
        ],
        test_scale_by_adam.test_nesterov_without_momentum_is_adam_without_momentum: [
            (scale_by_adam.adam_leaf, "debiased(u, b1, count), b1)", "debiased(u, b1, count), 0.9)"),
        ],
        test_scale_by_adam.test_a_rate_may_be_a_tensor: [
            (numerics.one_minus_power, "exponent * torch.log(base)", "exponent * base"),
        ],
        test_scale_by_adam.test_learning_rates_of_tensors_are_lost_on_adam_without_eps: [
            (scale_by_adam.adam_leaf, "average(s.nu, u * u, b2)", "average(s.nu, u.abs(), b2)"),
        ],
        test_scale_by_adam.test_a_first_gradient_of_zero_does_not_make_the_second_step_large: [
            (scale_by_adam.adam_leaf, "debiased(nu, b2, count)", "debiased(s.nu, b2, count)"),
        ],
        test_scale_by_adam.test_moments_without_any_gradient_give_nothing: [
            (
                scale_by_adam.adam_leaf,
                "(safe_sqrt(debiased(nu, b2, count) + eps_root) + eps)",
                "safe_sqrt(debiased(nu, b2, count) + eps_root)",
            ),
        ],
    },
    "scale_by_adatam": {
        test_scale_by_adam.test_alignment_and_damping_stay_in_their_ranges: [
            (moments.torque, ".clamp(-1, 1)", " * 2"),
        ],
        test_scale_by_adam.test_a_constant_gradient_aligns_from_its_second_step_on: [
            (scale_by_adam.adatam_leaf, "torque(s.mu,", "torque(average(s.mu, u, b1),"),
        ],
        test_scale_by_adam.test_the_damping_of_a_constant_gradient_grows_as_published: [
            (
                moments.torque,
                "average(over(alignment, cosine), cosine, decay)",
                "average(cosine, over(alignment, cosine), decay)",
            ),
        ],
        test_scale_by_adam.test_alignment_is_the_smoothed_cosine_of_a_gradient_with_the_momentum_before_it: [
            (moments.torque, "norm(momentum) * norm(gradient)", "norm(momentum)"),
        ],
        test_scale_by_adam.test_adatam_that_never_learns_an_alignment_is_half_of_adam: [
            (moments.torque, "(1 + smoothed) / 2", "1 + smoothed"),
        ],
        test_scale_by_adam.test_adatam_measures_sizes_on_the_undamped_gradient: [
            (scale_by_adam.adatam_leaf, "average(s.nu, u * u, b2)", "average(s.nu, (damping * u) ** 2, b2)"),
        ],
        test_scale_by_adam.test_adatam_damps_the_incoming_gradient_and_never_the_momentum: [
            (scale_by_adam.adatam_leaf, "average(s.mu, (damping + eps) * u, b1)", "damping * average(s.mu, u, b1)"),
            (moments.torque, "(1 + smoothed) / 2", "(1 - smoothed) / 2"),
            (scale_by_adam.adatam_leaf, "(damping + eps)", "damping"),
        ],
        test_scale_by_adam.test_adatam_without_eps_does_not_see_the_scale_of_the_gradients: [
            (moments.torque, "norm(momentum) * norm(gradient)", "(norm(momentum) * norm(gradient) + 1)"),
        ],
        test_scale_by_adam.test_adatam_starts_with_half_the_sign_of_the_gradient: [
            (scale_by_adam.adatam_leaf, "debiased(mu, b1, count)", "mu"),
        ],
        test_scale_by_adam.test_adatam_is_adam_fed_with_damped_gradients_over_adams_own_sizes: [
            (scale_by_adam.adatam_leaf, "debiased(nu, b2, count)", "nu"),
        ],
    },
    "scale_by_adopt": {
        test_scale_by_adopt.test_the_first_gradient_fills_the_second_moment_and_moves_nothing: [
            (
                scale_by_adopt.accumulated,
                "(on * (1 - b2) + (1 - on)) * (u * u)",
                "(1 - b2) * (u * u)",
            ),
            (scale_by_adopt.adopt_leaf, "on * (1 - b1) *", "(1 - b1) *"),
        ],
        test_scale_by_adopt.test_no_entry_exceeds_the_fourth_root_of_the_step: [
            (scale_by_adopt.normalised, "clip(count.to(u.dtype))", "clip((count + 1).to(u.dtype))"),
            (scale_by_adopt.normalised, "clip is None", "True"),
            (
                scale_by_adopt.normalised,
                "torch.clamp(ratio, -bound, bound)",
                "torch.minimum(ratio, bound)",
            ),
            (scale_by_adopt._clip, "return clip_value_fn if", "return (lambda step: step**0.5) if"),
        ],
        test_scale_by_adopt.test_adopt_averages_gradients_over_the_root_of_the_moment_before_them: [
            (
                scale_by_adopt.normalised,
                "torch.maximum(safe_sqrt(nu), on * eps + (1 - on))",
                "(safe_sqrt(nu) + on * eps + (1 - on))",
            ),
            (scale_by_adopt.advanced, "(count > 0) | any_nonzero", "any_nonzero"),
        ],
        test_scale_by_adopt.test_adopt_without_eps_does_not_see_the_scale_of_the_gradients: [
            (scale_by_adopt.normalised, "safe_sqrt(nu)", "nu"),
        ],
        test_scale_by_adopt.test_unclipped_adopt_is_affine_in_the_present_gradient: [
            (
                scale_by_adopt.adopt_leaf,
                "normalised(u, on, s.count, s.nu, eps, clip)",
                "normalised(u, on, s.count, accumulated(s.nu, u, on, b2), eps, clip)",
            ),
        ],
        test_scale_by_adopt.test_gradients_of_constant_size_are_normalised_to_their_signs: [
            (scale_by_adopt.accumulated, "on * (1 - b2) + (1 - on)", "1"),
        ],
        test_scale_by_adopt.test_a_tensor_without_gradients_waits_for_its_first_one: [
            (scale_by_adopt.advanced, "((count > 0) | any_nonzero(u))", "1"),
        ],
        test_scale_by_adopt.test_a_tensor_that_waits_does_not_hold_up_another_of_its_shape: [
            (scale_by_adopt.advanced, "any_nonzero(u)", "(u != 0).all()"),
        ],
        test_scale_by_adopt.test_an_entry_that_started_at_zero_is_held_by_the_clip: [
            (scale_by_adopt.normalised, "clip is None", "True"),
        ],
        test_scale_by_adopt.test_the_bound_may_be_another_function_of_the_step: [
            (scale_by_adopt.normalised, "over(clip(count.to(u.dtype)), u)", "over(count.to(u.dtype) ** 0.25, u)"),
        ],
    },
    "scale_by_adopt_tam": {
        test_scale_by_adopt.test_torque_compares_the_momentum_with_the_normalised_gradient: [
            (scale_by_adopt.adopt_tam_leaf, "torque(s.mu, n,", "torque(s.mu, u,"),
            (scale_by_adopt.adopt_tam_leaf, "(damping + eps) * n", "damping * n"),
            (scale_by_adopt.adopt_tam_leaf, "b1 * s.mu +", "damping * b1 * s.mu +"),
        ],
        test_scale_by_adopt.test_torque_aware_adopt_that_never_learns_an_alignment_is_half_of_adopt: [
            (moments.torque, "(1 + smoothed) / 2", "1 + smoothed"),
        ],
        test_scale_by_adopt.test_torque_does_not_touch_the_second_moment: [
            (scale_by_adopt.adopt_tam_leaf, "accumulated(s.nu, u,", "accumulated(s.nu, damping * u,"),
        ],
        test_scale_by_adopt.test_a_constant_gradient_aligns_with_adopts_momentum_from_the_third_step_on: [
            (scale_by_adopt.adopt_tam_leaf, "torque(s.mu, n,", "torque(b1 * s.mu + (1 - b1) * n, n,"),
        ],
        test_scale_by_adopt.test_a_tensor_without_gradients_waits_for_its_first_one: [
            (scale_by_adopt.adopt_tam_leaf, "advanced(s.count, u)", "s.count + 1"),
        ],
        test_scale_by_adopt.test_the_first_gradient_fills_the_second_moment_and_moves_nothing: [
            (
                scale_by_adopt.accumulated,
                "(on * (1 - b2) + (1 - on)) * (u * u)",
                "(1 - b2) * (u * u)",
            ),
        ],
    },
    "trace": {
        test_trace.test_trace_is_the_decaying_sum_of_all_gradients: [
            (trace.trace_leaf, "summed = u + decay * s.trace", "summed = (1 - decay) * u + decay * s.trace"),
        ],
        test_trace.test_nesterov_adds_the_gradient_to_the_decayed_new_sum: [
            (trace.trace_leaf, "u + decay * summed", "u + decay * s.trace"),
        ],
        test_trace.test_trace_is_linear_in_the_gradients: [
            (trace.trace_leaf, "decay * s.trace", "decay * s.trace.abs()"),
        ],
        test_trace.test_trace_without_decay_passes_the_gradient: [
            (trace.trace_leaf, "decay * s.trace", "s.trace"),
        ],
    },
    "trace_tam": {
        test_trace.test_gradients_orthogonal_to_the_momentum_are_taken_in_by_half: [
            (trace.trace_tam_leaf, "(damping + eps)", "damping"),
        ],
        test_trace.test_torque_damps_the_incoming_gradient_and_never_the_momentum: [
            (trace.trace_tam_leaf, "b1 * s.trace + (damping + eps) * u", "damping * (b1 * s.trace + u)"),
        ],
        test_trace.test_alignment_is_the_smoothed_cosine_of_a_gradient_with_the_sum_before_it: [
            (trace.trace_tam_leaf, "torque(s.trace,", "torque(b1 * s.trace + u,"),
        ],
        test_trace.test_a_gradient_against_the_momentum_is_taken_in_less: [
            (moments.torque, "(1 + smoothed) / 2", "(1 - smoothed) / 2"),
        ],
        test_trace.test_torque_aware_momentum_that_never_learns_an_alignment_is_half_of_momentum: [
            (moments.torque, "(1 + smoothed) / 2", "1 + smoothed"),
        ],
        test_trace.test_torque_aware_momentum_follows_the_scale_of_the_gradients: [
            (moments.torque, "norm(momentum) * norm(gradient)", "norm(momentum)"),
        ],
    },
    "ema": {
        test_trace.test_ema_is_the_weighted_mean_of_all_updates: [
            (trace.ema_leaf, "if debias else", "if not debias else"),
        ],
        test_trace.test_ema_of_a_constant_is_the_constant: [
            (trace.ema_leaf, "debiased(mean, decay, count)", "debiased(mean, decay, count + 1)"),
        ],
        test_trace.test_ema_without_decay_passes_the_update: [
            (trace.ema_leaf, "average(s.ema, u, decay)", "average(u, s.ema, decay)"),
        ],
    },
    "cautious_mask": {
        test_mask.test_no_entry_of_a_cautious_update_opposes_the_gradient: [
            (mask.cautious_leaf, "u * leaf.grad > 0", "u * u > 0"),
        ],
        test_mask.test_what_agrees_is_kept_with_its_sign_and_all_else_is_dropped: [
            (mask.cautious_leaf, "u * agree * boost", "u.abs() * agree * boost"),
        ],
        test_mask.test_masking_twice_keeps_the_same_entries_and_boosts_them_again: [
            (mask.cautious_leaf, "total(agree) / n", "(total(agree) / n).sqrt()"),
        ],
        test_mask.test_survivors_are_boosted_by_the_share_that_survived: [
            (mask.cautious_leaf, "u * agree * boost", "u * agree / boost"),
            (mask.cautious_leaf, "total(agree) + 1", "total(agree)"),
            (mask.cautious_leaf, "total(agree) / n", "agree.mean()"),
        ],
        test_mask.test_an_update_along_the_gradient_is_left_alone: [
            (mask.cautious_leaf, "u * leaf.grad > 0", "u * leaf.grad < 0"),
        ],
        test_mask.test_a_cautious_update_follows_the_scale_of_the_update_and_not_of_the_gradient: [
            (mask.cautious_leaf, "u * leaf.grad > 0", "u * leaf.grad > 1"),
        ],
        test_mask.test_a_cautious_update_does_not_depend_on_the_order_of_entries: [
            (mask.cautious_leaf, "u * leaf.grad > 0", "u * leaf.grad.flip(-1) > 0"),
        ],
        test_mask.test_an_update_against_the_gradient_is_dropped_whole: [
            (mask.cautious_leaf, ".clamp_min(0.001)", ""),
        ],
        test_mask.test_entries_without_a_gradient_are_dropped: [
            (mask.cautious_leaf, "u * leaf.grad > 0", "u * leaf.grad >= 0"),
        ],
        test_mask.test_the_boost_is_bounded_by_max_scale: [
            (mask.cautious_leaf, "torch.where(boost < max_scale, boost, max_scale)", "boost"),
        ],
        test_mask.test_cautious_adam_starts_with_adams_step_over_the_share_of_entries_with_a_gradient: [
            (mask.cautious_leaf, "u * agree * boost", "u * agree"),
        ],
        test_mask.test_the_boost_of_few_survivors_stops_at_a_thousand: [
            (mask.cautious_leaf, "clamp_min(0.001)", "clamp_min(0.01)"),
        ],
    },
    "grams_sign": {
        test_mask.test_grams_keeps_sizes_and_takes_the_signs_of_the_gradient: [
            (mask.grams_leaf, "sign(leaf.grad)", "torch.where(leaf.grad < 0, -1.0, 1.0)"),
        ],
        test_mask.test_grams_descends_at_least_as_fast_as_caution_and_that_as_the_update: [
            (mask.grams_leaf, "u.abs() * sign(leaf.grad)", "u"),
        ],
        test_mask.test_grams_reflects_where_caution_drops: [
            (mask.grams_leaf, "u.abs() * sign(leaf.grad)", "u * (u * leaf.grad > 0)"),
        ],
        test_mask.test_grams_twice_is_grams: [
            (mask.grams_leaf, "u.abs() *", "u *"),
        ],
        test_mask.test_grams_follows_the_size_of_the_update_and_not_of_the_gradient: [
            (mask.grams_leaf, "u.abs() * sign(leaf.grad)", "leaf.grad.abs() * torch.sign(u)"),
        ],
        test_mask.test_grams_changes_nothing_in_adam_without_momentum: [
            (mask.grams_leaf, "u.abs() *", "-u.abs() *"),
        ],
        test_mask.test_grams_changes_nothing_in_adams_first_step: [
            (mask.grams_leaf, "u.abs() *", "u *"),
        ],
        test_mask.test_caution_changes_nothing_behind_grams: [
            (mask.grams_leaf, "sign(leaf.grad)", "sign(u)"),
        ],
        test_finite.test_signs_have_the_nans_of_what_they_are_the_signs_of: [
            (numerics.sign, "torch.where(x != x, x, torch.sign(x))", "torch.sign(x)"),
            (numerics.sign, "x != x", "~x.isfinite()"),
        ],
    },
    "skip_not_finite": {
        test_finite.test_a_gradient_that_is_not_finite_counts_as_missing: [
            (gates.SkipNotFinite.update, "{**u, **_where(finite, u)}", "u"),
            (gates.SkipNotFinite.update, "{**u, **_where(finite, new)}", "new"),
            (gates.SkipNotFinite.update, "map_state(pick, inner, state.inner)", "inner"),
            (gates._finite_rows, "~torch.isfinite(x)", "torch.isnan(x)"),
            (gates._finite_rows, "~any_nonzero(", "any_nonzero("),
        ],
        test_finite.test_the_state_counts_what_each_parameter_has_skipped: [
            (gates.SkipNotFinite.update, "+ ~finite[key]", "+ finite[key]"),
        ],
        test_finite.test_a_gradient_that_is_not_finite_is_found_behind_a_finite_update: [
            (gates.SkipNotFinite.update, " & _finite_rows(ctx.grads[key])", ""),
        ],
        test_finite.test_functions_written_elsewhere_see_zeros_and_their_state_stands_still_too: [
            (gates.SkipNotFinite.update, "**_where(finite, ctx.grads)", ""),
            (gates.SkipNotFinite.update, "if has_foreign(self)", "if False"),
        ],
    },
    "apply_if_finite": {
        test_finite.test_a_missing_gradient_is_no_error_and_a_skipped_step_is_none_for_it_either: [
            (gates.ApplyIfFinite.update, "torch.where(apply, fresh, old)", "fresh"),
            (gates.ApplyIfFinite.update, "torch.where(apply, new[key], 0)", "new[key]"),
        ],
    },
    "orthogonal_project": {
        test_project.test_the_projection_is_orthogonal_to_the_parameter_at_the_gradients_size: [
            (
                project.orthogonal_leaf,
                "rest * torch.where(is_direction, size / torch.where(is_direction, rest_size, 1), 1)",
                "rest",
            ),
            (project.orthogonal_leaf, "u - safe_divide", "u + safe_divide"),
        ],
        test_project.test_the_projection_stays_in_the_plane_of_gradient_and_parameter: [
            (project.orthogonal_leaf, "u - safe_divide", "0 * u + safe_divide"),
        ],
        test_project.test_the_projection_follows_the_scale_of_the_gradient_and_not_of_the_parameter: [
            (project.orthogonal_leaf, "dot(leaf.param, leaf.param)", "norm(leaf.param)"),
        ],
        test_project.test_the_projection_turns_with_gradient_and_parameter: [
            (project.orthogonal_leaf, "dot(leaf.param, u)", "dot(leaf.param.abs(), u)"),
        ],
        test_project.test_projecting_twice_is_projecting_once: [
            (project.orthogonal_leaf, "u - safe_divide", "u - 0.5 * safe_divide"),
        ],
        test_project.test_plain_descent_along_the_projection_never_shrinks_the_parameter: [
            (
                project.orthogonal_leaf,
                "rest * torch.where(is_direction, size / torch.where(is_direction, rest_size, 1), 1)",
                "rest",
            ),
        ],
        test_project.test_rounding_noise_of_a_parallel_gradient_is_not_blown_up: [
            (project.orthogonal_leaf, "rest_size > PARALLEL * torch.finfo(u.dtype).eps * size", "rest_size > 0"),
        ],
        test_project.test_the_gradient_of_a_zero_parameter_passes: [
            (
                project.orthogonal_leaf,
                "safe_divide(dot(leaf.param, u), dot(leaf.param, leaf.param))",
                "dot(leaf.param, u) / dot(leaf.param, leaf.param)",
            ),
        ],
        test_project.test_tensors_of_one_element_pass_the_projection: [
            (project.orthogonal_leaf, "row_numel(u) == 1", "False"),
        ],
        test_project.test_each_tensor_is_projected_for_itself: [
            (project.orthogonal_leaf, "dot(leaf.param, u)", "dot(leaf.param, u).sum()"),
        ],
    },
    "centralize": {
        test_project.test_centralized_rows_have_no_mean: [
            (project.centralize_leaf, "range(2, u.ndim)", "range(1, u.ndim)"),
        ],
        test_project.test_centralizing_moves_all_entries_of_a_row_by_one_number: [
            (project.centralize_leaf, "u - u.mean(", "u / u.mean("),
        ],
        test_project.test_the_optimizer_centralizes_rows_too: [
            (project.centralize, "reads_shape=True", "reads_shape=False"),
        ],
        test_project.test_centralizing_twice_is_centralizing_once: [
            (project.centralize_leaf, "u - u.mean(", "u - 0.5 * u.mean("),
        ],
        test_project.test_tensors_of_fewer_than_two_dimensions_pass_centralizing: [
            (project.centralize_leaf, "u.ndim < 3", "u.ndim < 2"),
        ],
    },
    "clip_by_value": {
        test_clip.test_no_entry_is_larger_than_the_bound_and_entries_within_it_pass: [
            (clip.clip_by_value_leaf, "torch.where(u < -max_delta, -max_delta, u)", "u"),
        ],
        test_clip.test_clipping_twice_is_clipping_once: [
            (clip.clip_by_value_leaf, "-max_delta, u)", "max_delta, u)"),
        ],
    },
    "clip_by_norm": {
        test_clip.test_no_tensor_is_longer_than_the_bound_and_each_keeps_its_direction: [
            (clip.clip_by_norm_leaf, "size = norm(u)", "size = norm(u) ** 2"),
            (
                clip.shrink,
                "torch.where(size < max_norm, 1, max_norm / torch.where(size == 0, 1, size))",
                "max_norm / torch.where(size == 0, 1, size)",
            ),
        ],
        test_clip.test_clipping_by_norm_scales_with_update_and_bound_together: [
            (clip.shrink, "size < max_norm", "size < 1"),
        ],
        test_clip.test_clipping_by_norm_treats_each_tensor_for_itself: [
            (clip.clip_by_norm_leaf, "norm(u)", "norm(u).amax()"),
        ],
    },
    "clip_by_global_norm": {
        test_clip.test_all_tensors_together_are_not_longer_than_the_bound_and_keep_their_direction: [
            (clip.ClipByGlobalNorm.update, "squares.sum()", "squares.amax()"),
        ],
        test_clip.test_clipping_by_global_norm_is_clipping_by_norm_of_one_long_tensor: [
            (clip.ClipByGlobalNorm.update, "safe_sqrt(squares.sum())", "squares.sum()"),
        ],
        test_clip.test_a_nan_anywhere_is_not_taken_for_a_short_gradient: [
            (clip.shrink, "size == 0", "~(size > 0)"),
        ],
    },
    "zero_nans": {
        test_clip.test_only_nans_become_zero: [
            (clip.zero_nans_leaf, "torch.where(nan, 0, u)", "torch.nan_to_num(u)"),
        ],
        test_clip.test_the_state_tells_which_tensors_held_a_nan_last: [
            (clip.zero_nans_leaf, "any_nonzero(nan.to(u.dtype))", "s.found_nan | any_nonzero(nan.to(u.dtype))"),
        ],
    },
    "add_decayed_weights": {
        test_decay.test_decay_adds_the_parameter_to_the_direction: [
            (decay.decay_leaf, "weight_decay * leaf.param", "weight_decay ** 2 * leaf.param"),
        ],
        test_decay.test_decay_alone_takes_the_parameter_toward_zero: [
            (decay.decay_leaf, "u + weight_decay", "u - weight_decay"),
        ],
        test_decay.test_decay_is_of_the_parameter_before_the_step: [
            (decay.decay_leaf, "weight_decay * leaf.param", "weight_decay * (leaf.param - u)"),
        ],
        test_decay.test_a_mask_says_where_to_decay: [
            (decay.add_decayed_weights, "tx if mask is None else masked(tx, mask)", "tx"),
        ],
    },
    "add_cautious_decayed_weights": {
        test_decay.test_cautious_decay_spares_entries_that_the_step_takes_outward: [
            (decay.cautious_decay_leaf, "u * leaf.param >= 0", "u * leaf.param <= 0"),
            (decay.cautious_decay_leaf, "u * leaf.param >= 0", "leaf.grad * leaf.param >= 0"),
        ],
        test_decay.test_cautious_decay_never_opposes_the_step: [
            (decay.cautious_decay_leaf, "torch.where(u * leaf.param >= 0, leaf.param, 0)", "leaf.param"),
        ],
        test_decay.test_cautious_decay_of_no_strength_changes_nothing: [
            (decay.cautious_decay_leaf, "weight_decay * torch.where", "(weight_decay + 0.01) * torch.where"),
        ],
        test_decay.test_cautious_decay_acts_where_the_update_is_zero_and_not_where_the_parameter_is: [
            (decay.cautious_decay_leaf, "u * leaf.param >= 0", "u * leaf.param > 0"),
        ],
    },
    "dynamic_wd": {
        test_decay.test_dynamic_decay_fades_by_role_as_the_guide_says: [
            (decay.dynamic_wd_leaf, "u + weight_decay * left", "weight_decay * left"),
            (decay.dynamic_wd_leaf, "over(after.count, u)", "over(s.count, u)"),
            (decay.decay_multiplier, "1.5 * min_ratio", "min_ratio"),
            (decay.decay_multiplier, "0.7 * progress", "progress"),
            (decay.decay_multiplier, "progress.clamp_max(1.5)", "progress.clamp_max(2)"),
            (decay.decay_multiplier, "kind == 'lora'", "kind != 'lora'"),
            (decay.decay_multiplier, "(progress > 0) & (left < floor)", "left < floor"),
        ],
        test_decay.test_dynamic_decay_is_whole_until_the_transition_and_never_again: [
            (decay.decay_multiplier, "(count - transition_steps) / transition_steps", "count / transition_steps"),
        ],
        test_decay.test_dynamic_decay_of_plain_parameters_is_decay: [
            (decay.dynamic_wd_leaf, "leaf.kind not in ('lora', 'lokr')", "False"),
        ],
        test_decay.test_the_defaults_stop_where_the_exponents_stop: [
            (decay.decay_multiplier, "progress.clamp_max(2)", "progress"),
        ],
        test_decay.test_a_parameter_counts_its_own_updates_only: [
            (
                state.freeze_rows,
                "return torch.where(mask.reshape(-1, *(1,) * (fresh.ndim - 1)), fresh, kept)",
                "return fresh",
            ),
        ],
    },
    "spd_penalty": {
        test_penalty.test_the_selective_pull_lands_on_the_ray_from_the_anchor_and_never_beyond_it: [
            (penalty.selective_leaf, "strength * landed", "strength * leaf.param"),
            (penalty.selective_leaf, "u - leaving", "u + leaving"),
        ],
        test_penalty.test_a_gradient_projected_off_the_parameter_does_not_leave_it: [
            (penalty.selective_leaf, "> noise", "> 0"),
        ],
        test_penalty.test_full_strength_holds_the_distance_to_the_anchor: [
            (
                penalty.selective_leaf,
                "safe_divide(norm(landed) - norm(before), norm(landed))",
                "safe_divide(norm(landed) - norm(before), norm(before))",
            ),
        ],
        test_penalty.test_the_selective_pull_is_the_growth_times_the_strength_of_the_new_distance: [
            (penalty.selective_leaf, "strength * landed", "strength * before"),
        ],
        test_penalty.test_a_gradient_that_does_not_point_outward_is_not_pulled: [
            (penalty.selective_leaf, "dot(leaf.grad, before) > noise", "dot(leaf.grad, before) < noise"),
            (penalty.selective_leaf, "dot(leaf.grad, before) > noise", "dot(u, before) > noise"),
        ],
        test_penalty.test_a_step_that_comes_no_further_is_not_pulled: [
            (penalty.selective_leaf, ".clamp(0, 1)", ""),
        ],
        test_penalty.test_no_strength_is_no_pull: [
            (penalty.selective_leaf, "growth * strength", "growth"),
        ],
        test_penalty.test_the_first_step_is_not_pulled_toward_the_start: [
            (penalty.selective_leaf, "dot(leaf.grad, before) > noise", "dot(leaf.grad, before) >= 0"),
        ],
        test_penalty.test_only_the_distance_to_the_anchor_counts: [
            (
                penalty.selective_leaf,
                "leaf.param - s.anchor if isinstance(s, SpdPenaltyState) else leaf.param",
                "leaf.param",
            ),
        ],
        test_penalty.test_the_selection_does_not_see_the_size_of_the_gradient: [
            (penalty.selective_leaf, "dot(leaf.grad, before) > noise", "dot(leaf.grad, before) > 100"),
        ],
        test_penalty.test_the_selection_reads_the_gradient_and_the_parameter_before_the_step: [
            (penalty.selective_leaf, "dot(leaf.grad, before) > noise", "dot(leaf.grad, landed) > noise"),
        ],
        test_penalty.test_a_zero_anchor_is_an_anchor_of_zeros: [
            (penalty.spd_penalty, "anchor == 'zero' else", "anchor == 'init' else"),
        ],
        test_penalty.test_a_given_anchor_is_where_it_was_given: [
            (
                penalty.spd_penalty,
                "PerLeaf(*fields) if isinstance(anchor, str) else AnchoredPerLeaf(*fields, anchor=anchor)",
                "PerLeaf(*fields)",
            ),
        ],
        test_penalty.test_the_anchor_stays_where_init_saw_it: [
            (penalty.selective_leaf, "landed, s)", "landed, SpdPenaltyState(leaf.param))"),
        ],
        test_penalty.test_all_factors_of_a_lokr_module_are_pulled_together_or_not_at_all: [
            (penalty.selective_leaf, "dot(leaf.grad, before)", "dot(leaf.grad.abs(), before)"),
        ],
        test_penalty.test_the_ratio_pull_is_lr_strength_and_relative_distance_times_the_distance: [
            (penalty.ratio_leaf, "learning_rate * strength", "strength"),
        ],
        test_penalty.test_the_ratio_pull_scales_with_the_weights: [
            (penalty.ratio_leaf, "safe_divide(norm(drift), norm(landed))", "norm(drift)"),
        ],
        test_penalty.test_the_ratio_pull_brings_the_landing_nearer_to_the_anchor: [
            (penalty.ratio_leaf, "u - learning_rate", "u + learning_rate"),
        ],
        test_penalty.test_landing_on_the_anchor_is_not_pulled: [
            (penalty.ratio_leaf, "landed - s.anchor if isinstance(s, SpdPenaltyState) else landed", "landed"),
        ],
        test_penalty.test_a_landing_at_zero_is_not_pulled: [
            (penalty.ratio_leaf, "safe_divide(norm(drift), norm(landed))", "norm(drift) / norm(landed)"),
        ],
        test_penalty.test_the_ratio_pull_toward_zero_is_weight_decay_of_the_landing: [
            (penalty.ratio_leaf, "landed = leaf.param + u", "landed = leaf.param"),
        ],
    },
    "lora_lr_scale": {
        test_lr_scale.test_row_norms_are_those_of_the_formed_product: [
            (lr_scale.lora_row_norms, row_norms_multiplied),
            (lr_scale.lora_row_norms, "safe_sqrt(squares.clamp_min(0))", "squares"),
        ],
        test_lr_scale.test_a_product_that_cancels_has_a_norm_of_almost_zero_and_not_of_nan: [
            (lr_scale.lora_row_norms, ".clamp_min(0)", ""),
            (lr_scale.norm_from_square, ".clamp_min(0)", ""),
        ],
        test_lr_scale.test_rows_of_b_learn_at_one_over_the_root_of_their_norm_and_a_at_the_mean: [
            (lr_scale.lora_factors, "rows.mean(1, keepdim=True)", "rows[:, :1]"),
            (lr_scale.lora_factors, ".sqrt()", ""),
            (lr_scale.lora_factors, "'lora_b': rows", "'lora_b': rows.mean(1, keepdim=True)"),
        ],
        test_lr_scale.test_the_rate_of_a_row_is_at_most_eta_and_falls_with_its_norm: [
            (lr_scale.lora_factors, "1 / (lora_row_norms", "(lora_row_norms"),
        ],
        test_lr_scale.test_a_fresh_lora_learns_at_eta: [
            (lr_scale.lora_factors, "eta ** (-2)", "eta ** (-1)"),
        ],
        test_lr_scale.test_rates_move_with_their_rows: [
            (lr_scale.lora_factors, "'lora_b': rows", "'lora_b': rows.flip(1)"),
        ],
        test_lr_scale.test_the_rates_of_a_lora_depend_on_its_product_only: [
            (lr_scale.lora_row_norms, row_norms_multiplied),
        ],
        test_lr_scale.test_lora_rates_are_linear_in_the_update: [
            (modules.PerModule.update, "scaled(u,", "scaled({key: x.abs() for key, x in u.items()},"),
        ],
    },
    "lora_plus_lr_scale": {
        test_lr_scale.test_lora_plus_multiplies_b_and_leaves_a: [
            (lr_scale.lora_plus_init, " & ~starts_at_zero(p['lora_b'])", ""),
            (
                lr_scale.lora_plus_factors,
                "'lora_a': torch.where(on_a, ratio, one)",
                "'lora_a': torch.where(on_a, ratio, ratio)",
            ),
        ],
        test_lr_scale.test_lora_plus_multiplies_a_where_a_is_what_starts_at_zero: [
            (lr_scale.lora_plus_factors, "'lora_a': torch.where(on_a, ratio, one)", "'lora_a': one"),
        ],
        test_lr_scale.test_lora_plus_remembers_which_factor_started_at_zero: [
            (lr_scale.lora_plus_factors, "s.on_a[:, None]", "starts_at_zero(p['lora_a'])[:, None]"),
        ],
        test_lr_scale.test_lora_plus_of_ratio_one_changes_nothing: [
            (lr_scale.lora_plus_factors, "torch.where(on_a, one, ratio)", "torch.where(on_a, one, ratio + 1)"),
        ],
        test_lr_scale.test_a_lora_factor_without_its_partner_passes: [
            (modules.PerModule.update, "{**u, **new}", "{**{key: 2 * x for key, x in u.items()}, **new}"),
        ],
        test_lr_scale.test_lora_modules_do_not_mix: [
            (lr_scale.lora_plus_factors, "s.on_a[:, None]", "s.on_a.any().expand_as(s.on_a)[:, None]"),
        ],
    },
    "lokr_lr_scale": {
        test_lr_scale.test_a_lokr_module_is_damped_by_the_norm_of_its_kronecker_product: [
            (lr_scale.norm_from_square, "safe_sqrt(", "("),
            (
                lr_scale.side_norm,
                "p['lokr_t2'], p.each(a, row_gram), p.each(b, row_gram)",
                "p['lokr_t2'], p.each(b, row_gram), p.each(a, row_gram)",
            ),
            (lr_scale.lokr_factors, "1 + damping * lokr_norm(p)", "1 + damping + lokr_norm(p)"),
        ],
        test_lr_scale.test_the_product_of_norms_is_the_norm_of_the_kronecker_product: [
            (lr_scale.product_norm, norms_multiplied),
        ],
        test_lr_scale.test_the_norm_of_a_tucker_product_is_that_of_the_formed_product: [
            (lr_scale.tucker_norm, "@ rows_of_b[:, None]", "@ rows_of_b[:, None].abs()"),
            (lr_scale.tucker_norm, "n i j ... -> n (...) i j", "n i j ... -> n (...) j i"),
        ],
        test_lr_scale.test_the_norms_of_factored_sides_are_those_of_the_formed_products: [
            (lr_scale.product_norm, norms_multiplied),
        ],
        test_lr_scale.test_only_the_w2_side_gets_the_ratio: [
            (lr_scale.lokr_factors, "shared * ratio * w2_factor", "shared * ratio"),
            (lr_scale.lokr_factors, "torch.where(on_a, fast, shared)", "fast.expand_as(on_a)"),
        ],
        test_lr_scale.test_the_ratio_is_on_w2_a_where_w2_a_is_what_starts_at_zero: [
            (
                lr_scale.lokr_init,
                "starts_at_zero(p['lokr_w2_a']) & ~starts_at_zero(p['lokr_w2_b'])",
                "starts_at_zero(p['lokr_w2_b']) & ~starts_at_zero(p['lokr_w2_a'])",
            ),
        ],
        test_lr_scale.test_the_rate_of_a_lokr_module_depends_on_its_product_only: [
            (lr_scale.product_norm, norms_multiplied),
        ],
        test_lr_scale.test_the_rate_of_a_lokr_module_is_at_most_one_and_falls_as_it_grows: [
            (lr_scale.lokr_factors, "1 / (1 + damping * lokr_norm(p))", "1 * (1 + damping * lokr_norm(p))"),
        ],
        test_lr_scale.test_a_fresh_lokr_is_not_damped: [
            (lr_scale.lokr_norm, "side_norm(p, 'lokr_w1') *", "side_norm(p, 'lokr_w1') +"),
        ],
        test_lr_scale.test_lokr_modules_do_not_mix: [
            (lr_scale.lokr_factors, "s.on_a[:, None]", "s.on_a.any().expand_as(s.on_a)[:, None]"),
        ],
        test_lr_scale.test_a_lokr_module_that_lacks_a_factor_passes: [
            (modules.PerModule.update, "{**u, **new}", "{**{key: 2 * x for key, x in u.items()}, **new}"),
        ],
        test_lr_scale.test_adapter_rates_leave_other_parameters_alone: [
            (modules.PerModule.update, "{**u, **new}", "{**{key: 2 * x for key, x in u.items()}, **new}"),
        ],
    },
}

ROWS = [(transform, law, *edit) for transform, laws in MUTANTS.items() for law, edits in laws.items() for edit in edits]
FILES = (
    test_clip,
    test_decay,
    test_finite,
    test_lr_scale,
    test_mask,
    test_penalty,
    test_project,
    test_scale,
    test_scale_by_adam,
    test_scale_by_adopt,
    test_scale_by_rms,
    test_trace,
)


def edited(formula: Callable[..., Any], old: str, new: str) -> Callable[..., Any]:
    """The formula with one piece of its text replaced, in the namespace of its module."""
    text = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(formula))))
    assert old in text, f"{formula.__qualname__} has no {old!r} any more, write the mutant anew:\n{text}"
    namespace = dict(vars(sys.modules[formula.__module__]))
    exec(compile(text.replace(old, new), "<mutant>", "exec", annotations.compiler_flag), namespace)
    return namespace[formula.__name__]


def places(formula: Callable[..., Any]) -> list[tuple[Any, str]]:
    """Where the library keeps the formula: in the modules that import it, or in its class."""
    owners = [module for name, module in sys.modules.items() if name.partition(".")[0] == "hina_func"]
    if "." in formula.__qualname__:
        owners = [getattr(sys.modules[formula.__module__], formula.__qualname__.partition(".")[0])]
    return [(owner, key) for owner in owners for key, value in vars(owner).items() if value is formula]


def identify(row: tuple[Any, ...]) -> str:
    transform, _, formula, *edit = row
    return f"{transform}: {formula.__name__}: {' => '.join(getattr(part, '__name__', part) for part in edit)}"


@pytest.mark.parametrize("row", ROWS, ids=identify)
def test_the_law_fails_on_the_mutant(row: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    _, law, formula, *edit = row
    mutant = edited(formula, *edit) if len(edit) == 2 else edit[0]
    for owner, key in places(formula):
        monkeypatch.setattr(owner, key, mutant)
    with pytest.raises(AssertionError):
        getattr(law, "ask", law)()


def test_every_transform_has_a_mutant() -> None:
    made_here = (name for name, made in vars(hf).items() if getattr(made, "__module__", "").startswith(FAMILIES))
    assert set(made_here) <= set(MUTANTS)


def test_every_law_has_a_mutant() -> None:
    laws = {law for file in FILES for law in vars(file).values() if hasattr(law, "ask")}
    assert {law.__qualname__ for law in laws} <= {law.__qualname__ for laws in MUTANTS.values() for law in laws}
