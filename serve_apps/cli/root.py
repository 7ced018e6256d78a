"""The command `raysume` itself: its groups, and the options before them."""

from __future__ import annotations

from typing import Any

import click

from raysume.serve_apps.cli.calls import call
from raysume.serve_apps.cli.databases import db
from raysume.serve_apps.cli.development import dev
from raysume.serve_apps.cli.doctor import doctor
from raysume.serve_apps.cli.instance_past import COMMANDS as INSTANCE_PAST
from raysume.serve_apps.cli.instances import instance
from raysume.serve_apps.cli.lint import lint
from raysume.serve_apps.cli.session import Branch, global_options, session_of
from raysume.serve_apps.cli.waits import wait
from raysume.serve_apps.cli.workflows import workflow


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"raysume {version('raysume')}")
        context.exit()


@click.group(
    cls=Branch,
    params=[
        *global_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_version,
            help="Print the version.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def raysume(context: click.Context, /, **_: Any) -> None:
    """Resumable functions: run workflows, push calls, look at instances.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unhealthy.
    """
    session_of(context)


for _past in INSTANCE_PAST:
    instance.add_command(_past)
for _command in (dev, lint, workflow, instance, wait, call, db, doctor):
    raysume.add_command(_command)
