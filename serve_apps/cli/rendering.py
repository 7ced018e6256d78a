"""Rows and single things, printed as tables for people or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from raysume.serve_apps.cli.session import Form

Row = Mapping[str, Any]

_CELL_CHARS_MAX = 60


def print_rows(rows: Iterable[Row], columns: Sequence[str], form: Form, *, empty: str) -> None:
    """The rows are printed: in a table the columns named, in JSON everything.

    Args:
        empty: what a table says instead when there are none.
    """
    match form:
        case "json":
            click.echo(json.dumps(list(rows), ensure_ascii=False, indent=2, default=str))
        case "jsonl":
            for row in rows:
                click.echo(json.dumps(row, ensure_ascii=False, default=str))
        case "table":
            found = list(rows)
            if not found:
                click.echo(empty, err=True)
                return
            cells = [[_cell(row.get(column)) for column in columns] for row in found]
            _print_table([column.replace("_", " ") for column in columns], cells)


def print_thing(thing: Row, form: Form) -> None:
    """One thing is printed: in a table one line for each field."""
    match form:
        case "json":
            click.echo(json.dumps(thing, ensure_ascii=False, indent=2, default=str))
        case "jsonl":
            click.echo(json.dumps(thing, ensure_ascii=False, default=str))
        case "table":
            shown = {name: value for name, value in thing.items() if value not in (None, [], {})}
            _print_table(
                None, [[name.replace("_", " "), _cell(shown[name], None)] for name in shown]
            )


def note(text: str) -> None:
    """A remark for people, beside the output."""
    click.echo(text, err=True)


def _cell(value: Any, chars_max: int | None = _CELL_CHARS_MAX) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    if chars_max is not None and len(text) > chars_max:
        text = text[: chars_max - 1] + "…"
    return text


def _print_table(titles: Sequence[str] | None, cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=titles is not None, header_style="bold", pad_edge=False)
    for place in range(len(cells[0])):
        table.add_column(titles[place] if titles else "", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    # Piped into a program, nothing is folded or cut: each row stays one line.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 10_000)
    console.print(table, soft_wrap=False)
