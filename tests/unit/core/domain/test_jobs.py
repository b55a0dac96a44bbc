import itertools

import pytest

from core.domain.jobs import ENDED, TRANSITIONS, JobStatus, check_transition
from core.errors import IllegalTransitionError

LEGAL = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("running", "paused"),
    ("running", "queued"),
    ("paused", "queued"),
    ("paused", "cancelled"),
    ("failed", "queued"),
    ("cancelled", "queued"),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(JobStatus, JobStatus)))
def test_no_transition_exists_but_those_of_the_contract(before: JobStatus, after: JobStatus) -> None:
    if (before, after) in LEGAL:
        check_transition(before, after)
    else:
        with pytest.raises(IllegalTransitionError, match=before):
            check_transition(before, after)


def test_every_status_has_its_transitions_and_success_is_final() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    assert TRANSITIONS[JobStatus.SUCCEEDED] == frozenset()
    assert JobStatus.PAUSED not in ENDED
