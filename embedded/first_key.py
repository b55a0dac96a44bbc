"""The first administrator's key: the setting's, or one that is made once and kept in the data directory."""

import os
from pathlib import Path

from core.db.engine import Sessions, transaction
from core.services import keys
from core.settings import Settings

FILE_NAME = "api-key"


def ensure_key(settings: Settings, sessions: Sessions) -> str | None:
    """Return the first administrator's key, made and stored where it is missing; ``None`` where it was revoked."""
    secret = settings.api_key.get_secret_value() if settings.api_key else _kept_secret(settings.data_dir / FILE_NAME)
    with transaction(sessions) as session:
        return secret if keys.ensure_admin_key(session, secret) else None


def _kept_secret(path: Path) -> str:
    kept = path.read_text().strip() if path.exists() else ""
    return kept or _write_secret(path, keys.new_secret())


def _write_secret(path: Path, secret: str) -> str:
    """Write the key for us alone, whole or not at all: a start that is killed here leaves no half of one."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret}\n")
    draft.rename(path)
    return secret
