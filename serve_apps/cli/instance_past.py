"""`raysume instance history|watch|rewind|fork`: an instance's past, and going back to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import click

from raysume.serve_apps.cli.arguments import Pair
from raysume.serve_apps.cli.changing import Change, change_options
from raysume.serve_apps.cli.instances import WORKFLOW
from raysume.serve_apps.cli.listing import print_listing
from raysume.serve_apps.cli.rendering import print_rows, print_thing
from raysume.serve_apps.cli.session import Leaf, Session

if TYPE_CHECKING:
    from raysume.client import Run, TurnFacts

_LOOK_S = 0.5
"""Seconds between two looks of `watch`."""

_ENDED = frozenset({"completed", "cancelled"})
_COLUMNS = ["turn", "at", "status", "cause", "name", "locals"]
_SET = click.option(
    "--set",
    "variables",
    type=Pair(),
    multiple=True,
    help="name=JSON (or a plain text): change a variable there. May be repeated.",
)


@click.command(cls=Leaf)
@click.argument("id")
@WORKFLOW
@click.option("--after", metavar="CURSOR", help="Go on behind an earlier listing.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.pass_context
def history(
    context: click.Context, id: str, workflow: str | None, after: str | None, limit: int
) -> None:
    """List every turn of an instance, the newest first: what it was for, and its variables."""
    from raysume.client import operations
    from raysume.limits import HISTORY_TURNS_MAX

    print_listing(
        context.ensure_object(Session),
        operations.Target(id=id).path("/history"),
        {"workflow": workflow, "after": after},
        _COLUMNS,
        empty="No turns.",
        limit=limit,
        page_rows=HISTORY_TURNS_MAX,
        row=_with_locals,
    )


@click.command(cls=Leaf)
@click.argument("id")
@WORKFLOW
@click.pass_context
def watch(context: click.Context, id: str, workflow: str | None) -> None:
    """Print each turn of an instance as it happens, until it has ended."""
    session = context.ensure_object(Session)
    form = "jsonl" if session.form == "json" else session.form
    last: TurnFacts | None = None
    with session.client() as client:
        run = client.instance(id, workflow)
        while True:
            ended = run.status() in _ENDED
            new = _turns_after(run, last)
            if new:
                last = new[-1]
                print_rows(map(_row, new), _COLUMNS, form, empty="")
            if ended:
                return
            threading.Event().wait(_LOOK_S)


@click.command(cls=Leaf)
@click.argument("id")
@WORKFLOW
@click.option(
    "--to",
    required=True,
    help="A wait's name, its method, a step's or workflow's name, function:line, or a turn.",
)
@_SET
@change_options
@click.pass_context
def rewind(
    context: click.Context,
    id: str,
    workflow: str | None,
    to: str,
    variables: tuple[tuple[str, str], ...],
    yes: bool,
    dry_run: bool,
    reason: str,
) -> None:
    """Put an instance back to an earlier point, where it waits anew. No code runs for it."""
    import msgspec

    session = context.ensure_object(Session)
    change = Change(yes=yes, dry_run=dry_run, reason=reason)
    with session.client() as client:
        run = client.instance(id, workflow)
        what = f"rewind instance {run.id} of {run.workflow}@{run.version} to {to}"
        if not change.confirmed(what):
            return
        facts = run.rewind(to, set=_values(variables), reason=reason)
    print_thing(msgspec.to_builtins(facts), session.form)


@click.command(cls=Leaf)
@click.argument("id")
@WORKFLOW
@click.option("--at", help="As --to of rewind; left out: where the instance stands, or stood last.")
@click.option("--id", "new_id", help="Of the new instance.")
@_SET
@change_options
@click.pass_context
def fork(
    context: click.Context,
    id: str,
    workflow: str | None,
    at: str | None,
    new_id: str | None,
    variables: tuple[tuple[str, str], ...],
    yes: bool,
    dry_run: bool,
    reason: str,
) -> None:
    """Start a new instance where this one stood. It takes the calls that come from now on."""
    import msgspec

    session = context.ensure_object(Session)
    change = Change(yes=yes, dry_run=dry_run, reason=reason)
    with session.client() as client:
        run = client.instance(id, workflow)
        what = (
            f"fork instance {run.id} of {run.workflow}@{run.version} at {at or 'where it stands'}"
        )
        if not change.confirmed(what):
            return
        made = run.fork(at, set=_values(variables), id=new_id, reason=reason)
    print_thing(msgspec.to_builtins(made.facts), session.form)


COMMANDS = (history, watch, rewind, fork)


def _values(variables: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The values by name: JSON where it is JSON, else the text itself."""
    found: dict[str, Any] = {}
    for name, text in variables:
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _turns_after(run: Run[Any], last: TurnFacts | None) -> list[TurnFacts]:
    """The turns after the last one seen, oldest first."""
    return list(takewhile(lambda turn: turn != last, run.history()))[::-1]


def _row(turn: TurnFacts) -> dict[str, Any]:
    return {
        "turn": turn.turn,
        "at": turn.at.isoformat(),
        "status": turn.status,
        "cause": turn.cause,
        "name": turn.name,
        "id": turn.id,
        "locals": {
            name: value for frame in turn.state.frames for name, value in frame.locals.items()
        },
    }


def _with_locals(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the history with the variables of all its frames."""
    frames: list[dict[str, Any]] = row["frames"]
    return {
        **row,
        "locals": {name: value for frame in frames for name, value in frame["locals"].items()},
    }
