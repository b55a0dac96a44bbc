import pytest
import torch

from core.domain.training_options import Augmentation
from core.training.augmentation import STRENGTHS, make_augment

EVERY = {
    "rotation": 10.0,
    "translate": 0.1,
    "scale": 0.1,
    "squeeze": 0.1,
    "shear": 10.0,
    "horizontal_flip": True,
    "vertical_flip": True,
    "crop_padding": 3,
    "brightness": 0.1,
    "contrast": 0.2,
    "saturation": 0.5,
    "hue": 0.2,
    "erasing": 1.0,
    "elastic": 1.0,
}
# Of these, two draws only are possible.
FLIPS = {"horizontal_flip", "vertical_flip"}


@pytest.fixture
def images():
    torch.manual_seed(5)
    return (255 * torch.rand(1, 3, 32, 32)).repeat(16, 1, 1, 1).contiguous(memory_format=torch.channels_last)


def count_different(images):
    return len({image.contiguous().numpy().tobytes() for image in images})


def test_none_does_nothing():
    assert make_augment("none", channels=3) is None
    assert make_augment(Augmentation(), channels=3) is None


def test_every_option_is_tried_here():
    assert set(EVERY) == set(Augmentation.model_fields)


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_each_image_gets_a_draw_of_its_own(images, strength):
    changed = make_augment(strength, channels=3)(images)
    assert changed.shape == images.shape
    assert count_different(changed) == len(images)


@pytest.mark.parametrize("option", EVERY)
def test_each_option_draws_for_each_image(images, option):
    changed = make_augment(Augmentation(**{option: EVERY[option]}), channels=3)(images)
    different = count_different(changed)
    assert different == 2 if option in FLIPS else different > len(images) // 2


@pytest.mark.parametrize("option", EVERY)
def test_each_option_keeps_range_shape_and_type(images, option):
    changed = make_augment(Augmentation(**{option: EVERY[option]}), channels=3)(images)
    assert (changed.shape, changed.dtype) == (images.shape, torch.float32)
    assert 0 <= changed.min() < changed.max() <= 255.01


@pytest.mark.parametrize("option", [*STRENGTHS["strong"].model_fields_set - {"saturation", "hue"}])
def test_each_option_of_strong_works_on_gray_images(images, option):
    gray = images[:, :1]
    changed = make_augment(Augmentation(**{option: EVERY[option]}), channels=1)(gray)
    assert changed.shape == gray.shape
    assert count_different(changed) > 1


def test_colour_is_left_alone_where_there_is_none():
    assert make_augment(Augmentation(saturation=0.5, hue=0.5), channels=1) is None


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_the_same_seed_draws_the_same(images, strength):
    augment = make_augment(strength, channels=3)
    torch.manual_seed(1)
    first = augment(images)
    torch.manual_seed(1)
    assert torch.equal(augment(images), first)


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_the_named_strengths_never_flip(strength):
    assert not STRENGTHS[strength].horizontal_flip
    assert not STRENGTHS[strength].vertical_flip


def test_strong_changes_more_than_light(images):
    def change(strength):
        torch.manual_seed(3)
        return float((make_augment(strength, channels=3)(images) - images).abs().mean())

    assert change("strong") > change("light")


def test_the_images_that_come_in_stay_as_they_are(images):
    before = images.clone()
    make_augment("strong", channels=3)(images)
    assert torch.equal(images, before)
