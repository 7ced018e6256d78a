"""Pending ranges: bounded in memory, never with a hole."""

from __future__ import annotations

import functools
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.limits import BACKLOG_BYTES_MAX, DELIVERY_BYTES_MAX, DELIVERY_CALLS_MAX
from raysume.records import CallRecord
from raysume.serve_apps.ingress.ranges import FROM_LOG, PendingRanges, Range, size_of, split


@functools.cache
def body(size: int) -> bytes:
    return b"x" * size


def delivered(offset: int, size: int = 10) -> DeliveredCall:
    call = CallRecord(id=str(offset), method="m", service="s", at_us=0, input=body(size))
    return DeliveredCall(offset, 1, call)


def all_ranges(
    calls: list[DeliveredCall], end: int, start: int = 0, partition: int = 1, catalogue: int = 1
) -> list[Range]:
    return list(
        split(
            partition=partition,
            start=start,
            end=end,
            catalogue=catalogue,
            calls=calls,
            after={9: start} if start else {},
        )
    )


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 999), max_size=50),
    st.sampled_from([10, 1_000_000, 5_000_000]),
)
def test_split_ranges_cover_everything_once_and_each_fits(offsets: set[int], size: int) -> None:
    calls = [delivered(offset, size) for offset in sorted(offsets)]
    found = all_ranges(calls, 1000)
    assert (found[0].start, found[-1].end) == (0, 1000)
    assert all(a.end == b.start for a, b in itertools.pairwise(found))
    assert [one.offset for r in found for one in r.calls] == sorted(offsets)
    for one in found:
        assert all(one.start <= call.offset < one.end for call in one.calls)
        assert len(one.calls) <= DELIVERY_CALLS_MAX
        assert one.size <= max(DELIVERY_BYTES_MAX, size_of(one.calls[0]) if one.calls else 0)


def test_what_a_pool_cannot_take_in_time_is_left_to_the_log() -> None:
    pending = PendingRanges()
    count = BACKLOG_BYTES_MAX // 900_000 + 2
    for offset in range(count):
        for one in all_ranges([delivered(offset, 900_000)], offset + 1, offset):
            pending.add(one)
    assert pending.size < BACKLOG_BYTES_MAX
    assert pending.awaited == count
    first = pending.take()
    assert (first.start, first.catalogue, first.calls) == (0, FROM_LOG, [])
    assert first.end > count - 3


def test_merged_ranges_keep_where_each_waits_and_ranges_left_to_the_log_do_not() -> None:
    pending = PendingRanges()
    for start in range(3):
        for one in all_ranges([delivered(start)], start + 1, start):
            pending.add(one)
    merged = pending.take()
    assert merged.after == [(1, {9: 1}), (2, {9: 2})]
    for start in range(BACKLOG_BYTES_MAX // 900_000 + 2):
        for one in all_ranges([delivered(start, 900_000)], start + 1, start):
            pending.add(one)
    assert pending.take().after == []


def test_only_the_first_part_of_a_segment_names_what_comes_before_it() -> None:
    calls = [delivered(offset, 5_000_000) for offset in range(5, 9)]
    parts = all_ranges(calls, 9, 5)
    assert [one.after for one in parts] == [[(5, {9: 5})], *[[] for _ in parts[1:]]]
    assert len(parts) > 1


def test_ranges_put_back_come_out_first_and_in_order() -> None:
    pending = PendingRanges()
    for start in range(4):
        for one in all_ranges([delivered(start)], start + 1, start, catalogue=start + 1):
            pending.add(one)
    taken = [pending.take(), pending.take()]
    pending.put_back(taken)
    assert [pending.take().start for _ in range(4)] == [0, 1, 2, 3]
    assert (pending.awaited, pending.size, bool(pending)) == (0, 0, False)


def test_merging_leaves_the_calls_of_other_pools_alone() -> None:
    shared = [delivered(0)]
    pending = PendingRanges()
    for one in [*all_ranges(shared, 1), *all_ranges([delivered(1)], 2, 1)]:
        pending.add(one)
    assert len(pending.take().calls) == 2
    assert len(shared) == 1
