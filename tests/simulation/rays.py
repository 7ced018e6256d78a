"""What the engine uses of Ray, in a simulated cluster: named actors that are started again.

Calls travel over the simulated network, so they come late, or never, or whoever asked does not
hear of it. An actor whose process ends gets another one, until it is ended for good. One that is
taken for dead gets another one, too, and may go on beside it: its machine is cut off.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ray.exceptions
from tests.simulation.clockwork import Died, Process

from raysume.errors import RaysumeError, Unavailable

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster


class Life:
    """One process of an actor."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.instance: Any = None
        self.made = asyncio.Event()


class SimActor:
    """An actor: whatever process it has just now.

    Args:
        make: the object of a new process.
        is_retried: calls that fail are made again, as with `max_task_retries=-1`.
        goes_on: whether a process that is taken for dead may go on beside the next one.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        make: Callable[[Process], Any],
        *,
        is_retried: bool,
        goes_on: bool,
    ) -> None:
        self.cluster, self.name = cluster, name
        self.is_gone = False
        self.life: Life | None = None
        self.maker = cluster.loop.current
        self._make, self._is_retried, self._goes_on = make, is_retried, goes_on

    # --- processes -----------------------------------------------------------------

    def begin(self) -> None:
        """A process is on its way, unless there is one, or the actor was ended for good."""
        if self.life is not None or self.is_gone:
            return
        cluster = self.cluster
        cluster.born[self.name] += 1
        process = cluster.loop.process(f"{self.name}#{cluster.born[self.name]}")
        life = self.life = Life(process)
        process.at_death.append(lambda: self._succeed(life))
        cluster.loop.at(process, cluster.rng.uniform(0.0, 1.0), self._fill, life)
        cluster.may_kill(process)
        if cluster.faults.pause_s and cluster.trouble:
            in_s = cluster.rng.expovariate(1 / cluster.faults.pause_s)
            cluster.loop.at(cluster.loop.world, in_s, self._pause, life)

    def _fill(self, life: Life) -> None:
        life.instance = self._make(life.process)
        life.made.set()

    def _succeed(self, life: Life) -> None:
        if self.life is life:
            self.life = None
            in_s = self.cluster.rng.uniform(0.2, 6.0)
            self.cluster.loop.at(self.cluster.loop.world, in_s, self.begin)

    def lose(self) -> None:
        """Its process has ended, or only counts as ended, and another one takes its place."""
        life, cluster = self.life, self.cluster
        if life is None:
            return
        self.life = None
        if self._goes_on and cluster.happens(0.7):
            cluster.note(f"{life.process} is taken for dead")
            cluster.zombies.append(life.process)
            cluster.fail_asks(life.process)
        else:
            cluster.loop.kill(life.process)
        cluster.loop.at(cluster.loop.world, cluster.rng.uniform(0.0, 2.0), self.begin)

    def _pause(self, life: Life) -> None:
        """The process is stopped for a while; its node may be given up meanwhile."""
        cluster, process = self.cluster, life.process
        if process.is_dead or not cluster.trouble or self.life is not life:
            return
        pause_s = cluster.rng.choice((0.0, cluster.rng.uniform(0.1, 30.0)))
        process.paused_until = cluster.loop.time() + pause_s
        cluster.note(f"{process} is silent for {pause_s:.1f} s")
        if self._goes_on and cluster.rng.random() < 0.5:
            in_s = cluster.rng.uniform(0.0, 2.0)
            cluster.loop.at(cluster.loop.world, in_s, self._give_up, life)

    def _give_up(self, life: Life) -> None:
        if self.life is life and self.cluster.trouble:
            self.lose()

    # --- calls ---------------------------------------------------------------------

    async def ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """What the method gives.

        Raises:
            RayError: see `ray.exceptions`.
        """
        while True:
            try:
                return await self._ask(method, arguments)
            except ray.exceptions.ActorUnavailableError:
                if not self._is_retried:
                    raise
            await self.cluster.loop.passing(self.cluster.rng.uniform(0.1, 1.0))

    async def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        cluster, life = self.cluster, self.life
        if self.is_gone:
            raise ray.exceptions.ActorDiedError
        if life is None:
            await cluster.loop.passing(cluster.rng.uniform(0.01, 0.2))
            raise ray.exceptions.ActorUnavailableError("it is being restarted", None)

        async def work() -> tuple[Any, Exception | None]:
            await life.made.wait()
            try:
                found = getattr(life.instance, method)(*arguments)
                return (await found if inspect.isawaitable(found) else found), None
            except Exception as error:
                if not (isinstance(error, RaysumeError) or cluster.is_over):
                    cluster.loop.errors.append(error)
                return None, error

        try:
            found, error = await cluster.ask(
                life.process, work, may_double=self._is_retried or method == "deliver"
            )
        except Unavailable as unavailable:
            if self.is_gone:
                raise ray.exceptions.ActorDiedError from None
            raise ray.exceptions.ActorUnavailableError(str(unavailable), None) from None
        if error is not None:
            failed: Any = ray.exceptions.RayTaskError
            raise failed(method, "", error, self.name, 1, "127.0.0.1")
        return found


class Handle:
    """As Ray's: `handle.method.remote(...)` is awaited."""

    def __init__(self, actor: SimActor) -> None:
        self.actor = actor

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: Any) -> Awaitable[Any]:
            return self.actor.ask(method, arguments)

        return SimpleNamespace(remote=remote)


class SimRay:
    """Actors by name; has of the module `ray` what the engine's supervision uses."""

    exceptions = ray.exceptions

    def __init__(self, cluster: Cluster) -> None:
        self.actors: dict[str, SimActor] = {}
        self.actor = SimpleNamespace(exit_actor=self._exit_actor)
        self._cluster = cluster

    def made(self, name: str, make: Callable[[Process], Any], **options: bool) -> Handle:
        """The actor that exists under its name, or a new one."""
        found = self.actors.get(name)
        if found is None:
            found = self.actors[name] = SimActor(self._cluster, name, make, **options)
            found.begin()
        return Handle(found)

    def named(self, name: str) -> Handle:
        """The actor with this name.

        Raises:
            ValueError: there is none.
        """
        found = self.actors.get(name)
        if found is None:
            raise ValueError(f"there is no actor {name}")
        return Handle(found)

    def kill(self, handle: Handle, *, no_restart: bool = True) -> None:
        """Its process ends, as far as anybody can tell; for good, or another one follows."""
        actor = handle.actor
        if no_restart:
            self._forget(actor)
        actor.lose()

    def _forget(self, actor: SimActor) -> None:
        actor.is_gone = True
        if self.actors.get(actor.name) is actor:
            del self.actors[actor.name]

    def _exit_actor(self) -> None:
        """The process that asks for it ends; its actor too, unless another process has it by now."""
        process = self._cluster.loop.current
        for actor in list(self.actors.values()):
            if actor.life is not None and actor.life.process is process:
                self._forget(actor)
        self._cluster.loop.kill(process)
        raise Died
