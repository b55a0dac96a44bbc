import colorsys

import pytest
import torch

from core.domain.training_options import Augmentation
from core.training.colors import erase, recolor, relight

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)


@pytest.fixture
def images():
    torch.manual_seed(5)
    # Far from the ends of the range, so that nothing is cut off.
    return 100 + 50 * torch.rand(200, 3, 8, 8)


def test_brightness_shifts_a_whole_image_by_one_number():
    images = torch.full((500, 1, 4, 4), 100.0)
    changed = relight(images, Augmentation(brightness=0.2)) - 100
    assert all(image.unique().numel() == 1 for image in changed)
    assert float(changed.max()) == pytest.approx(51, abs=1)
    assert float(changed.min()) == pytest.approx(-51, abs=1)


def test_contrast_stretches_about_the_images_own_mean(images):
    changed = relight(images, Augmentation(contrast=0.5))
    torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)))
    times = changed.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    assert 0.5 <= float(times.min()) < 0.6
    assert 1.4 < float(times.max()) <= 1.5


def test_light_is_cut_off_at_the_ends_of_the_range():
    changed = relight(torch.full((50, 1, 4, 4), 200.0), Augmentation(brightness=1.0))
    assert float(changed.min()) == 0
    assert float(changed.max()) == 255


@pytest.mark.parametrize("options", [{"saturation": 0.5}, {"hue": 0.1}, {"saturation": 0.3, "hue": 0.05}])
def test_a_change_of_colour_keeps_the_luma(images, options):
    changed = recolor(images, Augmentation(**options))
    assert not torch.equal(changed, images)
    torch.testing.assert_close((changed * LUMA).sum(dim=1), (images * LUMA).sum(dim=1), rtol=0, atol=0.05)


def test_saturation_stretches_what_is_left_without_the_luma(images):
    changed = recolor(images, Augmentation(saturation=0.5))
    before, after = (values - (values * LUMA).sum(dim=1, keepdim=True) for values in (images, changed))
    times = (after * before).sum(dim=(1, 2, 3)) / before.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(after, before * times.view(-1, 1, 1, 1), rtol=0, atol=0.05)
    assert 0.5 <= float(times.min()) < 0.55
    assert 1.45 < float(times.max()) <= 1.5


def test_hue_turns_red_towards_yellow_or_towards_magenta():
    red = torch.tensor([150.0, 100.0, 100.0]).view(1, 3, 1, 1).repeat(300, 1, 1, 1)
    changed = recolor(red, Augmentation(hue=0.2)) / 255
    hues = torch.tensor([colorsys.rgb_to_hsv(*color)[0] for color in changed.flatten(1).tolist()])
    turned = torch.where(hues > 0.5, hues - 1, hues)
    assert float(turned.max()) == pytest.approx(0.2, abs=0.04)
    assert float(turned.min()) == pytest.approx(-0.2, abs=0.04)


def test_gray_has_no_hue_and_no_saturation():
    gray = torch.full((9, 3, 4, 4), 80.0)
    torch.testing.assert_close(recolor(gray, Augmentation(hue=0.5, saturation=1.0)), gray)


def test_erasing_fills_one_rectangle_with_the_images_mean():
    torch.manual_seed(0)
    images = 255 * torch.rand(300, 2, 32, 32)
    changed = erase(images, Augmentation(erasing=0.5))
    hits = [hit for hit in (changed != images).any(dim=1) if hit.any()]
    assert 110 < len(hits) < 190
    shares = []
    for hit in hits:
        rows, columns = hit.any(dim=1), hit.any(dim=0)
        # Every pixel of the rectangle that the rows and columns span is hit: it is one, and whole.
        assert torch.equal(hit, rows[:, None] & columns[None, :])
        shares.append(float(hit.float().mean()))
    assert 0.01 < min(shares) < 0.06
    assert 0.3 < max(shares) <= 0.45


def test_an_erased_place_has_the_mean_of_its_own_image():
    images = torch.zeros(64, 1, 16, 16)
    images[:, :, :8] = torch.arange(64).view(-1, 1, 1, 1).float()
    changed = erase(images, Augmentation(erasing=1.0))
    for number, (old, new) in enumerate(zip(images, changed, strict=True)):
        assert set(new[new != old].tolist()) <= {number / 2}


def test_probability_zero_erases_nothing():
    images = torch.rand(50, 1, 8, 8)
    assert torch.equal(erase(images, Augmentation()), images)
