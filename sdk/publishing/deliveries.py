"""One attempt to send the oldest calls of an outbox, and what follows from the answer.

No thread, no clock: the sender calls this again and again, tests call it with an engine of
their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from raysume.client.encoding import lines
from raysume.client.wire import (
    LINES,
    PUBLISHER_HEADER,
    SEQUENCE_HEADER,
    Answer,
    Lost,
    Outcome,
    Problem,
    Request,
    problem_in,
    refusal,
)
from raysume.limits import CLIENT_BATCH_CALLS
from raysume.publishing.outbox import Outbox, Pending

_log = logging.getLogger("raysume.publishing")

_ABOUT_CALLS = frozenset(
    {"invalid-call", "unknown-method", "not-external", "malformed", "too-large", "duplicate-call"}
)
"""Problems by which the engine refuses the calls themselves."""


@dataclass(frozen=True, slots=True)
class Empty:
    """There was nothing to send."""


@dataclass(frozen=True, slots=True)
class Sent:
    """So many calls are accepted."""

    count: int


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Calls were refused and put aside, or fewer will be tried at once to find the one at fault."""


@dataclass(frozen=True, slots=True)
class Held:
    """Nothing could be sent; it is to be tried again later."""

    reason: str
    retry_after_s: float | None = None


Step = Empty | Sent | Narrowed | Held


class Delivery:
    """Sends the calls of one outbox, in order.

    Args:
        outbox: where they are.
        send: sends one request; never raises for what happens on the network.
    """

    def __init__(self, outbox: Outbox, send: Callable[[Request], Outcome]) -> None:
        self.outbox, self._send = outbox, send
        self._calls_max = CLIENT_BATCH_CALLS

    def attempt(self) -> Step:
        """The oldest calls are accepted, put aside as refused, or still there.

        A call is put aside only when the engine itself refused it, by name or alone in its
        request; whatever else goes wrong (no answer, a wrong token, a proxy's own page) holds
        the calls back until it is put right.
        """
        pending = self.outbox.head(calls_max=self._calls_max)
        if pending is None:
            return Empty()
        match self._send(_request(pending)):
            case Lost(reason=reason):
                return Held(reason)
            case Answer(status=status) if 200 <= status < 300:
                self.outbox.accepted(pending)
                self._calls_max = min(CLIENT_BATCH_CALLS, self._calls_max * 2)
                return Sent(len(pending.calls))
            case Answer() as answer:
                return self._refused(pending, answer)

    def _refused(self, pending: Pending, answer: Answer) -> Step:
        problem = problem_in(answer)
        if not _is_about_calls(answer, problem):
            return Held(str(refusal(answer)), answer.retry_after_s)
        named = {
            error.item: (error.code or problem.code, f"{error.field or ''}: {error.message}")
            for error in reversed(problem.errors)
            if error.item is not None and 0 <= error.item < len(pending.calls)
        }
        if not named:
            if len(pending.calls) > 1:
                self._calls_max = max(1, len(pending.calls) // 2)
                return Narrowed()
            named = {0: (problem.code or str(answer.status), str(refusal(answer)))}
        for item, (code, reason) in sorted(named.items()):
            self.outbox.refuse(pending.first + item, code=code, reason=reason)
            _log.warning(
                "a published call was refused and put aside (%s): %s; the call: %.300s",
                code,
                reason,
                pending.calls[item].decode("utf-8", "replace"),
            )
        return Narrowed()


def _is_about_calls(answer: Answer, problem: Problem) -> bool:
    if answer.status == 413:
        return True  # proxies say this too, without a problem document
    return 400 <= answer.status < 500 and problem.code in _ABOUT_CALLS


def _request(pending: Pending) -> Request:
    return Request(
        verb="POST",
        path="/v1/calls:batch",
        body=lines(pending.calls),
        headers={
            **LINES,
            PUBLISHER_HEADER: pending.publisher,
            SEQUENCE_HEADER: str(pending.first),
        },
    )
