"""`raysume lint`: what can be told of workflows without running them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raysume.serve_apps.cli.rendering import note, print_rows
from raysume.serve_apps.cli.session import FAILED, Form, Leaf, Session

if TYPE_CHECKING:
    from raysume.actors.loading import Target
    from raysume.linting import Finding, Severity


@click.command(cls=Leaf)
@click.argument("target", metavar="FILE|MODULE")
@click.pass_context
def lint(context: click.Context, target: str) -> None:
    """Look at the workflows of FILE or MODULE without running them.

    Lists waits that no index finds, and what would be refused at deployment or go wrong
    later. The module is imported; no engine is needed. A comment `# raysume: allow RULE`
    beside it allows a warning. Exit code 1: there are errors or warnings.

    \b
    raysume lint orders.py
    """
    from raysume.actors.loading import load_module
    from raysume.linting import findings_in, imported
    from raysume.linting.findings import in_order

    meant = _target(target)
    # What the module prints as it is imported is no finding: standard output is for programs.
    with contextlib.redirect_stdout(sys.stderr):
        became = imported(lambda: load_module(meant), name=meant.module)
        found = [] if became.module is None else findings_in(became.module)
    listed = in_order([*found, *became.findings])
    _print(listed, context.ensure_object(Session).form)
    if became.module is None:
        note("It ended the import, so nothing else was looked at.")
    if any(one.severity != "info" for one in listed):
        context.exit(FAILED)


def _target(given: str) -> Target:
    from raysume.actors.loading import Target
    from raysume.errors import ConfigurationError, NotFound

    try:
        return Target.of(given)
    except ConfigurationError as error:
        if "missing" in error.details:
            raise NotFound(error.message) from None
        raise


def _print(found: Sequence[Finding], form: Form) -> None:
    from raysume.linting.findings import counted

    if form != "table":
        print_rows([_row(one) for one in found], [], form, empty="")
        return
    for one in found:
        is_named = one.workflow is None or one.message.startswith(f"{one.workflow} ")
        name = "" if is_named else f"{one.workflow}: "
        click.echo(
            f"{_shown(one.file)}:{one.line}: {one.severity}: {name}{one.message} [{one.rule}]"
        )
        if one.remedy:
            click.echo(f"    {one.remedy}")
    counts = [f"{count} {severity}{_plural(severity, count)}" for severity, count in counted(found)]
    note(f"Found: {', '.join(counts)}." if counts else "Nothing found.")


def _plural(severity: Severity, count: int) -> str:
    return "s" if count > 1 and severity != "info" else ""


def _row(one: Finding) -> dict[str, Any]:
    return {
        "file": one.file,
        "line": one.line,
        "column": one.column,
        "workflow": one.workflow,
        "rule": one.rule,
        "severity": one.severity,
        "message": one.message,
        "remedy": one.remedy,
    }


def _shown(file: str) -> str:
    """The path from here, for what is below."""
    with contextlib.suppress(ValueError):
        return str(Path(file).relative_to(Path.cwd()))
    return file
