"""The corpus once more, and a bounded run of changed inputs, the same each time; `make fuzz` goes on from there."""

import random
import time

import pytest
from fuzz.seeds import FOUND, find_kept, find_seeds
from fuzz.targets import TARGETS

# For all targets together well below a minute.
_LONGEST_KEPT = 1500
_INPUTS = 4000
_NUMBERS = (bytes(4), b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\1\0\0\0")
_MOST_SECONDS = 5.0
_MOST_CPU_SECONDS = 2.0


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_is_known_breaks_a_target(target):
    for seed in find_seeds(target):
        TARGETS[target](seed)


@pytest.mark.parametrize("target", TARGETS)
def test_changed_inputs_break_no_target_and_keep_none_busy(target):
    draw, seeds, begun = random.Random(target), find_seeds(target), time.process_time()
    for _ in range(_INPUTS):
        data = change(draw, seeds)
        before = time.process_time()
        TARGETS[target](data)
        assert time.process_time() - before < _MOST_CPU_SECONDS, data.hex()
        if time.process_time() - begun > _MOST_SECONDS:
            break


def change(draw, seeds):
    """Return an input made of one or two seeds, some of its bytes changed, doubled, moved or cut."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(data) + 1)
        match draw.randrange(6):
            case 0:
                data[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                data[place : place + 4] = draw.choice(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\1\0\0\0"]
                )
            case 2:
                del data[place : place + draw.randint(1, 40)]
            case 3:
                other = draw.choice(seeds)
                data[place:place] = other[draw.randrange(len(other) + 1) :][: draw.randint(1, 600)]
            case 4:
                data[place:place] = data[place : place + draw.randint(1, 200)] * 2
            case _:
                data = data[:place] or bytearray(b"\0")
    return bytes(data)


def test_what_was_kept_belongs_to_a_target_and_is_small():
    kept = {path.stem: find_kept(path.stem) for path in FOUND.glob("*.hex")}
    assert kept.keys() <= TARGETS.keys()
    assert all(0 < len(data) <= _LONGEST_KEPT for inputs in kept.values() for data in inputs)
