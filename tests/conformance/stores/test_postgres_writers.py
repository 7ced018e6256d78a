"""PostgreSQL: writers that stop, several that write at once, and a server that is away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from scale_tests.postgres_server import PostgresServer
from tests.conformance.stores.written import StartWriter, killed_after, lines, until_stopped

from raysume.errors import Fenced, StoreUnavailable
from raysume.ids import uuid7
from raysume.limits import PROCESS_END_S_MAX
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.ports import JournalRow, OwnedShard, ShardRef, StoreCommit
from raysume.storage.postgres.calls import PostgresCallLog
from raysume.storage.postgres.limits import IDLE_TRANSACTION_S
from raysume.storage.postgres.state import PostgresStore
from raysume.storage.processes import owner_of_this_process

REF = ShardRef(workflow="flight", version="v1", number=0)
SLACK_S = 20.0
"""What a loaded machine may add to a time."""


@pytest.fixture(scope="module")
def mortal_server() -> Iterator[PostgresServer]:
    """A server that the tests of this file stop."""
    with PostgresServer() as server:
        yield server


def row(shard: OwnedShard, seq: int) -> StoreCommit:
    journal = [JournalRow(shard=shard.key, seq=seq, body=b"%d" % seq)]
    return StoreCommit(epochs={shard.key: shard.epoch}, journal=journal)


def call(id: str | None = None) -> Batch:
    made = NewCall(id=id or uuid7(), method="pay", service="shop", input=b"{}", client_id=bool(id))
    return Batch(calls=[made])


def select(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


# --- writers that stop -----------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "waits_for"),
    [("stop_in_commit", "idle in transaction"), ("stop_in_copy", "active")],
)
def test_a_takeover_passes_a_writer_that_was_stopped_in_its_transaction_and_writes_no_more(
    program: str, waits_for: str, start_writer: StartWriter, postgres_url: str
) -> None:
    stopped = start_writer(program, postgres_url)
    assert lines(stopped, 1) == ["stopping"]
    until_stopped(stopped)
    states = select(
        postgres_url,
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND application_name = 'raysume' AND xact_start IS NOT NULL",
    )
    assert states == [(waits_for,)]
    with closing(PostgresStore(postgres_url, busy_s=0.3)) as store:
        [shard] = store.acquire([REF], owner=owner_of_this_process("successor"))
        assert shard.epoch == 2
        assert stopped.poll() is None, "no process is killed"
        store.commit(row(shard, 2))
        os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.wait(SLACK_S) == 1, "it finds out that its commit failed"
        assert [one.body for one in store.journal_of(shard.key, after=0)] == [b"first", b"2"]
        assert list(store.instances_of(shard.key)) == []


def test_a_partition_is_closed_though_its_owner_was_stopped_in_an_append(
    start_writer: StartWriter, postgres_url: str
) -> None:
    stopped = start_writer("stop_in_append", postgres_url)
    partition = int(lines(stopped, 1)[0])
    until_stopped(stopped)
    with closing(PostgresCallLog(postgres_url, busy_s=0.3)) as log:
        closed = log.close_partition(partition)
        assert (closed.next_offset, closed.open) == (1, False)
        assert stopped.poll() is None, "no process is killed"
        own = log.open_partition(owner=owner_of_this_process("successor"))
        assert list(log.append(own.id, [call("mine")]).accepted[0].outcomes) == ["duplicate"]


def test_a_writer_that_was_stopped_holds_the_appends_of_others_up_for_a_bounded_time(
    start_writer: StartWriter, postgres_url: str
) -> None:
    stopped = start_writer("stop_in_append", postgres_url)
    lines(stopped, 1)
    until_stopped(stopped)
    with closing(PostgresCallLog(postgres_url)) as log:
        own = log.open_partition(owner=owner_of_this_process("other"))
        began = time.monotonic()
        assert log.append(own.id, [call()]).segment is not None
        assert time.monotonic() - began < IDLE_TRANSACTION_S + SLACK_S
        assert log.barrier()[own.id] == 1


def test_a_takeover_waits_for_a_commit_that_is_under_way_and_reads_what_it_wrote(
    postgres_url: str,
) -> None:
    with (
        closing(PostgresStore(postgres_url)) as store,
        closing(PostgresStore(postgres_url)) as other,
    ):
        [first] = store.acquire([REF], owner="1:0:first")
        store.commit(row(first, 1))
        taken = threading.Thread(target=lambda: other.acquire([REF], owner="1:0:second"))
        with psycopg.connect(postgres_url) as connection:
            # As a commit does: it has locked its shard, and has not written yet.
            connection.execute("SELECT 1 FROM raysume_state.shard FOR NO KEY UPDATE")
            taken.start()
            while not select(postgres_url, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert taken.is_alive()
            connection.execute(
                "INSERT INTO raysume_state.journal (shard, seq, epoch, body) VALUES (1, 2, 1, 'x')"
            )
        taken.join()
        assert [one.seq for one in other.journal_of(first.key, after=0)] == [1, 2]
        with pytest.raises(Fenced):
            store.commit(row(first, 3))
        assert [one.seq for one in other.journal_of(first.key, after=0)] == [1, 2]


# --- several processes -----------------------------------------------------------


def test_processes_that_append_at_once_have_no_holes_and_positions_in_the_order_of_commits(
    start_writer: StartWriter, postgres_url: str
) -> None:
    processes = [start_writer("append_for_ever", postgres_url) for _ in range(2)]
    acknowledged = [lines(process, 3) for process in processes]
    seen: list[int] = []
    for _ in range(40):
        rows = select(postgres_url, "SELECT pos FROM raysume_calls.segment ORDER BY pos")
        positions = [pos for (pos,) in rows]
        assert positions == list(range(1, len(positions) + 1)), "a later one was committed first"
        seen.append(len(positions))
        acknowledged[len(seen) % 2] += lines(processes[len(seen) % 2], 1)
    assert seen[-1] > seen[0]
    for process, printed in zip(processes, acknowledged, strict=True):
        printed += killed_after(process, 0)
    with closing(PostgresCallLog(postgres_url)) as log:
        times: dict[int, int] = {}
        for printed in acknowledged:
            words = [line.split() for line in printed]
            partition = int(words[0][0])
            ids = [id for line in words for id in line[1:]]
            end = log.close_partition(partition).next_offset
            segments = list(log.read(partition, start=0, end=end))
            found = [one.id for segment in segments for one in segment.calls]
            assert len(found) == end
            assert found[: len(ids)] == ids
            times |= {segment.pos: segment.calls[0].at_us for segment in segments}
        in_order = [times[pos] for pos in sorted(times)]
        assert in_order == sorted(in_order)


def test_processes_that_start_together_make_one_database(
    start_writer: StartWriter, server: PostgresServer, database_names: Iterator[str]
) -> None:
    name = next(database_names)
    url = server.create_database(name)
    processes = [start_writer("open_both", url) for _ in range(3)]
    assert [lines(process, 1) for process in processes] == [["ready"]] * 3
    assert [process.wait(PROCESS_END_S_MAX) for process in processes] == [0, 0, 0]
    server.drop_database(name)


# --- a server that is away -------------------------------------------------------


def test_an_immediate_stop_amid_commits_loses_nothing_acknowledged_and_the_store_goes_on(
    mortal_server: PostgresServer,
) -> None:
    store = PostgresStore(mortal_server.create_database("commits"))
    owner = owner_of_this_process("writer")
    for round in range(3):
        [shard] = store.acquire([REF], owner=owner)
        before = max([0, *(one.seq for one in store.journal_of(shard.key, after=0))])
        acknowledged = [before]
        some = threading.Event()
        ended: list[BaseException] = []

        def commit_for_ever() -> None:
            try:
                while True:
                    store.commit(row(shard, acknowledged[-1] + 1))  # noqa: B023
                    acknowledged.append(acknowledged[-1] + 1)  # noqa: B023
                    if len(acknowledged) == 20:  # noqa: B023
                        some.set()  # noqa: B023
            except BaseException as error:
                ended.append(error)  # noqa: B023
                some.set()  # noqa: B023

        writer = threading.Thread(target=commit_for_ever)
        writer.start()
        assert some.wait(60)
        mortal_server.kill() if round == 1 else mortal_server.stop_immediately()
        writer.join(60)
        assert [type(error) for error in ended] == [StoreUnavailable]
        with pytest.raises(StoreUnavailable, match="Start the server"):
            store.journal_row(shard.key, 1)
        mortal_server.start()
        kept = [one.seq for one in store.journal_of(shard.key, after=0)]
        assert kept == list(range(1, len(kept) + 1))
        assert acknowledged[-1] <= len(kept) <= acknowledged[-1] + 1
    store.close()


def test_an_immediate_stop_amid_appends_loses_nothing_acknowledged_and_the_log_goes_on(
    mortal_server: PostgresServer,
) -> None:
    log = PostgresCallLog(mortal_server.create_database("appends"))
    partition = log.open_partition(owner=owner_of_this_process("writer")).id
    acknowledged: list[str] = []
    some = threading.Event()
    ended: list[BaseException] = []

    def append_for_ever() -> None:
        try:
            while True:
                segment = log.append(partition, [call(), call()]).segment
                assert segment is not None
                acknowledged.extend(one.id for one in segment.calls)
                if len(acknowledged) >= 40:
                    some.set()
        except BaseException as error:
            ended.append(error)
            some.set()

    writer = threading.Thread(target=append_for_ever)
    writer.start()
    assert some.wait(60)
    mortal_server.stop_immediately()
    writer.join(60)
    assert [type(error) for error in ended] == [StoreUnavailable]
    mortal_server.start()
    end = log.close_partition(partition).next_offset
    found = [one.id for segment in log.read(partition, start=0, end=end) for one in segment.calls]
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) == end
    assert len(found) - len(acknowledged) in (0, 2)
    own = log.open_partition(owner=owner_of_this_process("writer")).id
    assert log.append(own, [call()]).segment is not None
    log.close()


def test_connections_that_the_server_ended_while_idle_are_replaced_unnoticed(
    postgres_url: str,
) -> None:
    with closing(PostgresStore(postgres_url)) as store:
        store.put_document("k", "k", b"1")
        ended = select(
            postgres_url,
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND application_name = 'raysume'",
        )
        assert ended
        assert all(done for (done,) in ended)
        assert store.get_document("k", "k") == b"1"
        store.put_document("k", "k", b"2")


def test_a_server_that_is_away_when_a_store_is_opened_may_be_waited_for(
    mortal_server: PostgresServer,
) -> None:
    url = mortal_server.create_database("away")
    mortal_server.stop()
    try:
        with pytest.raises(StoreUnavailable, match="Start the server") as refused:
            PostgresStore(url)
        assert "away" in str(refused.value)
    finally:
        mortal_server.start()
    PostgresStore(url).close()
