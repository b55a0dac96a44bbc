"""One training as most tests of faults see it: begun, hurt, and in the end what it would have been anyway."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chaos.platform import Platform
from chaos.processes import until

# The crash point at which a worker has heard of the second epoch's end; its trainer goes on, with half of it to do.
SECOND_EPOCH = "w.epoch_before_progress:2"


@dataclass(frozen=True)
class Training:
    """A job's config, its dataset, and the hash of the weights that it ends with where nothing disturbs it."""

    platform: Platform
    dataset_id: str
    job: dict[str, Any]
    weights: str

    def submit(self) -> str:
        """Queue it and return the job's id."""
        return self.platform.caller.submit(self.dataset_id, self.job)

    def begin(self) -> str:
        """Queue it and return the job's id once the first epoch is there."""
        job_id = self.submit()
        until(lambda: self.platform.caller.epochs(job_id), "the first epoch")
        return job_id

    def check(self, job_id: str, *, ends: Sequence[str] | None = None) -> None:
        """Check that the job succeeds with the weights to the bit, after attempts with these ends, and every rule."""
        caller = self.platform.caller
        assert caller.wait(job_id)["status"] == "succeeded"
        assert caller.ends(job_id)[-1] == "succeeded"
        assert ends is None or caller.ends(job_id) == list(ends)
        assert caller.weights(job_id) == self.weights
        self.platform.judge()
