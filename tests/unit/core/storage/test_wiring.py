import io
import traceback
from pathlib import Path

import pytest

from core.errors import InvalidError
from core.settings import Settings
from core.storage.folder import FolderStore
from core.storage.s3 import S3Store
from core.storage.wiring import open_store

KEYS = {"store_access_key": "access", "store_secret_key": "hunter2"}
S3_URL = "s3://bucket-1?endpoint=store.example:9000&secure=false&region=eu-west-1"


def test_by_default_objects_lie_in_the_data_directory(tmp_path):
    data_dir = tmp_path / "odd #1 100%41 name"
    store = open_store(Settings(data_dir=data_dir))
    store.put("a/b", io.BytesIO(b"1"))
    assert store.local_path("a/b") == data_dir / "objects/a/b"


def test_a_file_url_opens_a_folder(tmp_path):
    store = open_store(Settings(store_url=f"file://{tmp_path}/with%20space"))
    assert isinstance(store, FolderStore)
    assert store._root == Path(tmp_path / "with space")


def test_an_s3_url_opens_a_bucket():
    store = open_store(Settings(store_url=S3_URL, **KEYS))
    assert isinstance(store, S3Store)
    address = store._client._base_url
    assert (store._bucket, address.host, address.is_https, address.region) == (
        "bucket-1",
        "store.example:9000",
        False,
        "eu-west-1",
    )
    store.close()


def test_s3_is_encrypted_unless_it_is_said_otherwise():
    store = open_store(Settings(store_url="s3://bucket-1?endpoint=store.example", **KEYS))
    assert store._client._base_url.is_https
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://host/folder",
        "/folder",
        "file://relative/folder",
        "file:///",
        "file:///folder?mode=hunter2",
        "file://[hunter2",
        "s3://",
        "s3://B?endpoint=host:9000",
        "s3://ab?endpoint=host:9000",
        "s3://a..b?endpoint=host:9000",
        "s3://bucket/hunter2?endpoint=host:9000",
        "s3://access:hunter2@bucket?endpoint=host:9000",
        "s3://bucket",
        "s3://bucket?endpoint=",
        "s3://bucket?endpoint=host:hunter2",
        "s3://bucket?endpoint=host:99999",
        "s3://bucket?endpoint=access:hunter2@host:9000",
        "s3://bucket?endpoint=https://hunter2/",
        "s3://bucket?endpoint=host:9000&secure=hunter2",
        "s3://bucket?endpoint=host:9000&secret_key=hunter2",
        "s3://bucket?endpoint=host:9000&endpoint=hunter2",
        "s3://bucket?endpoint=host:9000&hunter2",
        "s3://bucket?endpoint=host:9000#hunter2",
    ],
)
def test_a_url_that_cannot_be_understood_says_what_is_expected_and_repeats_nothing(url):
    with pytest.raises(InvalidError) as caught:
        open_store(Settings(store_url=url, **KEYS))
    assert "file:///folder" in caught.value.detail
    assert "s3://bucket" in caught.value.detail
    assert "hunter2" not in "".join(traceback.format_exception_only(caught.value))


@pytest.mark.parametrize("missing", KEYS)
def test_s3_without_its_keys_is_refused_by_the_names_of_the_settings(missing):
    given = {name: value for name, value in KEYS.items() if name != missing}
    with pytest.raises(InvalidError, match="LENET_STORE_ACCESS_KEY and LENET_STORE_SECRET_KEY"):
        open_store(Settings(store_url=S3_URL, **given))
