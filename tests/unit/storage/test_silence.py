"""How long a statement waits for a PostgreSQL server that says nothing."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from psycopg.waiting import READY_NONE, READY_R, READY_W, WAIT_R

from raysume.limits import STORE_BUSY_S_MAX
from raysume.storage.postgres.failures import Unanswered, unavailable
from raysume.storage.postgres.limits import ANSWER_S_MAX, CONNECT_S_MAX, SILENCE_S_MAX
from raysume.storage.postgres.silence import listening

ANSWER_S = 3.0


class Work:
    """A statement that is answered when the socket was ready so many times."""

    def __init__(self, answers: int) -> None:
        self.now_s = 100.0
        self.ended = False
        self._answers = answers
        self._listening = listening(self._talk(), ANSWER_S, clock=lambda: self.now_s)
        assert next(self._listening) == WAIT_R

    def _talk(self) -> Generator[Any, Any, str]:
        try:
            while self._answers:
                self._answers -= bool((yield WAIT_R))
            return "rows"
        finally:
            self.ended = True

    def wake(self, ready: Any, after_s: float) -> None:
        """What psycopg does when the socket is ready, or was not for some time."""
        self.now_s += after_s
        assert self._listening.send(ready) == WAIT_R

    def last(self, ready: Any) -> Any:
        """What it gives, woken for the last time."""
        with pytest.raises(StopIteration) as done:
            self._listening.send(ready)
        return done.value.value


def test_silence_beyond_the_limit_ends_a_statement() -> None:
    work = Work(answers=1)
    for _ in range(30):
        work.wake(READY_NONE, 0.0999)
    with pytest.raises(Unanswered, match="not answered for 3 s"):
        work.wake(READY_NONE, 0.1)


def test_each_answer_begins_the_time_anew_however_long_all_of_them_take() -> None:
    work = Work(answers=20)
    for n in range(19):
        for _ in range(29):
            work.wake(READY_NONE, 0.1)
        work.wake(READY_W if n % 2 else READY_R, 0.1)
    assert work.last(READY_R) == "rows"


def test_a_process_that_stood_still_itself_does_not_blame_the_server() -> None:
    work = Work(answers=1)
    work.wake(READY_NONE, 3600.0)
    work.wake(READY_NONE, 3600.0)
    assert work.last(READY_R) == "rows"
    assert work.ended


def test_work_that_needs_no_answer_is_done_at_once() -> None:
    def nothing_to_wait_for() -> Generator[Any, Any, int]:
        yield from ()
        return 7

    with pytest.raises(StopIteration) as done:
        next(listening(nothing_to_wait_for(), ANSWER_S))
    assert done.value.value == 7


def test_the_error_says_what_happened_where_and_what_to_do() -> None:
    told = unavailable(Unanswered("it has not answered for 15 s"), "database 'x'", "append calls")
    assert str(told).startswith("the database 'x' failed to append calls: it has not answered")
    assert "look at its processes" in str(told)
    assert told.retry_after is not None
    assert told.details["locked"] is False


def test_the_server_ends_what_waits_for_a_lock_before_it_counts_as_silent() -> None:
    assert max(STORE_BUSY_S_MAX, CONNECT_S_MAX, SILENCE_S_MAX) < ANSWER_S_MAX
