"""`raysume workflow`: look at workflows and start them."""

from __future__ import annotations

from typing import Any

import click

from raysume.serve_apps.cli.arguments import JsonObject
from raysume.serve_apps.cli.rendering import print_rows, print_thing
from raysume.serve_apps.cli.session import Branch, Session

SCALE_S = 120.0
"""Seconds that moving shards may take: mostly the start of new actors."""


@click.group(cls=Branch)
def workflow() -> None:
    """Look at workflows, and start them."""


@workflow.command("list")
@click.pass_context
def list_workflows(context: click.Context) -> None:
    """List the workflows that are deployed."""
    import msgspec

    session = context.ensure_object(Session)
    with session.client() as client:
        rows = [msgspec.to_builtins(facts) for facts in client.workflows()]
    for row in rows:
        row["started_by"] = "clients" if row["has_parameters"] else "calls"
    columns = ["name", "version", "versions", "started_by", "subscribes"]
    print_rows(rows, columns, session.form, empty="No workflows are deployed.")


@workflow.command()
@click.argument("name")
@click.option("--members", type=click.IntRange(1, 16), required=True, help="Actors, from 1 to 16.")
@click.option("--version", help="A version of it; the active one when left out.")
@click.pass_context
def scale(context: click.Context, name: str, members: int, version: str | None) -> None:
    """Run workflow NAME on more or fewer actors, while calls go on.

    \b
    raysume workflow scale orders.fulfil --members 4
    """
    from raysume.client import operations

    session = context.ensure_object(Session)
    with session.client(timeout_s=SCALE_S) as client:
        found = client.run(operations.scale(name, members, version, client.patience))
    rows = [
        {"actor": actor, "shards": ", ".join(map(str, shards))}
        for actor, shards in sorted(found["members"].items())
    ]
    print_rows(rows, ["actor", "shards"], session.form, empty="It has no members.")


@workflow.command()
@click.argument("name")
@click.argument("input", type=JsonObject(), default="{}")
@click.option("--id", help="Your own id: starting it again gives the same instance.")
@click.option("--wait", type=float, metavar="SECONDS", help="Print its result, once it is there.")
@click.pass_context
def start(
    context: click.Context, name: str, input: dict[str, Any], id: str | None, wait: float | None
) -> None:
    """Start an instance of workflow NAME, with INPUT its arguments by name.

    \b
    raysume workflow start orders.fulfil '{"order": 7}' --wait 30
    """
    import json

    from raysume.client import operations, questions
    from raysume.client.runs import Run

    session = context.ensure_object(Session)
    with session.client() as client:
        # not client.start(): a parameter of the workflow may be named like one of its own
        operation = operations.start(
            name, json.dumps(input).encode(), id, id is not None, client.patience
        )
        facts = client.run(operation)
        shown: dict[str, Any] = {
            "id": facts.id,
            "workflow": facts.workflow,
            "version": facts.version,
            "status": facts.status,
        }
        if wait is not None:
            run: Run[Any] = Run(client, facts, questions.plain_reader)
            shown |= {"result": run.result(timeout=wait), "status": "completed"}
    print_thing(shown, session.form)
