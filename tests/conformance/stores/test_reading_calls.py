"""Reading ranges, look-back, pages of calls, and single calls."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from raysume.ids import uuid7
from raysume.storage.call_ports import Batch, CallLog, CallQuery, FoundCall, NewCall
from raysume.storage.moments import from_us

OWNER = "1:0:test"


def append(log: CallLog, partition: int, *names: str) -> None:
    """Appends one segment; a name is "service.method"."""
    calls = [
        NewCall(id=uuid7(), method=name, service=name.partition(".")[0], input=b"{}")
        for name in names
    ]
    log.append(partition, [Batch(calls=calls)])


@pytest.fixture
def partition(log: CallLog) -> int:
    return log.open_partition(owner=OWNER).id


@pytest.fixture
def filled(log: CallLog, clock: object) -> CallLog:
    """30 segments, a second apart, in two partitions; a "shop.rare" in every tenth."""
    places = [log.open_partition(owner=OWNER).id for _ in range(2)]
    for number in range(30):
        names = ["shop.pay", "bank.pay", "bank.refund"][: number % 3 + 1]
        append(log, places[number % 2], *names, *(["shop.rare"] if number % 10 == 0 else []))
        clock.us += 1_000_000  # type: ignore[attr-defined]
    return log


def pages(log: CallLog, limit: int, filters: Mapping[str, Any]) -> list[FoundCall]:
    calls: list[FoundCall] = []
    after = None
    while True:
        page = log.list_calls(CallQuery(**filters, after=after, limit=limit))
        calls += page
        if len(page) < limit:
            return calls
        after = (page[-1].pos, page[-1].offset)


@pytest.mark.parametrize(
    ("start", "end", "pieces"),
    [
        (0, 9, [(0, 3), (3, 6), (6, 9)]),
        (0, 100, [(0, 3), (3, 6), (6, 9)]),
        (3, 6, [(3, 6)]),
        (1, 8, [(1, 3), (3, 6), (6, 8)]),
        (4, 5, [(4, 5)]),
        (2, 4, [(2, 3), (3, 4)]),
        (5, 5, []),
        (6, 4, []),
        (9, 20, []),
    ],
)
def test_a_range_is_cut_out_of_the_segments(
    log: CallLog, partition: int, start: int, end: int, pieces: list[tuple[int, int]]
) -> None:
    for _ in range(3):
        append(log, partition, "a.x", "a.y", "a.z")
    found = list(log.read(partition, start=start, end=end))
    assert [(segment.first, segment.end) for segment in found] == pieces
    methods = ["a.x", "a.y", "a.z"]
    for segment in found:
        for offset, call in enumerate(segment.calls, segment.first):
            assert call.method == methods[offset % 3]


def test_a_long_range_comes_whole_and_from_one_partition(log: CallLog, partition: int) -> None:
    other = log.open_partition(owner=OWNER).id
    for _ in range(40):
        append(log, partition, "a.x", "a.y")
        append(log, other, "b.x")
    offsets = [
        offset
        for segment in log.read(partition, start=1, end=79)
        for offset in range(segment.first, segment.end)
    ]
    assert offsets == list(range(1, 79))
    assert list(log.read(999, start=0, end=10)) == []


def test_a_read_goes_on_over_calls_appended_meanwhile(log: CallLog, partition: int) -> None:
    for _ in range(20):
        append(log, partition, "a.x")
    reading = log.read(partition, start=0, end=20)
    first = next(reading)
    append(log, partition, "a.x")
    assert [first.first, *(segment.first for segment in reading)] == list(range(20))


def test_a_search_gives_the_segments_with_a_method_in_order(filled: CallLog) -> None:
    found = list(filled.search(method="bank.refund", after_pos=0))
    assert len(found) == 10
    positions = [segment.pos for segment in found]
    assert positions == sorted(set(positions))
    assert all(any(call.method == "bank.refund" for call in segment.calls) for segment in found)
    assert any(call.method == "shop.pay" for call in found[0].calls)
    assert list(filled.search(method="nobody", after_pos=0)) == []


def test_a_search_begins_behind_a_position(filled: CallLog) -> None:
    whole = list(filled.search(method="bank.pay", after_pos=0))
    for index in (0, 7, 8, len(whole) - 1):
        rest = list(filled.search(method="bank.pay", after_pos=whole[index].pos))
        assert rest == whole[index + 1 :]


def test_a_search_begins_at_a_moment(filled: CallLog) -> None:
    whole = list(filled.search(method="shop.pay", after_pos=0))
    moment = from_us(whole[12].calls[0].at_us)
    assert list(filled.search(method="shop.pay", after_pos=0, since=moment)) == whole[12:]
    later = moment + timedelta(microseconds=1)
    assert list(filled.search(method="shop.pay", after_pos=0, since=later)) == whole[13:]
    both = list(filled.search(method="shop.pay", after_pos=whole[20].pos, since=moment))
    assert both == whole[21:]


def test_a_segment_with_one_method_of_two_services_is_found_once(
    log: CallLog, partition: int
) -> None:
    calls = [NewCall(id=uuid7(), method="pay", service=service, input=b"{}") for service in "abab"]
    log.append(partition, [Batch(calls=calls)])
    assert len(list(log.search(method="pay", after_pos=0))) == 1
    assert len(log.list_calls(CallQuery(method="pay"))) == 4
    assert len(log.list_calls(CallQuery(method="pay", service="a"))) == 2


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 63),
        ({"service": "shop"}, 33),
        ({"service": "bank"}, 30),
        ({"method": "bank.refund"}, 10),
        ({"method": "shop.rare"}, 3),
        ({"service": "bank", "method": "shop.rare"}, 0),
        ({"service": "nobody"}, 0),
    ],
)
def test_a_listing_shows_the_calls_that_its_filters_admit(
    filled: CallLog, filters: Mapping[str, Any], count: int
) -> None:
    calls = filled.list_calls(CallQuery(**filters))
    assert len(calls) == count
    places = [(found.pos, found.offset) for found in calls]
    assert places == sorted(set(places))


@pytest.mark.parametrize("filters", [{}, {"service": "shop"}, {"method": "shop.pay"}])
def test_a_listing_is_bounded_in_time(filled: CallLog, filters: Mapping[str, Any]) -> None:
    whole = filled.list_calls(CallQuery(**filters))
    since, until = whole[10].call.at_us, whole[20].call.at_us
    part = filled.list_calls(CallQuery(**filters, since=from_us(since), until=from_us(until)))
    assert part == [found for found in whole if since <= found.call.at_us < until]
    assert part != []


@pytest.mark.parametrize("limit", [1, 2, 5, 63, 64])
@pytest.mark.parametrize(
    "filters", [{}, {"service": "bank"}, {"method": "shop.pay"}, {"method": "shop.rare"}]
)
def test_pages_together_show_every_call_once(
    filled: CallLog, limit: int, filters: Mapping[str, Any]
) -> None:
    assert pages(filled, limit, filters) == filled.list_calls(CallQuery(**filters))


def test_a_call_with_a_client_id_is_found(log: CallLog, partition: int) -> None:
    append(log, partition, "a.x")
    call = NewCall(id="mine", method="a.x", service="a", input=b'{"n":7}', client_id=True)
    other = NewCall(id="other", method="a.x", service="a", input=b"{}", client_id=True)
    log.append(partition, [Batch(calls=[other, call])])
    found = log.find_call("mine")
    assert found is not None
    assert (found.call.input, found.partition, found.offset) == (b'{"n":7}', partition, 2)
    assert log.find_call("unknown") is None


def test_a_call_with_a_server_id_is_found_by_the_time_in_it(
    log: CallLog, partition: int, clock: object
) -> None:
    ids: list[str] = []
    for _ in range(25):
        ids.append(uuid7())
        clock.us = int(ids[-1].replace("-", "")[:12], 16) * 1_000 + 700  # type: ignore[attr-defined]
        calls = [
            NewCall(id=id, method="a.x", service="a", input=b"{}") for id in (uuid7(), ids[-1])
        ]
        log.append(partition, [Batch(calls=calls)])
    for number, id in enumerate(ids):
        found = log.find_call(id)
        assert found is not None
        assert (found.call.id, found.offset) == (id, number * 2 + 1)
    assert log.find_call(uuid7()) is None
