"""The mailbox: which calls that came before a wait may still meet it.

An instance receives a call at most once. For one method and match key the calls after
the last one it received count; otherwise every call since its start that it has not
received. `RecentCalls` answers from memory; the host asks the log for anything older.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from raysume import limits
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.index import verdict_of
from raysume.actors.kernel.records import Place, PlaceRecord, WaitRecord
from raysume.call import Call
from raysume.matching import Parsed, extractor
from raysume.methods import Method


class Mailbox:
    """What one instance has received, as far as a later look-back must know it."""

    __slots__ = ("horizon", "places", "received")

    def __init__(
        self,
        horizon: Place,
        received: Iterable[Place] = (),
        places: Iterable[PlaceRecord] = (),
    ) -> None:
        self.horizon = horizon
        """Calls at or before this place never count."""
        self.received: list[Place] = list(received)
        self.places: dict[tuple[str, tuple[str, ...], bytes], Place] = {
            (record.method, record.shape, record.key): record.place for record in places
        }

    def floor(self, wait: WaitRecord) -> Place:
        """Calls at or before this place cannot meet the wait any more."""
        floor = self.horizon
        for key in wait.keys or (b"",):
            place = self.places.get((wait.method, wait.shape, key))
            if place is not None and place > floor and len(wait.keys) < 2:
                floor = place
        return floor

    def is_new(self, place: Place) -> bool:
        """Whether the instance has not received the call at this place."""
        return place not in self.received

    def receive(self, wait: WaitRecord, place: Place) -> None:
        """The call at `place` met `wait`: it meets no other wait of this instance."""
        for key in wait.keys or (b"",):
            self.places.pop((wait.method, wait.shape, key), None)
            self.places[(wait.method, wait.shape, key)] = place
        self.received.append(place)
        if len(self.received) > limits.MAILBOX_PLACES_MAX:
            self.horizon = max(self.horizon, self.received.pop(0))
        while len(self.places) > limits.MAILBOX_PLACES_MAX:
            oldest = next(iter(self.places))
            self.horizon = max(self.horizon, self.places.pop(oldest))

    def records(self) -> list[PlaceRecord]:
        """The places as they are saved."""
        return [PlaceRecord(*key, place) for key, place in self.places.items()]


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
        self, methods: Callable[[str], Method], *, capacity: int, covers_after: Place
    ) -> None:
        self._methods = methods
        self._capacity = capacity
        self._by_method: dict[str, _OfMethod] = {}
        self._order: deque[_Remembered] = deque()
        self._starts: set[Place] = set()
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
        if len(self._order) > self._capacity:
            self._forget_oldest()
        return remembered.parsed

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
        for remembered in self._candidates(of_method, wait):
            if remembered.place <= floor or remembered.place in self._starts:
                continue
            if meets(wait, remembered.call, mailbox):
                return remembered.call
        return None

    def _candidates(self, of_method: _OfMethod, wait: WaitRecord) -> Iterable[_Remembered]:
        if not wait.keys:
            return of_method.calls
        by_key = of_method.shapes.get(wait.shape)
        if by_key is None:
            by_key = _ByKey(extractor(of_method.method, wait.shape))
            for remembered in of_method.calls:
                by_key.add(remembered)
            of_method.shapes[wait.shape] = by_key
        if len(wait.keys) == 1:
            return by_key.keys.get(wait.keys[0], ())
        found = [call for key in wait.keys for call in by_key.keys.get(key, ())]
        return sorted(found, key=lambda remembered: remembered.place)

    def _forget_oldest(self) -> None:
        oldest = self._order.popleft()
        of_method = self._by_method[oldest.call.call.method]
        of_method.calls.popleft()
        for by_key in of_method.shapes.values():
            by_key.drop(oldest)
        self._starts.discard(oldest.place)
        self.covers_after = max(self.covers_after, oldest.place)


def meets(wait: WaitRecord, call: DeliveredCall, mailbox: Mailbox) -> bool:
    """Whether a call whose key fits is new to the instance, late enough, and fits the predicate."""
    if wait.since_us is not None and call.call.at_us < wait.since_us:
        return False
    if not mailbox.is_new((call.pos, call.offset)):
        return False
    if wait.predicate is None:
        return True
    loaded: Call[Any, Any] = Call.of(call.call)
    return verdict_of(wait.predicate, loaded) is True
