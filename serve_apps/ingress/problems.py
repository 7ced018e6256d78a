"""Refusals as RFC 9457 problem details: one exception, one JSON form, one place for titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from raysume.errors import (
    DuplicateCall,
    InvalidCall,
    NotFound,
    NotRetriable,
    NotRewindable,
    Overloaded,
    RaysumeError,
    Unauthorized,
    Unavailable,
    UsageError,
)
from raysume.limits import PROBLEM_ERRORS_MAX, RETRY_AFTER_S

TITLES: dict[str, str] = {
    "ambiguous-instance": "Several workflows have an instance with this id",
    "bad-parameter": "A query parameter or header cannot be used",
    "duplicate-call": "A call id was used before with another body",
    "inactive-workflow": "The workflow takes no new instances",
    "internal": "Something went wrong inside",
    "invalid-call": "A call does not fit",
    "invalid-input": "The input does not fit the workflow",
    "malformed": "The body is not usable JSON",
    "method-not-allowed": "This path has no such verb",
    "not-external": "This token may not push the method",
    "not-found": "There is no such thing",
    "not-retriable": "The instance cannot be retried as it stands",
    "out-of-order": "Earlier calls of the publisher are missing",
    "overloaded": "More than the engine can take now",
    "started-by-calls": "The workflow is started by calls, not by clients",
    "too-large": "The request is too large",
    "unauthorized": "A bearer token is required",
    "unavailable": "The engine cannot take this now",
    "unknown-method": "There is no such method",
    "unsupported-media-type": "The body's type is not supported",
}


class ItemError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong with one field of one item."""

    message: str
    item: int | None = None
    """Index of the call in the request, from 0; None when it is not about one call."""
    field: str | None = None
    """Path of the field, e.g. "input.order.id"; None when it is about the whole item."""
    code: str | None = None
    """Set when it says more than the problem's own code."""


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An RFC 9457 document."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ItemError] = []
    id: str | None = None
    """Set on a 500: the same id stands in the log."""


class Problem(Exception):
    """A request is refused; nothing of it was stored unless `detail` says otherwise."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[ItemError] = (),
        headers: dict[str, str] | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        shown = list(errors[:PROBLEM_ERRORS_MAX])
        if len(errors) > len(shown):
            detail = f"{detail} (the first {len(shown)} of {len(errors)} errors are listed)"
        self.body = ProblemBody(
            type=f"urn:raysume:problem:{code}",
            title=TITLES.get(code, code.replace("-", " ").capitalize()),
            status=status,
            detail=detail,
            code=code,
            errors=shown,
            id=id,
        )

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.body.status

    @property
    def code(self) -> str:
        """The stable code for programs."""
        return self.body.code

    def response(self) -> Response:
        """The answer to send."""
        return Response(
            msgspec.json.encode(self.body),
            status_code=self.body.status,
            headers=self.headers,
            media_type="application/problem+json",
        )


def malformed(detail: str) -> Problem:
    """The body cannot be read as JSON at all: 400."""
    return Problem(400, "malformed", detail)


def unusable(parameter: str, message: str) -> Problem:
    """A query parameter or header has a value that cannot be used: 422."""
    return Problem(
        422,
        "bad-parameter",
        f"{parameter}: {message}",
        errors=[ItemError(field=parameter, message=message)],
    )


def unavailable(detail: str, *, retry_after: float | None = None) -> Problem:
    """The same request may succeed later: 503 with Retry-After."""
    return Problem(503, "unavailable", detail, headers=_retry_after(retry_after))


def problem_of(error: RaysumeError) -> Problem | None:
    """The problem that tells a client about an error of the engine; None when it is our bug."""
    match error:
        case Overloaded():
            headers = _retry_after(error.retry_after)
            return Problem(429, "overloaded", error.message, headers=headers)
        case Unavailable():
            return unavailable(error.message, retry_after=error.retry_after)
        case DuplicateCall():
            return Problem(409, "duplicate-call", error.message)
        case NotFound():
            return Problem(404, "not-found", error.message)
        case NotRetriable() | NotRewindable():
            return Problem(409, error.code, error.message)
        case InvalidCall():
            return Problem(422, "invalid-call", error.message)
        case Unauthorized():
            return Problem(403, "unauthorized", error.message)
        case UsageError():
            return Problem(422, error.code, error.message)
        case _:
            return None


def json_response(content: Any, *, status: int = 200) -> Response:
    """The content as JSON; `msgspec.Raw` in it is passed through unread."""
    return Response(
        msgspec.json.encode(content, enc_hook=repr),
        status_code=status,
        media_type="application/json",
    )


def _retry_after(seconds: float | None) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(RETRY_AFTER_S if seconds is None else seconds)))}
