import pytest

from core.domain.credentials import is_well_known, read_secrets


@pytest.mark.parametrize("secret", ["minioadmin", "MinioAdmin", " postgres ", "changeme"])
def test_what_servers_come_with_is_well_known(secret):
    assert is_well_known(secret)


@pytest.mark.parametrize("secret", ["", "minioadmin2", "c9d1e7", "correct horse battery staple"])
def test_anything_else_is_not(secret):
    assert not is_well_known(secret)


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("word", {"word"}),
        ("", set()),
        ("redis://host/0", set()),
        ("redis://:word@host/0", {"word"}),
        ("postgresql://user:a%40b@host/db", {"a%40b", "a@b"}),
        ("sqlite:////folder/lenet.db", set()),
        ("redis://[word/0", {"redis://[word/0"}),
    ],
)
def test_the_secret_of_a_setting_is_its_url_s_password_or_all_of_it(value, secrets):
    assert read_secrets(value) == secrets
