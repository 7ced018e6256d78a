"""Several owners append at once: the order of their segments, and the leases of their partitions."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from raysume.errors import PartitionClosed
from raysume.ids import uuid7
from raysume.limits import PARTITION_KEPT_S, PARTITION_LEASE_S
from raysume.records import Segment
from raysume.storage import schema
from raysume.storage.call_ports import Batch, CallLog, NewCall
from raysume.storage.moments import from_us
from raysume.storage.sqlite.calls import SqliteCallLog

if TYPE_CHECKING:
    from tests.conformance.stores.conftest import Clock

OWNER = "1:0:test"
LEASE_US = int(PARTITION_LEASE_S * 1e6)
KEPT_US = int(PARTITION_KEPT_S * 1e6)


def append(log: CallLog, partition: int, count: int = 1) -> Segment:
    calls = [NewCall(id=uuid7(), method="pay", service="shop", input=b"{}") for _ in range(count)]
    segment = log.append(partition, [Batch(calls=calls)]).segment
    assert segment is not None
    return segment


def opened(log: CallLog, count: int = 2) -> list[int]:
    return [log.open_partition(owner=OWNER).id for _ in range(count)]


def lapsed(log: CallLog) -> list[int]:
    return [one.id for one in log.partitions() if one.lapsed]


# --- what comes before a segment -------------------------------------------------


def test_a_lone_partition_comes_after_nothing(log: CallLog) -> None:
    [only] = opened(log, 1)
    assert [append(log, only).after for _ in range(3)] == [{}, {}, {}]


def test_a_segment_names_the_partitions_that_grew_since_its_last_one(log: CallLog) -> None:
    left, right, idle = opened(log, 3)
    assert append(log, left, 2).after == {}
    assert append(log, right).after == {left: 2}
    assert append(log, right).after == {}
    assert append(log, left).after == {right: 2}
    assert append(log, left).after == {}
    assert append(log, right).after == {left: 4}
    assert append(log, idle).after == {left: 4, right: 3}


def test_a_successor_comes_after_what_closed_partitions_hold(log: CallLog) -> None:
    dead, empty = opened(log)
    append(log, dead, 3)
    log.close_partition(dead)
    log.close_partition(empty)
    [successor] = opened(log, 1)
    assert append(log, successor).after == {dead: 3}
    assert append(log, successor).after == {}


def test_duplicates_alone_leave_what_comes_before_to_the_next_segment(log: CallLog) -> None:
    left, right = opened(log)
    mine = NewCall(id="mine", method="pay", service="shop", input=b"{}", client_id=True)
    log.append(left, [Batch(calls=[mine])])
    assert log.append(right, [Batch(calls=[mine])]).segment is None
    assert append(log, right).after == {left: 1}


def test_readers_find_what_comes_before_a_segment_and_before_its_parts(log: CallLog) -> None:
    left, right = opened(log)
    append(log, left, 2)
    segment = append(log, right, 5)
    assert list(log.read(right, start=0, end=5)) == [segment]
    [part] = log.read(right, start=2, end=4)
    assert (part.first, part.after) == (2, {left: 2})
    assert [one.after for one in log.search(method="pay", after_pos=0)] == [{}, {left: 2}]


def test_what_comes_before_is_durable(open_log: Callable[[], CallLog]) -> None:
    log = open_log()
    left, right = opened(log)
    append(log, left, 2)
    append(log, right)
    log.close()
    log = open_log()
    [segment] = log.read(right, start=0, end=1)
    assert segment.after == {left: 2}
    append(log, right)
    assert append(log, left).after == {right: 2}, "it knows where its own last segment was"


def test_segments_of_threads_form_one_order_whatever_order_they_are_read_in(log: CallLog) -> None:
    partitions = opened(log, 3)

    def publish(partition: int) -> None:
        for _ in range(12):
            append(log, partition, 2)

    threads = [threading.Thread(target=publish, args=(one,)) for one in partitions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = {one: list(log.read(one, start=0, end=100)) for one in partitions}
    applied = dict.fromkeys(partitions, 0)
    order: list[int] = []
    while any(left.values()):
        ready = [
            one
            for one, segments in left.items()
            if segments and all(applied[other] >= end for other, end in segments[0].after.items())
        ]
        assert len(ready) == 1, "exactly one segment may come next"
        segment = left[ready[0]].pop(0)
        applied[segment.partition] = segment.end
        order.append(segment.pos)
    assert order == sorted(order)
    assert len(order) == 36


# --- leases ----------------------------------------------------------------------


def test_a_silent_owner_loses_its_lease(log: CallLog, clock: Clock) -> None:
    silent, writing, renewing = opened(log, 3)
    for _ in range(4):
        clock.us += LEASE_US // 2
        append(log, writing)
        log.renew(renewing)
    assert lapsed(log) == [silent]
    log.renew(silent)
    assert lapsed(log) == []
    clock.us += LEASE_US + 1
    assert lapsed(log) == sorted((silent, writing, renewing))


def test_a_lapsed_partition_still_takes_calls_until_somebody_closes_it(
    log: CallLog, clock: Clock
) -> None:
    [late] = opened(log, 1)
    clock.us += 2 * LEASE_US
    append(log, late)
    assert lapsed(log) == []
    log.close_partition(late)
    clock.us += 2 * LEASE_US
    assert lapsed(log) == [], "a closed partition has no owner any more"
    with pytest.raises(PartitionClosed):
        log.renew(late)
    with pytest.raises(PartitionClosed):
        log.renew(12345)


def test_a_lease_of_a_clock_that_went_back_is_over_until_it_is_renewed(
    log: CallLog, clock: Clock
) -> None:
    living, dead = opened(log)
    clock.us -= 3_600_000_000
    assert lapsed(log) == sorted((living, dead))
    append(log, living)
    assert lapsed(log) == [dead]


# --- forgetting ------------------------------------------------------------------


def test_closed_partitions_are_forgotten_once_their_calls_are_gone_for_a_while(
    log: CallLog, clock: Clock
) -> None:
    used, empty, living = opened(log, 3)
    append(log, used, 3)
    log.close_partition(used)
    log.close_partition(empty)
    clock.us += 1
    assert log.delete_before(from_us(clock.us), applied={used: 3}).segments == 1
    assert log.forgotten([used, empty, living, 5]) == {5}
    clock.us += KEPT_US
    assert log.delete_before(from_us(clock.us), applied={}).partitions == 2
    assert log.forgotten([used, empty, living, 5]) == {used, empty, 5}
    assert append(log, living).after == {}
    with pytest.raises(PartitionClosed):
        log.close_partition(used)


def test_a_closed_partition_with_calls_is_kept_however_long_it_was_closed(
    log: CallLog, clock: Clock
) -> None:
    [used] = opened(log, 1)
    append(log, used, 3)
    log.close_partition(used)
    clock.us += 2 * KEPT_US
    deleted = log.delete_before(from_us(clock.us), applied={used: 2})
    assert (deleted.segments, deleted.partitions) == (0, 0)
    assert log.close_partition(used).next_offset == 3
    deleted = log.delete_before(from_us(clock.us), applied={used: 3})
    assert (deleted.segments, deleted.partitions) == (1, 1)


# --- files of the release before -------------------------------------------------


def test_a_file_of_the_release_before_puts_its_calls_before_all_new_ones(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "old.db"
    with schema.write_transaction(path, busy_s=1) as connection:
        schema.upgrade_with_alembic(connection, "calls", to="calls_0002")
    columns = "(pos, partition, first, count, generation, accepted_at, body)"
    with closing(sqlite3.connect(path)) as connection:
        rows = [(1, 3, 1), (2, 0, 0), (3, 5, 0)]
        connection.executemany("INSERT INTO partition VALUES (?, ?, ?, '1:0:old')", rows)
        connection.execute(f"INSERT INTO segment {columns} VALUES (7, 1, 0, 3, 0, 9, x'')")
        connection.commit()
    log = SqliteCallLog(path, now_us=clock)
    assert lapsed(log) == [1]
    [new] = opened(log, 1)
    assert append(log, new).after == {1: 3, 3: 5}
    log.close()


def test_pairs_of_partitions_agree_on_who_was_first(log: CallLog) -> None:
    """Of two segments exactly one is behind the other, directly or through others."""
    left, right = opened(log)
    segments = [append(log, one) for one in (left, right, right, left, left, right)]
    behind: dict[int, set[int]] = {}
    for segment in segments:
        before = {
            other.pos
            for other in segments
            if other.end <= segment.after.get(other.partition, 0)
            or (other.partition == segment.partition and other.pos < segment.pos)
        }
        behind[segment.pos] = before.union(*(behind[pos] for pos in before))
    for earlier, later in itertools.combinations([one.pos for one in segments], 2):
        assert earlier in behind[later]
        assert later not in behind[earlier]
