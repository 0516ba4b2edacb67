"""The laws of this suite can fail: each finds the mutants beside it.

Those in words are of the corpus, `hina_func.testing.mutants`, whose own score is kept by ``test_law_score.py``. Beside
them are edits too odd for it (function, old text, new text), which show that a law is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import test_finite
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
from hina_func.testing.mutants import CORPUS, Mutant

Law = Callable[[], None]

FAMILIES = "hina_func.transforms"
BY_NAME = {mutant.name: mutant for mutant in CORPUS}

MUTANTS: dict[str, dict[Law, list[str | tuple[str, str, str]]]] = {
    "scale": {
        test_scale.test_scale_multiplies_each_entry: [
            ("transforms.scale.scale_leaf", "sign * step_size", "sign + step_size")
        ],
    },
    "scale_by_learning_rate": {
        test_scale.test_the_learning_rate_turns_the_direction_downhill: ["Ascent and descent are taken for each other"],
        test_scale.test_a_scheduled_learning_rate_is_the_schedule_times_minus_one: ["The update goes uphill"],
    },
    "scale_by_schedule": {
        test_scale.test_a_schedule_sees_the_number_of_updates_before_this_one: [
            "A schedule begins at its second value",
            "A scheduled number never goes on",
            "A schedule that multiplies never goes on",
        ],
    },
    "scale_by_agr": {
        test_scale.test_agr_keeps_signs_and_damps_each_entry_by_its_share: [
            "AGR adds shares and does not damp by them",
            "AGR takes the size of the sum",
            "AGR takes the total of all tensors of a shape",
        ],
        test_scale.test_agr_takes_the_square_norm_over_the_one_norm_from_the_one_norm: ["AGR damps by signed shares"],
        test_scale.test_agr_follows_the_scale_of_the_gradient_and_its_sign: ["AGR adds one to the total"],
        test_scale.test_agr_shrinks_a_uniform_gradient_by_one_over_its_size: [
            "AGR takes the Euclidean norm for the sum of sizes"
        ],
        test_scale.test_agr_maps_a_one_hot_gradient_to_zero: [
            ("transforms.scale.agr_leaf", "total(size)", "(total(size) + 1e-08)")
        ],
        test_scale.test_agr_passes_tensors_of_one_element: ["AGR damps a single element to nothing"],
        test_scale.test_agr_passes_a_zero_gradient: ["AGR divides by a total of zero"],
    },
    "scale_by_lion": {
        test_scale_by_rms.test_lion_gives_the_sign_of_the_old_momentum_mixed_with_the_gradient: [
            ("transforms.scale_by_rms.lion_leaf", "sign(b1 * s.mu", "sign(b2 * s.mu"),
            "Lion keeps what it took the sign of",
        ],
        test_scale_by_rms.test_lion_starts_with_the_sign_of_the_gradient: ["Lion takes no sign"],
        test_scale_by_rms.test_lion_does_not_see_the_scale_of_the_gradients: ["Lion sees the size of gradients"],
    },
    "scale_by_rms": {
        test_scale_by_rms.test_rms_divides_by_the_root_of_the_weighted_mean_square: [
            "RMSProp has eps beside the root",
            "RMSProp divides by the squares of the step before",
        ],
        test_scale_by_rms.test_rms_without_eps_does_not_see_the_scale_of_the_gradients: [
            ("transforms.scale_by_rms.rms_leaf", "(size + eps).sqrt()", "size + eps")
        ],
        test_scale_by_rms.test_rms_with_bias_correction_maps_a_constant_gradient_to_its_sign: [
            "RMSProp forgets to undo its bias",
            "RMSProp undoes the bias of the step before",
        ],
        test_scale_by_rms.test_rms_without_bias_correction_starts_too_fast_by_the_root_of_the_missing_weight: [
            "RMSProp undoes its bias when told not to"
        ],
        test_scale_by_rms.test_rms_leaves_a_zero_gradient_at_zero: ["RMSProp without eps divides zero by zero"],
    },
    "scale_by_trust_ratio": {
        test_scale.test_the_trust_ratio_gives_the_update_the_size_of_the_parameter: [
            "The trust ratio is turned over",
            "The trust ratio counts the updates of all tensors",
        ],
        test_scale.test_the_trust_ratio_follows_the_scale_of_the_parameter_and_not_of_the_update: [
            "The trust ratio has a root too many"
        ],
        test_scale.test_the_trust_ratio_counts_no_norm_below_its_floor: [
            ("transforms.scale.trust_ratio_leaf", "torch.where(n <= min_norm, min_norm, n)", "n")
        ],
        test_scale.test_the_trust_ratio_passes_updates_of_zero_parameters_and_zero_updates: [
            ("transforms.scale.trust_ratio_leaf", "(param_norm != 0) & (update_norm != 0)", "update_norm != 0")
        ],
    },
    "scale_by_adam": {
        test_scale_by_adam.test_adam_divides_the_weighted_mean_by_the_root_of_the_weighted_mean_square: [
            "Adam swaps its two rates",
            "Adam adds eps under the root",
            "Adam forgets eps_root",
        ],
        test_scale_by_adam.test_adam_without_eps_starts_with_the_sign_of_the_gradient: [
            "Adam keeps the bias of its mean"
        ],
        test_scale_by_adam.test_adam_maps_a_constant_gradient_to_its_sign_at_every_step: [
            "Adam debiases its squares as of the next step",
            "Averages add the new value whole",
        ],
        test_scale_by_adam.test_adam_without_eps_does_not_see_the_scale_of_the_gradients: [
            "Adam divides by the square and not by its root"
        ],
        test_scale_by_adam.test_adam_follows_the_sign_of_the_gradients: ["Adam loses the sign of its mean"],
        test_scale_by_adam.test_debias_by_step_is_debias_of_moments_with_a_larger_eps_at_first: [
            "Adam's eps is scaled with the bias, debiased by step or not",
            "Adam debiased by step forgets the root of the bias",
            "Adam debiased by step forgets eps_root",
        ],
        test_scale_by_adam.test_nesterov_looks_one_step_ahead_in_the_mean: [
            "NAdam does not correct for the step ahead",
            "NAdam takes the gradient with its bias",
        ],
        test_scale_by_adam.test_nesterov_with_debias_by_step_mixes_the_gradient_into_the_mean_once_more: [
            "NAdam debiased by step does not look ahead"
        ],
        test_scale_by_adam.test_nesterov_without_momentum_is_adam_without_momentum: [
            "NAdam mixes with a rate of its own"
        ],
        test_scale_by_adam.test_a_rate_may_be_a_tensor: [
            ("numerics.one_minus_power", "exponent * torch.log(base)", "exponent * base")
        ],
        test_scale_by_adam.test_learning_rates_of_tensors_are_lost_on_adam_without_eps: [
            "Adam averages sizes for squares"
        ],
        test_scale_by_adam.test_a_first_gradient_of_zero_does_not_make_the_second_step_large: [
            "Adam uses the squares of the step before"
        ],
        test_scale_by_adam.test_moments_without_any_gradient_give_nothing: ["Adam forgets eps"],
    },
    "scale_by_adatam": {
        test_scale_by_adam.test_alignment_and_damping_stay_in_their_ranges: [
            ("moments.torque", ".clamp(-1, 1)", " * 2")
        ],
        test_scale_by_adam.test_a_constant_gradient_aligns_from_its_second_step_on: [
            "AdaTAM compares the gradient with the momentum that has it already"
        ],
        test_scale_by_adam.test_the_damping_of_a_constant_gradient_grows_as_published: [
            "Torque smooths the other way round"
        ],
        test_scale_by_adam.test_alignment_is_the_smoothed_cosine_of_a_gradient_with_the_momentum_before_it: [
            "Torque divides by one of two norms"
        ],
        test_scale_by_adam.test_adatam_that_never_learns_an_alignment_is_half_of_adam: ["Torque forgets to halve"],
        test_scale_by_adam.test_adatam_measures_sizes_on_the_undamped_gradient: ["AdaTAM damps the squares too"],
        test_scale_by_adam.test_adatam_damps_the_incoming_gradient_and_never_the_momentum: [
            "AdaTAM damps the momentum and not the gradient",
            "Torque takes in more of a gradient that points against the momentum",
            "AdaTAM forgets eps in its damping",
        ],
        test_scale_by_adam.test_adatam_divides_by_the_root_of_its_mean_square_and_eps: [
            (
                "transforms.scale_by_adam.adatam_leaf",
                "safe_sqrt(debiased(nu, b2, count)) + eps",
                "safe_sqrt(debiased(nu, b2, count)) - eps",
            )
        ],
        test_scale_by_adam.test_adatam_without_eps_does_not_see_the_scale_of_the_gradients: [
            "Torque adds one to the norms"
        ],
        test_scale_by_adam.test_adatam_starts_with_half_the_sign_of_the_gradient: ["AdaTAM keeps the bias of its mean"],
        test_scale_by_adam.test_adatam_is_adam_fed_with_damped_gradients_over_adams_own_sizes: [
            "AdaTAM keeps the bias of its squares"
        ],
    },
    "scale_by_adopt": {
        test_scale_by_adopt.test_the_first_gradient_fills_the_second_moment_and_moves_nothing: [
            "ADOPT's first gradient fills the second moment by a part",
            "ADOPT moves at its first gradient",
        ],
        test_scale_by_adopt.test_no_entry_exceeds_the_fourth_root_of_the_step: [
            "ADOPT clips one step late",
            "ADOPT never clips",
            "ADOPT clips what is positive only",
            "ADOPT clips by the root of the step",
        ],
        test_scale_by_adopt.test_adopt_averages_gradients_over_the_root_of_the_moment_before_them: [
            "ADOPT adds eps where it is a floor",
            "ADOPT stops counting at zeros",
        ],
        test_scale_by_adopt.test_adopt_without_eps_does_not_see_the_scale_of_the_gradients: [
            "ADOPT divides by squares"
        ],
        test_scale_by_adopt.test_unclipped_adopt_is_affine_in_the_present_gradient: [
            "ADOPT divides by a moment that has the gradient already"
        ],
        test_scale_by_adopt.test_gradients_of_constant_size_are_normalised_to_their_signs: [
            "ADOPT adds squares to the second moment whole"
        ],
        test_scale_by_adopt.test_a_tensor_without_gradients_waits_for_its_first_one: [
            "ADOPT counts zeros before its first gradient"
        ],
        test_scale_by_adopt.test_a_tensor_that_waits_does_not_hold_up_another_of_its_shape: [
            ("transforms.scale_by_adopt.advanced", "any_nonzero(u)", "(u != 0).all()")
        ],
        test_scale_by_adopt.test_an_entry_that_started_at_zero_is_held_by_the_clip: ["ADOPT never clips"],
        test_scale_by_adopt.test_the_bound_may_be_another_function_of_the_step: ["ADOPT does not ask for another clip"],
    },
    "scale_by_adopt_tam": {
        test_scale_by_adopt.test_torque_compares_the_momentum_with_the_normalised_gradient: [
            "ADOPT with torque compares the momentum with the raw gradient",
            "ADOPT with torque forgets eps in its damping",
            "ADOPT with torque damps its momentum too",
        ],
        test_scale_by_adopt.test_torque_aware_adopt_that_never_learns_an_alignment_is_half_of_adopt: [
            "Torque forgets to halve"
        ],
        test_scale_by_adopt.test_torque_does_not_touch_the_second_moment: ["ADOPT with torque damps its second moment"],
        test_scale_by_adopt.test_a_constant_gradient_aligns_with_adopts_momentum_from_the_third_step_on: [
            "ADOPT with torque compares with the momentum that has the gradient already"
        ],
        test_scale_by_adopt.test_a_tensor_without_gradients_waits_for_its_first_one: [
            "ADOPT with torque counts zeros before its first gradient"
        ],
        test_scale_by_adopt.test_the_first_gradient_fills_the_second_moment_and_moves_nothing: [
            "ADOPT's first gradient fills the second moment by a part"
        ],
    },
    "trace": {
        test_trace.test_trace_is_the_decaying_sum_of_all_gradients: ["Momentum is an average where a sum is meant"],
        test_trace.test_nesterov_adds_the_gradient_to_the_decayed_new_sum: ["Nesterov looks back and not ahead"],
        test_trace.test_trace_is_linear_in_the_gradients: ["Momentum keeps sizes without signs"],
        test_trace.test_trace_without_decay_passes_the_gradient: ["Momentum forgets to decay"],
    },
    "trace_tam": {
        test_trace.test_gradients_orthogonal_to_the_momentum_are_taken_in_by_half: [
            "Torque-aware momentum forgets eps"
        ],
        test_trace.test_torque_damps_the_incoming_gradient_and_never_the_momentum: [
            ("transforms.trace.trace_tam_leaf", "b1 * s.trace + (damping + eps) * u", "damping * (b1 * s.trace + u)")
        ],
        test_trace.test_alignment_is_the_smoothed_cosine_of_a_gradient_with_the_sum_before_it: [
            "Torque-aware momentum compares with the sum that has the gradient already"
        ],
        test_trace.test_a_gradient_against_the_momentum_is_taken_in_less: [
            "Torque takes in more of a gradient that points against the momentum"
        ],
        test_trace.test_torque_aware_momentum_that_never_learns_an_alignment_is_half_of_momentum: [
            "Torque forgets to halve"
        ],
        test_trace.test_torque_aware_momentum_follows_the_scale_of_the_gradients: [
            "Torque divides by one of two norms"
        ],
    },
    "ema": {
        test_trace.test_ema_is_the_weighted_mean_of_all_updates: ["An average undoes its bias when told not to"],
        test_trace.test_ema_of_a_constant_is_the_constant: ["An average undoes the bias of the next step"],
        test_trace.test_ema_without_decay_passes_the_update: ["An average takes old for new"],
    },
    "cautious_mask": {
        test_mask.test_no_entry_of_a_cautious_update_opposes_the_gradient: [
            "The cautious mask compares the update with itself"
        ],
        test_mask.test_what_agrees_is_kept_with_its_sign_and_all_else_is_dropped: ["The cautious mask loses signs"],
        test_mask.test_masking_twice_keeps_the_same_entries_and_boosts_them_again: [
            "The cautious mask takes a root of the share"
        ],
        test_mask.test_survivors_are_boosted_by_the_share_that_survived: [
            "The cautious mask is scaled down and not up",
            "The cautious mask by count counts one less",
            "The cautious mask is rescaled over all tensors of a shape",
        ],
        test_mask.test_an_update_along_the_gradient_is_left_alone: ["The cautious mask keeps what disagrees"],
        test_mask.test_a_cautious_update_follows_the_scale_of_the_update_and_not_of_the_gradient: [
            "The cautious mask wants more than agreement"
        ],
        test_mask.test_a_cautious_update_does_not_depend_on_the_order_of_entries: [
            "The cautious mask compares elements with their neighbours"
        ],
        test_mask.test_an_update_against_the_gradient_is_dropped_whole: ["The cautious mask divides by no survivors"],
        test_mask.test_entries_without_a_gradient_are_dropped: ["The cautious mask keeps elements without a gradient"],
        test_mask.test_the_boost_is_bounded_by_max_scale: ["The cautious mask has no bound"],
        test_mask.test_cautious_adam_starts_with_adams_step_over_the_share_of_entries_with_a_gradient: [
            "The cautious mask is not rescaled"
        ],
        test_mask.test_the_boost_of_few_survivors_stops_at_a_thousand: [
            ("transforms.mask.cautious_leaf", "clamp_min(0.001)", "clamp_min(0.01)")
        ],
    },
    "grams_sign": {
        test_mask.test_grams_keeps_sizes_and_takes_the_signs_of_the_gradient: [
            "Grams moves elements without a gradient"
        ],
        test_mask.test_grams_descends_at_least_as_fast_as_caution_and_that_as_the_update: [
            ("transforms.mask.grams_leaf", "u.abs() * sign(leaf.grad)", "u")
        ],
        test_mask.test_grams_reflects_where_caution_drops: ["Grams drops where it should reflect"],
        test_mask.test_grams_twice_is_grams: ["Grams keeps the sign of the update beside the gradient's"],
        test_mask.test_grams_follows_the_size_of_the_update_and_not_of_the_gradient: [
            "Grams takes sizes from the gradient and signs from the update"
        ],
        test_mask.test_grams_changes_nothing_in_adam_without_momentum: ["Grams goes the other way"],
        test_mask.test_grams_changes_nothing_in_adams_first_step: [
            "Grams keeps the sign of the update beside the gradient's"
        ],
        test_mask.test_caution_changes_nothing_behind_grams: ["Grams takes the sign of the update"],
        test_finite.test_signs_have_the_nans_of_what_they_are_the_signs_of: [
            "A sign makes zeros of NaN",
            ("numerics.sign", "x.clamp_max(-2)", "x.clamp_max(2)"),
        ],
    },
    "skip_not_finite": {
        test_finite.test_a_gradient_that_is_not_finite_counts_as_missing: [
            "A gate lets the momentum of what it skips count in a norm",
            "A gate lets what is not finite out",
            "A gate lets the state of what it skips go on",
            "A gate stops NaN and lets infinities pass",
            "A gate skips what is finite",
        ],
        test_finite.test_the_state_counts_what_each_parameter_has_skipped: [
            ("gates.SkipNotFinite.update", "+ ~finite[key]", "+ finite[key]")
        ],
        test_finite.test_a_gradient_that_is_not_finite_is_found_behind_a_finite_update: [
            ("gates.SkipNotFinite.update", " & _finite_rows(ctx.grads[key])", "")
        ],
        test_finite.test_functions_written_elsewhere_see_zeros_and_their_state_stands_still_too: [
            ("gates.SkipNotFinite.update", "**_where(finite, ctx.grads)", ""),
            ("gates.SkipNotFinite.update", "if has_foreign(self)", "if False"),
        ],
    },
    "apply_if_finite": {
        test_finite.test_a_missing_gradient_is_no_error_and_a_skipped_step_is_none_for_it_either: [
            "A gate for all lets the state go on",
            "A gate for all lets what is not finite out",
        ],
    },
    "orthogonal_project": {
        test_project.test_the_projection_is_orthogonal_to_the_parameter_at_the_gradients_size: [
            "The projection is not brought back to size",
            "The projection adds the component along the parameter",
        ],
        test_project.test_the_projection_stays_in_the_plane_of_gradient_and_parameter: [
            "The projection keeps the component along the parameter alone"
        ],
        test_project.test_the_projection_follows_the_scale_of_the_gradient_and_not_of_the_parameter: [
            "The projection divides by a norm and not by its square"
        ],
        test_project.test_the_projection_turns_with_gradient_and_parameter: [
            "The projection multiplies with sizes of the parameter"
        ],
        test_project.test_projecting_twice_is_projecting_once: ["The projection takes away half of the component"],
        test_project.test_plain_descent_along_the_projection_never_shrinks_the_parameter: [
            "The projection is not brought back to size"
        ],
        test_project.test_rounding_noise_of_a_parallel_gradient_is_no_direction: [
            "The projection blows rounding noise up to size"
        ],
        test_project.test_the_gradient_of_a_zero_parameter_passes: ["The projection divides by a parameter of zero"],
        test_project.test_tensors_of_one_element_pass_the_projection: [
            "The projection takes everything from a single element"
        ],
        test_project.test_each_tensor_is_projected_for_itself: ["The projection mixes tensors of a shape"],
    },
    "centralize": {
        test_project.test_centralized_rows_have_no_mean: ["Centralizing takes the mean of the whole tensor"],
        test_project.test_centralizing_moves_all_entries_of_a_row_by_one_number: [
            ("transforms.project.centralize_leaf", "u - u.mean(", "u / u.mean(")
        ],
        test_project.test_the_optimizer_centralizes_rows_too: ["Centralizing in an optimizer sees flat tensors"],
        test_project.test_centralizing_twice_is_centralizing_once: ["Centralizing takes half of the mean"],
        test_project.test_tensors_of_fewer_than_two_dimensions_pass_centralizing: [
            ("transforms.project.centralize_leaf", "u.ndim < 3", "u.ndim < 2")
        ],
    },
    "clip_by_value": {
        test_clip.test_no_entry_is_larger_than_the_bound_and_entries_within_it_pass: [
            "Clipping by value bounds one side"
        ],
        test_clip.test_clipping_twice_is_clipping_once: ["Clipping by value turns what is below"],
    },
    "clip_by_norm": {
        test_clip.test_no_tensor_is_longer_than_the_bound_and_each_keeps_its_direction: [
            "Clipping by norm takes the square of the norm",
            "Clipping by norm makes short gradients longer",
        ],
        test_clip.test_clipping_by_norm_scales_with_update_and_bound_together: ["Clipping by norm compares with one"],
        test_clip.test_clipping_by_norm_treats_each_tensor_for_itself: [
            "Clipping by norm takes the longest of a shape"
        ],
    },
    "clip_by_global_norm": {
        test_clip.test_all_tensors_together_are_not_longer_than_the_bound_and_keep_their_direction: [
            "Clipping by global norm looks at the longest tensor"
        ],
        test_clip.test_clipping_by_global_norm_is_clipping_by_norm_of_one_long_tensor: [
            "Clipping by global norm forgets the root"
        ],
        test_clip.test_a_nan_anywhere_is_not_taken_for_a_short_gradient: [
            ("transforms.clip.shrink", "size == 0", "~(size > 0)")
        ],
    },
    "zero_nans": {
        test_clip.test_only_nans_become_zero: ["The NaN guard swallows infinities too"],
        test_clip.test_the_state_tells_which_tensors_held_a_nan_last: [
            (
                "transforms.clip.zero_nans_leaf",
                "any_nonzero(nan.to(u.dtype))",
                "s.found_nan | any_nonzero(nan.to(u.dtype))",
            )
        ],
    },
    "add_decayed_weights": {
        test_decay.test_decay_adds_the_parameter_to_the_direction: ["Decay is squared"],
        test_decay.test_decay_alone_takes_the_parameter_toward_zero: ["Decay grows the parameter"],
        test_decay.test_decay_is_of_the_parameter_before_the_step: ["Decay is of the parameter after the step"],
        test_decay.test_a_mask_says_where_to_decay: ["Decay goes where the mask says not to"],
    },
    "add_cautious_decayed_weights": {
        test_decay.test_cautious_decay_spares_entries_that_the_step_takes_outward: [
            "Cautious decay pulls where the step goes outward",
            ("transforms.decay.cautious_decay_leaf", "u * leaf.param >= 0", "leaf.grad * leaf.param >= 0"),
        ],
        test_decay.test_cautious_decay_never_opposes_the_step: ["Cautious decay is not cautious"],
        test_decay.test_cautious_decay_of_no_strength_changes_nothing: [
            (
                "transforms.decay.cautious_decay_leaf",
                "weight_decay * torch.where",
                "(weight_decay + 0.01) * torch.where",
            )
        ],
        test_decay.test_cautious_decay_acts_where_the_update_is_zero_and_not_where_the_parameter_is: [
            "Cautious decay spares elements that rest"
        ],
    },
    "dynamic_wd": {
        test_decay.test_dynamic_decay_fades_by_role_as_the_guide_says: [
            "Fading decay forgets the update",
            "Fading decay begins one update late",
            "Fading decay of LoKr has the floor of LoRA",
            "Fading decay of LoKr is as fast as LoRA's",
            "Fading decay of LoKr goes on for too long",
            "Fading decay takes LoRA for LoKr",
            ("transforms.decay.decay_multiplier", "(progress > 0) & (left < floor)", "left < floor"),
        ],
        test_decay.test_dynamic_decay_is_whole_until_the_transition_and_never_again: [
            "Fading decay fades from the first update on"
        ],
        test_decay.test_dynamic_decay_of_plain_parameters_is_decay: ["Fading decay fades outside adapters"],
        test_decay.test_the_defaults_stop_where_the_exponents_stop: ["Fading decay of LoRA never stops"],
        test_decay.test_a_parameter_counts_its_own_updates_only: [
            "The state of a parameter without a gradient goes on"
        ],
    },
    "spd_penalty": {
        test_penalty.test_the_selective_pull_lands_on_the_ray_from_the_anchor_and_never_beyond_it: [
            "The pull is along the parameter and not along the landing",
            "The pull is away from the anchor",
        ],
        test_penalty.test_a_gradient_projected_off_the_parameter_does_not_leave_it: [
            ("transforms.penalty.selective_leaf", "> noise", "> 0")
        ],
        test_penalty.test_full_strength_holds_the_distance_to_the_anchor: [
            "The pull is a share of the distance before"
        ],
        test_penalty.test_the_selective_pull_is_the_growth_times_the_strength_of_the_new_distance: [
            ("transforms.penalty.selective_leaf", "strength * landed", "strength * before")
        ],
        test_penalty.test_a_gradient_that_does_not_point_outward_is_not_pulled: [
            "The pull is there for gradients that lead to the anchor",
            "The pull asks the step and not the gradient",
        ],
        test_penalty.test_a_step_that_comes_no_further_is_not_pulled: ["The pull is there for steps that come nearer"],
        test_penalty.test_no_strength_is_no_pull: ["The pull ignores its strength"],
        test_penalty.test_the_first_step_is_not_pulled_toward_the_start: [
            ("transforms.penalty.selective_leaf", "dot(leaf.grad, before) > noise", "dot(leaf.grad, before) >= 0")
        ],
        test_penalty.test_only_the_distance_to_the_anchor_counts: ["The anchor is forgotten"],
        test_penalty.test_the_selection_does_not_see_the_size_of_the_gradient: [
            "The pull begins at a fixed inner product"
        ],
        test_penalty.test_the_selection_reads_the_gradient_and_the_parameter_before_the_step: [
            "The pull asks where the step has landed"
        ],
        test_penalty.test_a_zero_anchor_is_an_anchor_of_zeros: ["The anchor at zero is where the parameter started"],
        test_penalty.test_a_given_anchor_is_where_it_was_given: [
            (
                "transforms.penalty.spd_penalty",
                "PerLeaf(*fields) if isinstance(anchor, str) else AnchoredPerLeaf(*fields, anchor=anchor)",
                "PerLeaf(*fields)",
            )
        ],
        test_penalty.test_the_anchor_stays_where_init_saw_it: ["The anchor moves with the parameter"],
        test_penalty.test_all_factors_of_a_lokr_module_are_pulled_together_or_not_at_all: [
            "The pull asks for the sizes of the gradient"
        ],
        test_penalty.test_the_ratio_pull_is_lr_strength_and_relative_distance_times_the_distance: [
            "The pull by ratio forgets the learning rate"
        ],
        test_penalty.test_the_ratio_pull_scales_with_the_weights: ["The pull by ratio is a distance and no ratio"],
        test_penalty.test_the_ratio_pull_brings_the_landing_nearer_to_the_anchor: [
            "The pull by ratio is away from the anchor"
        ],
        test_penalty.test_landing_on_the_anchor_is_not_pulled: ["The pull by ratio forgets the anchor"],
        test_penalty.test_a_landing_at_zero_is_not_pulled: ["The pull by ratio divides by a landing at zero"],
        test_penalty.test_the_ratio_pull_toward_zero_is_weight_decay_of_the_landing: [
            "The pull by ratio is of the parameter before the step"
        ],
    },
    "lora_lr_scale": {
        test_lr_scale.test_row_norms_are_those_of_the_formed_product: [
            "ALLoRA multiplies norms of factors",
            "ALLoRA forgets the root of the norm",
        ],
        test_lr_scale.test_a_product_that_cancels_has_a_norm_of_almost_zero_and_not_of_nan: [
            ("transforms.lr_scale.lora_row_norms", ".clamp_min(0)", ""),
            ("transforms.lr_scale.norm_from_square", ".clamp_min(0)", ""),
        ],
        test_lr_scale.test_rows_of_b_learn_at_one_over_the_root_of_their_norm_and_a_at_the_mean: [
            "ALLoRA gives A the rate of the first row",
            "ALLoRA forgets its root",
            "ALLoRA gives all rows of B the mean",
        ],
        test_lr_scale.test_the_rate_of_a_row_is_at_most_eta_and_falls_with_its_norm: [
            "ALLoRA learns faster the larger the row"
        ],
        test_lr_scale.test_a_fresh_lora_learns_at_eta: ["ALLoRA takes eta for its square"],
        test_lr_scale.test_rates_move_with_their_rows: ["ALLoRA gives rows each other's rates"],
        test_lr_scale.test_the_rates_of_a_lora_depend_on_its_product_only: ["ALLoRA multiplies norms of factors"],
        test_lr_scale.test_lora_rates_are_linear_in_the_update: ["A rule for modules loses the sign of updates"],
    },
    "lora_plus_lr_scale": {
        test_lr_scale.test_lora_plus_multiplies_b_and_leaves_a: [
            ("transforms.lr_scale.lora_plus_init", " & ~starts_at_zero(p['lora_b'])", ""),
            "LoRA+ lets both factors lead",
        ],
        test_lr_scale.test_lora_plus_multiplies_a_where_a_is_what_starts_at_zero: [
            "LoRA+ overlooks that A is what starts at zero"
        ],
        test_lr_scale.test_lora_plus_remembers_which_factor_started_at_zero: [
            "LoRA+ asks at every step who is zero now"
        ],
        test_lr_scale.test_lora_plus_of_ratio_one_changes_nothing: [
            (
                "transforms.lr_scale.lora_plus_factors",
                "torch.where(on_a, one, ratio)",
                "torch.where(on_a, one, ratio + 1)",
            )
        ],
        test_lr_scale.test_a_lora_factor_without_its_partner_passes: ["A rule for modules doubles what is no module"],
        test_lr_scale.test_lora_modules_do_not_mix: ["LoRA+ asks one module for all"],
    },
    "lokr_lr_scale": {
        test_lr_scale.test_a_lokr_module_is_damped_by_the_norm_of_its_kronecker_product: [
            "LoKr takes a square for a norm",
            (
                "transforms.lr_scale.side_norm",
                "'lokr_t2', a, b",
                "'lokr_t2', b, a",
            ),
            "LoKr adds its norm to the damping",
        ],
        test_lr_scale.test_the_product_of_norms_is_the_norm_of_the_kronecker_product: [
            "LoKr multiplies norms of factors"
        ],
        test_lr_scale.test_the_norm_of_a_tucker_product_is_that_of_the_formed_product: [
            ("transforms.lr_scale.tucker_norm", "@ row_gram(b)[:, None]", "@ row_gram(b)[:, None].abs()"),
            ("transforms.lr_scale.tucker_norm", "n i j ... -> n (...) i j", "n i j ... -> n (...) j i"),
        ],
        test_lr_scale.test_the_norms_of_factored_sides_are_those_of_the_formed_products: [
            "LoKr multiplies norms of factors"
        ],
        test_lr_scale.test_only_the_w2_side_gets_the_ratio: [
            "LoKr forgets the factor of w2",
            "LoKr lets both parts of w2 lead",
        ],
        test_lr_scale.test_the_ratio_is_on_w2_a_where_w2_a_is_what_starts_at_zero: [
            "LoKr lets the wrong part of w2 lead"
        ],
        test_lr_scale.test_the_rate_of_a_lokr_module_depends_on_its_product_only: ["LoKr multiplies norms of factors"],
        test_lr_scale.test_the_rate_of_a_lokr_module_is_at_most_one_and_falls_as_it_grows: [
            "LoKr learns faster the larger the module"
        ],
        test_lr_scale.test_a_fresh_lokr_is_not_damped: ["LoKr adds the norms of its two sides"],
        test_lr_scale.test_lokr_modules_do_not_mix: [
            ("transforms.lr_scale.lokr_factors", "s.on_a[:, None]", "s.on_a.any().expand_as(s.on_a)[:, None]")
        ],
        test_lr_scale.test_a_lokr_module_that_lacks_a_factor_passes: ["A rule for modules doubles what is no module"],
        test_lr_scale.test_adapter_rates_leave_other_parameters_alone: ["A rule for modules doubles what is no module"],
    },
}


def mutant_of(found: str | tuple[str, str, str]) -> Mutant:
    """One of the corpus, or an edit."""
    if isinstance(found, str):
        return BY_NAME[found]
    formula, old, new = found
    return Mutant(f"{formula}: {old} => {new}", formula, (old, new))


ROWS = [(law, mutant_of(m)) for laws in MUTANTS.values() for law, found in laws.items() for m in found]
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


@pytest.mark.parametrize(("law", "mutant"), ROWS, ids=[f"{law.__name__}-{mutant}" for law, mutant in ROWS])
def test_the_law_fails_on_the_mutant(law: Law, mutant: Mutant) -> None:
    with mutant.applied(), pytest.raises(AssertionError):
        getattr(law, "ask", law)()


def test_every_transform_has_a_mutant() -> None:
    made_here = (name for name, made in vars(hf).items() if getattr(made, "__module__", "").startswith(FAMILIES))
    assert set(made_here) <= set(MUTANTS)


def test_every_law_has_a_mutant() -> None:
    laws = {law for file in FILES for law in vars(file).values() if hasattr(law, "ask")}
    assert {law.__qualname__ for law in laws} <= {law.__qualname__ for laws in MUTANTS.values() for law in laws}
