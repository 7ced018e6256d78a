"""How actors begin: while the database is away, they wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from raysume import limits
from raysume.crash_points import crash_point
from raysume.errors import RaysumeError, Unavailable

T = TypeVar("T")

_log = structlog.get_logger("raysume.actors")


def once_possible(make: Callable[[], T]) -> T:
    """What `make` gives, as soon as nothing passing is in its way.

    For `__init__` of actors: Ray starts a process again that died, but never an actor whose
    `__init__` raised. So whoever begins while the database is being restarted has to wait here.

    Raises:
        RaysumeError: waiting cannot help.
    """
    backoff_s = limits.RETRY_BACKOFF_S_MIN
    while True:
        try:
            return make()
        except RaysumeError as error:
            if not passes(error):
                raise
            _log.warning("not_possible_yet", error=str(error))
        time.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, limits.BEGINNING_BACKOFF_S_MAX)


def passes(reason: Exception) -> bool:
    """Whether waiting helps: something is away, or the disk is full or cannot be written now."""
    if isinstance(reason, Unavailable):
        return True
    return isinstance(reason, RaysumeError) and bool(reason.details.get("passing"))


def about_to_take_over() -> None:
    """A new incarnation exists; it asks for its shards next, or tells who it is to be given them."""
    crash_point("before_takeover")
