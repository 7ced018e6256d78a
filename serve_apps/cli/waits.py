"""`raysume wait`: look at what instances wait for."""

from __future__ import annotations

from typing import Any

import click

from raysume.serve_apps.cli.listing import print_listing
from raysume.serve_apps.cli.rendering import print_thing
from raysume.serve_apps.cli.session import Branch, Session


@click.group(cls=Branch)
def wait() -> None:
    """Look at what instances wait for."""


@wait.command("list")
@click.option("--workflow", help="Waits of this workflow only.")
@click.option("--method", help="Waits for this method only.")
@click.option("--instance", help="Waits of this instance only.")
@click.option("--keyless", is_flag=True, help="Only waits without a key: no index finds them.")
@click.option("--after", metavar="CURSOR", help="Go on behind an earlier listing.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.pass_context
def list_waits(
    context: click.Context,
    workflow: str | None,
    method: str | None,
    instance: str | None,
    keyless: bool,
    after: str | None,
    limit: int,
) -> None:
    """List open waits by instance; the first waits of workflows come first, without instance."""
    print_listing(
        context.ensure_object(Session),
        "/v1/waits",
        {
            "workflow": workflow,
            "method": method,
            "instance": instance,
            "keyless": "true" if keyless else None,
            "after": after,
        },
        ["instance", "id", "workflow", "method", "name", "key", "times_out_at"],
        empty="No waits.",
        limit=limit,
    )


@wait.command()
@click.argument("instance")
@click.argument("id")
@click.option("--workflow", help="Needed only where several workflows have this instance.")
@click.pass_context
def show(context: click.Context, instance: str, id: str, workflow: str | None) -> None:
    """Show wait ID of INSTANCE, as `raysume wait list` names them."""
    import msgspec

    from raysume.errors import NotFound

    session = context.ensure_object(Session)
    with session.client() as client:
        found = [one for one in client.waits(workflow=workflow, instance=instance) if one.id == id]
    if not found:
        raise NotFound(
            f"instance {instance!r} has no open wait {id!r}. See its waits: raysume wait list "
            f"--instance {instance}"
        )
    shown: dict[str, Any] = msgspec.to_builtins(found[0])
    print_thing(shown, session.form)
