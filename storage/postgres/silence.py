"""Connections that are ended from our side when the server says nothing for too long.

A server whose processes stand still looks alive to TCP: its kernel acknowledges packets and
answers keepalives. libpq has no limit for that, so psycopg would wait without end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, Final

import psycopg
from psycopg.abc import RV, PQGen

from raysume.storage.postgres.failures import Unanswered
from raysume.storage.postgres.limits import ANSWER_S_MAX

_WAKE_S_MAX: Final = 1.0
"""The most that one look counts for. psycopg looks ten times a second, so a longer gap means that
this process stood still itself; what the server did meanwhile is not known."""


class WatchedConnection(psycopg.Connection[Any]):
    """A connection of which no statement waits without end."""

    answer_s: float = ANSWER_S_MAX
    """Seconds of silence after which the connection is closed. Every byte that comes, or can be
    sent, begins them anew: rows that are on their way are never cut."""

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """See `psycopg.Connection.wait`, through which all work with the server goes.

        Raises:
            Unanswered: the server was silent for too long; the connection is closed.
        """
        try:
            return super().wait(listening(gen, self.answer_s), *args, **kwargs)
        except Unanswered:
            self.close()
            raise


def listening(
    gen: PQGen[RV], answer_s: float, *, clock: Callable[[], float] = time.monotonic
) -> Generator[Any, Any, RV]:
    """The same work, which fails with `Unanswered` after so many seconds of silence.

    psycopg resumes it when the socket is ready, and with nothing at least once in each interval
    (before 3.2.13 its C code did not).
    """
    try:
        wanted = next(gen)
        silent_s, before = 0.0, clock()
        while True:
            ready = yield wanted
            now = clock()
            silent_s = 0.0 if ready else silent_s + min(now - before, _WAKE_S_MAX)
            before = now
            if silent_s > answer_s:
                raise Unanswered(
                    f"it has not answered for {answer_s:g} s, so the connection was closed"
                )
            wanted = gen.send(ready)
    except StopIteration as done:
        result: RV = done.value
        return result
