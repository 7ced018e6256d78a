"""The thread that empties the outboxes of one service: its own, and those of dead processes."""

from __future__ import annotations

import logging
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysume.client.encoding import encode_outgoing
from raysume.errors import ConfigurationError, RaysumeError
from raysume.limits import CLIENT_BATCH_CALLS, CLIENT_TIMEOUT_S, OUTBOX_ORPHANS_S, OUTBOX_PACE_S
from raysume.publishing.claims import Claim, claim_for, claim_orphans
from raysume.publishing.deliveries import Delivery, Empty, Held, Sent, Step
from raysume.publishing.outbox import Outbox, count_pending
from raysume.records import OutgoingCall

if TYPE_CHECKING:
    from raysume.client.endpoint import Endpoint
    from raysume.client.sending import SyncSender
    from raysume.client.wire import Outcome, Request

_log = logging.getLogger("raysume.publishing")


class _Link:
    """Sends requests to wherever the endpoint is now: it is looked up again after a failure,
    since a development server that was started again has another port and token."""

    def __init__(self) -> None:
        self._endpoint: Endpoint | None = None
        self._sender: SyncSender | None = None
        self._stale = True

    def send(self, request: Request) -> Outcome:
        from raysume.client.endpoint import find_endpoint
        from raysume.client.sending import SyncSender
        from raysume.client.wire import Lost

        if self._stale or self._sender is None:
            try:
                endpoint = find_endpoint()
            except ConfigurationError as error:
                return Lost(reason=str(error), sent=False)
            if endpoint != self._endpoint or self._sender is None:
                self.close()
                self._sender = SyncSender(endpoint, answer_s=CLIENT_TIMEOUT_S)
                self._endpoint = endpoint
            self._stale = False
        return self._sender.send(request)

    def look_again(self) -> None:
        self._stale = True

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None


class Sender:
    """Keeps published calls on disk and sends them, in order, from a thread of its own."""

    def __init__(self, folder: Path, service: str) -> None:
        self._folder, self._service = folder, service
        self._claim = claim_for(folder, service)
        self._outbox = Outbox(self._claim.path)
        self._link = _Link()
        self._own = Delivery(self._outbox, self._link.send)
        self._orphans: list[tuple[Claim, Delivery]] = []
        self._changed = threading.Condition()
        """Guards what follows; notified when one of them changes."""
        self._hurry = True
        """An attempt is to be made at once."""
        self._stopping = False
        self._failures = 0
        """Attempts that sent nothing, ever."""
        self._began_at = self._looked_at = float("-inf")
        self._thread = threading.Thread(
            target=self._work, name=f"raysume-outbox-{service}", daemon=True
        )
        self._thread.start()

    @property
    def outbox(self) -> Outbox:
        """The outbox that takes this process's calls."""
        return self._outbox

    def put(self, call: OutgoingCall) -> None:
        """The call is on disk, and will be sent. See `Outbox.append` for what it raises."""
        self._outbox.append(encode_outgoing(call))
        with self._changed:
            self._changed.notify_all()

    def flush(self, timeout_s: float | None, *, give_up: bool = False) -> bool:
        """True when all calls are sent; False when they are not in time.

        Args:
            timeout_s: None waits for ever.
            give_up: False after the first failure too.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            failures = self._failures
            while self._left():
                left = None if until is None else until - time.monotonic()
                if (left is not None and left <= 0) or (give_up and self._failures > failures):
                    return False
                self._changed.wait(left)
        return True

    def close(self) -> None:
        """The thread has ended, and other processes may take over what is left."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(CLIENT_TIMEOUT_S)

    def forget(self) -> tuple[Any, ...]:
        """After a fork, in the child: the parent alone has the outboxes.

        Returns:
            What must not be closed here, hence never be collected as garbage.
        """
        for claim in (self._claim, *(claim for claim, _ in self._orphans)):
            claim.forget()
        return (self,)

    def _left(self) -> int:
        return self._outbox.pending + sum(each.outbox.pending for _, each in self._orphans)

    def _work(self) -> None:
        attempt = 0
        while not self._stopping:
            self._began_at = time.monotonic()
            try:
                self._adopt()
                step = self._attempt()
            except Exception as error:  # whatever it is, the calls stay on disk
                step = Held(f"{type(error).__name__}: {error}")
                if not isinstance(error, RaysumeError):
                    _log.exception("published calls could not be sent")
            if isinstance(step, Held):
                self._report(step, attempt)
                self._pause(step, attempt)
                attempt += 1
            else:
                if attempt:
                    _log.info("published calls of %s are sent again", self._service)
                attempt = 0
                self._rest(step)
        self._end()

    def _attempt(self) -> Step:
        """Old calls go first: those of orphans, then our own."""
        for claim, delivery in self._orphans:
            step = delivery.attempt()
            if not isinstance(step, Empty):
                return step
            delivery.outbox.close()
            claim.release()
            with self._changed:
                self._orphans = [each for each in self._orphans if each[0] is not claim]
            return self._attempt()
        return self._own.attempt()

    def _adopt(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < OUTBOX_ORPHANS_S:
            return
        self._looked_at = now
        held = {self._claim.path, *(claim.path for claim, _ in self._orphans)}
        for claim in claim_orphans(self._folder, self._service, held):
            try:
                outbox = Outbox(claim.path) if count_pending(claim.path) else None
            except ConfigurationError as error:
                _log.error("an outbox left by another process was not taken over: %s", error)
                outbox = None
            if outbox is None:
                claim.release()
                continue
            _log.info("%d calls left in %s are sent now", outbox.pending, claim.path)
            with self._changed:
                self._orphans.append((claim, Delivery(outbox, self._link.send)))

    def _rest(self, step: Step) -> None:
        """After calls were sent, others gather for a moment; with nothing to send, until there is."""
        with self._changed:
            self._changed.notify_all()
            if isinstance(step, Sent) and step.count < CLIENT_BATCH_CALLS:
                self._wait(self._began_at + OUTBOX_PACE_S)
            self._hurry = False
            while isinstance(step, Empty) and not (self._stopping or self._left() or self._hurry):
                due = self._looked_at + OUTBOX_ORPHANS_S - time.monotonic()
                if due <= 0:
                    return
                self._changed.wait(due)

    def _pause(self, held: Held, attempt: int) -> None:
        from raysume.client.retries import backoff_s

        self._link.look_again()
        seconds = backoff_s(attempt, chance=random.random(), retry_after_s=held.retry_after_s)
        with self._changed:
            self._failures += 1
            self._hurry = False
            self._changed.notify_all()
            self._wait(time.monotonic() + seconds)

    def _wait(self, until: float) -> None:
        """It is `until`, or an attempt is to be made at once, or never again."""
        while not (self._stopping or self._hurry):
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _report(self, held: Held, attempt: int) -> None:
        level = logging.WARNING if attempt in (0, 10) or attempt % 100 == 99 else logging.DEBUG
        _log.log(
            level,
            "%d published calls of %s wait on disk (%s) and will be sent later: %s",
            self._left(),
            self._service,
            self._folder,
            held.reason,
        )

    def _end(self) -> None:
        self._link.close()
        for claim, delivery in [(self._claim, self._own), *self._orphans]:
            delivery.outbox.close()
            claim.release()
