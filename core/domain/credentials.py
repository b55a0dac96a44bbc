"""Passwords that everybody knows, and those within URLs."""

from typing import Final
from urllib.parse import unquote, urlsplit

# What servers and their guides come with, and what people put there for the time being.
WELL_KNOWN: Final = frozenset(
    [
        *(
            "admin",
            "administrator",
            "changeit",
            "changeme",
            "default",
            "guest",
            "lenet",
            "letmein",
            "minio",
            "minio123",
        ),
        *("minioadmin", "passw0rd", "password", "postgres", "postgresql", "qwerty", "rabbitmq", "redis", "root"),
        *("rustfsadmin", "s3cr3t", "secret", "secretkey", "siloadmin", "test", "user"),
        *("123456", "12345678", "123456789", "1234567890"),
    ]
)


def is_well_known(secret: str) -> bool:
    """Return whether a secret is none, however its letters are written."""
    return secret.strip().lower() in WELL_KNOWN


def read_secrets(value: str) -> frozenset[str]:
    """Return what is secret in a setting: a URL's password, as it is written there and as it is meant, or all of it."""
    if "://" not in value:
        return frozenset({value} - {""})
    try:
        password = urlsplit(value).password or ""
    except ValueError:
        return frozenset({value})
    return frozenset({password, unquote(password)} - {""})
