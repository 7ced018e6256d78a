"""`raysume instance list|show|state|cancel|retry`; the rest is in `instance_past`."""

from __future__ import annotations

from datetime import datetime

import click

from raysume.serve_apps.cli.arguments import Pair
from raysume.serve_apps.cli.changing import Change, change_options
from raysume.serve_apps.cli.listing import listing_options, print_listing
from raysume.serve_apps.cli.rendering import print_rows, print_thing
from raysume.serve_apps.cli.session import Branch, Session

_STATUSES = ["running", "waiting", "completed", "failed", "cancelled"]
WORKFLOW = click.option(
    "--workflow", help="Needed only where several workflows have an instance of this id."
)


@click.group(cls=Branch)
def instance() -> None:
    """Look at instances; cancel, retry, rewind and fork them."""


@instance.command("list")
@click.option("--workflow", help="Instances of this workflow only.")
@click.option("--status", type=click.Choice(_STATUSES))
@click.option("--tag", type=Pair(), multiple=True, help="May be repeated: all must be there.")
@listing_options
@click.pass_context
def list_instances(
    context: click.Context,
    workflow: str | None,
    status: str | None,
    tag: tuple[tuple[str, str], ...],
    since: datetime | None,
    until: datetime | None,
    after: str | None,
    limit: int,
) -> None:
    """List instances, the newest first."""
    print_listing(
        context.ensure_object(Session),
        "/v1/instances",
        {
            "workflow": workflow,
            "status": status,
            "tag": dict(tag),
            "since": since,
            "until": until,
            "after": after,
        },
        ["id", "workflow", "version", "status", "started_at", "updated_at"],
        empty="No instances.",
        limit=limit,
    )


@instance.command()
@click.argument("id")
@WORKFLOW
@click.pass_context
def show(context: click.Context, id: str, workflow: str | None) -> None:
    """Show an instance: its status, and what it waits for."""
    import msgspec

    session = context.ensure_object(Session)
    with session.client() as client:
        facts = client.instance(id, workflow).facts
    print_thing(msgspec.to_builtins(facts), session.form)


@instance.command()
@click.argument("id")
@WORKFLOW
@click.pass_context
def state(context: click.Context, id: str, workflow: str | None) -> None:
    """Show where an instance stands: its frames, the outermost first, with their variables."""
    from dataclasses import asdict

    session = context.ensure_object(Session)
    with session.client() as client:
        found = client.instance(id, workflow).state()
    frames = [asdict(frame) for frame in found.frames]
    if found.container is not None and session.form == "table":
        print_thing(dict(found.container), session.form)
    columns = ["definition", "file", "line", "wait", "locals"]
    print_rows(frames, columns, session.form, empty="It has no frames: it has ended.")


@instance.command()
@click.argument("id")
@WORKFLOW
@change_options
@click.pass_context
def cancel(
    context: click.Context, id: str, workflow: str | None, yes: bool, dry_run: bool, reason: str
) -> None:
    """Cancel an instance: its `finally` blocks run, and its completed steps are undone."""
    _change(context, "cancel", id, workflow, Change(yes=yes, dry_run=dry_run, reason=reason))


@instance.command()
@click.argument("id")
@WORKFLOW
@change_options
@click.pass_context
def retry(
    context: click.Context, id: str, workflow: str | None, yes: bool, dry_run: bool, reason: str
) -> None:
    """Retry a failed instance from its last saved point, with the same call again."""
    _change(context, "retry", id, workflow, Change(yes=yes, dry_run=dry_run, reason=reason))


def _change(
    context: click.Context, kind: str, id: str, workflow: str | None, change: Change
) -> None:
    import msgspec

    session = context.ensure_object(Session)
    with session.client() as client:
        run = client.instance(id, workflow)
        what = f"{kind} instance {run.id} of {run.workflow}@{run.version}, {run.facts.status}"
        if not change.confirmed(what):
            return
        facts = run.cancel(change.reason) if kind == "cancel" else run.retry(change.reason)
    print_thing(msgspec.to_builtins(facts), session.form)
