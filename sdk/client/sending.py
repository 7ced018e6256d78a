"""Sends requests with httpx, for threads and for event loops: the only part of a client with I/O."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx

from raysume.client.endpoint import Endpoint
from raysume.client.retries import Operation, Pause
from raysume.client.wire import Answer, Lost, Outcome, Request, retry_after_s
from raysume.limits import CLIENT_CONNECT_S, CLIENT_IDLE_S
from raysume.tracing import HEADER, traceparent

T = TypeVar("T")

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def _options(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "base_url": endpoint.url,
        "headers": {"Authorization": f"Bearer {endpoint.token}", "User-Agent": "raysume"},
        "trust_env": not endpoint.is_local,  # no proxy between two processes of one machine
        "limits": httpx.Limits(
            max_connections=None, max_keepalive_connections=64, keepalive_expiry=CLIENT_IDLE_S
        ),
    }


def _arguments(request: Request, answer_s: float) -> dict[str, Any]:
    context = traceparent() if request.verb == "POST" else None
    return {
        "params": request.query or None,
        "content": request.body,
        "headers": request.headers if context is None else {**request.headers, HEADER: context},
        "timeout": httpx.Timeout(
            answer_s, connect=min(CLIENT_CONNECT_S, answer_s), read=answer_s + request.wait_s
        ),
    }


def _answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    kind = headers.get("Content-Type", "")
    return Answer(
        status=status,
        body=body,
        retry_after_s=retry_after_s(headers.get("Retry-After")),
        is_problem=kind.startswith("application/problem+json"),
    )


def _lost(error: httpx.HTTPError, endpoint: Endpoint) -> Lost:
    text = str(error) or type(error).__name__
    return Lost(reason=f"{endpoint.url}: {text}", sent=not isinstance(error, _NEVER_SENT))


class SyncSender:
    """Runs operations in the calling thread; may be used by several threads at a time."""

    def __init__(self, endpoint: Endpoint, *, answer_s: float) -> None:
        self._endpoint, self._answer_s = endpoint, answer_s
        self._http = httpx.Client(**_options(endpoint))

    def send(self, request: Request) -> Outcome:
        """What became of one request."""
        try:
            response = self._http.request(
                request.verb, request.path, **_arguments(request, self._answer_s)
            )
        except httpx.HTTPError as error:
            return _lost(error, self._endpoint)
        return _answer(response.status_code, response.headers, response.content)

    def run(self, operation: Operation[T]) -> T:
        """The operation's result."""
        outcome: Outcome | None = None
        while True:
            try:
                step = operation.send(outcome)
            except StopIteration as stop:
                value: T = stop.value
                return value
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self.send(step)

    def close(self) -> None:
        """Connections are closed."""
        self._http.close()


class AsyncSender:
    """Runs operations as coroutines of one event loop."""

    def __init__(self, endpoint: Endpoint, *, answer_s: float) -> None:
        self._endpoint, self._answer_s = endpoint, answer_s
        self._http = httpx.AsyncClient(**_options(endpoint))

    async def send(self, request: Request) -> Outcome:
        """What became of one request."""
        try:
            response = await self._http.request(
                request.verb, request.path, **_arguments(request, self._answer_s)
            )
        except httpx.HTTPError as error:
            return _lost(error, self._endpoint)
        return _answer(response.status_code, response.headers, response.content)

    async def run(self, operation: Operation[T]) -> T:
        """The operation's result."""
        outcome: Outcome | None = None
        while True:
            try:
                step = operation.send(outcome)
            except StopIteration as stop:
                value: T = stop.value
                return value
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self.send(step)

    async def close(self) -> None:
        """Connections are closed."""
        await self._http.aclose()
