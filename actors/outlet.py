"""Where calls go that are published inside the cluster: through the ingress to the log."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import structlog

from raysume import limits
from raysume.actors.specs import INGRESS_APP
from raysume.actors.untyped import serve
from raysume.errors import Unavailable
from raysume.records import OutgoingCall

_log = structlog.get_logger("raysume.pool")


class IngressOutlet:
    """Hands calls to an ingress replica, in order, until they are accepted.

    Calls of turns are kept by their shard and numbered there (`publish`). Calls of steps
    and other code of the process (`take`) are numbered here, and live in memory until they
    are accepted: a step that did not end before a crash runs again and publishes again.
    """

    def __init__(self, *, publisher: str) -> None:
        self._publisher = f"{publisher}/{uuid.uuid4().hex[:8]}"
        self._next = 1
        self._waiting: list[OutgoingCall] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sending: asyncio.Task[None] | None = None
        self._handle: Any = None

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Calls taken in any thread are sent from this event loop."""
        self._loop = loop

    def take(self, call: OutgoingCall) -> None:
        """The call will be sent; may be called in any thread."""
        if self._loop is None:
            raise Unavailable("the pool is not ready to publish yet; try again.")
        self._loop.call_soon_threadsafe(self._add, call)

    def _add(self, call: OutgoingCall) -> None:
        self._waiting.append(call)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while self._waiting:
            batch = self._waiting[: limits.CLIENT_BATCH_CALLS]
            try:
                await self.publish(self._publisher, self._next, batch)
            except Unavailable as error:
                _log.warning("calls_not_sent", publisher=self._publisher, error=str(error))
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)
                continue
            backoff_s = limits.RETRY_BACKOFF_S_MIN
            del self._waiting[: len(batch)]
            self._next += len(batch)

    async def publish(self, publisher: str, first: int, calls: list[OutgoingCall]) -> None:
        """The calls are accepted, now or before.

        Raises:
            Unavailable: the ingress cannot take them now.
        """
        try:
            if self._handle is None:
                self._handle = serve().get_app_handle(INGRESS_APP)
            await self._handle.accept_published.remote(
                publisher, first, msgspec.msgpack.encode(calls)
            )
        except Exception as error:
            raise Unavailable(f"the ingress did not take the calls: {error}") from error
