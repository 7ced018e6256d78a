"""Group commit: batches that arrive while one append commits go together into the next.

One thread writes to one partition at a time. When an append fails, the partition is
closed first, and closing settles what happened: its final offset tells whether the
append was committed, so what was stored is acknowledged and delivered, and what was
not is written once more to a new partition. Only while the log cannot be reached at all
does a request end with an unknown outcome, and is told so.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import structlog

from raysume.crash_points import crash_point
from raysume.errors import Overloaded, PartitionClosed, RaysumeError, Unavailable
from raysume.limits import (
    ACCEPT_QUEUE_CALLS_MAX,
    APPEND_CALLS_MAX,
    PARTITION_LOOK_S,
    STORE_RETRY_S,
)
from raysume.records import Segment
from raysume.serve_apps.ingress.adoption import Adoption
from raysume.storage.call_ports import Accepted, Batch, CallLog, Partition

Emit = Callable[[list[Segment], list[Partition]], None]
"""Called in the event loop with what is to be delivered: new segments, and closed partitions
whose calls have to be read from the log."""

_log = structlog.get_logger("raysume.ingress")

_NOTHING_STORED = "The call log cannot be written now. Nothing was stored; try again later."
_UNKNOWN = (
    "The call log failed while it stored the calls, and cannot be asked whether it did. Try "
    "again later; a call id or the Raysume-Publisher headers make that harmless."
)


@dataclass(slots=True, eq=False)
class _Pending:
    batch: Batch
    answer: asyncio.Future[Accepted]
    """Belongs to the event loop: the thread never touches it."""


@dataclass(slots=True)
class _Settled:
    """What the thread tells the loop, in one call for each append."""

    segments: list[Segment] = field(default_factory=list[Segment])
    closed: list[Partition] = field(default_factory=list[Partition])
    answers: list[tuple[_Pending, Accepted | Exception]] = field(
        default_factory=list[tuple[_Pending, "Accepted | Exception"]]
    )


class Acceptor:
    """Appends batches to the call log and answers when they are durable.

    Every few seconds it renews the lease of its partition, and adopts those that others left.

    Args:
        log: used only from this acceptor's thread, except for reads elsewhere.
        owner: recorded with its partitions, "pid:start_time:label".
        emit: gets what must be delivered, in the order it was stored, before the answers.
        look_s: seconds between two looks at the partitions.
    """

    def __init__(
        self, log: CallLog, *, owner: str, emit: Emit, look_s: float = PARTITION_LOOK_S
    ) -> None:
        self._log_book = log
        self._owner = owner
        self._emit = emit
        self._changed = threading.Condition()
        self._queue: deque[_Pending] = deque()
        self._queued_calls = 0
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tried: asyncio.Event = asyncio.Event()
        # Only the thread reads and writes these:
        self._partition: Partition | None = None
        self._end = 0
        self._adoption = Adoption(log)
        self._look_s, self._look_at = look_s, 0.0
        self._is_fresh = False
        self._unsettled: list[Partition] = []
        self.trouble: str | None = "the call log has not been opened yet"
        """Why nothing can be accepted now; None when all is well."""
        self.appends = 0
        """Append transactions that succeeded."""

    async def start(self) -> None:
        """Abandoned partitions are adopted and one is open, or `trouble` says why not."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="raysume-append", daemon=True)
        self._thread.start()
        await self._tried.wait()

    async def stop(self) -> None:
        """What was queued is stored and answered, the partition is closed, the thread has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def accept(self, batch: Batch) -> Accepted:
        """The batch is durable, or was found to be stored before, or in conflict.

        Raises:
            Overloaded: too much is waiting already; nothing was stored.
            Unavailable: the call log cannot be reached; the message says whether the
                outcome is known.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Accepted] = loop.create_future()
        with self._changed:
            if self._stopping or self.trouble is not None:
                raise Unavailable(_NOTHING_STORED, retry_after=STORE_RETRY_S)
            if self._queued_calls > ACCEPT_QUEUE_CALLS_MAX - len(batch.calls):
                raise Overloaded("Calls come faster than they can be stored. Slow down.")
            self._queue.append(_Pending(batch, answer))
            self._queued_calls += len(batch.calls)
            self._changed.notify()
        return await answer

    # --- in the thread -----------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._round():
                pass
        except BaseException as error:
            _log.error("append_thread_ended", error=repr(error), exc_info=True)
            self.trouble = f"the appending thread ended: {error!r}"
            self._fail(list(self._queue), Unavailable(_UNKNOWN))
            raise

    def _round(self) -> bool:
        """One group has been answered, or one attempt made to open or to keep a partition."""
        self._tend()
        with self._changed:
            if not self._queue and not self._stopping:
                self._changed.wait(self._pause_s())
            group = self._take()
            stopping = self._stopping and not group
        if stopping:
            self._close_for_good()
            return False
        if group and self._partition is None:
            self._fail(group, Unavailable(_NOTHING_STORED, retry_after=STORE_RETRY_S))
        elif group:
            self._write(group, last=False)
        return True

    def _tend(self) -> None:
        """The partition is kept when that is due; when there is none, one is opened."""
        if self._partition is not None and time.monotonic() >= self._look_at:
            self._keep_partition()
        if self._partition is None:
            if self.trouble is not None:
                self._refuse_queued()
            self._try_to_open()

    def _refuse_queued(self) -> None:
        """Nobody waits for an attempt to reach the log, which may take long: no more come now."""
        while True:
            with self._changed:
                group = self._take()
            if not group:
                return
            self._fail(group, Unavailable(_NOTHING_STORED, retry_after=STORE_RETRY_S))

    def _pause_s(self) -> float:
        """Seconds after which there is something to tend, whether calls come or not."""
        if self._partition is None:
            return STORE_RETRY_S
        return max(0.0, self._look_at - time.monotonic())

    def _take(self) -> list[_Pending]:
        group: list[_Pending] = []
        calls = 0
        while self._queue:
            size = len(self._queue[0].batch.calls)
            if group and calls + size > APPEND_CALLS_MAX:
                break
            group.append(self._queue.popleft())
            calls += size
        self._queued_calls -= calls
        return group

    def _try_to_open(self) -> bool:
        settled = _Settled()
        try:
            # First: a silent owner may be what keeps everybody from writing.
            settled.closed += self._adoption.look(mine=None)
            while self._unsettled:
                with suppress(PartitionClosed):  # closed for so long that it was forgotten
                    settled.closed.append(self._log_book.close_partition(self._unsettled[-1].id))
                self._unsettled.pop()
            self._partition = self._log_book.open_partition(owner=self._owner)
        except Exception as error:
            if self.trouble != str(error):
                _log.warning("call_log_unavailable", error=str(error), kind=type(error).__name__)
            self.trouble = str(error) or repr(error)
        else:
            self._end = self._partition.next_offset
            self._is_fresh, self._look_at = True, time.monotonic() + self._look_s
            self.trouble = None
        self._tell(settled)
        return self._partition is not None

    def _keep_partition(self) -> None:
        """The lease is renewed and others' partitions are looked at, or there is no partition."""
        assert self._partition is not None
        self._look_at = time.monotonic() + self._look_s
        try:
            if not self._is_fresh:
                self._log_book.renew(self._partition.id)
            self._is_fresh = False
            self._tell(_Settled(closed=self._adoption.look(mine=self._partition.id)))
        except Exception as error:
            _log.warning("partition_not_kept", error=str(error), kind=type(error).__name__)
            self._settle(error)

    def _write(self, group: list[_Pending], *, last: bool) -> None:
        """Every batch of the group is answered.

        Args:
            last: a failure is final; nothing is tried again.
        """
        assert self._partition is not None
        crash_point("before_append")
        try:
            appended = self._log_book.append(self._partition.id, [one.batch for one in group])
        except Exception as error:
            _log.warning("append_failed", error=str(error), kind=type(error).__name__)
            self._recover(group, error, last=last)
            return
        self.appends += 1
        crash_point("after_append")
        self._is_fresh = True
        settled = _Settled(answers=list(zip(group, appended.accepted, strict=True)))
        if appended.segment is not None:
            self._end = appended.segment.end
            settled.segments.append(appended.segment)
        self._tell(settled)

    def _recover(self, group: list[_Pending], error: Exception, *, last: bool) -> None:
        stored = self._settle(error)
        if stored is None:
            self._fail(group, Unavailable(_UNKNOWN, retry_after=STORE_RETRY_S))
            return
        answers = found_in(stored, [one.batch for one in group])
        known = [(one, answer) for one, answer in zip(group, answers, strict=True) if answer]
        self._tell(_Settled(segments=stored, answers=list(known)))
        rest = [one for one, answer in zip(group, answers, strict=True) if answer is None]
        if not self._try_to_open():
            self._fail(rest, Unavailable(_NOTHING_STORED, retry_after=STORE_RETRY_S))
        elif last:
            expected = isinstance(error, RaysumeError)
            self._fail(rest, Unavailable(_NOTHING_STORED) if expected else error)
        elif isinstance(error, RaysumeError):
            if rest:
                self._write(rest, last=True)
        else:
            self._write_alone(rest)

    def _write_alone(self, group: list[_Pending]) -> None:
        """Each batch is tried by itself: one that cannot be stored fails no other."""
        for one in group:
            if self._partition is None and not self._try_to_open():
                self._fail([one], Unavailable(_NOTHING_STORED, retry_after=STORE_RETRY_S))
            else:
                self._write([one], last=True)

    def _settle(self, error: Exception) -> list[Segment] | None:
        """The partition is closed; what its last append stored, or None when that is not known.

        Args:
            error: why.
        """
        assert self._partition is not None
        partition, self._partition = self._partition, None
        try:
            end = self._log_book.close_partition(partition.id).next_offset
            crash_point("after_partition_closed")
            if end == self._end:
                return []
            return list(self._log_book.read(partition.id, start=self._end, end=end))
        except PartitionClosed:  # for so long that it was forgotten
            return [] if isinstance(error, PartitionClosed) else None
        except Exception as failure:
            _log.warning("partition_not_settled", partition=partition.id, error=str(failure))
            self.trouble = str(failure) or repr(failure)
            self._unsettled.append(partition)
            return None

    def _close_for_good(self) -> None:
        if self._partition is not None:
            try:
                self._log_book.close_partition(self._partition.id)
            except Exception as error:
                _log.warning("partition_left_open", error=str(error))

    def _fail(self, group: Sequence[_Pending], error: Exception) -> None:
        if group:
            self._tell(_Settled(answers=[(one, error) for one in group]))

    def _tell(self, settled: _Settled) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._hear, settled)
        except RuntimeError:
            _log.warning("event_loop_closed", segments=len(settled.segments))

    # --- in the event loop -------------------------------------------------------

    def _hear(self, settled: _Settled) -> None:
        self._tried.set()
        if settled.segments or settled.closed:
            self._emit(settled.segments, settled.closed)
        if settled.answers:
            crash_point("before_answer")
        for pending, answer in settled.answers:
            if pending.answer.done():
                continue
            if isinstance(answer, Exception):
                pending.answer.set_exception(answer)
            else:
                pending.answer.set_result(answer)
        if settled.answers:
            crash_point("after_answer")


def found_in(stored: Sequence[Segment], batches: Sequence[Batch]) -> list[Accepted | None]:
    """What became of each batch of an append, told from what is stored; None when it is not there.

    An append keeps the order of its batches, so one walk along both finds every call. A
    batch of which nothing is stored was a duplicate or in conflict, which asking again tells.
    """
    calls = deque(call for segment in stored for call in segment.calls)
    answers: list[Accepted | None] = []
    for batch in batches:
        outcomes: list[Literal["accepted", "duplicate"]] = []
        for call in batch.calls:
            if calls and (calls[0].id, calls[0].input) == (call.id, call.input):
                calls.popleft()
                outcomes.append("accepted")
            else:
                outcomes.append("duplicate")
        answers.append(Accepted(outcomes=outcomes) if "accepted" in outcomes else None)
    return answers
