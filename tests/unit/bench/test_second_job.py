from datetime import UTC, datetime

import pytest

from bench.platform import BenchError
from bench.second_job import find_first_batch_end
from client.types import Epoch


def test_the_first_batch_ends_one_batch_after_the_epochs_beginning():
    epoch = Epoch(epoch=1, finished_at=datetime.fromtimestamp(100, UTC), seconds=8.0, images_per_second=320.0)

    assert find_first_batch_end(epoch, batch_size=64) == 92.2


def test_an_epoch_without_a_time_is_refused():
    with pytest.raises(BenchError, match="no time"):
        find_first_batch_end(Epoch(epoch=1), batch_size=64)
