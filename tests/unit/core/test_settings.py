import pytest
from pydantic import ValidationError

from core.settings import Settings

CANARY = "canary-of-the-settings"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store_secret_key", "minioadmin"),
        ("redis_url", "redis://:redis@host:6379/0"),
        ("redis_url", "redis://lenet:changeme@host:6379/0"),
        ("database_url", "postgresql://lenet:postgres@host/lenet"),
        ("database_url", "postgresql://lenet:p%6Fstgres@host/lenet"),
    ],
)
def test_a_secret_that_everybody_knows_is_refused(name, value):
    with pytest.raises(ValidationError, match=rf"{name}\n.*a default that everybody knows"):
        Settings(**{name: value})


def test_a_server_without_a_password_is_not_a_secret_that_everybody_knows():
    assert Settings(redis_url="redis://127.0.0.1/0", database_url="postgresql://postgres@/postgres?host=/run")


@pytest.mark.parametrize("name", ["api_port", "store_secret_key", "worker_slots"])
def test_a_refused_value_is_not_repeated(name, monkeypatch):
    monkeypatch.setenv(f"LENET_{name.upper()}", CANARY if name != "store_secret_key" else "minioadmin")
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert CANARY not in str(raised.value)
    assert "minioadmin" not in str(raised.value)


def test_no_secret_shows_in_the_settings_own_words():
    settings = Settings(
        database_url=f"postgresql://lenet:{CANARY}@host/lenet",
        redis_url=f"redis://:{CANARY}@host/0",
        store_access_key=CANARY,
        store_secret_key=CANARY,
        api_key=CANARY,
    )
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert CANARY not in shown
    assert settings.secrets == {CANARY}
