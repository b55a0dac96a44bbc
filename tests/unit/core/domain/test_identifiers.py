import re

from core.domain.identifiers import new_id


def test_ids_have_their_prefix_and_an_alphabet_that_keys_allow() -> None:
    assert re.fullmatch(r"job_[0-9a-hjkmnp-tv-z]{24}", new_id("job"))


def test_ids_sort_by_time_of_creation_and_never_repeat() -> None:
    ids = [new_id("ds") for _ in range(2000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
