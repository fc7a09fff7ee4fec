"""Passes, batches and steps for sets of any size."""

import pytest

from compress.recipe.schedule import PASS_STEPS, SMALLEST_BATCH, fit_batch, fit_schedule, schedule_line
from compress.recipe.sections import Train


def test_a_large_set_is_trained_on_as_the_recipe_says():
    config = Train(epochs=12, batch_size=64, validate_every=1)
    fitted = fit_schedule(config, 3_600)
    assert (fitted.batch_size, fitted.max_steps, fitted.validate_every) == (64, 12 * 56, 1)  # 3,600 / 64 = 56.25
    assert schedule_line(config, fitted, 3_600) is None


@pytest.mark.parametrize(
    ("inputs", "batch"),
    [(1_280, 128), (1_279, 64), (640, 64), (639, 32), (160, 16), (83, 8), (5, 8)],  # 1,279 / 128 leaves 9 steps, 1,279 / 64 leaves 19
)
def test_a_batch_leaves_ten_steps_a_pass_but_is_no_smaller_than_eight(inputs: int, batch: int):
    assert fit_batch(128, inputs) == batch
    assert batch == SMALLEST_BATCH or inputs // batch >= PASS_STEPS


def test_a_batch_that_is_asked_to_be_small_stays():
    assert fit_batch(4, 20) == 4
    assert fit_batch(100, 999) == 64  # where it does not fit, a power of two


def test_a_small_set_is_passed_over_until_it_has_its_steps():
    config = Train(epochs=30, batch_size=128, min_steps=600)
    fitted = fit_schedule(config, 83)
    assert (fitted.batch_size, fitted.max_steps) == (8, 600)  # 30 passes of 10 steps would be 300
    assert schedule_line(config, fitted, 83) == "83 inputs: batch 8 in place of 128, 10 steps a pass, 600 steps"


def test_short_passes_share_validations():
    fitted = fit_schedule(Train(epochs=30, batch_size=128, min_steps=600), 83)
    assert fitted.validate_every * 10 == 600 / 40  # every 15 steps, though a pass has 10


def test_no_training_is_longer_than_max_steps():
    assert fit_schedule(Train(epochs=30, min_steps=600, max_steps=50), 83).max_steps == 50
    assert fit_schedule(Train(epochs=30, batch_size=8, max_steps=5_000), 83).max_steps == 300  # at most, not at least


def test_labelled_inputs_get_a_batch_of_their_own_and_the_steps_of_all():
    fitted = fit_schedule(Train(epochs=10, batch_size=64), 100, of=2_000)
    assert (fitted.batch_size, fitted.max_steps) == (8, 10 * 31)  # 2,000 / 64 = 31.25
    assert fitted.validate_every * (100 // 8) == 31


def test_a_fitted_schedule_fits_itself():
    fitted = fit_schedule(Train(epochs=30, batch_size=128, min_steps=600), 83)
    assert fit_schedule(fitted, 83) == fitted
