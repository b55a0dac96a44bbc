import pytest
import torch

from core.domain.training_options import Augmentation
from core.training.augmentation import STRENGTHS, draw_affine, make_augment, move, relight


@pytest.fixture
def images():
    torch.manual_seed(5)
    return (255 * torch.rand(1, 3, 32, 32)).repeat(16, 1, 1, 1).contiguous(memory_format=torch.channels_last)


def test_none_does_nothing():
    assert make_augment("none") is None
    assert make_augment(Augmentation()) is None


def test_each_image_gets_a_draw_of_its_own(images):
    changed = make_augment("light")(images)
    assert changed.shape == images.shape
    assert len({image.numpy().tobytes() for image in changed}) == len(images)


@pytest.mark.parametrize("option", ["rotation", "translate", "scale", "brightness", "contrast"])
def test_each_part_draws_for_each_image(images, option):
    strength = getattr(STRENGTHS["light"], option)
    changed = make_augment(Augmentation(**{option: strength}))(images)
    assert len({image.numpy().tobytes() for image in changed}) == len(images)


def test_the_same_seed_draws_the_same(images):
    augment = make_augment("light")
    torch.manual_seed(1)
    first = augment(images)
    torch.manual_seed(1)
    assert torch.equal(augment(images), first)


def test_pixels_stay_in_range(images):
    changed = make_augment(Augmentation(brightness=1.0, contrast=1.0))(images)
    assert 0 <= changed.min() < changed.max() <= 255


def test_moving_keeps_channels_last(images):
    assert move(images, STRENGTHS["light"]).is_contiguous(memory_format=torch.channels_last)


def test_moving_by_nothing_changes_nothing(images):
    torch.testing.assert_close(move(images, Augmentation()), images, rtol=0, atol=1e-2)


def test_a_translation_shifts_by_up_to_its_share(images):
    shifts = draw_affine(torch.empty(2000, 1, 32, 32), Augmentation(translate=0.25))[:, :, 2]
    # The grid's unit is half the side.
    assert float(shifts.abs().max()) == pytest.approx(0.5, abs=0.01)


def test_a_rotation_keeps_lengths():
    turns = draw_affine(torch.empty(50, 1, 32, 32), Augmentation(rotation=90))[:, :, :2]
    torch.testing.assert_close(turns @ turns.transpose(1, 2), torch.eye(2).expand(50, 2, 2))


def test_brightness_shifts_a_whole_image_by_one_number():
    images = torch.full((8, 1, 4, 4), 100.0)
    changed = relight(images, Augmentation(brightness=0.2))
    assert all(image.unique().numel() == 1 for image in changed)
    assert float((changed - 100).abs().max()) <= 51


def test_light_never_flips():
    assert not STRENGTHS["light"].horizontal_flip
    assert not STRENGTHS["light"].vertical_flip
