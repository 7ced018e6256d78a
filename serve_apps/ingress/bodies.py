"""Request bodies, read within limits: of one request, and of all requests together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from raysume.errors import Overloaded
from raysume.limits import (
    REQUEST_BODIES_BYTES_MAX,
    REQUEST_BODY_BYTES_MAX,
    REQUEST_DRAIN_BYTES_MAX,
)
from raysume.serve_apps.ingress.problems import Problem


class Disconnected(Exception):
    """The client went away before its request was complete; nobody hears an answer."""


class BodyBudget:
    """Bytes of request bodies that the ingress holds, from reading until the answer."""

    def __init__(self, limit: int = REQUEST_BODIES_BYTES_MAX) -> None:
        self._limit = limit
        self.held = 0

    @contextmanager
    def lease(self) -> Generator[BodyLease]:
        """What the block reads through the lease counts until the block ends."""
        lease = BodyLease(self)
        try:
            yield lease
        finally:
            self.held -= lease.held

    def take(self, size: int) -> None:
        """`size` more bytes are held.

        Raises:
            Overloaded: when all requests together hold too much.
        """
        if self.held + size > self._limit:
            raise Overloaded(
                "Too many request bodies are under way at once. Try again shortly, or send "
                "smaller batches."
            )
        self.held += size


class BodyLease:
    """Reads one request's body."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.held = 0

    async def chunks(self, request: Request) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            Problem: 413 beyond REQUEST_BODY_BYTES_MAX, declared or not; 415 for a coding;
                429 when all requests together hold too much.
            Disconnected: the client went away.
        """
        _check_headers(request)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared[:20]) > REQUEST_BODY_BYTES_MAX:
            await _drain(request, int(declared[:20]))
            raise _too_large()
        try:
            async for chunk in request.stream():
                if self.held + len(chunk) > REQUEST_BODY_BYTES_MAX:
                    await _drain(request, 0)
                    raise _too_large()
                self._budget.take(len(chunk))
                self.held += len(chunk)
                yield chunk
        except ClientDisconnect as error:
            raise Disconnected from error

    async def read(self, request: Request) -> bytes:
        """The whole body. Raises as `chunks` does."""
        parts = [chunk async for chunk in self.chunks(request)]
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_headers(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() not in ("", "identity"):
        raise Problem(
            415,
            "unsupported-media-type",
            "Content-Encoding is not supported. Send the body uncompressed.",
        )


async def _drain(request: Request, declared: int) -> None:
    """The rest of the body is thrown away: who is still sending does not listen for an answer."""
    if declared > REQUEST_DRAIN_BYTES_MAX:
        return
    read, more = 0, True
    while more and read <= REQUEST_DRAIN_BYTES_MAX:
        message = await request.receive()
        read += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)


def _too_large() -> Problem:
    return Problem(
        413,
        "too-large",
        f"A request may have {REQUEST_BODY_BYTES_MAX:,} bytes. Send several smaller ones.",
        headers={"Connection": "close"},
    )
