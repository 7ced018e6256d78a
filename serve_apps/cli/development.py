"""`raysume dev`: everything on this machine, for one file or module."""

from __future__ import annotations

import click

from raysume.serve_apps.cli.session import Leaf, Session


@click.command(cls=Leaf)
@click.argument("target", metavar="FILE|MODULE")
@click.option("--port", type=click.IntRange(0, 65535), help="Where the ingress listens.")
@click.option("--no-reload", is_flag=True, help="Do not deploy again when the source changes.")
@click.pass_context
def dev(context: click.Context, target: str, port: int | None, no_reload: bool) -> None:
    """Run the workflows of FILE or MODULE on this machine, until interrupted.

    Its address and token are written to the data directory, where clients and this
    command line find them.
    """
    from raysume.serve_apps.watching import run_dev

    session = context.ensure_object(Session)
    context.exit(run_dev(target, port=port, data_dir=session.data_dir, reload=not no_reload))
