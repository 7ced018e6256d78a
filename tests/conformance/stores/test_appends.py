"""Partitions, and what an append makes of the calls it is given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from raysume.errors import PartitionClosed, StoreUnavailable
from raysume.ids import uuid7
from raysume.records import CallRecord
from raysume.storage.call_ports import Appended, Batch, CallLog, NewCall, Publisher

OWNER = "1:0:test"


def new(
    id: str | None = None,
    *,
    body: bytes = b"{}",
    client_id: bool | None = None,
    method: str = "pay",
) -> NewCall:
    return NewCall(
        id=uuid7() if id is None else id,
        method=method,
        service="shop",
        input=body,
        client_id=id is not None if client_id is None else client_id,
    )


def batch(*calls: NewCall, publisher: str | None = None, first: int = 0) -> Batch:
    source = None if publisher is None else Publisher(id=publisher, first=first)
    return Batch(calls=calls, publisher=source)


def outcomes(appended: Appended) -> list[list[str]]:
    return [list(accepted.outcomes) for accepted in appended.accepted]


def stored(log: CallLog, partition: int) -> list[CallRecord]:
    return [call for segment in log.read(partition, start=0, end=1 << 40) for call in segment.calls]


def stored_ids(log: CallLog, partition: int) -> list[str]:
    return [call.id for call in stored(log, partition)]


def test_appended_calls_are_one_segment_in_the_order_given(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    calls = [new() for _ in range(5)]
    appended = log.append(partition.id, [batch(*calls[:2]), batch(*calls[2:])])
    assert appended.segment is not None
    assert (appended.segment.partition, appended.segment.first) == (partition.id, 0)
    assert [call.id for call in appended.segment.calls] == [call.id for call in calls]
    assert outcomes(appended) == [["accepted"] * 2, ["accepted"] * 3]
    assert list(log.read(partition.id, start=0, end=5)) == [appended.segment]


def test_every_field_of_a_call_comes_back(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    full = NewCall(
        id="höchst-ungewöhnlich",
        method="orders.paid",
        service="shop",
        input=b'{"n":1}',
        output=b"null",
        error="ValueError: no",
        headers={"traceparent": "00-1"},
        client_id=True,
        local_only=True,
    )
    log.append(partition.id, [batch(full, new())])
    first, second = stored(log, partition.id)
    assert (first.id, first.method, first.service) == (full.id, full.method, full.service)
    assert (first.input, first.output, first.error) == (full.input, full.output, full.error)
    assert (first.headers, first.local_only) == ({"traceparent": "00-1"}, True)
    assert (second.output, second.error, second.headers) == (None, None, None)
    assert second.local_only is False


def test_offsets_have_no_holes_and_positions_rise_over_all_partitions(log: CallLog) -> None:
    places = [log.open_partition(owner=OWNER) for _ in range(2)]
    segments = [
        log.append(places[turn % 2].id, [batch(*[new() for _ in range(turn + 1)])]).segment
        for turn in range(6)
    ]
    positions = [segment.pos for segment in segments if segment is not None]
    assert positions == sorted(set(positions))
    for place in places:
        expected = 0
        for segment in log.read(place.id, start=0, end=100):
            assert segment.first == expected
            expected = segment.end
    assert [place.next_offset for place in log.partitions()] == [
        {places[0].id: 1 + 3 + 5, places[1].id: 2 + 4 + 6}[place.id] for place in log.partitions()
    ]


def test_a_new_partition_is_empty_open_and_named_like_no_other(log: CallLog) -> None:
    places = [log.open_partition(owner=OWNER) for _ in range(3)]
    assert len({place.id for place in places}) == 3
    assert all(place.open and place.next_offset == 0 for place in places)
    assert all(0 <= place.id < 1 << 62 for place in places)
    assert log.partitions() == sorted(places, key=lambda place: place.id)


def test_a_closed_partition_takes_nothing_and_keeps_what_it_has(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    call = new("mine")
    log.append(partition.id, [batch(call, publisher="p", first=0)])
    closed = log.close_partition(partition.id)
    assert (closed.id, closed.next_offset, closed.open, closed.owner) == (
        partition.id,
        1,
        False,
        OWNER,
    )
    with pytest.raises(PartitionClosed):
        log.append(partition.id, [batch(new("later"), publisher="p", first=1)])
    assert log.close_partition(partition.id) == closed
    assert stored_ids(log, partition.id) == ["mine"]
    other = log.open_partition(owner=OWNER)
    again = log.append(other.id, [batch(new("later"), publisher="p", first=1)])
    assert outcomes(again) == [["accepted"]]


def test_an_unknown_partition_takes_nothing(log: CallLog) -> None:
    with pytest.raises(PartitionClosed):
        log.append(12345, [batch(new())])
    with pytest.raises(PartitionClosed):
        log.close_partition(12345)


def test_a_partition_that_was_closed_empty_is_listed_no_more(log: CallLog) -> None:
    empty, used = (log.open_partition(owner=OWNER) for _ in range(2))
    log.append(used.id, [batch(new())])
    log.close_partition(empty.id)
    log.close_partition(used.id)
    assert [place.id for place in log.partitions()] == [used.id]


def test_times_never_go_back_when_the_clock_does(log: CallLog, clock: object) -> None:
    partitions = [log.open_partition(owner=OWNER) for _ in range(2)]
    times: list[int] = []
    for turn, step_us in enumerate((0, 10, -5_000_000, 1, 6_000_000, 0)):
        clock.us += step_us  # type: ignore[attr-defined]
        segment = log.append(partitions[turn % 2].id, [batch(new(), new())]).segment
        assert segment is not None
        times += [call.at_us for call in segment.calls]
    assert times == sorted(times)
    assert times[-1] == clock.us  # type: ignore[attr-defined]


def test_a_barrier_names_every_offset_and_later_calls_are_later(
    log: CallLog, clock: object
) -> None:
    left, right = (log.open_partition(owner=OWNER) for _ in range(2))
    log.append(left.id, [batch(new(), new())])
    asked_us = clock.us  # type: ignore[attr-defined]
    assert log.barrier() == {left.id: 2, right.id: 0}
    segment = log.append(right.id, [batch(new())]).segment
    assert segment is not None
    assert segment.calls[0].at_us > asked_us


def test_an_append_is_whole_below_a_barrier_or_above_it(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    seen: list[int] = []
    begun, done = threading.Event(), threading.Event()

    def ask() -> None:
        while not done.is_set():
            seen.append(log.barrier()[partition.id])
            begun.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert begun.wait(10)
    for _ in range(30):
        log.append(partition.id, [batch(*[new() for _ in range(7)])])
    done.set()
    asking.join()
    assert seen == sorted(seen)
    assert all(offset % 7 == 0 for offset in seen)
    assert log.barrier()[partition.id] == 210


def test_closing_races_with_appends_and_the_final_offset_is_final(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    accepted: list[str] = []
    begun = threading.Event()

    def publish() -> None:
        try:
            while True:
                call = new()
                log.append(partition.id, [batch(call)])
                accepted.append(call.id)
                begun.set()
        except PartitionClosed:
            return

    threads = [threading.Thread(target=publish) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    closed = log.close_partition(partition.id)
    for thread in threads:
        thread.join()
    assert sorted(stored_ids(log, partition.id)) == sorted(accepted)
    assert closed.next_offset == len(accepted)


def test_threads_append_without_losing_or_doubling_a_call(log: CallLog) -> None:
    partitions = [log.open_partition(owner=OWNER) for _ in range(2)]
    sent: list[list[str]] = [[] for _ in range(4)]

    def publish(number: int) -> None:
        for turn in range(15):
            calls = [new() for _ in range(3)]
            log.append(
                partitions[number % 2].id,
                [batch(*calls, publisher=f"p{number}", first=turn * 3)],
            )
            sent[number] += [call.id for call in calls]

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [call_id for place in partitions for call_id in stored_ids(log, place.id)]
    assert sorted(found) == sorted(call_id for ids in sent for call_id in ids)
    for ids in sent:
        assert [call_id for call_id in found if call_id in set(ids)] == ids


def test_a_closed_log_refuses_everything(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    log.close()
    log.close()
    refused: Sequence[Callable[[], object]] = (
        lambda: log.open_partition(owner=OWNER),
        lambda: log.append(partition.id, [batch(new())]),
        lambda: log.close_partition(partition.id),
        log.partitions,
        log.barrier,
        lambda: log.read(partition.id, start=0, end=1),
        lambda: log.search(method="pay", after_pos=0),
        lambda: log.find_call("a"),
    )
    for one in refused:
        with pytest.raises(StoreUnavailable):
            one()


def test_a_log_opened_again_goes_on_where_it_was(
    open_log: Callable[[], CallLog], clock: object
) -> None:
    log = open_log()
    partition = log.open_partition(owner=OWNER)
    before = log.append(partition.id, [batch(new("a", body=b"1"), publisher="p", first=0)])
    log.close()
    clock.us -= 1_000_000  # type: ignore[attr-defined]
    log = open_log()
    assert before.segment is not None
    assert list(log.read(partition.id, start=0, end=1)) == [before.segment]
    after = log.append(
        partition.id,
        [
            batch(new("a", body=b"1")),
            batch(new("a", body=b"2")),
            batch(new(), new(), publisher="p", first=0),
        ],
    )
    assert outcomes(after) == [["duplicate"], ["conflict"], ["duplicate", "accepted"]]
    assert after.segment is not None
    assert after.segment.first == 1
    assert after.segment.pos > before.segment.pos
    assert after.segment.calls[0].at_us >= before.segment.calls[0].at_us


def test_two_openings_of_one_log_share_offsets_and_ids(open_log: Callable[[], CallLog]) -> None:
    left, right = open_log(), open_log()
    partition = left.open_partition(owner=OWNER)
    left.append(partition.id, [batch(new("a"))])
    appended = right.append(partition.id, [batch(new("a"), new("b"))])
    assert outcomes(appended) == [["duplicate", "accepted"]]
    assert stored_ids(left, partition.id) == ["a", "b"]
    right.close_partition(partition.id)
    with pytest.raises(PartitionClosed):
        left.append(partition.id, [batch(new())])
