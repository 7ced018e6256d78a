"""What was accepted reaches every pool that awaits it: in order, without holes, at its pace.

Each pool has a stream of its own: a slow or broken pool delays nobody else. Deliveries
are ranges, so one that arrives twice is dropped by the pool and one that fails is sent
again before anything newer.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.crash_points import crash_point
from raysume.errors import Unavailable
from raysume.limits import (
    BACKLOG_CALLS_MAX,
    DELIVERIES_IN_FLIGHT,
    DELIVERY_BACKOFF_S_MAX,
    DISPATCH_BYTES_MAX,
    EMPTY_RANGE_DELAY_S,
    LAG_PROBE_S,
    PARTITIONS_REMEMBERED_MAX,
    RETRY_BACKOFF_S_MIN,
)
from raysume.records import Segment
from raysume.serve_apps.ingress.engine import Catalogue
from raysume.serve_apps.ingress.progress import Progress
from raysume.serve_apps.ingress.ranges import FROM_LOG, PendingRanges, Range, split

Deliver = Callable[[str, bytes], Awaitable[int]]
"""Pool name and delivery in, the pool's backlog in calls out."""

_log = structlog.get_logger("raysume.ingress")


class PoolStream:
    """The deliveries to one pool.

    Args:
        deliver: sends one delivery; any exception means that it may not have arrived.
        progress: advanced whenever the pool has more or lags more or less.
    """

    def __init__(
        self, pool: str, urns: frozenset[str], deliver: Deliver, progress: Progress
    ) -> None:
        self.pool = pool
        self.urns = urns
        self._deliver = deliver
        self._progress = progress
        self._pending = PendingRanges()
        self._under_way: deque[tuple[Range, asyncio.Task[Exception | None]]] = deque()
        self._changed = asyncio.Event()
        self._hurry = False
        self._retreating = False
        self._backoff_s = RETRY_BACKOFF_S_MIN
        self._backlog = 0
        self._delivered: dict[int, int] = {}
        self._last: tuple[int, int] | None = None
        self._empty_since: float | None = None
        self.lagging = False
        """True while the pool's methods are refused with 429."""
        self.failures = 0
        """Deliveries in a row that failed."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"deliver:{pool}")

    def offer(self, new: Range) -> None:
        """The range is sent after all offered before."""
        self._pending.add(new)
        self._measure()
        if not self._retreating:
            self._send_more()
        if self._under_way or self._empty_since is None:
            self._changed.set()

    def hurry(self) -> None:
        """Ranges without calls are sent at once, too, until nothing is left to send."""
        self._hurry = True
        self._changed.set()

    def reached(self, partition: int) -> int:
        """The pool has everything of the partition below this offset."""
        return self._delivered.get(partition, 0)

    @property
    def held_bytes(self) -> int:
        """Bytes of the calls that wait here to be sent, roughly."""
        return self._pending.size

    def leave_to_log(self) -> None:
        """No calls wait here any more: the pool reads them from the log in its time."""
        self._pending.leave_to_log()

    @property
    def idle(self) -> bool:
        """True when nothing is left to send."""
        return not self._pending and not self._under_way

    @property
    def lag(self) -> int:
        """Calls that were accepted and that the pool has not worked off yet."""
        travelling = sum(one.awaited for one, _ in self._under_way)
        return self._pending.awaited + travelling + self._backlog

    async def stop(self) -> None:
        """Nothing is sent any more."""
        tasks = [self._task, *(task for _, task in self._under_way)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._send_more()
            if not self._under_way:
                await self._wait()
                continue
            oldest, task = self._under_way[0]
            error = await task
            if error is None:
                self._under_way.popleft()
                self._arrived(oldest)
            else:
                await self._retreat(error)

    def _send_more(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pending and self._may_send_beside():
            if self._pending.only_empty and not self._hurry:
                if self._empty_since is None:
                    self._empty_since = loop.time()
                    self._changed.set()
                if loop.time() < self._empty_since + EMPTY_RANGE_DELAY_S:
                    return
            self._empty_since = None
            next_range = self._pending.take()
            self._under_way.append((next_range, loop.create_task(self._send(next_range))))

    def _may_send_beside(self) -> bool:
        """Whether the next range may travel while others do, so that they may arrive in any order.

        A pool that failed is tried with its oldest range alone, and ranges of other partitions,
        or ones that the pool has to read from the log, arrive after all before them and before
        all after them: within a partition the offsets keep the order, across them only this.
        """
        if not self._under_way:
            return True
        if self.failures or len(self._under_way) >= DELIVERIES_IN_FLIGHT:
            return False
        last, following = self._under_way[-1][0], self._pending.oldest
        return last.partition == following.partition and FROM_LOG not in (
            last.catalogue,
            following.catalogue,
        )

    async def _send(self, one: Range) -> Exception | None:
        crash_point("before_delivery")
        try:
            self._backlog = await self._deliver(self.pool, one.encode())
        except Exception as error:
            return error
        crash_point("after_delivery")
        return None

    async def _wait(self) -> None:
        """Something new came, an empty range is due, or a lagging pool is to be asked again."""
        self._hurry = self._hurry and bool(self._pending)
        timeout: float | None = None
        if self._empty_since is not None:
            due = self._empty_since + EMPTY_RANGE_DELAY_S
            timeout = max(0.0, due - asyncio.get_running_loop().time())
        elif self.lagging:
            timeout = LAG_PROBE_S
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            if not self._pending and self._last is not None:
                self._pending.add(_mark(*self._last, catalogue=FROM_LOG))
        self._changed.clear()

    def _arrived(self, one: Range) -> None:
        if self.failures:
            _log.info("pool_reached_again", pool=self.pool, failures=self.failures)
        self.failures, self._backoff_s = 0, RETRY_BACKOFF_S_MIN
        self._last = (one.partition, max(one.end, self.reached(one.partition)))
        self._delivered[one.partition] = self._last[1]
        _drop_oldest(self._delivered)
        self._measure()
        self._progress.advance()

    async def _retreat(self, error: Exception) -> None:
        """All that is under way waits again; after a pause it is sent again, oldest first."""
        self._retreating = True
        await asyncio.gather(*(task for _, task in self._under_way))
        self._pending.put_back([one for one, _ in self._under_way])
        self._under_way.clear()
        self.failures += 1
        if self.failures == 1:
            _log.warning("pool_not_reached", pool=self.pool, error=repr(error))
        self._progress.advance()
        asked = error.retry_after if isinstance(error, Unavailable) else None
        pause = max(self._backoff_s, min(asked or 0.0, DELIVERY_BACKOFF_S_MAX))
        self._backoff_s = min(self._backoff_s * 2, DELIVERY_BACKOFF_S_MAX)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        self._retreating = False

    def _measure(self) -> None:
        bound = BACKLOG_CALLS_MAX // 2 if self.lagging else BACKLOG_CALLS_MAX
        lagging = self.lag > bound
        if lagging != self.lagging:
            _log.warning("pool_lags" if lagging else "pool_caught_up", pool=self.pool, lag=self.lag)
            self.lagging = lagging
            self._progress.advance()


class Dispatcher:
    """Delivers accepted calls to all pools of the catalogue."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._streams: dict[str, PoolStream] = {}
        self._ends: dict[int, int] = {}
        self._catalogue = FROM_LOG
        self._leaving: set[asyncio.Task[None]] = set()
        self.progress = Progress()
        """Advances with every delivery that arrived or failed."""

    def update(self, catalogue: Catalogue) -> None:
        """Deliveries go to the pools of this catalogue, filtered by what they await in it.

        The pools of the first one are told to read from the log whatever it holds already;
        a pool that comes later starts at the current end of every partition.
        """
        first = self._catalogue == FROM_LOG
        self._catalogue = catalogue.version
        for pool in [name for name in self._streams if name not in catalogue.pools]:
            _log.info("pool_gone", pool=pool)
            leaving = asyncio.get_running_loop().create_task(self._streams.pop(pool).stop())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        for pool, urns in catalogue.pools.items():
            stream = self._streams.get(pool)
            if stream is not None:
                stream.urns = urns
                continue
            stream = self._streams[pool] = PoolStream(pool, urns, self._deliver, self.progress)
            for partition, end in self._ends.items():
                if first:
                    stream.offer(_notice(partition, 0, end))
                else:
                    stream.offer(_mark(partition, end, catalogue=catalogue.version))
        self.progress.advance()

    def offer(self, segment: Segment) -> None:
        """The segment's calls reach every pool that awaits them."""
        self._ends[segment.partition] = segment.end
        if not self._streams:
            return
        by_method: dict[str, list[DeliveredCall]] = {}
        for offset, call in enumerate(segment.calls, segment.first):
            by_method.setdefault(call.method, []).append(DeliveredCall(offset, segment.pos, call))
        for stream in self._streams.values():
            for one in split(
                partition=segment.partition,
                start=segment.first,
                end=segment.end,
                catalogue=self._catalogue,
                calls=_awaited(by_method, stream.urns),
                after=segment.after,
            ):
                stream.offer(one)
        self._bound_memory()

    def _bound_memory(self) -> None:
        """Many pools that lag hold no more together than this process can bear."""
        streams = self._streams.values()
        while sum(stream.held_bytes for stream in streams) > DISPATCH_BYTES_MAX:
            max(streams, key=lambda stream: stream.held_bytes).leave_to_log()

    def announce(self, partition: int, end: int) -> None:
        """Every pool reads from the log whatever it lacks of the partition below `end`."""
        self._ends[partition] = max(end, self._ends.get(partition, 0))
        _drop_oldest(self._ends)
        for stream in self._streams.values():
            stream.offer(_notice(partition, 0, end))

    def lagging(self, methods: set[str]) -> list[str]:
        """The pools that await one of the methods and are too far behind to get more."""
        return [
            stream.pool
            for stream in self._streams.values()
            if stream.lagging and not stream.urns.isdisjoint(methods)
        ]

    def lag(self) -> dict[str, int]:
        """Pool -> calls that it has not worked off yet."""
        return {stream.pool: stream.lag for stream in self._streams.values()}

    async def delivered(self, partition: int, offset: int) -> None:
        """Every pool has everything of the partition below `offset`."""

        def reached() -> bool:
            for stream in self._streams.values():
                if stream.reached(partition) < offset:
                    stream.hurry()
            return all(one.reached(partition) >= offset for one in self._streams.values())

        await self.progress.until(reached)

    async def drain(self) -> None:
        """Everything offered so far has been delivered."""
        for stream in self._streams.values():
            stream.hurry()
        await self.progress.until(lambda: all(one.idle for one in self._streams.values()))

    async def stop(self) -> None:
        """Nothing is sent any more."""
        streams, self._streams = list(self._streams.values()), {}
        await asyncio.gather(*(stream.stop() for stream in streams), *self._leaving)


def _drop_oldest(places: dict[int, int]) -> None:
    """Only the partitions heard of last are remembered: pools know of the others from the log."""
    while len(places) > PARTITIONS_REMEMBERED_MAX:
        del places[next(iter(places))]


def _awaited(
    by_method: dict[str, list[DeliveredCall]], urns: frozenset[str]
) -> list[DeliveredCall]:
    found = [calls for method, calls in by_method.items() if method in urns]
    if len(found) <= 1:
        return found[0] if found else []
    return sorted((one for calls in found for one in calls), key=lambda one: one.offset)


def _notice(partition: int, start: int, end: int) -> Range:
    return Range(
        partition=partition,
        start=start,
        end=end,
        catalogue=FROM_LOG,
        calls=[],
        awaited=0,
        size=0,
    )


def _mark(partition: int, end: int, *, catalogue: int) -> Range:
    return Range(
        partition=partition,
        start=end,
        end=end,
        catalogue=catalogue,
        calls=[],
        awaited=0,
        size=0,
    )
