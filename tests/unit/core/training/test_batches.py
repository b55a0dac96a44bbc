"""Every source of batches gives the same; which one is opened is a matter of room."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from core.datasets.packs import Pack
from core.training import batches
from core.training.batches import MappedBatches, ResidentBatches, StreamedBatches, fits, open_batches

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SOURCES = [MappedBatches, ResidentBatches, StreamedBatches]


@pytest.fixture(scope="module", params=["grayscale", "rgb"])
def pack(request, make_pack):
    return Pack.open(make_pack(color_mode=request.param))


@pytest.mark.parametrize("source", SOURCES)
def test_a_batch_holds_the_pixels_and_labels_at_its_positions(pack, source):
    positions = np.array([5, 0, 70, 5])
    images, labels = source(pack, CPU).take(positions)
    assert images.shape == (4, pack.channels, 28, 28)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), pack.pixels[positions])
    assert labels.dtype == torch.int64
    assert labels.tolist() == pack.labels[positions].tolist()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("expected", ["the next", "another", "nothing"])
def test_what_was_expected_never_changes_what_comes(pack, source, expected):
    opened = source(pack, CPU)
    order = np.random.default_rng(0).permutation(len(pack))
    cuts = [order[start : start + 9] for start in range(0, len(order), 9)]
    given = []
    for cut, following in zip(cuts, [*cuts[1:], order[:0]], strict=True):
        given.append(opened.images(cut))
        opened.expect({"the next": following, "another": order[3:8], "nothing": order[:0]}[expected])
    # All are looked at in the end: none may lie in memory that a later one was gathered into.
    together = torch.cat(given).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(together, pack.pixels[order])


def test_an_expected_batch_is_gathered_ahead_and_once(pack, monkeypatch):
    gathered = []
    take = np.take

    def count(pixels, positions, **options):
        gathered.append(positions.tolist())
        return take(pixels, positions, **options)

    monkeypatch.setattr(batches.np, "take", count)
    opened = StreamedBatches(pack, CPU)
    opened.expect(np.array([3, 1]))
    assert gathered == [[3, 1]]
    opened.images(np.array([3, 1]))
    assert gathered == [[3, 1]]
    opened.images(np.array([3, 1]))
    assert gathered == [[3, 1], [3, 1]]


class Traffic(TorchDispatchMode):
    """Counts the bytes that come from the processor's memory to another device."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        sent = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if sent is not None and sent.device.type == "cpu" and isinstance(given, torch.Tensor):
            self.bytes += sent.nbytes if given.device.type != "cpu" else 0
        return given


@pytest.mark.parametrize(("source", "pixels_sent"), [(MappedBatches, 1), (ResidentBatches, 0), (StreamedBatches, 1)])
def test_of_a_resident_pack_only_positions_are_sent(pack, source, pixels_sent):
    positions = np.arange(16)
    opened = source(pack, torch.device("meta"))
    with Traffic() as traffic:
        opened.take(positions)
    assert traffic.bytes == positions.nbytes + pixels_sent * pack.pixels[positions].nbytes


@pytest.mark.parametrize(
    ("size", "free", "expected"),
    [(0, 0, True), (1, 3, True), (33, 100, True), (34, 100, False), (1, 0, False), (10**12, 139 * 2**30, False)],
)
def test_a_pack_may_fill_a_third_of_what_is_free(size, free, expected):
    assert fits(size, free) is expected


def test_two_packs_that_fit_at_once_leave_room_for_steps():
    free = 8 * 2**30
    largest = next(size for size in range(free, 0, -(2**20)) if fits(size, free))
    assert 2 * largest <= free - free // 4


@pytest.fixture
def let_gpu_have(monkeypatch):
    """Let a GPU have so much memory free, and lay what belongs there into the processor's."""

    def let(free_bytes):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_bytes, 2 * free_bytes))
        for name, source in (("ResidentBatches", ResidentBatches), ("StreamedBatches", StreamedBatches)):
            monkeypatch.setattr(batches, name, lambda pack, _, source=source: source(pack, CPU))

    return let


@pytest.mark.parametrize(("times", "source"), [(3, ResidentBatches), (2.9, StreamedBatches)])
def test_on_a_gpu_room_decides(pack, let_gpu_have, times, source):
    let_gpu_have(int(times * pack.pixels.nbytes))
    assert isinstance(open_batches(pack, CUDA), source)


def test_a_gpu_that_is_full_by_the_time_is_sent_a_batch_at_a_time(pack, let_gpu_have, monkeypatch):
    let_gpu_have(2**40)

    def fail(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(batches, "ResidentBatches", fail)
    assert isinstance(open_batches(pack, CUDA), StreamedBatches)


def test_a_processor_reads_the_map_and_copies_no_pack(pack):
    assert isinstance(open_batches(pack, CPU), MappedBatches)
