"""`raysume doctor`: what is configured, from where, and whether the engine answers."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

from raysume.serve_apps.cli.rendering import note, print_rows
from raysume.serve_apps.cli.session import UNHEALTHY, Leaf, Session

_HIDDEN = ("token", "seal_key")


@click.command(cls=Leaf)
@click.pass_context
def doctor(context: click.Context) -> None:
    """Print each setting with its source, and ask the engine how it is."""
    session = context.ensure_object(Session)
    print_rows(_settings(session), ["setting", "value", "source"], session.form, empty="")
    problem = _ask(session)
    if problem is not None:
        note(problem)
        context.exit(UNHEALTHY)


def _settings(session: Session) -> list[dict[str, Any]]:
    from raysume.configuration import NAMES, settings

    current = settings()
    rows: list[dict[str, Any]] = []
    for name in NAMES:
        value: Any = getattr(current, name)
        source = str(current.sources[name])
        given = getattr(session, name, None)
        if given is not None:
            value, source = given, f"--{name.replace('_', '-')}"
        if value is not None:
            value = "(hidden)" if name in _HIDDEN else _without_password(_written(value))
        rows.append({"setting": name, "value": value, "source": source})
    return rows


def _without_password(value: str) -> str:
    """The value, where it is a URL without its password."""
    value = re.sub(r"(?<=://)([^/@]*?):[^/]*@", r"\1:(hidden)@", value)
    return re.sub(r"(?<=[?&]password=)[^&]*", "(hidden)", value)


def _written(value: Any) -> str:
    """The value as it would be written in a configuration file."""
    from raysume.configuration import written

    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, timedelta):
        return written(value)
    return str(value)


def _ask(session: Session) -> str | None:
    """What is wrong with the engine; None when it is well, or when none is known."""
    from raysume.client.operations import document
    from raysume.client.retries import Patience
    from raysume.errors import ConfigurationError, RaysumeError

    try:
        client = session.client()
    except ConfigurationError as error:
        note(f"engine: not known ({error})")
        return None
    with client:
        try:
            found = client.run(document("/health", Patience(limit_s=0)))
            client.workflows()  # does it take our token?
        except RaysumeError as error:
            return f"engine: {client.endpoint.url} does not serve us: {error}"
    note(f"engine: {client.endpoint.url} is {found.get('status', 'there')}")
    return None
