"""Programs that the tests run as processes of their own and kill or stop.

They are started with `python writers.py NAME PLACE`, where the place is the folder of SQLite files
or the URL of a PostgreSQL database, and print a line for everything that was acknowledged to them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, overload

from raysume.ids import uuid7
from raysume.storage.call_ports import Batch, CallLog, NewCall, Publisher
from raysume.storage.moments import to_us
from raysume.storage.opening import open_call_log, open_store
from raysume.storage.ports import (
    Checkpoint,
    Decision,
    InstanceRow,
    JournalRow,
    ShardRef,
    Store,
    StoreCommit,
)
from raysume.storage.processes import owner_of_this_process

REF = ShardRef(workflow="flight", version="v1", number=0)


def opened_store(place: str) -> Store:
    return open_store(place if "://" in place else f"sqlite:///{place}/", Path())


def opened_log(place: str) -> CallLog:
    return open_call_log(place if "://" in place else f"sqlite:///{place}/", Path())


def say(*words: object) -> None:
    print(*words, flush=True)


class StopsWhenRead(Sequence[Any]):
    """Stops this process, as SIGSTOP or a debugger would, when somebody looks at its items."""

    def __len__(self) -> int:
        return 1

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        raise IndexError(index)

    def __iter__(self) -> Iterator[Any]:
        return iter([self[0]])


def commit_for_ever(place: str) -> None:
    """Commits journal rows, now and then with a checkpoint of one instance a row."""
    store = opened_store(place)
    [shard] = store.acquire([REF], owner=owner_of_this_process("writer"))
    checkpoint = store.checkpoint_of(shard.key)
    covered = 0 if checkpoint is None else checkpoint[0]
    last = max([covered, *(row.seq for row in store.journal_of(shard.key, after=0))])
    for seq in count(last + 1):
        row = JournalRow(shard=shard.key, seq=seq, body=b"%d" % seq * 400)
        checkpoints: list[Checkpoint] = []
        if seq % 7 == 0:
            rows = [_instance(shard.key, number) for number in range(covered + 1, seq + 1)]
            checkpoints = [Checkpoint(shard=shard.key, seq=seq, header=b"%d" % seq, rows=rows)]
            covered = seq
        store.commit(
            StoreCommit(epochs={shard.key: shard.epoch}, journal=[row], checkpoints=checkpoints)
        )
        say(seq)


def _instance(shard: int, number: int) -> InstanceRow:
    moment = datetime(2013, 2, 8, tzinfo=UTC)
    return InstanceRow(
        shard=shard,
        number=number,
        id=f"i{number}",
        workflow=REF.workflow,
        version=REF.version,
        status="waiting",
        started_us=to_us(moment),
        updated_us=to_us(moment),
        body=b"%d" % number,
    )


def append_for_ever(place: str) -> None:
    """Appends batches of calls, as a publisher that numbers them."""
    log = opened_log(place)
    partition = log.open_partition(owner=owner_of_this_process("writer"))
    publisher = uuid7()
    for turn in count():
        calls = [
            NewCall(id=uuid7(), method="pay", service="shop", input=b'{"n": %d}' % number)
            for number in range(20)
        ]
        source = Publisher(id=publisher, first=turn * 20)
        log.append(partition.id, [Batch(calls=calls, publisher=source)])
        say(partition.id, *(call.id for call in calls))


def stop_in_commit(place: str) -> None:
    """Commits once, then is stopped in the middle of a commit."""
    store = opened_store(place)
    [shard] = store.acquire([REF], owner=owner_of_this_process("writer"))
    row = JournalRow(shard=shard.key, seq=1, body=b"first")
    store.commit(StoreCommit(epochs={shard.key: shard.epoch}, journal=[row]))
    say("stopping")
    store.commit(StoreCommit(epochs={shard.key: shard.epoch}, journal=StopsWhenRead()))


def stop_in_office(place: str) -> None:
    """Takes an office, then is stopped in the middle of what it writes under it."""
    store = opened_store(place)
    held = store.under(store.take_office("directory", owner=owner_of_this_process("holder")))
    say("stopping")
    held.decide(_DecidesThenStops())
    held.put_document("members", "flight", b"late")


class _DecidesThenStops(StopsWhenRead):
    """One decision, and a stop."""

    def __iter__(self) -> Iterator[Any]:
        yield Decision(workflow="flight", pos=1, offset=0, kind="verdict", body=b"late")
        os.kill(os.getpid(), signal.SIGSTOP)


def stop_in_append(place: str) -> None:
    """Appends once, then is stopped in the middle of an append."""
    log = opened_log(place)
    partition = log.open_partition(owner=owner_of_this_process("writer"))
    call = NewCall(id="mine", method="pay", service="shop", input=b"{}", client_id=True)
    log.append(partition.id, [Batch(calls=[call])])
    say(partition.id)
    log.append(partition.id, [Batch(calls=_OnceThenStops())])


class _OnceThenStops(StopsWhenRead):
    """Empty for the one who looks names up before the transaction, a stop for the next one."""

    def __init__(self) -> None:
        self.read = False

    def __iter__(self) -> Iterator[Any]:
        if self.read:
            return super().__iter__()
        self.read = True
        return iter(())

    def __getitem__(self, index: int | slice) -> Any:
        return super().__getitem__(index)


def stop_in_copy(place: str) -> None:
    """Is stopped while it sends the rows of a checkpoint."""
    store = opened_store(place)
    [shard] = store.acquire([REF], owner=owner_of_this_process("writer"))
    row = JournalRow(shard=shard.key, seq=1, body=b"first")
    store.commit(StoreCommit(epochs={shard.key: shard.epoch}, journal=[row]))
    say("stopping")
    rows = _ThenStops([_instance(shard.key, number) for number in range(1, 2_000)])
    checkpoint = Checkpoint(shard=shard.key, seq=1, header=b"", rows=rows)
    store.commit(StoreCommit(epochs={shard.key: shard.epoch}, checkpoints=[checkpoint]))


class _ThenStops(list[InstanceRow]):
    """Gives its rows twice, to the checks before the writing, and stops before the last one then."""

    def __init__(self, rows: list[InstanceRow]) -> None:
        super().__init__(rows)
        self.readings = 0

    def __iter__(self) -> Iterator[InstanceRow]:
        self.readings += 1
        return super().__iter__() if self.readings <= 2 else self._until_stopped()

    def _until_stopped(self) -> Iterator[InstanceRow]:
        yield from self[:-1]
        os.kill(os.getpid(), signal.SIGSTOP)


def wait_for_ever(place: str) -> None:
    """Owns a shard and does nothing."""
    store = opened_store(place)
    store.acquire([REF], owner=owner_of_this_process("idle"))
    say("ready")
    signal.pause()


def open_both(place: str) -> None:
    """Opens both databases, as one of several processes that start together."""
    opened_store(place).close()
    opened_log(place).close()
    say("ready")


PROGRAMS: dict[str, Callable[[str], None]] = {
    program.__name__: program
    for program in (
        commit_for_ever,
        append_for_ever,
        stop_in_commit,
        stop_in_office,
        stop_in_append,
        stop_in_copy,
        wait_for_ever,
        open_both,
    )
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2])
