"""For each option of a training the test that proves it, by an independent formula or by an effect that must show."""

import ast
from pathlib import Path

import pytest

from core.domain.training_config import TrainingConfig

TESTS = Path(__file__).parents[1] / "unit" / "core"
PROOFS = {
    "preset": ["training/test_recipes.py::test_a_recipe_is_what_its_name_says"],
    "architecture": ["domain/test_architectures.py::test_the_table_counts_the_weights"],
    "color_mode": ["training/test_options.py::test_the_first_convolution_takes_the_channels_of_the_colour_mode"],
    "image_size": ["training/test_options.py::test_the_dense_layers_width_follows_the_image_size"],
    "activation": ["training/test_options.py::test_every_hidden_layer_has_the_activation_that_is_named"],
    "pooling": [
        "training/test_options.py::test_pooling_takes_what_is_named_of_each_square_of_four",
        "training/test_nets.py::test_subsampling_is_the_squares_sum_by_a_coefficient_plus_a_bias",
    ],
    "dense": ["training/test_options.py::test_dense_layers_have_the_widths_that_are_named"],
    "batch_norm": [
        "training/test_options.py::test_batch_norm_brings_the_maps_of_a_batch_to_mean_zero_and_deviation_one"
    ],
    "dropout": ["training/test_options.py::test_dropout_blanks_its_share_after_each_dense_layer_and_keeps_the_mean"],
    "init": ["training/test_nets.py::test_init_draws_weights_of_the_published_deviation"],
    "epochs": ["training/test_trainer.py::test_it_learns_what_can_be_learnt"],
    "batch_size": ["training/test_outcomes.py::test_a_batch_of_one_a_last_batch_of_one_and_one_batch_of_all_train"],
    "optimizer.learning_rate": ["training/test_optimizers.py::test_plain_sgd_walks_down_the_gradient"],
    "optimizer.weight_decay": [
        "training/test_optimizers.py::test_sgd_weight_decay_is_part_of_the_gradient",
        "training/test_optimizers.py::test_adam_follows_its_formula",
    ],
    "optimizer.betas": [
        "training/test_optimizers.py::test_adam_follows_its_formula",
        "training/test_optimizers.py::test_nadam_follows_its_formula",
    ],
    "optimizer.momentum": [
        "training/test_optimizers.py::test_momentum_keeps_a_share_of_the_last_step",
        "training/test_optimizers.py::test_rmsprop_follows_its_formula",
        "training/test_optimizers.py::test_adagrad_divides_by_the_root_of_all_squares_so_far",
        "training/test_muon.py::test_a_matrix_steps_along_its_orthogonal_momentum",
    ],
    "optimizer.nesterov": ["training/test_optimizers.py::test_nesterov_looks_where_the_momentum_leads"],
    "l1": ["training/test_optimizers.py::test_penalties_are_sums_over_the_weights"],
    "l2": ["training/test_optimizers.py::test_penalties_are_sums_over_the_weights"],
    "scheduler.warmup_epochs": ["training/test_schedules.py::test_every_course_warms_up_in_a_line"],
    "scheduler.step_epochs": ["training/test_schedules.py::test_a_course_that_changes_between_epochs"],
    "scheduler.gamma": ["training/test_schedules.py::test_a_course_that_changes_between_epochs"],
    "scheduler.milestones": ["training/test_schedules.py::test_a_course_that_changes_between_epochs"],
    "scheduler.final_fraction": ["training/test_schedules.py::test_cosine_falls_along_half_a_wave"],
    "scheduler.max_learning_rate": ["training/test_schedules.py::test_one_cycle_is_sized_by_the_real_number_of_steps"],
    "scheduler.rise": ["training/test_schedules.py::test_one_cycle_is_sized_by_the_real_number_of_steps"],
    "scheduler.patience": ["training/test_schedules.py::test_a_plateau_of_patience_epochs_drops_the_rate_once"],
    "loss": ["training/test_losses.py::test_a_loss_is_the_mean_of_its_formula"],
    "label_smoothing": ["training/test_losses.py::test_a_loss_is_the_mean_of_its_formula"],
    "early_stopping.monitor": ["training/test_trainer.py::test_early_stopping_by_accuracy_waits_for_a_rise"],
    "early_stopping.patience": ["training/test_trainer.py::test_early_stopping_restores_the_best_weights"],
    "early_stopping.min_delta": ["training/test_options.py::test_what_improves_by_less_than_min_delta_is_no_progress"],
    "early_stopping.restore_best": [
        "training/test_trainer.py::test_early_stopping_restores_the_best_weights",
        "training/test_trainer.py::test_early_stopping_may_keep_the_last_weights",
    ],
    "augmentation": ["training/test_augmentation.py::test_each_image_gets_a_draw_of_its_own"],
    "augmentation.rotation": ["training/test_geometry.py::test_a_rotation_keeps_lengths_and_turns_by_up_to_its_angle"],
    "augmentation.translate": ["training/test_geometry.py::test_a_translation_shifts_by_up_to_its_share_both_ways"],
    "augmentation.scale": ["training/test_geometry.py::test_a_zoom_looks_the_same_share_closer_in_both_directions"],
    "augmentation.squeeze": ["training/test_geometry.py::test_a_squeeze_keeps_the_area"],
    "augmentation.shear": ["training/test_geometry.py::test_a_shear_leans_by_up_to_its_angle_and_keeps_the_area"],
    "augmentation.horizontal_flip": ["training/test_geometry.py::test_a_flip_mirrors_about_half_of_the_images_exactly"],
    "augmentation.vertical_flip": ["training/test_geometry.py::test_a_flip_mirrors_about_half_of_the_images_exactly"],
    "augmentation.crop_padding": [
        "training/test_geometry.py::test_a_crop_of_a_padded_image_is_a_shift_by_whole_pixels"
    ],
    "augmentation.brightness": ["training/test_colors.py::test_brightness_shifts_a_whole_image_by_one_number"],
    "augmentation.contrast": ["training/test_colors.py::test_contrast_stretches_about_the_images_own_mean"],
    "augmentation.saturation": ["training/test_colors.py::test_saturation_stretches_what_is_left_without_the_luma"],
    "augmentation.hue": ["training/test_colors.py::test_hue_turns_red_towards_yellow_or_towards_magenta"],
    "augmentation.erasing": ["training/test_colors.py::test_erasing_fills_one_rectangle_with_the_images_mean"],
    "augmentation.elastic": ["training/test_geometry.py::test_elastic_pulls_are_smooth_and_as_strong_as_said"],
    "sampling.balance": [
        "training/test_sampling.py::test_oversampling_takes_every_image_and_small_classes_as_often_as_it_needs",
        "training/test_sampling.py::test_undersampling_takes_as_many_of_each_class_and_others_in_another_epoch",
        "training/test_losses.py::test_class_weights_weigh_each_image_by_its_class",
    ],
    "sampling.fraction": ["training/test_sampling.py::test_a_part_of_each_class_is_kept_for_the_whole_training"],
    "sampling.max_per_class": ["training/test_sampling.py::test_a_part_of_each_class_is_kept_for_the_whole_training"],
    "normalize": ["training/test_options.py::test_pixels_come_to_the_range_that_is_named"],
    "validation.fraction": ["training/test_images.py::test_validation_is_held_out_of_each_class"],
    "ema": ["training/test_averages.py::test_the_mean_is_the_weighted_sum_of_all_steps"],
    "seed": ["training/test_trainer.py::test_the_same_seed_gives_the_same_weights_to_the_bit"],
    "deterministic": ["training/test_options.py::test_torch_is_told_whether_results_must_repeat"],
    "engine": ["training/numpy_engine/test_steps.py::test_steps_end_where_torchs_do"],
    "device": ["domain/test_placement.py::test_a_worker_takes_what_it_can_train_and_hears_of_nothing_else"],
    "precision": [
        "training/test_techniques.py::test_half_precision_trains_and_is_looked_at_and_exported_in_full",
        "training/test_techniques.py::test_what_auto_chooses_is_told_and_trains_as_if_it_were_named",
    ],
    "checkpoint_every": ["training/test_trainer.py::test_a_checkpoint_is_written_after_each_epoch"],
}


def list_options() -> set[str]:
    """Return every option by its path; groups by what is in them, their names by the group's test."""
    schema = TrainingConfig.model_json_schema()
    options = set()
    for name, about in schema["properties"].items():
        groups = [text.rpartition("/")[2] for text in find_references(about)]
        own = {f"{name}.{field}" for group in groups for field in schema["$defs"][group]["properties"]}
        options |= {path for path in own if not path.endswith(".name")} or {name}
    return options


def find_references(about: object) -> list[str]:
    """Return where a part of the schema points to."""
    if isinstance(about, dict):
        own = [about["$ref"]] if "$ref" in about else []
        return own + [found for part in about.values() for found in find_references(part)]
    if isinstance(about, list):
        return [found for part in about for found in find_references(part)]
    return []


def test_every_option_has_a_proof_and_no_proof_is_of_what_is_gone() -> None:
    assert set(PROOFS) - {"augmentation"} == list_options()


@pytest.mark.parametrize("option", PROOFS)
def test_the_proof_is_there(option: str) -> None:
    for proof in PROOFS[option]:
        path, _, name = proof.partition("::")
        body = ast.parse((TESTS / path).read_text(encoding="utf-8")).body
        assert name in {part.name for part in body if isinstance(part, ast.FunctionDef)}, proof
