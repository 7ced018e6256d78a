"""Offices: what is written under one is refused once somebody else holds it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest
from scale_tests.postgres_server import PostgresServer
from tests.conformance.stores.written import StartWriter, lines, until_stopped

from raysume.errors import Fenced, StoreUnavailable
from raysume.storage.ports import Decision, JournalRow, Office, ShardRef, Store, StoreCommit
from raysume.storage.postgres.state import PostgresStore
from raysume.storage.processes import owner_of_this_process
from raysume.storage.sqlite.state import SqliteStore

FIRST, SECOND = "1:0:first", "1:0:second"
REF = ShardRef(workflow="flight", version="v1", number=0)
DECISION = Decision(workflow="flight", pos=1, offset=0, kind="verdict", body=b"mine")


def writes_of(store: Store) -> dict[str, Callable[[], object]]:
    """Everything that changes a store, by name."""
    [shard] = store.acquire([REF], owner=FIRST)
    journal = [JournalRow(shard=shard.key, seq=1, body=b"")]
    return {
        "put": lambda: store.put_document("members", "flight", b"late"),
        "add": lambda: store.add_document("members", "other", b"late"),
        "delete": lambda: store.delete_document("members", "flight"),
        "commit": lambda: store.commit(
            StoreCommit(epochs={shard.key: shard.epoch}, journal=journal)
        ),
        "acquire": lambda: store.acquire([REF], owner=FIRST),
        "decide": lambda: store.decide([DECISION]),
        "forget": lambda: store.forget_decisions(before_pos=10),
        "take another office": lambda: store.take_office("other", owner=FIRST),
    }


def contents_of(store: Store) -> list[object]:
    """What of a store the writes above would change."""
    return [
        store.documents("members"),
        store.shards(),
        list(store.decisions_of("flight", after=(0, 0))),
        [list(store.journal_of(one.key, after=0)) for one in store.shards()],
    ]


def test_an_office_is_taken_under_rising_epochs(store: Store) -> None:
    first = store.take_office("directory", owner=FIRST)
    assert first == Office(name="directory", epoch=1)
    store.check_office(first)
    second = store.take_office("directory", owner=SECOND)
    assert second.epoch == 2
    assert store.take_office("directory", owner=SECOND).epoch == 3
    assert store.take_office("other", owner=FIRST).epoch == 1
    with pytest.raises(Fenced, match="'directory' is no longer held under epoch 2"):
        store.check_office(second)
    with pytest.raises(Fenced):
        store.check_office(Office(name="nobody's", epoch=1))


def test_whoever_holds_the_office_writes_as_anybody_does(store: Store) -> None:
    held = store.under(store.take_office("directory", owner=FIRST))
    for write in writes_of(held).values():
        write()
    held.put_document("members", "flight", b"one")
    assert store.get_document("members", "flight") == b"one"
    assert held.get_document("members", "flight") == b"one"
    store.put_document("members", "flight", b"two")
    assert held.documents("members") == [("flight", b"two"), ("other", b"late")]
    assert [one.ref for one in held.shards()] == [REF]


def test_of_what_a_former_holder_writes_nothing_is_kept(store: Store) -> None:
    lost: list[str] = []
    former = store.under(store.take_office("directory", owner=FIRST), lost=lambda: lost.append("!"))
    writes = writes_of(former)
    store.put_document("members", "flight", b"kept")
    [old] = store.decide([Decision(workflow="flight", pos=2, offset=0, kind="claim", body=b"")])
    current = store.under(store.take_office("directory", owner=SECOND))
    contents = contents_of(store)
    for name, write in writes.items():
        with pytest.raises(Fenced, match="another process took it, under epoch 2"):
            write()
        assert lost.pop() == "!", name
        assert not lost
    assert contents_of(store) == contents
    assert store.take_office("other", owner=SECOND).epoch == 1
    assert former.get_document("members", "flight") == b"kept", "it may read"
    assert list(former.decisions_of("flight", after=(0, 0))) == [old]
    current.put_document("members", "flight", b"its successor's")
    assert store.get_document("members", "flight") == b"its successor's"


def test_a_store_and_its_holders_are_closed_together(store: Store) -> None:
    held = store.under(store.take_office("directory", owner=FIRST))
    store.close()
    for refused in (
        lambda: held.put_document("k", "k", b""),
        lambda: store.take_office("directory", owner=FIRST),
        lambda: store.check_office(Office(name="directory", epoch=1)),
    ):
        with pytest.raises(StoreUnavailable):
            refused()


def test_an_office_outlives_its_store(open_store: Callable[[], Store]) -> None:
    left, right = open_store(), open_store()
    owner = owner_of_this_process("directory")
    former = left.under(left.take_office("directory", owner=owner))
    former.put_document("members", "flight", b"one")
    current = right.under(right.take_office("directory", owner=owner))
    with pytest.raises(Fenced):
        former.put_document("members", "flight", b"late")
    current.put_document("members", "flight", b"two")
    again = open_store()
    assert again.get_document("members", "flight") == b"two"
    assert again.take_office("directory", owner=owner).epoch == 3


def test_of_two_holders_that_write_at_once_the_last_one_of_the_newer_stays(
    open_store: Callable[[], Store],
) -> None:
    owner = owner_of_this_process("directory")
    stores = [open_store() for _ in range(3)]
    written: list[tuple[int, int]] = []

    def hold(store: Store) -> None:
        office = store.take_office("directory", owner=owner)
        held = store.under(office)
        for number in range(100):
            try:
                held.put_document("members", "flight", b"%d %d" % (office.epoch, number))
            except Fenced:
                return
            written.append((office.epoch, number))

    threads = [threading.Thread(target=hold, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    body = stores[0].get_document("members", "flight")
    assert body == b"%d %d" % (3, 99)
    assert max(written) == (3, 99)


# --- holders that stop in the middle ---------------------------------------------


def test_on_one_machine_a_former_holder_that_was_stopped_is_ended(
    start_writer: StartWriter, tmp_path: os.PathLike[str]
) -> None:
    stopped = start_writer("stop_in_office", os.fspath(tmp_path))
    assert lines(stopped, 1) == ["stopping"]
    until_stopped(stopped)
    with closing(SqliteStore(f"{os.fspath(tmp_path)}/state.db", busy_s=10)) as store:
        office = store.take_office("directory", owner=owner_of_this_process("successor"))
        assert office.epoch == 2
        assert stopped.wait(10) == -signal.SIGKILL
        store.under(office).put_document("members", "flight", b"its successor's")
        assert store.documents("members") == [("flight", b"its successor's")]


def test_on_another_machine_a_former_holder_that_was_stopped_is_passed_and_writes_nothing(
    start_writer: StartWriter, postgres_url: str
) -> None:
    stopped = start_writer("stop_in_office", postgres_url)
    assert lines(stopped, 1) == ["stopping"]
    until_stopped(stopped)
    with closing(PostgresStore(postgres_url, busy_s=0.3)) as store:
        office = store.take_office("directory", owner=owner_of_this_process("successor"))
        assert office.epoch == 2
        assert stopped.poll() is None, "no process is killed"
        store.under(office).put_document("members", "flight", b"its successor's")
        os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.wait(20) == 1, "it finds out that its write failed"
        assert store.documents("members") == [("flight", b"its successor's")]


def test_a_takeover_waits_for_what_is_being_written_and_sees_it(
    server: PostgresServer, postgres_url: str
) -> None:
    assert server
    with (
        closing(PostgresStore(postgres_url)) as store,
        closing(PostgresStore(postgres_url)) as other,
        psycopg.connect(postgres_url, autocommit=True) as looking,
    ):
        store.take_office("directory", owner=FIRST)
        taken: list[Office] = []
        taking = threading.Thread(
            target=lambda: taken.append(other.take_office("directory", owner=SECOND))
        )
        with psycopg.connect(postgres_url) as connection:
            # As a holder does: it has locked the office, and has not written yet.
            connection.execute(
                "SELECT body FROM raysume_state.document WHERE kind = 'office' FOR NO KEY UPDATE"
            )
            taking.start()
            while not looking.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                assert taking.is_alive()
            connection.execute(
                "INSERT INTO raysume_state.document (kind, key, body) VALUES ('members', 'f', 'x')"
            )
        taking.join()
        assert [one.epoch for one in taken] == [2]
        assert other.documents("members") == [("f", b"x")]
