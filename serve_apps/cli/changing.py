"""What commands that change something share: `--yes`, `--dry-run`, `--reason`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from raysume.serve_apps.cli.rendering import note

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a change was asked for."""

    yes: bool
    dry_run: bool
    reason: str

    def confirmed(self, what: str) -> bool:
        """Whether it is to be done: asked at a terminal, and never with `--dry-run`.

        Raises:
            click.UsageError: nobody can be asked, and `--yes` was not given.
        """
        if self.dry_run:
            note(f"Would {what}. Nothing was changed.")
            return False
        if self.yes:
            return True
        if not sys.stdin.isatty():
            raise click.UsageError(f"To {what}, give --yes: nobody can be asked here.")
        click.confirm(f"{what[0].upper()}{what[1:]}?", abort=True, err=True)
        return True


def change_options(command: F) -> F:
    """The command takes `yes`, `dry_run` and `reason`."""
    for option in (
        click.option("--reason", default="", help="Why; it goes into the instance's log."),
        click.option("--dry-run", is_flag=True, help="Only say what would be done."),
        click.option("--yes", is_flag=True, help="Do not ask."),
    ):
        command = option(command)
    return command
