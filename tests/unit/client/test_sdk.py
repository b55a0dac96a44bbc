import pytest

from client.errors import InputError
from client.sdk import Client, find_key, find_url

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in ("LENET_URL", "LENET_API_KEY", "LENET_API_PORT", "LENET_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_platform_is_on_this_machine_unless_said_otherwise(monkeypatch):
    assert find_url() == LOCAL
    monkeypatch.setenv("LENET_API_PORT", "9000")
    assert find_url() == "http://127.0.0.1:9000"
    monkeypatch.setenv("LENET_URL", "https://lenet.test")
    assert find_url() == "https://lenet.test"


def test_without_a_key_anywhere_there_is_none():
    assert find_key(LOCAL) is None


def test_the_key_is_the_one_that_the_embedded_start_wrote(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/api-key").write_text("written\n")
    assert find_key(LOCAL) == "written"


def test_the_data_directory_can_be_elsewhere(monkeypatch, tmp_path):
    (tmp_path / "api-key").write_text("elsewhere")
    monkeypatch.setenv("LENET_DATA_DIR", str(tmp_path))
    assert find_key(LOCAL) == "elsewhere"


def test_the_variable_goes_before_the_file(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/api-key").write_text("written")
    monkeypatch.setenv("LENET_API_KEY", "given")
    assert find_key(LOCAL) == "given"


def test_the_key_of_this_machine_is_sent_to_no_other(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/api-key").write_text("written")
    assert find_key("http://lenet.test") is None


def test_a_key_file_that_cannot_be_read_says_so(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/api-key").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="LENET_API_KEY"):
        find_key(LOCAL)


def test_a_client_opens_nothing_until_it_is_used():
    with Client("http://lenet.test", "key") as client:
        assert client.url == "http://lenet.test"


def test_the_pool_the_queues_and_the_catalogues_are_lists(client, platform):
    platform.on("GET", "/workers", {"items": [{"name": "w1", "slots": 2, "busy_jobs": ["job_1"]}]})
    platform.on("GET", "/queue", {"items": [{"name": "cpu", "depth": 3, "oldest_wait_seconds": 1.5}]})
    platform.on("GET", "/presets", {"items": [{"name": "lenet5-modern"}]})
    platform.on("GET", "/architectures", {"items": [{"name": "lenet5"}]})
    assert client.workers()[0].busy_jobs == ["job_1"]
    assert client.queue()[0].depth == 3
    assert client.presets()[0].name == "lenet5-modern"
    assert client.architectures()[0].name == "lenet5"
