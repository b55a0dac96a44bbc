from worker.following import Silence


def test_a_silence_below_the_floor_is_borne() -> None:
    assert Silence().longest(60) == 60


def test_a_training_that_always_takes_long_is_given_ten_times_as_much() -> None:
    silence = Silence()
    for _ in range(5):
        silence.listened(12, heard=True)
    assert silence.longest(60) == 120


def test_one_long_step_does_not_make_a_training_slow() -> None:
    silence = Silence()
    for seconds in (0.2, 50, 0.3):
        silence.listened(seconds, heard=True)
    assert silence.longest(60) == 60


def test_silence_adds_up_until_something_is_heard() -> None:
    silence = Silence()
    silence.listened(0.1, heard=False)
    silence.listened(0.1, heard=False)
    assert round(silence.seconds, 3) == 0.2
    silence.listened(0.1, heard=True)
    assert silence.seconds == 0
