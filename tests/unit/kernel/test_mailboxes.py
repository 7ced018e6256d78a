"""Which earlier calls a wait may still receive."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.unit.kernel.bench import START_US, call, one, two
from tests.unit.kernel.test_index import record

from raysume import limits, wait
from raysume.actors.kernel.exclusives import Exclusives
from raysume.actors.kernel.mailboxes import Mailbox, RecentCalls, key_met, key_of
from raysume.actors.kernel.records import START_OF_LOG, ReceivedRecord, WaitRecord
from raysume.actors.loading import method_of

BY_A = record(wait(one).match(key="a"))
BY_B = record(wait(one).match(key="b"))
ANY_ONE = record(wait(one).match_any())
ANY_TWO = record(wait(two).match_any())


def received(mailbox: Mailbox, waiting: WaitRecord, *places: int) -> None:
    for place in places:
        mailbox.receive(waiting, key_of(waiting), (place, place))


def recent(capacity: int = 100) -> RecentCalls:
    return RecentCalls(
        method_of, capacity=capacity, covers_after=START_OF_LOG, exclusives=Exclusives()
    )


def found(calls: RecentCalls, waiting: WaitRecord, mailbox: Mailbox) -> int | None:
    item = calls.find(waiting, mailbox)
    return None if item is None else item.offset


def test_nothing_from_before_the_start_counts() -> None:
    calls = recent()
    for offset in range(4):
        calls.add(call(one, offset, key="a"))
    assert found(calls, BY_A, Mailbox((1, 1))) == 2
    assert found(calls, BY_A, Mailbox((3, 3))) is None


def test_the_oldest_call_not_received_is_found() -> None:
    calls, mailbox = recent(), Mailbox(START_OF_LOG)
    for offset, key in enumerate("abaab"):
        calls.add(call(one, offset, key=key))
    received(mailbox, BY_A, 0)
    assert found(calls, BY_A, mailbox) == 2
    received(mailbox, BY_A, 2)
    assert found(calls, BY_A, mailbox) == 3
    assert found(calls, BY_B, mailbox) == 1
    assert found(calls, ANY_ONE, mailbox) == 1


def test_a_place_of_one_key_says_nothing_about_another() -> None:
    mailbox = Mailbox((0, 0))
    received(mailbox, BY_A, 9)
    assert mailbox.floor(BY_A) == (9, 9)
    assert mailbox.floor(BY_B) == (0, 0)
    assert mailbox.floor(ANY_TWO) == (0, 0)


def test_a_call_received_by_one_of_several_keys_moves_that_key_only() -> None:
    keys = ("a", "b")
    both = record(wait(one).match_if(lambda call: call.input.key in keys))
    calls, mailbox = recent(), Mailbox(START_OF_LOG)
    for offset, letter in enumerate("bba"):
        calls.add(call(one, offset, key=letter))
    item = call(one, 2, key="a")
    key = key_met(both, item, method_of)
    assert key is not None
    mailbox.receive(both, key, (2, 2))
    assert found(calls, BY_B, mailbox) == 0
    assert found(calls, both, mailbox) == 0
    assert found(calls, BY_A, mailbox) is None
    assert key_met(both, call(one, 3, key="c"), method_of) is None


def test_predicates_without_key_have_places_of_their_own() -> None:
    high = record(wait(one).match_if(lambda call: call.input.n > 5))
    low = record(wait(one).match_if(lambda call: call.input.n < 5))
    calls, mailbox = recent(), Mailbox(START_OF_LOG)
    calls.add(call(one, 0, n=1))
    calls.add(call(one, 1, n=9))
    received(mailbox, high, 1)
    assert found(calls, low, mailbox) == 0


def test_a_long_loop_over_one_method_hides_no_early_call_of_another() -> None:
    calls, mailbox = recent(1_000), Mailbox(START_OF_LOG)
    calls.add(call(two, 0))
    calls.add(call(one, 1, key="b"))
    for offset in range(2, 200):
        calls.add(call(one, offset, key="a"))
        received(mailbox, BY_A, offset)
    assert found(calls, ANY_TWO, mailbox) == 0
    assert found(calls, BY_B, mailbox) == 1


def test_what_is_remembered_of_one_method_is_bounded() -> None:
    mailbox = Mailbox(START_OF_LOG)
    for place in range(200):
        received(mailbox, record(wait(one).match(key=str(place))), place)
    [kept] = mailbox.records()
    assert len(kept.keys) == len(kept.calls) == limits.MAILBOX_PLACES_MAX
    last_dropped = 200 - limits.MAILBOX_PLACES_MAX - 1
    assert kept.dropped == kept.passed == (last_dropped, last_dropped)
    assert mailbox.floor(BY_A) == kept.dropped
    assert mailbox.floor(ANY_ONE) == kept.passed


def test_a_mailbox_is_saved_and_read_again() -> None:
    mailbox = Mailbox((3, 4))
    received(mailbox, BY_A, 5, 7)
    received(mailbox, ANY_TWO, 6)
    encoded = msgspec.msgpack.encode(mailbox.records())
    records = msgspec.msgpack.decode(encoded, type=list[ReceivedRecord])
    again = Mailbox(mailbox.horizon, records)
    for waiting in (BY_A, BY_B, ANY_ONE, ANY_TWO):
        assert again.floor(waiting) == mailbox.floor(waiting)
    assert not again.is_open(ANY_ONE, b"", (5, 5))
    assert again.is_open(ANY_ONE, b"", (6, 6))


def test_memory_says_how_far_it_reaches() -> None:
    calls = recent(capacity=3)
    for offset in range(5):
        calls.add(call(one, offset, key="a"))
    assert len(calls) == 3
    assert calls.covers((1, 1))
    assert not calls.covers((0, 0))
    assert found(calls, BY_A, Mailbox((1, 1))) == 2


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    calls: Any = recent(capacity=2)
    for offset in range(50):
        calls.add(call(one, offset, key=str(offset)))
        calls.started_an_instance((offset, offset))
        found(calls, BY_A, Mailbox(START_OF_LOG))
    assert len(calls._starts) == 2
    [of_method] = calls._by_method.values()
    assert len(of_method.calls) == 2
    assert all(len(by_key.keys) == 2 for by_key in of_method.shapes.values())


def test_a_call_that_started_an_instance_is_in_no_mailbox() -> None:
    calls = recent()
    calls.add(call(one, 0, key="a"))
    calls.started_an_instance((0, 0))
    calls.add(call(one, 1, key="a"))
    assert found(calls, BY_A, Mailbox(START_OF_LOG)) == 1


def test_calls_before_the_window_do_not_count() -> None:
    calls = recent()
    calls.add(call(one, 0, key="a"))
    calls.add(call(one, 1, key="a"))
    windowed = msgspec.structs.replace(BY_A, since_us=START_US + 1)
    assert found(calls, windowed, Mailbox(START_OF_LOG)) == 1
