"""API keys; for administrators."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from client.answers import PAGE_ITEMS, follow, parse, to_segment
from client.errors import UnexpectedAnswerError
from client.transport import Call, Transport
from client.types import Key, NewKey, Page


class Keys:
    """API keys of every tenant."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, name: str, scopes: Sequence[str], *, tenant: str | None = None, expires_at: datetime | None = None
    ) -> NewKey:
        """Make a key and return it with its secret, which nobody can show again.

        Args:
            name: What it is for.
            scopes: Of ``read``, ``train`` (which may read) and ``admin`` (which may do everything).
            tenant: Whose it is, by name; one that is new is made. Unset: one's own tenant.
            expires_at: When it ends, an aware moment; unset: never.

        Raises:
            UnexpectedAnswerError: It was made, and its secret was lost with the answer.
        """
        wanted = {
            "name": name,
            "scopes": list(scopes),
            "tenant": tenant,
            "expires_at": expires_at.isoformat() if expires_at else None,
        }
        body = {field: value for field, value in wanted.items() if value is not None}
        key = parse(NewKey, self._transport.fetch(Call("POST", "/keys", json=body, creates=True)))
        if not key.secret:
            raise UnexpectedAnswerError(
                f"The key {key.id} was made, but its secret was lost with an answer: revoke it, and make another."
            )
        return key

    def list(self, *, limit: int = 50, cursor: str | None = None, tenant: str | None = None) -> Page[Key]:
        """Return one page of the keys in force, newest first: of every tenant, or of the one of that name."""
        params = {"limit": limit, "cursor": cursor, "tenant": tenant}
        return parse(Page[Key], self._transport.fetch(Call("GET", "/keys", params=params)))

    def iterate(self, *, tenant: str | None = None) -> Iterator[Key]:
        """Yield every key in force, newest first."""
        return follow(lambda cursor: self.list(limit=PAGE_ITEMS, cursor=cursor, tenant=tenant))

    def get(self, key_id: str) -> Key:
        """Return a key that is in force."""
        return parse(Key, self._transport.fetch(Call("GET", f"/keys/{to_segment(key_id)}")))

    def revoke(self, key_id: str) -> None:
        """Revoke a key at once."""
        self._transport.fetch(Call("DELETE", f"/keys/{to_segment(key_id)}"))
