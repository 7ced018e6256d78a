"""When a workflow starts by itself: a cron expression in a time zone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from inspect import Parameter
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from raysume.errors import UsageError


class Timetable:
    """The moments of a cron expression.

    Times that a change of the clocks skips come right after it; times that occur twice
    count once, as Debian's cron has it.
    """

    __slots__ = ("every", "tz")

    def __init__(self, every: str, tz: str | None, *, what: str) -> None:
        """
        Args:
            every: five fields: minute, hour, day of the month, month, day of the week. Of six,
                the first is the second of the minute.
            tz: an IANA time zone; None: UTC.
            what: the workflow, for messages.

        Raises:
            UsageError: the expression has no moments, or there is no such zone.
        """
        self.every, self.tz = every, tz
        try:
            ZoneInfo(tz or "UTC")
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise UsageError.by_rule(
                "unknown-time-zone",
                f"{what} has tz={tz!r}, which is no known time zone. Use an IANA name, e.g. "
                "tz='Europe/Paris'.",
            ) from error
        from cronsim import CronSimError

        try:
            self.after(datetime.now(UTC))
        except (CronSimError, StopIteration) as error:
            raise UsageError.by_rule(
                "bad-schedule",
                f"{what} has every={every!r}, which names no moment: {error or 'it never comes'}. "
                "Write minute, hour, day of the month, month, day of the week, e.g. "
                "every='0 9 * * MON'.",
            ) from error

    def check_parameters(self, parameters: Iterable[Parameter], *, what: str) -> None:
        """Nobody gives arguments to a start by schedule: every parameter has a default.

        Raises:
            UsageError: naming one that has none.
        """
        for parameter in parameters:
            if parameter.default is Parameter.empty:
                raise UsageError.by_rule(
                    "schedule-without-arguments",
                    f"{what} starts by a timetable, but its parameter {parameter.name!r} has no "
                    "default. Give it one, or leave every= out and use client.start.",
                )

    def after(self, moment: datetime) -> datetime:
        """The first moment behind `moment` (aware), in UTC."""
        from cronsim import CronSim

        local = moment.astimezone(ZoneInfo(self.tz or "UTC"))
        return next(CronSim(self.every, local)).astimezone(UTC)
