"""``lenet quota`` and ``lenet audit``: what one may use, and who did what."""

from datetime import datetime
from itertools import islice
from typing import Annotated

import typer

from client.commands.session import AsJson, Limit, connect, show, show_list

_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


def quota(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what you may use and do: bytes, datasets, jobs, seconds of devices, requests."""
    from client import access_tables

    found = connect(context).quota()
    show(found, lambda: access_tables.quota_table(found), as_json=as_json)


def audit(
    context: typer.Context,
    *,
    key: Annotated[str | None, typer.Option(help="Only by that key (key_…).", show_default=False)] = None,
    tenant: Annotated[str | None, typer.Option(help="Only by that tenant (tenant_…).", show_default=False)] = None,
    action: Annotated[str | None, typer.Option(help="Only such, as job.cancel.", show_default=False)] = None,
    resource: Annotated[str | None, typer.Option(help="Only to that resource, by its id.", show_default=False)] = None,
    request: Annotated[str | None, typer.Option(help="Only by that request (req_…).", show_default=False)] = None,
    outcome: Annotated[str | None, typer.Option(help="Only done, or only refused.", show_default=False)] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=_MOMENTS, help="Not before that, by this machine's clock.", show_default=False),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_MOMENTS, help="Before that, likewise.", show_default=False)
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List who did what to which resource, newest first; for administrators."""
    from client import access_tables

    events = connect(context).audit(
        key_id=key,
        tenant_id=tenant,
        action=action,
        resource_id=resource,
        request_id=request,
        outcome=outcome,
        since=since and since.astimezone(),
        until=until and until.astimezone(),
    )
    found = list(islice(events, limit))
    show_list(found, lambda: access_tables.audit_table(found), as_json=as_json, none="There are no such events.")
