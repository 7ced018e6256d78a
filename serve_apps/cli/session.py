"""What all commands share: global options, the client they ask, exit codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from raysume.errors import (
    ConfigurationError,
    DuplicateCall,
    NotFound,
    RaysumeError,
    Unavailable,
)

if TYPE_CHECKING:
    from raysume.client import Client

FAILED, USAGE, NOT_FOUND, CONFLICT, UNHEALTHY = 1, 2, 3, 4, 5
"""Exit codes besides 0."""

Form = Literal["table", "json", "jsonl"]


@dataclass(slots=True)
class Session:
    """The global options as they were given, before or behind the command."""

    url: str | None = None
    token: str | None = None
    data_dir: Path | None = None
    form: Form = "table"

    def client(self, *, timeout_s: float = 10.0) -> Client:
        """A client of the engine that is meant: as given, configured, or run by `raysume dev`."""
        from raysume.client import Client
        from raysume.client.endpoint import find_endpoint

        endpoint = find_endpoint(self.url, self.token, data_dir=self.data_dir)
        return Client(endpoint.url, endpoint.token, timeout=timeout_s)


def global_options() -> list[click.Option]:
    """The options that may stand before or behind any command."""
    return [
        click.Option(["--url"], metavar="URL", help="The engine's address."),
        click.Option(["--token"], metavar="TOKEN", help="The bearer token for it."),
        click.Option(
            ["--data-dir"],
            type=click.Path(file_okay=False, path_type=Path),
            help="Where `raysume dev` keeps its data.",
        ),
        click.Option(
            ["-o", "form"],
            type=click.Choice(["table", "json", "jsonl"]),
            help="How to print: table (default), json or jsonl.",
        ),
    ]


def session_of(context: click.Context) -> Session:
    """The session of this invocation, with the global options that this command was given."""
    session = context.ensure_object(Session)
    for name in ("url", "token", "data_dir", "form"):
        value = context.params.pop(name, None)
        if value is not None:
            setattr(session, name, value)
    return session


class Leaf(click.Command):
    """A command that takes the global options too, and ends with the exit code of its error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options())

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        session_of(ctx)
        try:
            return super().invoke(ctx)
        except RaysumeError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(exit_code(error))


class Branch(click.Group):
    """A group of commands."""

    command_class = Leaf


def exit_code(error: RaysumeError) -> int:
    """The exit code that tells a script what happened."""
    match error:
        case NotFound():
            return NOT_FOUND
        case DuplicateCall():
            return CONFLICT
        case Unavailable():
            return UNHEALTHY
        case ConfigurationError():
            return USAGE
        case _:
            return CONFLICT if error.details.get("status") == 409 else FAILED
