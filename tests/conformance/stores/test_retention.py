"""What is old is deleted in small batches, and nothing that somebody may still need."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from raysume import limits
from raysume.errors import InvariantViolated
from raysume.ids import uuid7
from raysume.storage.call_ports import Batch, CallLog, CallQuery, NewCall, Publisher
from raysume.storage.moments import from_us, to_us
from raysume.storage.ports import (
    Checkpoint,
    InstanceQuery,
    InstanceRow,
    OwnedShard,
    ShardRef,
    Store,
    StoreCommit,
)
from raysume.storage.sqlite.calls import SqliteCallLog
from raysume.storage.sqlite.state import SqliteStore

if TYPE_CHECKING:
    from tests.conformance.stores.conftest import Clock

OWNER = "1:0:test"
START = datetime(2013, 2, 8, 6, 0, tzinfo=UTC)
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

# --- instances -------------------------------------------------------------------


def own(store: Store) -> OwnedShard:
    [shard] = store.acquire([ShardRef(workflow="flight", version="v1", number=0)], owner=OWNER)
    return shard


def row(shard: OwnedShard, number: int, *, id: str | None = None) -> InstanceRow:
    return InstanceRow(
        shard=shard.key,
        number=number,
        id=id or f"i{number}",
        workflow="flight",
        version="v1",
        status="completed",
        started_us=to_us(START),
        updated_us=to_us(START),
        body=b"x",
        tags={"number": str(number), "kind": "old"},
    )


def write(
    store: Store, shard: OwnedShard, *rows: InstanceRow, removed: tuple[int, ...] = ()
) -> None:
    checkpoint = Checkpoint(shard=shard.key, seq=0, header=b"h", rows=rows, removed=removed)
    store.commit(StoreCommit(epochs={shard.key: shard.epoch}, checkpoints=[checkpoint]))


def test_a_removed_instance_is_found_by_nothing_any_more(store: Store) -> None:
    shard = own(store)
    write(store, shard, row(shard, 1), row(shard, 2), row(shard, 3))
    write(store, shard, removed=(1, 3))
    assert [one.number for one in store.instances_of(shard.key)] == [2]
    assert store.find_instance("i1") == []
    assert [one.id for one in store.list_instances(InstanceQuery())] == ["i2"]
    tagged = store.list_instances(InstanceQuery(tags={"kind": "old"}))
    assert [one.id for one in tagged] == ["i2"]


def test_the_id_of_a_removed_instance_is_free_again(store: Store) -> None:
    shard = own(store)
    write(store, shard, row(shard, 1))
    write(store, shard, removed=(1,))
    write(store, shard, row(shard, 2, id="i1"))
    assert [one.number for one in store.find_instance("i1")] == [2]


def test_an_instance_that_is_not_there_can_not_be_removed(store: Store) -> None:
    shard = own(store)
    write(store, shard, row(shard, 1))
    with pytest.raises(InvariantViolated):
        write(store, shard, row(shard, 2), removed=(1, 7))
    assert [one.number for one in store.instances_of(shard.key)] == [1]


@pytest.mark.parametrize("removed", [(1,), (2, 2)])
def test_what_is_written_or_removed_already_can_not_be_removed(
    store: Store, removed: tuple[int, ...]
) -> None:
    shard = own(store)
    write(store, shard, row(shard, 1), row(shard, 2))
    with pytest.raises(InvariantViolated):
        write(store, shard, row(shard, 1), removed=removed)
    assert [one.number for one in store.instances_of(shard.key)] == [1, 2]


def test_no_table_keeps_a_row_of_a_removed_instance(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(SqliteStore(path)) as store:
        shard = own(store)
        write(store, shard, row(shard, 1))
        write(store, shard, removed=(1,))
    assert rows_in(path, spared={"shard", "checkpoint", "alembic_version"}) == {}


def rows_in(path: Path, *, spared: set[str]) -> dict[str, int]:
    """Table -> its rows, of the tables that have any."""
    with closing(sqlite3.connect(path)) as connection:
        select = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = {name for (name,) in connection.execute(select)} - spared
        counts = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names
        }
    return {name: count for name, count in counts.items() if count}


# --- calls -----------------------------------------------------------------------


def append(log: CallLog, partition: int, *ids: str, method: str = "pay") -> None:
    """One segment; ids that are not made by the server are the client's."""
    calls = [
        NewCall(id=id, method=method, service="shop", input=b"{}", client_id=len(id) < 36)
        for id in ids
    ]
    log.append(partition, [Batch(calls=calls)])


def filled(log: CallLog, clock: Clock) -> int:
    """A partition with ten segments of two calls, a day apart: a0 b0, a1 b1, ..."""
    partition = log.open_partition(owner=OWNER).id
    for number in range(10):
        append(log, partition, f"a{number}", f"b{number}", method=f"m{number % 3}")
        clock.us += DAY_US
    return partition


def left(log: CallLog) -> list[str]:
    return [found.call.id for found in log.list_calls(CallQuery())]


def days(*numbers: int) -> list[str]:
    return [f"{letter}{number}" for number in numbers for letter in "ab"]


def test_calls_accepted_before_are_gone_for_every_reader(log: CallLog, clock: Clock) -> None:
    partition = filled(log, clock)
    before = from_us(clock.us - 4 * DAY_US)
    deleted = log.delete_before(before, applied={partition: 20})
    assert (deleted.segments, deleted.more) == (6, False)
    assert left(log) == days(6, 7, 8, 9)
    assert [one.first for one in log.read(partition, start=0, end=20)] == [12, 14, 16, 18]
    found = [one.first for one in log.search(method="m0", after_pos=0)]
    assert found == [12, 18]
    assert log.find_call("a5") is None
    assert log.find_call("a6") is not None
    of_service = log.list_calls(CallQuery(service="shop", method="m1"))
    assert [one.call.id for one in of_service] == days(7)


def test_a_call_accepted_at_the_moment_stays(log: CallLog, clock: Clock) -> None:
    partition = log.open_partition(owner=OWNER).id
    append(log, partition, "a")
    log.delete_before(from_us(clock.us), applied=None)
    assert left(log) == ["a"]
    log.delete_before(from_us(clock.us + 1), applied=None)
    assert left(log) == []


def test_no_call_goes_that_somebody_has_not_applied(log: CallLog, clock: Clock) -> None:
    partition = filled(log, clock)
    log.delete_before(from_us(clock.us), applied={partition: 5})
    assert left(log) == days(2, 3, 4, 5, 6, 7, 8, 9)
    log.delete_before(from_us(clock.us), applied={})
    assert left(log) == days(2, 3, 4, 5, 6, 7, 8, 9)


def test_calls_go_oldest_first_over_all_partitions(log: CallLog, clock: Clock) -> None:
    first, second = (log.open_partition(owner=OWNER).id for _ in range(2))
    for number, partition in enumerate((first, second, first, second)):
        append(log, partition, f"a{number}")
        clock.us += SECOND_US
    log.delete_before(from_us(clock.us), applied={first: 2, second: 1})
    assert left(log) == ["a3"]


def test_one_batch_is_small_and_says_that_there_is_more(log: CallLog, clock: Clock) -> None:
    partition = log.open_partition(owner=OWNER).id
    for number in range(limits.CALLS_DELETED_SEGMENTS_MAX + 1):
        append(log, partition, f"a{number}")
    clock.us += SECOND_US
    batches = [log.delete_before(from_us(clock.us), applied=None) for _ in range(3)]
    sizes = [(one.segments, one.more) for one in batches]
    assert sizes == [(limits.CALLS_DELETED_SEGMENTS_MAX, True), (1, False), (0, False)]


def test_offsets_and_places_go_on_behind_what_was_deleted(log: CallLog, clock: Clock) -> None:
    partition = filled(log, clock)
    log.delete_before(from_us(clock.us), applied=None)
    append(log, partition, "new")
    [found] = log.list_calls(CallQuery())
    assert (found.offset, found.pos, found.call.at_us) == (20, 11, clock.us)


def test_a_closed_partition_without_calls_is_no_longer_listed(log: CallLog, clock: Clock) -> None:
    partition = filled(log, clock)
    log.close_partition(partition)
    assert [one.id for one in log.partitions()] == [partition]
    log.delete_before(from_us(clock.us), applied=None)
    assert log.partitions() == []
    assert log.barrier() == {}


def test_an_id_of_a_client_answers_for_its_window_though_the_call_is_gone(
    log: CallLog, clock: Clock
) -> None:
    partition = log.open_partition(owner=OWNER).id
    append(log, partition, "mine")
    clock.us += DAY_US
    log.delete_before(from_us(clock.us), applied=None)
    assert (left(log), log.find_call("mine")) == ([], None)
    append(log, partition, "mine")
    assert left(log) == []
    clock.us += limits.CALL_ID_WINDOW // timedelta(microseconds=1)
    assert log.delete_before(from_us(clock.us), applied=None).client_ids == 1
    append(log, partition, "mine")
    assert left(log) == ["mine"]


def test_an_id_of_a_client_stays_as_long_as_its_call(log: CallLog, clock: Clock) -> None:
    partition = filled(log, clock)
    clock.us += 100 * DAY_US
    deleted = log.delete_before(from_us(clock.us), applied={partition: 18})
    assert (deleted.segments, deleted.client_ids) == (9, 18)
    found = log.find_call("b9")
    assert found is not None
    append(log, partition, "b9")
    assert left(log) == ["a9", "b9"]


def test_only_a_publisher_that_is_silent_for_long_is_forgotten(log: CallLog, clock: Clock) -> None:
    partition = log.open_partition(owner=OWNER).id

    def publish(name: str) -> list[str]:
        call = NewCall(id=uuid7(), method="pay", service="shop", input=b"{}")
        batch = Batch(calls=[call], publisher=Publisher(id=name, first=0))
        [accepted] = log.append(partition, [batch]).accepted
        return list(accepted.outcomes)

    assert publish("silent") == ["accepted"]
    clock.us += limits.PUBLISHER_WINDOW // timedelta(microseconds=1)
    assert publish("heard") == ["accepted"]
    clock.us += SECOND_US
    assert log.delete_before(from_us(clock.us), applied=None).publishers == 1
    assert publish("heard") == ["duplicate"]
    assert publish("silent") == ["accepted"]


def test_no_table_keeps_a_row_of_deleted_calls(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "calls.db"
    with closing(SqliteCallLog(path, now_us=clock)) as log:
        filled(log, clock)
        clock.us += 300 * DAY_US
        log.delete_before(from_us(clock.us), applied=None)
    assert rows_in(path, spared={"partition", "clock", "alembic_version"}) == {}


def test_old_ids_of_clients_are_found_without_a_scan(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    SqliteCallLog(path).close()
    with closing(sqlite3.connect(path)) as connection:
        select = "SELECT id_hash FROM client_call WHERE at < 5 ORDER BY at LIMIT 3"
        plan = connection.execute(f"EXPLAIN QUERY PLAN {select}").fetchall()
    assert [line[3] for line in plan] == [
        "SEARCH client_call USING COVERING INDEX ix_client_call_at (at<?)"
    ]
