"""`raysume call`: push calls and look at what was pushed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from raysume.serve_apps.cli.arguments import Json, JsonObject, Pair
from raysume.serve_apps.cli.listing import listing_options, print_listing
from raysume.serve_apps.cli.rendering import print_thing
from raysume.serve_apps.cli.session import Branch, Session


@click.group(cls=Branch)
def call() -> None:
    """Push calls, and look at them."""


@call.command()
@click.argument("method")
@click.argument("input", type=JsonObject())
@click.option("--output", type=Json(), default=None, help="What the method returned, as JSON.")
@click.option("--id", help="Your own id: pushing it again does nothing.")
@click.option("-H", "--header", type=Pair(), multiple=True, help="May be repeated.")
@click.pass_context
def push(
    context: click.Context,
    method: str,
    input: dict[str, Any],
    output: Any,
    id: str | None,
    header: tuple[tuple[str, str], ...],
) -> None:
    """Push one call of METHOD, with INPUT its parameters by name.

    \b
    raysume call push orders.paid '{"order": 7}' --output true
    raysume call push orders.paid @payment.json
    """
    session = context.ensure_object(Session)
    with session.client() as client:
        pushed = client.push(method, input=input, output=output, id=id, headers=dict(header))
    if session.form == "table":
        click.echo(pushed)
    else:
        print_thing({"id": pushed}, session.form)


@call.command("list")
@click.option("--method", help="Calls of this method only.")
@click.option("--service", help="Calls of this service only.")
@listing_options
@click.pass_context
def list_calls(
    context: click.Context,
    method: str | None,
    service: str | None,
    since: datetime | None,
    until: datetime | None,
    after: str | None,
    limit: int,
) -> None:
    """List accepted calls, the oldest first."""
    print_listing(
        context.ensure_object(Session),
        "/v1/calls",
        {"method": method, "service": service, "since": since, "until": until, "after": after},
        ["id", "method", "service", "at", "input", "output"],
        empty="No calls.",
        limit=limit,
    )


@call.command()
@click.argument("id")
@click.option("--instance", help="Look at this instance only.")
@click.option("--workflow", help="Look at this workflow only.")
@click.pass_context
def explain(context: click.Context, id: str, instance: str | None, workflow: str | None) -> None:
    """Say why call ID did or did not meet a wait, the nearest misses first.

    \b
    raysume call explain 0199c7e2-... --instance fulfil-7
    """
    import msgspec

    session = context.ensure_object(Session)
    with session.client() as client:
        explained = client.explain(id, instance, workflow=workflow)
    if session.form == "table":
        click.echo(str(explained))
    else:
        print_thing(msgspec.to_builtins(explained), session.form)
