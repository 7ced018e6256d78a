"""Keeps pools running: makes members that are missing, wakes those whose process died, and
replaces those that do not answer.

Ray restarts the process of a dead member, and a new process is given its shards under new
epochs. The supervisor therefore has one call under way in every member, which lasts as long as
its process: when it fails, the member is started again, so that its timers ring and its steps go
on though nobody else asks for it. A process that was stopped does not end: it is found because it
does not answer within its lease, and killed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog

from raysume import limits
from raysume.actors import membership
from raysume.actors.beginning import passes
from raysume.actors.crews import Member, PoolCrew, refusal
from raysume.actors.membership import Assignment
from raysume.actors.office import HeldOffice
from raysume.actors.specs import EngineSpec, LateOrder, PoolSpec
from raysume.actors.untyped import RayError, RayTaskError, cause_of, ray
from raysume.errors import RaysumeError, Unavailable

_log = structlog.get_logger("raysume.directory")


class Supervisor:
    """The pools of a deployment, by name.

    Args:
        changed: called when a pool was given up, or runs again after that, or has other members.
    """

    def __init__(
        self,
        engine: EngineSpec,
        driver_paths: list[str],
        office: HeldOffice,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._engine, self._driver_paths, self._changed = engine, driver_paths, changed
        self._office = office
        self._kept: dict[str, PoolCrew] = {}
        self._resizing: dict[str, asyncio.Task[None]] = {}
        self.problems: dict[str, str] = {}
        """Pool name -> why it does not run."""

    def __contains__(self, name: object) -> bool:
        """Whether the pool runs, or is being brought back."""
        return name in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def owners(self, name: str) -> list[str]:
        """The member that owns each shard of a pool that runs."""
        return self._kept[name].owners

    def participants(self, spec: PoolSpec) -> dict[str, list[int]]:
        """The members that may own shards of the pool, and which; none: it was given up.

        Of a pool that this directory has not got to yet, which may run all the same, somebody who
        never bids: nothing can be decided without its members.
        """
        crew = self._kept.get(spec.name)
        if crew is None and spec.name in self.problems:
            return {}
        found = {} if crew is None else crew.participants
        return found or {f"{spec.name} being brought back": []}

    async def run(self, spec: PoolSpec, *, ran_before: bool = False) -> int:
        """The pool has recovered, and is brought back from now on whenever a process dies.

        Args:
            ran_before: it is worth waiting for: it is not given up for a reason that passes, and
                counts as being brought back meanwhile.

        Returns:
            The process id of its first member.

        Raises:
            UsageError: it cannot run as it is deployed; says why.
            Unavailable: it did not become ready in several attempts.
        """
        crew = self._kept.get(spec.name) or self._crew(spec)
        attempts = None if ran_before else limits.POOL_START_ATTEMPTS
        try:
            members = [crew.member(number) for number in (await crew.assignment()).crew]
            if ran_before:
                self._kept[spec.name] = crew
            pids = await asyncio.gather(*(crew.start(one, attempts=attempts) for one in members))
            async with crew.lock:  # a directory before this one may have died moving shards
                await self._settle_surely(crew, [one.number for one in members])
        except RaysumeError as error:
            if not (ran_before and passes(error)):
                self._give_up(crew, error)
            raise
        self.problems.pop(spec.name, None)
        if ran_before or spec.name not in self._kept:
            crew.dismiss_others([one.number for one in members])
        self._kept[spec.name] = crew
        for member in members:
            if crew.members.get(member.number) is member:  # it was not dismissed meanwhile
                self._watch(crew, member)
        if (await crew.assignment()).moves():
            self._begin_resizing(crew)
        return pids[0]

    async def resize(self, name: str, members: int) -> None:
        """The pool has so many members, durably; shards are moved until each has its share.

        Raises:
            UsageError: a pool cannot have so many.
            Unavailable: it does not run, or a member did not answer: it is tried again.
        """
        crew = self._kept.get(name)
        membership.check_members(members)
        if crew is None:
            raise Unavailable(f"pool {name} does not run. Deploy it again, then scale it.")
        try:
            async with crew.lock:
                await crew.assign((await crew.assignment()).resized(members))
        finally:  # what is durable is followed, also if nobody heard that it is
            task = self._begin_resizing(crew)
        await asyncio.shield(task)

    def _begin_resizing(self, crew: PoolCrew) -> asyncio.Task[None]:
        name = crew.spec.name
        crew.is_resized = True
        task = self._resizing.get(name)
        if task is None or task.done():
            task = asyncio.get_running_loop().create_task(self._resize(crew))
            self._resizing[name] = task
        return task

    async def _resize(self, crew: PoolCrew) -> None:
        """Shards are moved until each member has its share, however often it takes."""
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while self._kept.get(crew.spec.name) is crew and crew.is_resized:
            crew.is_resized = False
            try:
                await self._move_all(crew)
            except Exception as error:
                crew.is_resized = True
                _log.warning("shards_not_moved", pool=crew.spec.name, error=str(error))
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)

    async def _move_all(self, crew: PoolCrew) -> None:
        for number in range((await crew.assignment()).members):
            if number not in crew.members:
                member = crew.member(number)
                await crew.start(member, attempts=None)
                self._watch(crew, member)
        while orders := (await crew.assignment()).moves():
            for order in orders:
                await self._move(crew, order)
                await self._changed()
        wanted = (await crew.assignment()).crew
        for number in [one for one in crew.members if one not in wanted]:
            member = crew.members.pop(number)
            _end_watch(member)
            ray.kill(member.actor)
            _log.info("member_dismissed", pool=crew.spec.member(number))
        crew.dismiss_others(wanted)
        await self._changed()

    async def _move(self, crew: PoolCrew, order: membership.Move) -> None:
        begun = time.monotonic()
        async with crew.lock:
            try:
                await membership.move(crew, order)
            except (Exception, asyncio.CancelledError):
                await asyncio.shield(self._settle_surely(crew, (order.target, order.source)))
                raise
        _log.info(
            "shards_moved",
            source=crew.spec.member(order.source),
            target=crew.spec.member(order.target),
            shards=order.shards,
            s=round(time.monotonic() - begun, 3),
        )

    async def _settle_surely(self, crew: PoolCrew, members: Iterable[int]) -> None:
        """No member stays held: whatever the assignment says is what each has."""
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        left = set(members)
        while left:
            for number in sorted(left):
                try:
                    await membership.settle(crew, [number])
                    left.discard(number)
                except RaysumeError as error:
                    _log.warning(
                        "member_not_settled", pool=crew.spec.member(number), error=str(error)
                    )
            if left:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)

    async def check(self, spec: PoolSpec) -> list[str]:
        """The pool, which does not run yet, can be deployed; the methods of its first wait.

        Raises:
            UsageError: it cannot; says why.
            Unavailable: its process ended.
        """
        actor = self._crew(spec).actor(0)
        try:
            return list(await actor.check.remote())
        except RayTaskError as error:
            ray.kill(actor)
            raise refusal(spec, cause_of(error) or error) from None
        except RayError as error:
            ray.kill(actor)
            raise Unavailable(f"the process of pool {spec.name} ended: {error}") from error

    async def ask_all(self, name: str, method: str, *arguments: Any) -> list[Any]:
        """What each member with shards answers; one is asked again when its process ended meanwhile.

        Raises:
            Unavailable: one was asked in vain several times.
        """
        crew = self._kept.get(name)
        if crew is None:
            raise Unavailable(f"pool {name} does not answer: it does not run. Deploy again.")
        numbers = sorted(set((await crew.assignment()).owners))
        return list(
            await asyncio.gather(*(self._ask(crew, n, method, *arguments) for n in numbers))
        )

    async def order_all(self, name: str, method: str, *arguments: Any) -> list[Any]:
        """The same for what is done only as long as no other directory has given orders.

        Raises:
            Unavailable: one was asked in vain several times, or has had an order of another one.
            Fenced: there is another one.
        """
        try:
            return await self.ask_all(name, method, self._office.epoch, *arguments)
        except LateOrder:
            await asyncio.to_thread(self._office.confirm)
            raise

    async def ask_member(self, name: str, method: str, *arguments: Any) -> Any:
        """What one member answers, by its name; it is asked again when its process ended meanwhile.

        Raises:
            Unavailable: it was asked in vain several times.
        """
        for crew in self._kept.values():
            for number in list(crew.members):
                if crew.spec.member(number) == name:
                    return await self._ask(crew, number, method, *arguments)
        raise Unavailable(f"pool {name} does not answer: it does not run. Deploy again.")

    async def _ask(self, crew: PoolCrew, number: int, method: str, *arguments: Any) -> Any:
        backoff_s, reason = limits.RETRY_BACKOFF_S_MIN, "it does not run"
        for _ in range(limits.POOL_START_ATTEMPTS):
            member = crew.members.get(number)
            if member is None:
                break
            try:
                return await getattr(member.actor, method).remote(*arguments)
            except RayTaskError as error:
                raise cause_of(error) or error from None
            except RayError as error:
                reason = str(error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 10, limits.RETRY_BACKOFF_S_MAX)
        name = crew.spec.member(number)
        raise Unavailable(f"pool {name} does not answer: {reason}. Deploy again.")

    def lock(self, name: str) -> asyncio.Lock:
        """Held while nothing else may happen to the members of a pool that runs."""
        return self._kept[name].lock

    async def assignment(self, name: str) -> Assignment:
        """Who owns what in a pool that runs."""
        return await self._kept[name].assignment()

    async def pids(self) -> dict[str, int]:
        """Member name -> process id, of those that answer."""
        found: dict[str, int] = {}
        for crew in list(self._kept.values()):
            for member in list(crew.members.values()):
                try:
                    pid = int(await member.actor.pid.remote())
                except RayError:  # it is being brought back
                    continue
                found[crew.spec.member(member.number)] = pid
        return found

    def drop(self, name: str) -> None:
        """The pool's processes end, and stay away."""
        crew = self._kept.get(name)
        if crew is not None:
            self._end(crew)

    async def stop(self) -> None:
        """Every pool has checkpointed; none is brought back any more."""
        kept, self._kept = list(self._kept.values()), {}
        for task in self._resizing.values():
            task.cancel()
        members = [(crew, one) for crew in kept for one in crew.members.values()]
        for _, member in members:
            _end_watch(member)
        await asyncio.gather(*(_stop(crew, one) for crew, one in members))

    def _crew(self, spec: PoolSpec) -> PoolCrew:
        return PoolCrew(spec, self._office, self._engine, self._driver_paths)

    # --- keeping members ---------------------------------------------------------------

    def _watch(self, crew: PoolCrew, member: Member) -> None:
        if member.watch is None:
            loop = asyncio.get_running_loop()
            member.watch = loop.create_task(self._keep(crew, member))

    async def _keep(self, crew: PoolCrew, member: Member) -> None:
        """The member is brought back whenever its process dies, until the pool is given up."""
        name = crew.spec.member(member.number)
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while True:
            begun = time.monotonic()
            try:
                await member.actor.lasting.remote()
            except RayError as error:
                _log.warning("pool_died", pool=name, error=type(error).__name__)
            if time.monotonic() - begun > limits.POOL_STEADY_S:
                backoff_s = limits.RETRY_BACKOFF_S_MIN
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)
            try:
                pid = await crew.start(member, attempts=None)
            except RaysumeError as error:
                self._give_up(crew, error)
                await self._changed()
                return
            _log.info("pool_runs_again", pool=name, pid=pid)

    def _give_up(self, crew: PoolCrew, error: RaysumeError) -> None:
        """The pool does not run, and `problems` says why."""
        self.problems[crew.spec.name] = str(error)
        _log.error("pool_given_up", pool=crew.spec.name, error=str(error))
        self._end(crew)

    def _end(self, crew: PoolCrew) -> None:
        if self._kept.get(crew.spec.name) is crew:
            del self._kept[crew.spec.name]
        for member in crew.members.values():
            _end_watch(member)
            ray.kill(member.actor)


async def _stop(crew: PoolCrew, member: Member) -> None:
    try:
        await member.actor.stop.remote()
    except RayError as error:
        name = crew.spec.member(member.number)
        _log.warning("pool_not_stopped", pool=name, error=str(error))


def _end_watch(member: Member) -> None:
    for task in (member.watch, member.heart):
        if task is not None and task is not asyncio.current_task():
            task.cancel()
