import pytest

from core.training import progress as module
from core.training.progress import ProgressMeter


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def meter(clock, make_observer):
    observer = make_observer()
    meter = ProgressMeter(observer, epochs=2, train_images=100, validation_images=50, test_images=50, batches=10)
    meter.told = observer.told
    return meter


def test_it_tells_at_most_four_times_a_second(meter, clock):
    for step in range(1, 11):
        clock.now += 0.125
        meter.trained(10, epoch=1, batch=step)
    assert [told.batch for told in meter.told] == [2, 4, 6, 8, 10]
    assert meter.told[-1].images_per_second == pytest.approx(80)


def test_the_speed_is_that_of_training_whatever_is_looked_at_between(meter, clock):
    for step in range(1, 11):
        clock.now += 0.125
        meter.trained(10, epoch=1, batch=step)
    clock.now += 7
    meter.looked(50)
    for step in (1, 2, 3):
        clock.now += 0.125
        meter.trained(10, epoch=2, batch=step)
    clock.now += 9
    meter.looked(50)
    meter.finish()
    assert [told.images_per_second for told in meter.told] == pytest.approx([80] * len(meter.told))
    assert len(meter.told) > 7


def test_it_tells_during_evaluation_too(meter, clock):
    clock.now += 1
    meter.looked(50)
    assert len(meter.told) == 1


def test_the_fraction_grows_to_one_and_never_falls(meter, clock):
    for epoch in (1, 2):
        for step in range(1, 11):
            clock.now += 1
            meter.trained(10, epoch=epoch, batch=step)
        clock.now += 1
        meter.looked(50)
    clock.now += 1
    meter.looked(50)
    meter.finish()
    fractions = [told.fraction for told in meter.told]
    assert fractions == sorted(fractions)
    assert fractions[-2:] == [pytest.approx(1), 1]
    assert meter.told[-1].eta_seconds == 0


def test_the_time_left_follows_the_pace_so_far(meter, clock):
    meter.place(epoch=2, batch=0, images=0)
    clock.now += 1
    meter.trained(30, epoch=2, batch=3)
    (told,) = meter.told
    assert told.fraction == pytest.approx((115 + 30) / 245)
    assert told.eta_seconds == pytest.approx((245 - 145) / 30)


def test_no_time_below_zero_is_left_however_the_parts_add_up(clock, make_observer):
    observer = make_observer()
    meter = ProgressMeter(observer, epochs=3, train_images=90, validation_images=12, test_images=30, batches=3)
    for epoch in (1, 2, 3):
        clock.now += 0.5
        meter.trained(90, epoch=epoch, batch=3)
        meter.looked(12)
    clock.now += 0.5
    meter.looked(30)
    assert observer.told[-1].eta_seconds == 0
