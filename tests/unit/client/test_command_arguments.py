"""Values on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest

from raysume.errors import (
    ConfigurationError,
    DuplicateCall,
    InvalidCall,
    NotFound,
    RaysumeError,
    ResultTimeout,
    Unauthorized,
    Unavailable,
    UsageError,
)
from raysume.serve_apps.cli.arguments import Json, JsonObject, Moment, Pair
from raysume.serve_apps.cli.session import exit_code


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("-15m", timedelta(minutes=15)),
        ("-90s", timedelta(seconds=90)),
        ("-1.5h", timedelta(hours=1.5)),
        ("-3d", timedelta(days=3)),
        ("-2w", timedelta(weeks=2)),
    ],
)
def test_a_time_may_be_so_long_ago(text: str, ago: timedelta) -> None:
    before = datetime.now(UTC)
    found = Moment().convert(text, None, None)
    assert before - ago <= found <= datetime.now(UTC) - ago


def test_a_time_is_iso_with_or_without_a_zone() -> None:
    assert Moment().convert("2024-05-01T10:00:00Z", None, None) == datetime(
        2024, 5, 1, 10, tzinfo=UTC
    )
    assert Moment().convert("2024-05-01", None, None).tzinfo is not None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Moment(), "yesterday"),
        (Moment(), "-15"),
        (Moment(), "-99999999999d"),
        (Json(), "{"),
        (Json(), "NaN"),
        (Json(), "[" * 100_000),
        (JsonObject(), "[1]"),
        (JsonObject(), "@/nowhere/at.all"),
        (Pair(), "name"),
        (Pair(), "=value"),
    ],
)
def test_what_cannot_be_used_is_a_usage_error(kind: Any, text: str) -> None:
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


def test_a_pair_is_cut_at_its_first_sign() -> None:
    assert Pair().convert("a=b=c", None, None) == ("a", "b=c")
    assert Pair().convert("a=", None, None) == ("a", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidCall("x"), 1),
        (Unauthorized("x"), 1),
        (ConfigurationError("x"), 2),
        (NotFound("x"), 3),
        (DuplicateCall("x"), 4),
        (UsageError("x", status=409), 4),
        (Unavailable("x"), 5),
        (ResultTimeout("x"), 5),
    ],
)
def test_scripts_can_tell_errors_apart(error: RaysumeError, code: int) -> None:
    assert exit_code(error) == code
