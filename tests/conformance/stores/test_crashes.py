"""Writers that are killed or stopped, and whoever takes over from them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from raysume.errors import PartitionClosed, StoreUnavailable
from raysume.limits import PARTITION_LEASE_S
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.ports import JournalRow, ShardRef, StoreCommit
from raysume.storage.processes import (
    end_process,
    is_other_live_process,
    owner_of_this_process,
)
from raysume.storage.sqlite.calls import SqliteCallLog
from raysume.storage.sqlite.connections import Database
from raysume.storage.sqlite.state import SqliteStore

WRITERS = Path(__file__).with_name("writers.py")
REF = ShardRef(workflow="flight", version="v1", number=0)

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts one of the programs of writers.py; what is left of it ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start_one(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(WRITERS), name, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def killed_after(process: subprocess.Popen[str], count: int) -> list[str]:
    """All lines that the process printed until it was killed, soon after the first `count`."""
    printed = lines(process, count)
    process.kill()
    rest, _ = process.communicate()
    # A last line without its end was cut off while it was printed.
    return printed + rest.split("\n")[:-1]


def until_stopped(process: subprocess.Popen[str]) -> None:
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def assert_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_every_acknowledged_commit_survives_kill_9(start: Start, tmp_path: Path) -> None:
    for _ in range(3):
        acknowledged = [int(line) for line in killed_after(start("commit_for_ever"), 40)]
        store = SqliteStore(tmp_path / "state.db")
        [shard] = store.shards()
        checkpoint = store.checkpoint_of(shard.key)
        assert checkpoint is not None
        covered, header = checkpoint
        journal = list(store.journal_of(shard.key, after=covered))
        assert [row.seq for row in journal] == list(range(covered + 1, covered + 1 + len(journal)))
        assert covered + len(journal) in (acknowledged[-1], acknowledged[-1] + 1)
        assert all(row.body == b"%d" % row.seq * 400 for row in journal)
        assert header == b"%d" % covered
        assert [row.body for row in store.instances_of(shard.key)] == [
            b"%d" % number for number in range(1, covered + 1)
        ]
        store.close()
        assert_whole(tmp_path / "state.db")


def test_every_acknowledged_call_survives_kill_9(start: Start, tmp_path: Path) -> None:
    for _ in range(3):
        acknowledged = [line.split() for line in killed_after(start("append_for_ever"), 40)]
        partition = int(acknowledged[0][0])
        ids = [call_id for line in acknowledged for call_id in line[1:]]
        log = SqliteCallLog(tmp_path / "calls.db")
        final = log.close_partition(partition).next_offset
        found = [
            call.id for segment in log.read(partition, start=0, end=final) for call in segment.calls
        ]
        assert found[: len(ids)] == ids
        assert len(found) == final
        assert len(found) - len(ids) in (0, 20)
        log.close()
        assert_whole(tmp_path / "calls.db")


def test_a_takeover_kills_a_writer_that_was_stopped_in_its_transaction(
    start: Start, tmp_path: Path
) -> None:
    stopped = start("stop_in_commit")
    assert lines(stopped, 1) == ["stopping"]
    until_stopped(stopped)
    with closing(SqliteStore(tmp_path / "state.db", busy_s=0.1)) as store:
        with pytest.raises(StoreUnavailable, match="locked"):
            store.put_document("kind", "key", b"body")
        [shard] = store.acquire([REF], owner=owner_of_this_process("test"))
        assert stopped.wait(10) == -signal.SIGKILL
        assert [row.body for row in store.journal_of(shard.key, after=0)] == [b"first"]
        row = JournalRow(shard=shard.key, seq=2, body=b"second")
        store.commit(StoreCommit(epochs={shard.key: shard.epoch}, journal=[row]))


def test_a_store_can_be_opened_while_its_owner_hangs(start: Start, tmp_path: Path) -> None:
    stopped = start("stop_in_commit")
    lines(stopped, 1)
    until_stopped(stopped)
    with closing(SqliteStore(tmp_path / "state.db", busy_s=0.1)) as store:
        [shard] = store.shards()
        assert [row.body for row in store.journal_of(shard.key, after=0)] == [b"first"]
    assert stopped.poll() is None


def test_closing_a_partition_kills_an_owner_that_was_stopped_in_its_transaction(
    start: Start, tmp_path: Path
) -> None:
    stopped = start("stop_in_append")
    [partition] = map(int, lines(stopped, 1))
    until_stopped(stopped)
    with closing(SqliteCallLog(tmp_path / "calls.db", busy_s=0.1)) as log:
        assert log.close_partition(partition).next_offset == 1
        assert stopped.wait(10) == -signal.SIGKILL
        with pytest.raises(PartitionClosed):
            log.append(partition, [Batch(calls=[])])
        other = log.open_partition(owner=owner_of_this_process("test"))
        call = NewCall(id="mine", method="pay", service="shop", input=b"{}", client_id=True)
        accepted = log.append(other.id, [Batch(calls=[call])]).accepted
        assert list(accepted[0].outcomes) == ["duplicate"]


def test_closing_any_partition_kills_a_silent_owner_that_keeps_the_file_locked(
    start: Start, tmp_path: Path
) -> None:
    later_us = [0]
    with closing(
        SqliteCallLog(
            tmp_path / "calls.db", busy_s=0.1, now_us=lambda: time.time_ns() // 1_000 + later_us[0]
        )
    ) as log:
        mine = log.open_partition(owner=owner_of_this_process("test")).id
        stopped = start("stop_in_append")
        lines(stopped, 1)
        until_stopped(stopped)
        with pytest.raises(StoreUnavailable, match=f"process {stopped.pid}"):
            log.close_partition(mine)
        assert stopped.poll() is None, "its lease is not over yet"
        later_us[0] = int(PARTITION_LEASE_S * 1e6)
        assert not log.close_partition(mine).open
        assert stopped.wait(10) == -signal.SIGKILL


def test_a_silent_owner_that_does_not_keep_the_file_locked_is_spared(
    start: Start, tmp_path: Path
) -> None:
    idle = start("wait_for_ever")
    lines(idle, 1)
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        [(owner,)] = connection.execute("SELECT DISTINCT owner FROM shard").fetchall()
    path = tmp_path / "calls.db"
    with closing(SqliteCallLog(path, busy_s=0.1, now_us=lambda: 0)) as log:
        silent = log.open_partition(owner=owner).id
    with (
        closing(SqliteCallLog(path, busy_s=0.1)) as log,
        closing(Database(path, "calls", busy_s=0.1)) as database,
    ):
        assert [one.lapsed for one in log.partitions()] == [True]
        with database.write("hang"), pytest.raises(StoreUnavailable, match=f"{os.getpid()}"):
            log.close_partition(silent)
        assert not log.close_partition(silent).open
    assert idle.poll() is None


def test_a_takeover_spares_a_process_that_only_has_the_same_id(
    start: Start, tmp_path: Path
) -> None:
    idle = start("wait_for_ever")
    lines(idle, 1)
    ref = ShardRef(workflow="other", version="v1", number=0)
    with closing(SqliteStore(tmp_path / "state.db")) as store:
        for owner in (f"{idle.pid}:0-00000000:former", f"{idle.pid}", "", "x:y:z", "1:0:init"):
            store.acquire([ref], owner=owner)
        store.acquire([ref], owner=owner_of_this_process("test"))
        assert idle.poll() is None
        store.acquire([REF], owner=owner_of_this_process("test"))
    assert idle.wait(10) == -signal.SIGKILL


def test_whoever_acquires_for_another_process_does_not_end_that_one(
    start: Start, tmp_path: Path
) -> None:
    idle = start("wait_for_ever")
    lines(idle, 1)
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        [(owner,)] = connection.execute("SELECT owner FROM shard").fetchall()
    with closing(SqliteStore(tmp_path / "state.db")) as store:
        [before] = store.shards()
        [again] = store.acquire([REF], owner=owner)
        assert again.epoch == before.epoch + 1
        assert idle.poll() is None
        store.acquire([REF], owner=owner_of_this_process("test"))
    assert idle.wait(10) == -signal.SIGKILL


def test_this_process_is_never_taken_for_another_one(tmp_path: Path) -> None:
    me = owner_of_this_process("label: with colons")
    assert me.split(":", 2)[0] == str(os.getpid())
    assert me.split(":", 2)[2] == "label: with colons"
    assert not is_other_live_process(me)
    end_process(me)
    with closing(SqliteStore(tmp_path / "state.db")) as store:
        first, second = (store.acquire([REF], owner=me)[0] for _ in range(2))
    assert second.epoch > first.epoch


def test_processes_that_start_together_make_one_database(start: Start, tmp_path: Path) -> None:
    processes = [start("open_both") for _ in range(3)]
    assert [lines(process, 1) for process in processes] == [["ready"]] * 3
    with closing(SqliteStore(tmp_path / "state.db")) as store:
        assert store.shards() == []
