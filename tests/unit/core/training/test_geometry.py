import math

import pytest
import torch

from core.domain.training_options import Augmentation
from core.training.geometry import draw_affine, draw_pulls, move, moves

MANY = torch.empty(4000, 1, 32, 32)


@pytest.fixture
def images():
    torch.manual_seed(5)
    return 255 * torch.rand(40, 3, 32, 32)


def matrices(**options):
    """Return what is drawn as matrices and shifts: output coordinates to input coordinates, in half sides."""
    torch.manual_seed(7)
    rows = draw_affine(MANY, Augmentation(**options)).view(-1, 2, 3)
    return rows[:, :, :2], rows[:, :, 2]


def test_moving_by_nothing_changes_nothing(images):
    assert not moves(Augmentation(brightness=1.0))
    torch.testing.assert_close(move(images, Augmentation()), images, rtol=0, atol=1e-2)


@pytest.mark.parametrize("size", [(28, 28), (33, 40)])
def test_moving_equals_torchs_own_affine_grid(size):
    torch.manual_seed(2)
    images = 255 * torch.rand(6, 3, *size)
    options = Augmentation(rotation=30, translate=0.2, scale=0.3, shear=20, squeeze=0.2)
    torch.manual_seed(3)
    found = move(images, options)
    torch.manual_seed(3)
    theta = draw_affine(images, options).view(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    expected = torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_a_translation_shifts_by_up_to_its_share_both_ways():
    turned, shifts = matrices(translate=0.25)
    torch.testing.assert_close(turned, torch.eye(2).expand(4000, 2, 2))
    # The unit is half the side.
    assert float(shifts.max()) == pytest.approx(0.5, abs=0.01)
    assert float(shifts.min()) == pytest.approx(-0.5, abs=0.01)
    assert abs(float(torch.corrcoef(shifts.T)[0, 1])) < 0.05


def test_a_rotation_keeps_lengths_and_turns_by_up_to_its_angle():
    turned, shifts = matrices(rotation=40)
    torch.testing.assert_close(turned @ turned.mT, torch.eye(2).expand(4000, 2, 2))
    angles = torch.atan2(turned[:, 1, 0], turned[:, 0, 0]) * 180 / math.pi
    assert float(angles.max()) == pytest.approx(40, abs=0.5)
    assert float(angles.min()) == pytest.approx(-40, abs=0.5)
    assert not shifts.any()


def test_a_zoom_looks_the_same_share_closer_in_both_directions():
    turned, _ = matrices(scale=0.5)
    torch.testing.assert_close(turned[:, 0, 0], turned[:, 1, 1])
    times = 1 / turned[:, 0, 0]
    assert float(times.min()) == pytest.approx(0.5, abs=0.01)
    assert float(times.max()) == pytest.approx(1.5, abs=0.01)


def test_a_squeeze_keeps_the_area():
    turned, _ = matrices(squeeze=0.3)
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(4000))
    assert float((1 / turned[:, 0, 0]).max()) == pytest.approx(1.3, abs=0.01)
    assert float((1 / turned[:, 0, 0]).min()) == pytest.approx(0.7, abs=0.01)


def test_a_shear_leans_by_up_to_its_angle_and_keeps_the_area():
    turned, _ = matrices(shear=45)
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(4000))
    torch.testing.assert_close(turned[:, 1, 0], torch.zeros(4000))
    assert float(turned[:, 0, 1].max()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("option", "dimension"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_a_flip_mirrors_about_half_of_the_images_exactly(images, option, dimension):
    torch.manual_seed(1)
    changed = move(images, Augmentation(**{option: True}))
    mirrored = [
        bool((new - old.flip(dimension - 1)).abs().max() < 0.05) for new, old in zip(changed, images, strict=True)
    ]
    same = [bool((new - old).abs().max() < 0.05) for new, old in zip(changed, images, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True))
    assert 10 < sum(mirrored) < 30


def test_a_crop_of_a_padded_image_is_a_shift_by_whole_pixels(images):
    _, shifts = matrices(crop_padding=2)
    steps = shifts * 16
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert set(steps.round().flatten().tolist()) == {-2, -1, 0, 1, 2}
    torch.manual_seed(7)
    changed = move(images, Augmentation(crop_padding=2))
    torch.manual_seed(7)
    right, down = (draw_affine(images, Augmentation(crop_padding=2))[0, [2, 5]] * 16).round().int().tolist()
    rows = (torch.arange(32) + down).clamp(0, 31)
    columns = (torch.arange(32) + right).clamp(0, 31)
    torch.testing.assert_close(changed[0], images[0][:, rows][:, :, columns], rtol=0, atol=0.05)


def test_elastic_pulls_are_smooth_and_as_strong_as_said():
    torch.manual_seed(0)
    pulls = draw_pulls(torch.empty(2000, 1, 32, 32), 1.5) * 16
    torch.testing.assert_close(pulls.std(dim=0), torch.full((32, 32, 2), 1.5), rtol=0.1, atol=0)
    steps = (pulls[:, :, 1:] - pulls[:, :, :-1]).std()
    assert float(steps) < 0.4


def test_elastic_pulls_of_two_images_have_nothing_in_common():
    torch.manual_seed(0)
    first, second = draw_pulls(torch.empty(2, 1, 32, 32), 1.0).flatten(1)
    assert abs(float(torch.corrcoef(torch.stack((first, second)))[0, 1])) < 0.6
    assert not torch.equal(first, second)
