import pytest

from core.domain.identifiers import new_id
from core.errors import InvalidError
from core.storage import keys


def test_a_datasets_objects_lie_under_its_prefix():
    assert keys.dataset_prefix("t1", "ds_1") == "tenants/t1/datasets/ds_1"
    assert keys.dataset_archive("t1", "ds_1") == "tenants/t1/datasets/ds_1/archive"
    assert keys.dataset_preview("t1", "ds_1") == "tenants/t1/datasets/ds_1/preview"


def test_packs_of_one_dataset_are_told_apart_by_size_mode_and_digest():
    key = keys.pack("t1", "ds_1", image_size=32, color_mode="grayscale", digest="0ab1")
    assert key == "tenants/t1/datasets/ds_1/packs/32-grayscale-0ab1"


def test_what_an_attempt_writes_lies_under_its_number():
    assert keys.job_prefix("t1", "job_1") == "tenants/t1/jobs/job_1"
    assert keys.checkpoint("t1", "job_1", attempt=2, epoch=3, batch=0) == "tenants/t1/jobs/job_1/a2/checkpoints/3-0"
    assert keys.artifact("t1", "job_1", attempt=2, name="model.pth") == "tenants/t1/jobs/job_1/a2/artifacts/model.pth"


def test_two_attempts_never_share_a_key():
    first, second = (keys.artifact("t1", "job_1", attempt=attempt, name="model.pth") for attempt in (1, 2))
    assert first != second


def test_every_id_of_ours_may_stand_in_a_key():
    keys.check_key(keys.dataset_archive(new_id("ten"), new_id("ds")))


@pytest.mark.parametrize("name", ["../model.pth", "..", "a/b", "", "Model.pth", "a b", ".hidden", "a\n", "a..b", "ü"])
def test_a_name_that_is_no_part_of_a_key_is_refused(name):
    with pytest.raises(InvalidError) as caught:
        keys.artifact("t1", "job_1", attempt=1, name=name)
    assert caught.value.code == "invalid_key"


@pytest.mark.parametrize("tenant_id", ["t/1", "..", "", "t1/../t2"])
def test_a_tenant_that_is_no_part_of_a_key_is_refused(tenant_id):
    with pytest.raises(InvalidError):
        keys.job_prefix(tenant_id, "job_1")


def test_a_key_longer_than_stores_take_is_refused():
    keys.check_key("/".join(["x" * 255] * 4))
    with pytest.raises(InvalidError):
        keys.check_key("/".join(["x" * 255] * 4) + "/x")


@pytest.mark.parametrize(("prefix", "folder"), [("", ""), ("/", ""), ("a", "a/"), ("a/", "a/"), ("a/b", "a/b/")])
def test_a_prefix_names_whole_parts(prefix, folder):
    assert keys.folder_of(prefix) == folder
