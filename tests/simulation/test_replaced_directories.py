"""Two directories at once: what members do for the one that was replaced, and for its successor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import ray.exceptions
from tests.simulation.hosting import Hosted
from tests.simulation.resizing import ENGINE, deployed
from tests.simulation.trading import offered, ordered, trade

from raysume.actors import crews, handover, moving
from raysume.actors.crews import PoolCrew
from raysume.actors.handover import Boundary
from raysume.actors.hosting import PoolHost
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.office import HeldOffice
from raysume.actors.ordered import Ordered
from raysume.actors.pool import Pool
from raysume.actors.specs import DIRECTORY_OFFICE, Grant, Hello, LateOrder, directory_office
from raysume.errors import Fenced
from raysume.storage.memory.state import MemoryStore
from raysume.storage.ports import Office, OwnedShard, ShardRef, Store


def replaced(store: Store) -> Office:
    """The office of a directory that has a successor."""
    former = store.take_office(DIRECTORY_OFFICE, owner="1:0:former")
    store.take_office(DIRECTORY_OFFICE, owner="1:0:successor")
    return former


class Member(Ordered):
    """The orders of a member that was started, and its host."""

    _name, _owner = "trade@1/0", "7:7:trade"

    def __init__(self, pool: Hosted) -> None:
        self._pool = pool

    def _started(self) -> PoolHost:
        return self._pool.host

    def _may_be_started(self) -> bool:
        return True


async def test_a_member_obeys_no_directory_that_is_older_than_one_it_has_obeyed(
    tmp_path: Path,
) -> None:
    async with Hosted(tmp_path, trade, ordered, offered) as pool:
        member, older, newer = Member(pool), (4, 7), (5, 1)
        assert await member.hold_place(older)
        assert await member.hold_place(newer)
        for late in (
            member.hold_place((4, 8)),
            member.give((4, 8), [0]),
            member.go_on(older),
        ):
            with pytest.raises(LateOrder, match="newer order"):
                await late
        with pytest.raises(LateOrder):
            member._obey(4)  # pyright: ignore[reportPrivateUsage]
        assert member._obey(6) == directory_office(6)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(LateOrder):
            await member.go_on(newer)


async def test_shards_given_to_a_member_that_has_not_said_hello_belong_to_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(MemoryStore):
        """Remembers who took shards over."""

        def acquire(self, refs: Sequence[ShardRef], *, owner: str) -> list[OwnedShard]:
            owners.append(owner)
            return super().acquire(refs, owner=owner)

    owners: list[str] = []

    def pool_actor(*_: Any) -> SimpleNamespace:
        return SimpleNamespace(hold_place=SimpleNamespace(remote=Member(pool).hold_place))

    monkeypatch.setattr(crews, "pool_actor", pool_actor)
    office = HeldOffice(Watched(), owner="1:0:directory", lost=lambda: None)
    crew = PoolCrew(deployed()[0].pool, office, ENGINE, [])
    async with Hosted(tmp_path, trade, ordered, offered) as pool:
        crew.member(0)
        assert await crew.hold(0) is not None
        await crew.acquire(0, [3, 4])
    assert owners == ["7:7:trade"]


async def test_a_member_that_has_just_begun_obeys_nobody_before_the_directory_that_began_it(
    tmp_path: Path,
) -> None:
    class Begun(Pool):
        """Its host is there at once."""

        async def _boot(self, owned: list[OwnedShard]) -> None:
            assert owned == []
            self._host = pool.host

    encode = msgspec.msgpack.encode
    async with Hosted(tmp_path, trade, ordered, offered) as pool:
        member = Begun(encode(ENGINE), encode(deployed()[0].pool), 0, [])
        owner = msgspec.msgpack.decode(member.hello(), type=Hello).owner
        await member.ready(encode(Grant(owner=owner, epoch=5, owned=[])))
        with pytest.raises(LateOrder, match="newer order"):
            await member.hold_place((4, 9))
        assert pool.host.kernel.intake.bound is None, "it would stand still for ever"
        assert await member.hold_place((5, 1))
        member._beat.cancel()  # pyright: ignore[reportPrivateUsage]


async def test_what_a_member_is_told_by_a_directory_that_has_a_successor_is_not_kept(
    tmp_path: Path,
) -> None:
    async with Hosted(tmp_path, trade, ordered, offered) as pool:
        former = replaced(pool.store)
        boundary = Boundary(offsets={}, newest=START_OF_LOG)
        for keep in (
            lambda: handover.take_over(pool.host, "trade@1/0", boundary, under=former),
            lambda: handover.retire(pool.host, "trade@1/0", after=None, under=former),
        ):
            with pytest.raises(Fenced, match="'directory'"):
                await cast("Any", keep())
        assert handover.recorded(pool.store, "trade@1/0") is None
        assert [type(error) for error in pool.errors] == [Fenced], "it begins with what is kept"


async def test_a_shard_that_a_directory_with_a_successor_takes_away_stays_where_it_is(
    tmp_path: Path,
) -> None:
    async with Hosted(tmp_path, trade, ordered, offered) as pool:
        former = replaced(pool.store)
        before = pool.store.shards()
        moving.hold(pool.host)
        with pytest.raises(Fenced, match="'directory'"):
            await moving.give(pool.host, [0], under=former)
        assert pool.store.shards() == before
        assert [type(error) for error in pool.errors] == [Fenced]


async def test_a_member_that_was_dismissed_while_it_was_being_started_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Gone:
        """The handle of an actor that was ended for good."""

        def __init__(self, made: list[int]) -> None:
            assert not made, "it was dismissed"
            made.append(len(made))
            self.hello = self

        async def remote(self) -> bytes:
            crew.members.clear()  # the pool is resized meanwhile
            raise ray.exceptions.ActorDiedError

    made: list[int] = []

    def pool_actor(*_: Any) -> Gone:
        return Gone(made)

    monkeypatch.setattr(crews, "pool_actor", pool_actor)
    office = HeldOffice(MemoryStore(), owner="1:0:directory", lost=lambda: None)
    crew = PoolCrew(deployed()[0].pool, office, ENGINE, [])
    assert await crew.start(crew.member(3), attempts=None) == 0
    assert made == [0]


def test_a_directory_learns_that_it_has_a_successor_by_writing_or_by_asking() -> None:
    store, lost = MemoryStore(), list[str]()
    former = HeldOffice(store, owner="1:0:former", lost=lambda: lost.append("former"))
    former.confirm()
    former.store.put_document("members", "a", b"1")
    current = HeldOffice(store, owner="1:0:current", lost=lambda: lost.append("current"))
    assert lost == []
    with pytest.raises(Fenced):
        former.confirm()
    with pytest.raises(Fenced):
        former.store.put_document("members", "a", b"late")
    assert lost == ["former", "former"]
    current.confirm()
    assert store.get_document("members", "a") == b"1"
    assert current.next_order() > former.next_order()
    assert current.next_order() < current.next_order()
