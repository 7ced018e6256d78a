"""When to send again: backoff with jitter, and an exchange that keeps trying for a while.

Pure: an operation yields what it wants done (a request to be sent, a pause to be made), and
a transport does it. So both clients, and tests without a network, run the same code.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from raysume.client.wire import BUSY, EARLY, Answer, Lost, Outcome, Request, refusal
from raysume.errors import Unavailable
from raysume.limits import RETRY_BACKOFF_S_MAX, RETRY_BACKOFF_S_MIN

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is to be sent for so many seconds."""

    seconds: float


Operation = Generator[Request | Pause, Outcome | None, T]
"""Yields requests and pauses, is sent an outcome for each request, returns its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to go on trying."""

    limit_s: float | None
    """Seconds from the first attempt; None means for ever."""
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    """Gives numbers from 0 up to 1, for the jitter."""
    wanted: Callable[[], bool] = lambda: True
    """False: nobody waits for the answer any more, so that nothing is tried again."""
    held_up: Callable[[], bool] = lambda: False
    """Whether what has to come first is still under way: its own patience counts meanwhile."""


def backoff_s(attempt: int, *, chance: float, retry_after_s: float | None = None) -> float:
    """The pause after attempt number `attempt` (from 0): doubling, jittered, never under what was asked.

    Args:
        chance: from 0 up to 1. Half of the pause is fixed, so that a retry is never immediate;
            the other half is spread, so that many publishers do not come back together.
        retry_after_s: what the server asked for; a quarter of it at most is added as jitter.
    """
    longest = min(RETRY_BACKOFF_S_MAX, RETRY_BACKOFF_S_MIN * 2.0 ** min(attempt, 30))
    own = longest * (0.5 + chance / 2)
    if retry_after_s is None:
        return own
    return max(own, retry_after_s * (1 + chance / 4))


def exchange(request: Request, patience: Patience) -> Operation[Answer]:
    """An answer has come that is not "try again later".

    Raises:
        Unavailable: there was none in time, or none at all to a request that may not be
            sent twice. Whether the last attempt was taken is then unknown.
    """
    began, attempt = patience.clock(), 0
    while True:
        outcome = yield request
        if isinstance(outcome, Answer) and outcome.status not in BUSY:
            return outcome
        assert outcome is not None
        if isinstance(outcome, Answer) and outcome.status == EARLY and patience.held_up():
            began, attempt = patience.clock(), 0
        pause = backoff_s(
            attempt,
            chance=patience.chance(),
            retry_after_s=outcome.retry_after_s if isinstance(outcome, Answer) else None,
        )
        spent = patience.clock() - began
        if not _may_repeat(request, outcome):
            raise _unavailable(outcome, spent, "It was not sent again: it could be done twice.")
        if not patience.wanted():
            raise _unavailable(outcome, spent, "It was given up with what came before it.")
        if patience.limit_s is not None and spent + pause > patience.limit_s:
            raise _unavailable(outcome, spent, f"Gave up after {attempt + 1} attempts.")
        yield Pause(pause)
        attempt += 1


def _may_repeat(request: Request, outcome: Outcome) -> bool:
    if request.repeatable:
        return True
    match outcome:
        case Lost(sent=sent):
            return not sent
        case Answer(status=status):
            return status == 429


def _unavailable(outcome: Outcome, spent_s: float, remedy: str) -> Unavailable:
    match outcome:
        case Lost(reason=reason):
            return Unavailable(f"no answer for {spent_s:.1f} s: {reason}. {remedy}")
        case Answer(retry_after_s=after):
            return Unavailable(f"{refusal(outcome)}. {remedy}", retry_after=after)
