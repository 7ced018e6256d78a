"""The members of one pool as Ray actors: started with their shards, and asked by number."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from raysume import limits
from raysume.actors import membership
from raysume.actors.beginning import passes
from raysume.actors.membership import Assignment
from raysume.actors.moving import Standing
from raysume.actors.office import HeldOffice
from raysume.actors.pool import pool_actor
from raysume.actors.specs import EngineSpec, Grant, Hello, LateOrder, Order, PoolSpec
from raysume.actors.untyped import RayError, RayTaskError, actor_named, cause_of, ray
from raysume.errors import RaysumeError, Unavailable, UsageError
from raysume.storage.ports import OwnedShard, ShardRef
from raysume.storage.processes import end_process

_log = structlog.get_logger("raysume.directory")


class ActorEnded(Unavailable):
    """A member's actor has ended for good; whoever watches it makes another one."""


@dataclass(slots=True, kw_only=True)
class Member:
    """A member that runs, or is being brought back."""

    number: int
    actor: Any
    owner: str = ""
    """Its process, as an owner of shards; empty before the first."""
    watch: asyncio.Task[None] | None = None
    heart: asyncio.Task[None] | None = None


class PoolCrew:
    """Implements `raysume.actors.membership.Crew`.

    `lock` is held while shards are moved, and while a member is given those that it begins with:
    the one must not happen in the middle of the other.
    """

    def __init__(
        self, spec: PoolSpec, office: HeldOffice, engine: EngineSpec, driver_paths: list[str]
    ) -> None:
        self.spec = spec
        self.members: dict[int, Member] = {}
        self.lock = asyncio.Lock()
        self.is_resized = False
        """Whether somebody asked for other members since shards were last moved."""
        self._assigning = asyncio.Lock()
        self._orders: dict[int, Order] = {}
        """Member -> the newest order that it was given."""
        self._office, self._store = office, office.store
        self._engine, self._driver_paths = engine, driver_paths
        self._assignment: Assignment | None = None
        self._possible: list[Assignment] = []
        """One of these is the durable one, as far as it is known by now; the oldest first."""

    # --- members -------------------------------------------------------------------

    def member(self, number: int) -> Member:
        """The member, whose actor exists."""
        found = self.members.get(number)
        if found is None:
            found = self.members[number] = Member(number=number, actor=self.actor(number))
        return found

    def actor(self, number: int) -> Any:
        """The member's actor: the one that exists, or a new one."""
        return pool_actor(self.spec, number, self._engine, self._driver_paths)

    def dismiss_others(self, wanted: Collection[int]) -> None:
        """Members that another directory made, or had no time to dismiss, are gone: they own nothing."""
        for number in range(limits.SHARDS):
            if number not in wanted and number not in self.members:
                with contextlib.suppress(ValueError):  # there is none, as there should be
                    ray.kill(actor_named(self.spec.member(number)))

    async def start(self, member: Member, *, attempts: int | None) -> int:
        """The member is ready, with what the assignment gives it; gives its process id, or 0 for one
        that was dismissed meanwhile.

        Args:
            attempts: after so many that failed for a passing reason, it is given up; None: never.

        Raises:
            UsageError: it cannot run as it is deployed; says why.
            Unavailable: it did not become ready in several attempts.
        """
        name = self.spec.member(member.number)
        backoff_s, failed = limits.RETRY_BACKOFF_S_MIN, 0
        while True:
            try:
                return await self._start_once(member)
            except RayTaskError as error:
                reason: Exception = cause_of(error) or error
                if not (isinstance(reason, Unavailable) or (attempts is None and passes(reason))):
                    raise refusal(self.spec, reason) from None
                ray.kill(member.actor, no_restart=False)
            except ray.exceptions.ActorDiedError as error:  # for good: somebody ended it
                if self.members.get(member.number) is not member:
                    return 0
                reason = error
                member.actor = self.actor(member.number)
            except (ray.exceptions.RayActorError, Unavailable) as error:
                reason = error
            failed += 1
            _log.warning("pool_not_ready", pool=name, failed=failed, error=str(reason))
            if failed == attempts:
                raise Unavailable(
                    f"the process of pool {name} ended {failed} times while it started "
                    f"({type(reason).__name__}: {reason}). Its output is in Ray's logs."
                )
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)

    async def _start_once(self, member: Member) -> int:
        await member.actor.hello.remote()  # nobody waits for the lock while a process starts
        async with self.lock:
            hello = msgspec.msgpack.decode(await member.actor.hello.remote(), type=Hello)
            member.owner = hello.owner
            if member.heart is None or member.heart.done():
                member.heart = asyncio.get_running_loop().create_task(_listen(self, member))
            grant: bytes | None = None
            if not hello.is_started:
                shards = (await self.assignment()).of(member.number)
                owned = await self.acquire(member.number, shards)
                given = Grant(owner=hello.owner, epoch=self._office.epoch, owned=owned)
                grant = msgspec.msgpack.encode(given)
            return int((await member.actor.ready.remote(grant))["pid"])

    async def replace(self, member: Member) -> None:
        """The member's process has ended, also one that was stopped: Ray makes another one."""
        ray.kill(member.actor, no_restart=False)
        if member.owner:
            await asyncio.to_thread(end_process, member.owner)

    # --- Crew ------------------------------------------------------------------------

    async def _ask(self, number: int, method: str, *arguments: Any) -> Any:
        member = self.members.get(number)
        name = self.spec.member(number)
        if member is None:
            raise Unavailable(f"pool {name} does not run.")
        try:
            return await getattr(member.actor, method).remote(*arguments)
        except RayTaskError as error:
            raise cause_of(error) or error from None
        except ray.exceptions.ActorDiedError as error:
            raise ActorEnded(f"pool {name} has no process: {error}") from error
        except RayError as error:
            raise Unavailable(f"pool {name} does not answer: {error}") from error

    async def hold(self, member: int) -> Standing | None:
        """See `Crew`."""
        if member not in self.members:
            return None
        order = self._orders[member] = self._office.next_order()
        try:
            told = await self._ask(member, "hold_place", order)
        except ActorEnded:
            return None
        except LateOrder:  # of this directory, or of its successor
            await asyncio.to_thread(self._office.confirm)
            raise
        if told is None:
            return None
        standing = msgspec.msgpack.decode(told, type=Standing)
        # It may have been started by another directory, and not have said hello to this one.
        self.members[member].owner = standing.owner
        return standing

    async def _tell(self, member: int, method: str, *arguments: Any) -> None:
        await self._ask(member, method, self._orders[member], *arguments)

    async def reach(self, member: int, place: Standing) -> None:
        """See `Crew`."""
        await self._tell(member, "reach", msgspec.msgpack.encode(place))

    async def give(self, member: int, shards: Collection[int]) -> None:
        """See `Crew`."""
        await self._tell(member, "give", list(shards))

    async def acquire(self, member: int, shards: Collection[int]) -> list[OwnedShard]:
        """See `Crew`."""
        if not shards:
            return []
        refs = [
            ShardRef(workflow=self.spec.workflow, version=self.spec.version, number=number)
            for number in shards
        ]
        owner = self.members[member].owner
        return await asyncio.to_thread(lambda: self._store.acquire(refs, owner=owner))

    async def take(self, member: int, owned: list[OwnedShard]) -> None:
        """See `Crew`."""
        await self._tell(member, "take", msgspec.msgpack.encode(owned))

    async def go_on(self, member: int) -> None:
        """See `Crew`."""
        await self._tell(member, "go_on")

    async def assignment(self) -> Assignment:
        """See `Crew`. A pool that has none yet, and no shards, gets the configured one."""
        if self._assignment is None:
            async with self._assigning:  # nothing is cached that is being replaced
                found = await asyncio.to_thread(self._kept_assignment)
                if found is None:
                    found = Assignment.spread(await asyncio.to_thread(self._members_at_first))
                    await self._assign(found)
                self._assignment, self._possible = found, [found]
        return self._assignment

    def _kept_assignment(self) -> Assignment | None:
        """It is what this directory acts on: one that has a successor makes no actors any more."""
        found = membership.assigned(self._store, self.spec.name)
        self._office.confirm()
        return found

    def _members_at_first(self) -> int:
        """Shards that exist without an assignment are from when a pool was one actor."""
        mine = (self.spec.workflow, self.spec.version)
        known = any((one.ref.workflow, one.ref.version) == mine for one in self._store.shards())
        return 1 if known else self._engine.pool_members

    async def assign(self, assignment: Assignment) -> None:
        """See `Crew`."""
        async with self._assigning:
            await self._assign(assignment)

    async def _assign(self, assignment: Assignment) -> None:
        self._assignment = None  # whether it is written or not is read again
        self._possible.append(assignment)
        await asyncio.to_thread(membership.assign, self._store, self.spec.name, assignment)
        self._assignment, self._possible = assignment, [assignment]

    @property
    def owners(self) -> list[str]:
        """The member that owns each shard, by shard number, as far as it is known by now."""
        return [self.spec.member(n) for one in self._possible[:1] for n in one.owners]

    @property
    def participants(self) -> dict[str, list[int]]:
        """The members that may own shards, and which: also while it is being written who does."""
        numbers = sorted({number for one in self._possible for number in one.owners})
        return {
            self.spec.member(n): sorted({shard for one in self._possible for shard in one.of(n)})
            for n in numbers
        }


async def _listen(crew: PoolCrew, member: Member) -> None:
    """A member that does not answer within its lease is replaced."""
    name = crew.spec.member(member.number)
    was_busy = False
    while True:
        await asyncio.sleep(limits.MEMBER_HEARTBEAT_S)
        try:
            async with asyncio.timeout(limits.MEMBER_LEASE_S):
                busy_s = float(await member.actor.alive.remote())
        except TimeoutError:
            _log.error("member_replaced", pool=name, silent_s=limits.MEMBER_LEASE_S)
            await crew.replace(member)
            return
        except RayError:  # it has ended: whoever watches it knows
            return
        is_busy = busy_s > limits.MEMBER_BUSY_S
        if is_busy and not was_busy:
            _log.warning("member_busy", pool=name, busy_s=round(busy_s, 1))
        was_busy = is_busy


def refusal(spec: PoolSpec, reason: Exception) -> RaysumeError:
    """Why a pool does not run."""
    if isinstance(reason, RaysumeError):
        return reason
    return UsageError(
        f"workflow {spec.workflow!r} cannot run: {type(reason).__name__}: {reason}. Correct it "
        "and deploy again."
    )
