"""A PostgreSQL server that stands still: its kernel answers, its processes do not.

Calls and commits fail within a bounded time, nothing acknowledged is lost, and work goes on when
the server does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import httpx
import psutil
import pytest
from scale_tests.faults.cluster import Nodes
from scale_tests.faults.harm import Harm
from scale_tests.postgres_server import PostgresServer
from tests.integration.ingress.processes import as_a_pool_sees_them, until
from tests.unit.ingress.fakes import FakeEngine, call
from tests.unit.ingress.served import Served, served

from raysume.errors import StoreUnavailable
from raysume.ids import uuid7
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.ports import JournalRow, OwnedShard, ShardRef, StoreCommit
from raysume.storage.postgres.calls import PostgresCallLog
from raysume.storage.postgres.connections import PostgresDatabase
from raysume.storage.postgres.state import PostgresStore
from raysume.storage.processes import owner_of_this_process

REF = ShardRef(workflow="flight", version="v1", number=0)
BUSY_S, ANSWER_S = 0.5, 1.0
SOON_S = 60.0
OWNER = owner_of_this_process("writer")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as started:
        yield started


@pytest.fixture
def url(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A database of the test's own; the shortest time for connecting that psycopg takes."""
    return server.create_database(request.node.name[:60]) + "?connect_timeout=2"


@contextmanager
def standing_still(server: PostgresServer) -> Generator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


class Writer:
    """A thread that writes one thing after the other until that fails."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._write = write
        self._some = threading.Event()
        self._written = 0
        self.ended: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._some.wait(SOON_S)

    def _run(self) -> None:
        try:
            while True:
                self._write()
                self._written += 1
                if self._written == 20:
                    self._some.set()
        except BaseException as error:
            self.ended.append(error)
            self._some.set()

    def failure(self) -> BaseException:
        """What ended it."""
        self._thread.join(SOON_S)
        [error] = self.ended
        return error


def row(shard: OwnedShard, seq: int) -> StoreCommit:
    journal = [JournalRow(shard=shard.key, seq=seq, body=b"%d" % seq)]
    return StoreCommit(epochs={shard.key: shard.epoch}, journal=journal)


def batch() -> Batch:
    new = NewCall(id=uuid7(), method="pay", service="shop", input=b"{}", client_id=False)
    return Batch(calls=[new])


def test_an_append_ends_and_what_was_acknowledged_is_there_once(
    server: PostgresServer, url: str
) -> None:
    with closing(PostgresCallLog(url, busy_s=BUSY_S, answer_s=ANSWER_S)) as log:
        partition = log.open_partition(owner=OWNER).id
        acknowledged: list[str] = []

        def append() -> None:
            segment = log.append(partition, [batch()]).segment
            assert segment is not None
            acknowledged.extend(one.id for one in segment.calls)

        writer = Writer(append)
        with standing_still(server):
            error = writer.failure()
            assert isinstance(error, StoreUnavailable)
            assert "failed to append calls: it has not answered for 1 s" in str(error)
            with pytest.raises(StoreUnavailable, match="it goes on by itself"):
                log.close_partition(partition)
        end = log.close_partition(partition).next_offset
        found = [one.id for part in log.read(partition, start=0, end=end) for one in part.calls]
        assert found[: len(acknowledged)] == acknowledged
        assert len(found) == end
        assert len(found) - len(acknowledged) in (0, 1)
        own = log.open_partition(owner=OWNER).id
        assert log.append(own, [batch()]).segment is not None


def test_a_commit_ends_and_the_store_goes_on(server: PostgresServer, url: str) -> None:
    with closing(PostgresStore(url, busy_s=BUSY_S, answer_s=ANSWER_S)) as store:
        [shard] = store.acquire([REF], owner=OWNER)
        acknowledged = [0]

        def commit() -> None:
            store.commit(row(shard, acknowledged[-1] + 1))
            acknowledged.append(acknowledged[-1] + 1)

        writer = Writer(commit)
        with standing_still(server):
            assert isinstance(writer.failure(), StoreUnavailable)
        [again] = store.acquire([REF], owner=OWNER)
        kept = [one.seq for one in store.journal_of(again.key, after=0)]
        assert kept == list(range(1, len(kept) + 1))
        assert len(kept) - acknowledged[-1] in (0, 1)
        store.commit(row(again, len(kept) + 1))


def test_no_idle_connection_is_tried_after_one_was_silent(server: PostgresServer, url: str) -> None:
    database = PostgresDatabase(url, "state", busy_s=BUSY_S, answer_s=ANSWER_S)
    with closing(database):
        with database.read("read") as first, database.read("read") as second:
            assert first is not second
        with standing_still(server):
            for told in ("not answered", "connection timeout expired"):
                with pytest.raises(StoreUnavailable, match=told), database.read("read") as one:
                    one.execute("SELECT 1")
        with database.read("read") as one:
            assert one.execute("SELECT 1").fetchone() == (1,)


def test_whoever_opens_a_store_meanwhile_may_wait_for_it(server: PostgresServer, url: str) -> None:
    with standing_still(server), pytest.raises(StoreUnavailable, match="it goes on by itself"):
        PostgresStore(url)
    PostgresStore(url).close()


async def test_the_proof_makes_a_server_stand_still_until_it_heals_it(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    nodes = cast(Nodes, None)
    assert "pause_database" not in Harm(nodes, crash_points=tmp_path, seed=1).kinds
    harm = Harm(nodes, crash_points=tmp_path, seed=1, database=server)
    try:
        harm._do("pause_database")  # pyright: ignore[reportPrivateUsage]
        assert harm.done == {"pause_database": 1}
        # A process that runs on another core stops a moment after its signal was sent.
        await until(lambda: {one.status() for one in server.processes()} == {psutil.STATUS_STOPPED})
    finally:
        harm.heal()
    PostgresStore(url).close()


# --- over HTTP ---------------------------------------------------------------------------


async def push(one: Served, id: str) -> httpx.Response:
    return await one.post("/v1/calls", call(id=id, input={"order": {"id": 1}, "user": "ann"}))


async def test_requests_are_refused_with_503_and_repeating_them_is_harmless(
    server: PostgresServer, url: str
) -> None:
    with closing(PostgresCallLog(url, busy_s=BUSY_S, answer_s=ANSWER_S)) as log:
        async with served(FakeEngine(log), owner=OWNER) as one, asyncio.timeout(SOON_S):
            first = [f"before{n}" for n in range(20)]
            for id in first:
                assert (await push(one, id)).status_code == 202
            with standing_still(server):
                # Those under way, those that wait for the next append, and those that come later.
                during = [f"during{n}" for n in range(20)]
                refused = await asyncio.gather(*(push(one, id) for id in during))
                refused.append(await push(one, "later"))
                assert {one.status_code for one in refused} == {503}
                assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
                assert (await one.client.get("/v1/health")).json()["status"] == "unavailable"

            async def is_accepted() -> bool:
                return (await push(one, "later")).status_code in (200, 202)

            await until(is_accepted)
            for id in (*first, *during):
                assert (await push(one, id)).status_code in (200, 202)
        assert sorted(as_a_pool_sees_them(log)) == sorted([*first, *during, "later"])
