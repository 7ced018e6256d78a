"""Values that stand on a command line: JSON, times, pairs."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    AnyType = click.ParamType[Any]
    TimeType = click.ParamType[datetime]
    PairType = click.ParamType[tuple[str, str]]
else:  # generic only since click 8.2
    AnyType = TimeType = PairType = click.ParamType

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"-(\d+(?:\.\d+)?)([smhdw])")


class Json(AnyType):
    """JSON as given, from a file (`@path`), or from standard input (`-`)."""

    name = "json|@file|-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that the JSON is of."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(_text(value), parse_constant=_no_constant)
        except OSError as error:
            self.fail(f"{value[1:]} cannot be read: {error.strerror}.", param, ctx)
        except UnicodeDecodeError:
            self.fail("it is not UTF-8.", param, ctx)
        except (ValueError, RecursionError) as error:
            self.fail(
                f"it is not JSON: {error}. Quote it for the shell: '{{\"x\": 1}}'", param, ctx
            )


class JsonObject(Json):
    """JSON of an object: parameters by name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The object as a dict."""
        found = super().convert(value, param, ctx)
        if not isinstance(found, dict):
            self.fail("it must be an object: the parameters by name.", param, ctx)
        return found  # pyright: ignore[reportUnknownVariableType]


class Moment(TimeType):
    """A time: ISO 8601, or so long ago (`-15m`)."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """An aware datetime; a time without zone is local."""
        if isinstance(value, datetime):
            return value
        ago = _AGO.fullmatch(value)
        try:
            if ago is not None:
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither ISO 8601 nor like -15m, -2h, -3d.", param, ctx)


class Pair(PairType):
    """`name=value`."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The two texts."""
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        name, sign, rest = str(value).partition("=")
        if not sign or not name:
            self.fail(f"{value!r} is not like name=value.", param, ctx)
        return name, rest


def _text(value: str) -> str:
    if value == "-":
        return sys.stdin.read()
    if value.startswith("@"):
        return Path(value[1:]).read_text(encoding="utf-8")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
