"""Pools resized by the real directory in a simulated cluster: what it took to get that right.

Each test lets happen, at one place and for certain, what seeds of the cluster had found by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import ray.exceptions
import structlog
from tests.simulation.checking import check_cluster
from tests.simulation.cluster import Cluster
from tests.simulation.faults import Faults
from tests.simulation.rays import SimActor
from tests.simulation.resizing import ENGINE, deployed
from tests.simulation.seeds import be_silent

from raysume.actors import membership
from raysume.actors.loading import Target
from raysume.actors.membership import Assignment
from raysume.actors.pool import Pool
from raysume.actors.specs import DIRECTORY_NAME, Grant, Hello
from raysume.errors import StoreUnavailable
from raysume.storage.ports import Store

CALM = Faults(resize_s=3.0)
"""Nothing goes wrong but what a test lets go wrong."""


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    be_silent()
    yield
    structlog.reset_defaults()


def ran(seed: int) -> Cluster:
    """The cluster of the seed kept every promise."""
    cluster = Cluster(seed, faults=CALM)
    cluster.run()
    check_cluster(cluster)
    return cluster


def after_asking(
    patch: pytest.MonkeyPatch, method: str, happens: Callable[[SimActor], None]
) -> list[str]:
    """It happens, once to each member, when the member has done what it was asked."""
    ask = SimActor._ask  # pyright: ignore[reportPrivateUsage]
    happened: list[str] = []

    async def watched(self: SimActor, asked: str, arguments: tuple[Any, ...]) -> Any:
        found = await ask(self, asked, arguments)
        if asked == method and self.name != DIRECTORY_NAME and self.name not in happened:
            happened.append(self.name)
            happens(self)
        return found

    patch.setattr(SimActor, "_ask", watched)
    return happened


def ran_though(
    monkeypatch: pytest.MonkeyPatch, method: str, happens: Callable[[SimActor], None]
) -> None:
    """Clusters in which that happens after asking keep every promise."""
    for seed in range(2):
        with monkeypatch.context() as patch:
            happened = after_asking(patch, method, happens)
            ran(seed)
            assert happened


def dies(actor: SimActor) -> None:
    """The process of the actor ends, and the next one is there at once."""
    life, actor.life = actor.life, None
    assert life is not None
    actor.cluster.loop.kill(life.process)
    actor.begin()


def its_directory_is_replaced(actor: SimActor) -> None:
    """The directory counts as dead, and goes on beside the one that is on its way."""
    cluster = actor.cluster
    assert cluster.resizing is not None
    directory = cluster.resizing.ray.actors[DIRECTORY_NAME]
    life, directory.life = directory.life, None
    if life is not None:
        cluster.zombies.append(life.process)
        cluster.fail_asks(life.process)
    directory.begin()


def is_not_heard(_actor: SimActor) -> None:
    """The answer is lost; the process goes on."""
    raise ray.exceptions.ActorUnavailableError("lost", None)


def test_pools_are_resized_while_calls_flow() -> None:
    for seed in range(5):
        cluster = ran(seed)
        assert any("took" in line and "/1#" in line for line in cluster.trace)


def test_a_member_whose_answer_is_lost_is_settled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran_though(monkeypatch, "hold_place", is_not_heard)


def test_a_process_that_ends_before_it_gets_its_shards_does_not_leave_them_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran_though(monkeypatch, "hello", dies)


def test_a_process_that_ends_before_anybody_watches_it_is_followed_by_one_that_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran_though(monkeypatch, "ready", dies)


def test_a_directory_that_was_replaced_amid_a_move_changes_nothing_more_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = 0
    for seed, method in enumerate(("hello", "hold_place", "give", "take")):
        with monkeypatch.context() as patch:
            happened = after_asking(patch, method, its_directory_is_replaced)
            cluster = ran(seed)
            assert happened
        ended += sum("has a successor, and ends" in line for line in cluster.trace)
    assert ended


def test_a_pool_whose_new_size_was_kept_without_anybody_hearing_of_it_has_that_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assign, told = membership.assign, set[str]()

    def kept_only(store: Store, pool: str, assignment: Assignment) -> None:
        assign(store, pool, assignment)
        if assignment.moves() and pool not in told:
            told.add(pool)
            raise StoreUnavailable("kept, but not heard of")

    monkeypatch.setattr(membership, "assign", kept_only)
    for seed in range(2):
        ran(seed)
    assert told


def test_an_order_of_a_directory_that_died_is_not_obeyed_after_those_of_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = SimActor._ask  # pyright: ignore[reportPrivateUsage]
    held: dict[str, tuple[Any, ...]] = {}
    late: list[str] = []

    async def watched(self: SimActor, asked: str, arguments: tuple[Any, ...]) -> Any:
        found = await ask(self, asked, arguments)
        if asked == "hold_place":
            held.setdefault(self.name, arguments)
        elif asked == "go_on" and self.name in held:
            late.append(self.name)
            with pytest.raises(ray.exceptions.RayTaskError):
                await ask(self, "hold_place", held[self.name])
        return found

    monkeypatch.setattr(SimActor, "_ask", watched)
    for seed in range(2):
        held.clear()
        ran(seed)
    assert late


async def test_a_process_that_could_not_recover_is_not_waited_for_where_it_stands() -> None:
    spec = msgspec.structs.replace(
        deployed()[0].pool, target=Target(module="raysume.nowhere", folder=None)
    )
    encode = msgspec.msgpack.encode
    member = Pool(encode(ENGINE), encode(spec), 0, [])
    assert await member.hold_place((1, 1)) is None
    hello = msgspec.msgpack.decode(member.hello(), type=Hello)
    with pytest.raises(ModuleNotFoundError):
        await member.ready(encode(Grant(owner=hello.owner, epoch=1, owned=[])))
    assert await member.hold_place((1, 2)) is None
