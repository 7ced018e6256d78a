"""The mailbox: which calls that came before a wait may still meet it.

An instance receives a call at most once. For one method and match key the calls after
the last one it received count; otherwise every call since its start that it has not
received. `.since(moment)` goes back to that moment, whatever was received after it, also
before the instance's start. `RecentCalls` answers from memory; the host asks the log for anything older.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from raysume import limits
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.exclusives import Exclusives
from raysume.actors.kernel.index import verdict_of
from raysume.actors.kernel.records import START_OF_LOG, Place, ReceivedRecord, WaitRecord
from raysume.call import Call
from raysume.matching import Parsed, extractor
from raysume.methods import Method


class Mailbox:
    """What one instance has received, as far as a later look-back must know it.

    It is kept by method and shape, so that a loop over one method makes no call of
    another one disappear, however long it runs. What is kept of them is never changed, but
    made anew: it is part of the records of turns.
    """

    __slots__ = ("_received", "horizon")

    def __init__(self, horizon: Place, records: Iterable[ReceivedRecord] = ()) -> None:
        self.horizon = horizon
        """Calls at or before this place never count: the instance began after them."""
        self._received = {(record.method, record.shape): record for record in records}

    def floor(self, wait: WaitRecord) -> Place:
        """Calls at or before this place cannot meet the wait any more."""
        floor = START_OF_LOG if wait.before_start else self.horizon
        for (method, shape), received in self._received.items():
            if method != wait.method:
                continue
            if shape != wait.shape or wait.before_start:
                floor = max(floor, received.passed)
            else:
                keys = wait.keys or (key_of(wait),)
                reached = received.keys.get(keys[0], received.dropped)
                for key in keys[1:]:
                    reached = min(reached, received.keys.get(key, received.dropped))
                floor = max(floor, reached)
        return floor

    def is_open(self, wait: WaitRecord, key: bytes, place: Place) -> bool:
        """Whether the wait may receive the call at `place`, whose key is `key`."""
        if place <= self.horizon and not wait.before_start:
            return False
        for (method, shape), received in self._received.items():
            if method != wait.method:
                continue
            if _has(received.calls, place):
                return False
            if shape != wait.shape or wait.before_start:
                if place <= received.passed:
                    return False
            elif place <= received.keys.get(key, received.dropped):
                return False
        return True

    def has(self, method: str, place: Place) -> bool:
        """Whether the instance is known to have received the call at this place."""
        for (of, _), received in self._received.items():
            if of == method and _has(received.calls, place):
                return True
        return False

    def receive(self, wait: WaitRecord, key: bytes, place: Place) -> None:
        """The call at `place` met `wait` by `key`: it meets no other wait of this instance."""
        group = (wait.method, wait.shape)
        received = self._received.get(group)
        if received is None:
            self._received[group] = ReceivedRecord(
                wait.method, wait.shape, {key: place}, START_OF_LOG, [place], START_OF_LOG
            )
        elif not _has(received.calls, place):
            self._received[group] = _with(received, key, place)

    def records(self) -> list[ReceivedRecord]:
        """What was received, as it is saved."""
        return [*self._received.values()]


def _has(calls: list[Place], place: Place) -> bool:
    """Whether the place is among these, which are in order; it is mostly behind them all."""
    return bool(calls) and place <= calls[-1] and place in calls


def _with(received: ReceivedRecord, key: bytes, place: Place) -> ReceivedRecord:
    """What was received, with one more call; the newest places are kept."""
    keys, calls = received.keys.copy(), received.calls.copy()
    bisect.insort(calls, place)
    dropped, passed = received.dropped, received.passed
    keys[key] = max(keys.pop(key, place), place)
    if len(calls) > limits.MAILBOX_PLACES_MAX:
        passed = max(passed, calls.pop(0))
    if len(keys) > limits.MAILBOX_PLACES_MAX:
        dropped = max(dropped, keys.pop(next(iter(keys))))
    return ReceivedRecord(received.method, received.shape, keys, dropped, calls, passed)


def key_of(wait: WaitRecord) -> bytes:
    """The one key of the wait; without one, its predicate stands for it."""
    if wait.keys:
        return wait.keys[0]
    if wait.predicate is None:
        return b""
    return hashlib.blake2b(wait.predicate, digest_size=16).digest()


def key_met(
    wait: WaitRecord, call: DeliveredCall, methods: Callable[[str], Method]
) -> bytes | None:
    """The key by which the call fits the wait; None when it does not."""
    if not wait.keys:
        return key_of(wait)
    key = extractor(methods(wait.method), wait.shape)(Parsed(call.call))
    return key if key in wait.keys else None


class _Remembered:
    """One recent call."""

    __slots__ = ("call", "parsed", "place")

    def __init__(self, call: DeliveredCall) -> None:
        self.call = call
        self.place: Place = (call.pos, call.offset)
        self.parsed = Parsed(call.call)


class _ByKey:
    """The recent calls of one method by their key for one shape."""

    __slots__ = ("extract", "keys")

    def __init__(self, extract: Callable[[Parsed], bytes | None]) -> None:
        self.extract = extract
        self.keys: dict[bytes, deque[_Remembered]] = {}

    def add(self, remembered: _Remembered) -> None:
        key = self.extract(remembered.parsed)
        if key is not None:
            self.keys.setdefault(key, deque()).append(remembered)

    def drop(self, remembered: _Remembered) -> None:
        key = self.extract(remembered.parsed)
        if key is None:
            return
        calls = self.keys[key]
        calls.remove(remembered)
        if not calls:
            del self.keys[key]


class _OfMethod:
    __slots__ = ("calls", "method", "shapes")

    def __init__(self, method: Method) -> None:
        self.method = method
        self.calls: deque[_Remembered] = deque()
        self.shapes: dict[tuple[str, ...], _ByKey] = {}


class RecentCalls:
    """The newest calls delivered to a pool, in order, found by method, shape and key."""

    def __init__(
        self,
        methods: Callable[[str], Method],
        *,
        capacity: int,
        covers_after: Place,
        exclusives: Exclusives | None = None,
    ) -> None:
        self._methods = methods
        self.capacity = capacity
        self._by_method: dict[str, _OfMethod] = {}
        self._order: deque[_Remembered] = deque()
        self._starts: set[Place] = set()
        self._exclusives = exclusives or Exclusives()
        self.covers_after = covers_after
        """Every subscribed call after this place is here."""

    def __len__(self) -> int:
        return len(self._order)

    def add(self, call: DeliveredCall) -> Parsed:
        """The call is the newest one; the oldest is forgotten when there are too many."""
        remembered = _Remembered(call)
        of_method = self._by_method.get(call.call.method)
        if of_method is None:
            of_method = _OfMethod(self._methods(call.call.method))
            self._by_method[call.call.method] = of_method
        of_method.calls.append(remembered)
        for by_key in of_method.shapes.values():
            by_key.add(remembered)
        self._order.append(remembered)
        if len(self._order) > self.capacity:
            self._forget_oldest()
        return remembered.parsed

    def calls(self) -> Iterator[DeliveredCall]:
        """The remembered calls, oldest first."""
        return (remembered.call for remembered in self._order)

    def started_an_instance(self, place: Place) -> None:
        """The call at `place` started an instance, so it is in no other mailbox of the workflow."""
        self._starts.add(place)

    def covers(self, floor: Place) -> bool:
        """Whether every call after `floor` that could matter is in memory."""
        return floor >= self.covers_after

    def find(self, wait: WaitRecord, mailbox: Mailbox) -> DeliveredCall | None:
        """The oldest remembered call that the wait may still receive and that matches it."""
        of_method = self._by_method.get(wait.method)
        if of_method is None:
            return None
        floor = mailbox.floor(wait)
        for key, remembered in self._candidates(of_method, wait):
            place = remembered.place
            if place <= floor or place in self._starts or not mailbox.is_open(wait, key, place):
                continue
            if wait.exclusive and self._exclusives.is_taken(place):
                continue
            if meets(wait, remembered.call):
                return remembered.call
        return None

    def _candidates(
        self, of_method: _OfMethod, wait: WaitRecord
    ) -> Iterator[tuple[bytes, _Remembered]]:
        """The remembered calls that have a key of the wait, oldest first."""
        if not wait.keys:
            key = key_of(wait)
            yield from ((key, remembered) for remembered in of_method.calls)
            return
        by_key = of_method.shapes.get(wait.shape)
        if by_key is None:
            by_key = _ByKey(extractor(of_method.method, wait.shape))
            for remembered in of_method.calls:
                by_key.add(remembered)
            of_method.shapes[wait.shape] = by_key
        found = [(key, call) for key in set(wait.keys) for call in by_key.keys.get(key, ())]
        if len(wait.keys) > 1:
            found.sort(key=lambda candidate: candidate[1].place)
        yield from found

    def _forget_oldest(self) -> None:
        oldest = self._order.popleft()
        of_method = self._by_method[oldest.call.call.method]
        of_method.calls.popleft()
        for by_key in of_method.shapes.values():
            by_key.drop(oldest)
        self._starts.discard(oldest.place)
        self.covers_after = max(self.covers_after, oldest.place)


def is_late_enough(wait: WaitRecord, call: DeliveredCall) -> bool:
    """Whether the call came within what the wait looks back to."""
    return wait.since_us is None or call.call.at_us >= wait.since_us


def meets(wait: WaitRecord, call: DeliveredCall) -> bool:
    """Whether a call whose key fits is late enough and fits the predicate."""
    if not is_late_enough(wait, call):
        return False
    if wait.predicate is None:
        return True
    loaded: Call[Any, Any] = Call.of(call.call)
    return verdict_of(wait.predicate, loaded) is True
