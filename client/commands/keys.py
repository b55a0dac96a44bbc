"""``lenet keys``: make, list and revoke API keys; for administrators."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer

from client.commands.session import AsJson, Limit, connect, show, show_list
from client.errors import InputError

app = typer.Typer(help="Make, list and revoke API keys; for administrators.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id (key_…).", show_default=False)]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for.", show_default=False)],
    *,
    scope: Annotated[
        list[str], typer.Option(help="read, train (may read too) or admin (may do everything); may be repeated.")
    ] = ["train"],  # noqa: B006 - typer copies it
    tenant: Annotated[
        str | None, typer.Option(help="Whose it is, by name; without it, one's own tenant.", show_default=False)
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, help="After how many days it ends; without it, never.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is shown this once."""
    from client import access_tables

    expires_at = None if days is None else _moment_in(days)
    key = connect(context).keys.create(name, scope, tenant=tenant, expires_at=expires_at)
    show(key, lambda: access_tables.key_table([key]), as_json=as_json)
    if not as_json:
        typer.echo(f"Its secret, which nobody can show again: {key.secret}")


@app.command("list")
def list_keys(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Option(help="Only those of the tenant of that name.", show_default=False)
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the keys in force, newest first, with when each was last used."""
    from client import access_tables

    found = list(islice(connect(context).keys.iterate(tenant=tenant), limit))
    show_list(found, lambda: access_tables.key_table(found), as_json=as_json, none="There are no such keys.")


@app.command("show")
def show_key(context: typer.Context, key_id: KeyId, as_json: AsJson = False) -> None:
    """Show a key, without its secret."""
    from client import access_tables

    key = connect(context).keys.get(key_id)
    show(key, lambda: access_tables.key_table([key]), as_json=as_json)


@app.command()
def revoke(context: typer.Context, key_id: KeyId) -> None:
    """Revoke a key at once."""
    connect(context).keys.revoke(key_id)
    typer.echo(f"{key_id} is revoked.")


def _moment_in(days: float) -> datetime:
    try:
        return datetime.now(UTC) + timedelta(days=days)
    except (OverflowError, ValueError) as error:
        raise InputError(f"A key cannot end in {days:g} days: the calendar ends before that.") from error
