"""Requests, and what becomes of them, as plain values; and which error a refusal is.

Nothing here sends anything: the two clients and the outbox share it, each with its own transport.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from raysume.errors import (
    DuplicateCall,
    InvalidCall,
    InvariantViolated,
    NotFound,
    RaysumeError,
    Unauthorized,
    Unavailable,
    UsageError,
)

EARLY = 412
"""The status of a request that came before the one that has to come first."""

BUSY: frozenset[int] = frozenset({408, EARLY, 429, 502, 503, 504})
"""Statuses after which the same request may succeed later."""

PUBLISHER_HEADER = "Raysume-Publisher"
SEQUENCE_HEADER = "Raysume-Sequence"
IN_ORDER_HEADER = "Raysume-In-Order"
LINES: Mapping[str, str] = {"Content-Type": "application/x-ndjson"}
"""The body is one call a line."""


QueryTerms = Mapping[str, str | Sequence[str]]
"""What stands behind the `?`: a name with several values is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, without the address and the token."""

    verb: Literal["GET", "POST"]
    path: str
    """Below the address, already quoted, e.g. "/v1/calls"."""
    query: QueryTerms = field(default_factory=dict[str, str | Sequence[str]])
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    wait_s: float = 0.0
    """How long the server may hold the answer back on purpose."""
    repeatable: bool = True
    """True when sending it a second time changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The server answered."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    is_problem: bool = False
    """The body is an RFC 9457 document: raysume speaks, not something in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """There was no answer."""

    reason: str
    sent: bool
    """False when the server certainly never saw the request."""


Outcome = Answer | Lost


class ProblemError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field of one item."""

    message: str = ""
    item: int | None = None
    field: str | None = None
    code: str | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What raysume reads of an RFC 9457 document."""

    title: str = ""
    detail: str = ""
    code: str = ""
    errors: list[ProblemError] = []
    id: str | None = None


_problems = msgspec.json.Decoder(Problem)


def problem_in(answer: Answer) -> Problem:
    """The problem that the answer carries; an empty one when it carries none."""
    if not answer.is_problem:
        return Problem()
    try:
        return _problems.decode(answer.body)
    except msgspec.MsgspecError:
        return Problem()


def retry_after_s(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds in a Retry-After header, which holds seconds or a date; None when it holds neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def refusal(answer: Answer, *, conflict: type[UsageError] = DuplicateCall) -> RaysumeError:
    """The error that an answer other than 2xx means.

    Args:
        conflict: what a 409 means for this request.
    """
    problem = problem_in(answer)
    first = problem.errors[0] if problem.errors else ProblemError()
    message = _message(answer, problem, first)
    details: dict[str, Any] = {"status": answer.status}
    if problem.code:
        details["problem"] = problem.code
    if first.item is not None:
        details["item"] = first.item
    if first.field is not None:
        details["field"] = first.field
    if problem.errors:
        details["errors"] = [msgspec.to_builtins(error) for error in problem.errors]
    match answer.status:
        case 401 | 403:
            return Unauthorized(message, **details)
        case 404:
            return NotFound(message, **details)
        case 409:
            return conflict(message, **details)
        case 400 | 413 | 415 | 422:
            return InvalidCall(message, **details)
        case status if status in BUSY:
            return Unavailable(message, retry_after=answer.retry_after_s, **details)
        case status if 400 <= status < 500:
            return UsageError(message, **details)
        case _ if problem.id is not None:
            return InvariantViolated(message, id=problem.id, **details)
        case _:
            return Unavailable(message, **details)


def _message(answer: Answer, problem: Problem, first: ProblemError) -> str:
    if not answer.is_problem:
        text = " ".join(answer.body[:200].decode("utf-8", "replace").split())
        return f"HTTP {answer.status} from the server, not in raysume's form: {text or 'no body'}"
    parts = [problem.detail or problem.title or f"HTTP {answer.status}"]
    if first.message and first.message not in parts[0]:
        parts.append(first.field or "")
        parts.append(first.message)
    if problem.id is not None:
        parts.append(f"the server's log has more under id {problem.id}")
    return ": ".join(part for part in parts if part)
