"""Commands that list: pages of rows until there are as many as were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import click

from raysume.serve_apps.cli.arguments import Moment
from raysume.serve_apps.cli.rendering import note, print_rows
from raysume.serve_apps.cli.session import Session

Decorated = Callable[..., Any]


def listing_options(command: Decorated) -> Decorated:
    """The command takes --since, --until, --after and --limit."""
    for option in (
        click.option("--limit", type=click.IntRange(1), default=20, show_default=True),
        click.option("--after", metavar="CURSOR", help="Go on behind an earlier listing."),
        click.option("--until", type=Moment(), help="Before: ISO 8601 or like -15m."),
        click.option("--since", type=Moment(), help="At or after: ISO 8601 or like -15m."),
    ):
        command = option(command)
    return command


def print_listing(
    session: Session,
    path: str,
    query: Mapping[str, Any],
    columns: Sequence[str],
    *,
    empty: str,
    limit: int,
    keep: Callable[[Mapping[str, Any]], bool] | None = None,
    row: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    page_rows: int | None = None,
) -> None:
    """Up to `limit` rows are printed, and how to see more when there are more.

    Args:
        query: what `listing_query` takes.
        keep: which rows count; None means all.
        row: makes what is printed of a row; None: the row itself.
        page_rows: how many the engine gives at once at most; None: as many as of most listings.
    """
    cursor: list[str | None] = [None]
    with session.client() as client:

        def rows() -> Iterator[Mapping[str, Any]]:
            from raysume.client import operations, questions
            from raysume.limits import PAGE_ROWS_MAX

            conditions = dict(query)
            size = min(limit, page_rows or PAGE_ROWS_MAX)
            while True:
                terms = questions.listing_query(**conditions, limit=size)
                page = client.run(operations.page(path, terms, client.patience))
                cursor[0] = page.next
                kept = page.items if keep is None else filter(keep, page.items)
                yield from kept if row is None else map(row, kept)
                if page.next is None:
                    return
                conditions["after"] = page.next

        print_rows(islice(rows(), limit), columns, session.form, empty=empty)
    if cursor[0] is not None:
        note(f"There may be more: --after {cursor[0]}")
