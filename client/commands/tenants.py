"""``lenet tenants``: tenants and how much they may use; for administrators."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.session import AsJson, Limit, connect, show, show_list
from client.errors import InputError

if TYPE_CHECKING:
    from client.sdk import Client

app = typer.Typer(help="Tenants, and how much they may use; for administrators.", no_args_is_help=True)

_DEFAULT = "default"


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is called.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Make a tenant; the first key for a name that is new makes one too."""
    from client import access_tables

    tenant = connect(context).tenants.create(name)
    show(tenant, lambda: access_tables.tenant_table([tenant]), as_json=as_json)


@app.command("list")
def list_tenants(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List the tenants, newest first."""
    from client import access_tables

    found = list(islice(connect(context).tenants.iterate(), limit))
    show_list(found, lambda: access_tables.tenant_table(found), as_json=as_json, none="There are no tenants.")


@app.command()
def quota(
    context: typer.Context,
    tenant: Annotated[
        str, typer.Argument(metavar="TENANT", help="The tenant's id (tenant_…) or its name.", show_default=False)
    ],
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="NAME=NUMBER, NAME=unlimited or NAME=default, as queued_jobs=100; may be repeated. The others stay.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a tenant may use and does, or change it."""
    from client import access_tables

    client = connect(context)
    tenant_id = _find(client, tenant)
    found = client.tenants.quota(tenant_id)
    if change:
        found = client.tenants.set_quota(tenant_id, {**found.own_limits(), **dict(map(_parse, change))})
    show(found, lambda: access_tables.quota_table(found), as_json=as_json)


def _find(client: "Client", tenant: str) -> str:
    return tenant if tenant.startswith("tenant_") else client.tenants.find(tenant).id


def _parse(change: str) -> tuple[str, int | str | None]:
    name, _, limit = change.partition("=")
    if limit in ("unlimited", _DEFAULT):
        return name, None if limit == _DEFAULT else limit
    if not (limit.isascii() and limit.isdecimal()):
        raise InputError(f"{change!r} is not NAME=NUMBER, NAME=unlimited or NAME=default.")
    return name, int(limit)
