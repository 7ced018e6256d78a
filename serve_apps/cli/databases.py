"""`raysume db`: which tables the configured database has, and making them those of this release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from raysume.serve_apps.cli.rendering import note, print_rows
from raysume.serve_apps.cli.session import UNHEALTHY, Branch, Session

if TYPE_CHECKING:
    from pathlib import Path

    from raysume.storage.revisions import SchemaFound

_COLUMNS = ["kind", "database", "revision", "newest", "standing"]


@click.group(cls=Branch)
def db() -> None:
    """The tables in the configured database (RAYSUME_DATABASE_URL, or files in the data folder)."""


@db.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Tell of which revision the tables are, and change nothing.

    Exit code 5 unless this release can use them as they are.
    """
    session = context.ensure_object(Session)
    found = _print(session)
    if any(one.standing != "current" for one in found):
        if any(one.standing == "ahead" for one in found):
            note("A later release made them: use that one, or a later one.")
        else:
            note("`raysume db migrate` makes them; so does whoever opens the database next.")
        context.exit(UNHEALTHY)


@db.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be made or migrated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def migrate(context: click.Context, dry_run: bool, yes: bool) -> None:
    """Make or migrate the tables, e.g. with an account that may, before the engine is started.

    One kind after the other, each in one transaction: nothing is left half migrated.
    """
    session = context.ensure_object(Session)
    due = [one for one in _found(session) if one.standing != "current"]
    if not due:
        note("Everything is current.")
        return
    for one in due:
        note(f"{one.kind}: {one.revision or 'no tables'} -> {one.newest} in {one.database}")
    if dry_run:
        return
    if not yes:
        click.confirm("Go on?", abort=True, err=True)
    from raysume.storage.revisions import migrate as make_current

    make_current(*_where(session))
    _print(session)


def _where(session: Session) -> tuple[str | None, Path]:
    from raysume.configuration import settings

    current = settings()
    return current.database_url, session.data_dir or current.data_dir


def _found(session: Session) -> list[SchemaFound]:
    from raysume.storage.revisions import schemas_found

    return schemas_found(*_where(session))


def _print(session: Session) -> list[SchemaFound]:
    found = _found(session)
    rows = [{name: getattr(one, name) for name in _COLUMNS} for one in found]
    print_rows(rows, _COLUMNS, session.form, empty="The database is in memory: it has no tables.")
    return found
