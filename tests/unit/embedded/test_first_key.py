import pytest

from core.db.engine import open_engine, open_sessions, transaction
from core.db.rows import Row
from core.errors import UnauthenticatedError
from core.services import keys
from core.settings import Settings
from embedded.first_key import FILE_NAME, ensure_key


@pytest.fixture
def sessions(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/keys.db")
    Row.metadata.create_all(engine)
    yield open_sessions(engine)
    engine.dispose()


def scopes_of(sessions, secret):
    with transaction(sessions) as session:
        return keys.authenticate(session, secret).scopes


def test_a_key_is_made_for_us_alone_and_is_an_administrator_s(sessions, tmp_path):
    secret = ensure_key(Settings(data_dir=tmp_path), sessions)
    path = tmp_path / FILE_NAME
    assert path.read_text().strip() == secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert "admin" in scopes_of(sessions, secret)


def test_a_second_start_finds_the_key_of_the_first(sessions, tmp_path):
    settings = Settings(data_dir=tmp_path)
    assert ensure_key(settings, sessions) == ensure_key(settings, sessions)


def test_the_setting_s_key_is_taken_and_written_nowhere(sessions, tmp_path):
    assert (
        ensure_key(Settings(data_dir=tmp_path, api_key="a-key-of-my-own-choice"), sessions) == "a-key-of-my-own-choice"
    )
    assert not (tmp_path / FILE_NAME).exists()
    assert "admin" in scopes_of(sessions, "a-key-of-my-own-choice")


@pytest.mark.parametrize("left", [FILE_NAME, f"{FILE_NAME}.new"])
def test_what_a_start_that_was_cut_short_left_is_no_obstacle(sessions, tmp_path, left):
    (tmp_path / left).write_text("")
    secret = ensure_key(Settings(data_dir=tmp_path), sessions)
    assert secret
    assert (tmp_path / FILE_NAME).read_text().strip() == secret


def test_a_key_that_was_revoked_is_not_offered_again_nor_replaced(sessions, tmp_path):
    settings = Settings(data_dir=tmp_path)
    secret = ensure_key(settings, sessions)
    with transaction(sessions) as session:
        keys.revoke_key(session, keys.authenticate(session, secret).key_id)
    assert ensure_key(settings, sessions) is None
    with transaction(sessions) as session, pytest.raises(UnauthenticatedError):
        keys.authenticate(session, secret)
