import io

import numpy as np
import pytest

from core.errors import IntegrityError
from core.inference.vote_score import TestAnswers, score_vote


def pack(probabilities, labels, images="digest"):
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        probabilities=np.array(probabilities, np.float32),
        labels=np.array(labels, np.int32),
        images=np.array(images),
    )
    return TestAnswers.parse(buffer.getvalue())


def test_the_vote_is_scored_on_what_the_members_answered():
    one = pack([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], [0, 1, 1, 1])
    other = pack([[0.8, 0.2], [0.3, 0.7], [0.9, 0.1], [0.1, 0.9]], [0, 1, 1, 1])
    score = score_vote([one, other], voting="soft", weights=[1, 1])
    assert score.test_accuracy == 2 / 4
    assert score.test_agreement == (1 + 0.5 + 0.5 + 1) / 4
    assert score.test_images == 4
    assert score_vote([one, other], voting="soft", weights=[1, 3]).test_accuracy == 3 / 4


@pytest.mark.parametrize(
    "others",
    [
        [None],
        [pack([[0.5, 0.5]], [0], images="of another dataset")],
        [pack(np.empty((0, 2)), [])],
    ],
    ids=["kept none", "other images", "no test images"],
)
def test_where_it_cannot_be_said_nothing_is(others):
    one = pack([[0.9, 0.1]], [0])
    assert score_vote([one, *others], voting="hard", weights=[1] * (1 + len(others))) is None


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\5\6" + bytes(18)])
def test_what_is_no_such_file_is_refused(content):
    with pytest.raises(IntegrityError):
        TestAnswers.parse(content)


def test_a_file_that_would_run_code_is_refused():
    buffer = io.BytesIO()
    np.savez(buffer, probabilities=np.array([{}], object), labels=np.array([0]), images=np.array("x"))
    with pytest.raises(IntegrityError):
        TestAnswers.parse(buffer.getvalue())
