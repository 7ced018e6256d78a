"""Keeps pools running: makes those that are missing, and wakes those whose process died.

Ray restarts the process of a dead pool, and a new process recovers at its first call. The
supervisor therefore has one call under way in every pool, which lasts as long as its
process: when it fails, the pool is asked to get ready again, so that its timers ring and
its steps go on though nobody else asks for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from raysume import limits
from raysume.actors.pool import pool_actor
from raysume.actors.specs import EngineSpec, PoolSpec
from raysume.actors.untyped import RayError, RayTaskError, cause_of, ray
from raysume.errors import RaysumeError, Unavailable, UsageError

_log = structlog.get_logger("raysume.directory")


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A pool that runs, or is being brought back."""

    spec: PoolSpec
    actor: Any
    watch: asyncio.Task[None] | None = None


class Supervisor:
    """The pools of a deployment, by name.

    Args:
        changed: called when a pool was given up, or runs again after that.
    """

    def __init__(
        self,
        engine: EngineSpec,
        driver_paths: list[str],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._engine, self._driver_paths, self._changed = engine, driver_paths, changed
        self._kept: dict[str, _Kept] = {}
        self.problems: dict[str, str] = {}
        """Pool name -> why it does not run."""

    def __contains__(self, name: object) -> bool:
        """Whether the pool runs, or is being brought back."""
        return name in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    async def run(self, spec: PoolSpec) -> int:
        """The pool has recovered, and is brought back from now on whenever its process dies.

        Returns:
            Its process id.

        Raises:
            UsageError: it cannot run as it is deployed; says why.
            Unavailable: it did not become ready in several attempts.
        """
        kept = self._kept.get(spec.name) or _Kept(spec=spec, actor=self._actor(spec))
        try:
            pid = await self._start(kept, attempts=limits.POOL_START_ATTEMPTS)
        except RaysumeError as error:
            self._give_up(kept, error)
            raise
        self.problems.pop(spec.name, None)
        if kept.watch is None:
            self._kept[spec.name] = kept
            kept.watch = asyncio.get_running_loop().create_task(self._keep(kept))
        return pid

    async def check(self, spec: PoolSpec) -> list[str]:
        """The pool, which does not run yet, can be deployed; the methods of its first wait.

        Raises:
            UsageError: it cannot; says why.
            Unavailable: its process ended.
        """
        actor = self._actor(spec)
        try:
            return list(await actor.check.remote())
        except RayTaskError as error:
            ray.kill(actor)
            raise _refusal(spec, cause_of(error) or error) from None
        except RayError as error:
            ray.kill(actor)
            raise Unavailable(f"the process of pool {spec.name} ended: {error}") from error

    async def ask(self, name: str, method: str, *arguments: Any) -> Any:
        """What the pool answers; it is asked again when its process ended meanwhile.

        Raises:
            Unavailable: it was asked in vain several times.
        """
        backoff_s, reason = limits.RETRY_BACKOFF_S_MIN, "it does not run"
        for _ in range(limits.POOL_START_ATTEMPTS):
            kept = self._kept.get(name)
            if kept is None:
                break
            try:
                return await getattr(kept.actor, method).remote(*arguments)
            except RayTaskError as error:
                raise cause_of(error) or error from None
            except RayError as error:
                reason = str(error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 10, limits.RETRY_BACKOFF_S_MAX)
        raise Unavailable(f"pool {name} does not answer: {reason}. Deploy again.")

    async def pids(self) -> dict[str, int]:
        """Pool name -> process id, of the pools that answer."""
        found: dict[str, int] = {}
        for name, kept in list(self._kept.items()):
            try:
                found[name] = await kept.actor.pid.remote()
            except RayError:  # it is being brought back
                continue
        return found

    def drop(self, name: str) -> None:
        """The pool's processes end, and stay away."""
        kept = self._kept.get(name)
        if kept is not None:
            self._forget(kept)
            ray.kill(kept.actor)

    async def stop(self) -> None:
        """Every pool has checkpointed; none is brought back any more."""
        kept, self._kept = list(self._kept.values()), {}
        for one in kept:
            if one.watch is not None:
                one.watch.cancel()
        await asyncio.gather(*(self._stop(one) for one in kept))

    async def _stop(self, kept: _Kept) -> None:
        try:
            await kept.actor.stop.remote()
        except RayError as error:
            _log.warning("pool_not_stopped", pool=kept.spec.name, error=str(error))

    def _actor(self, spec: PoolSpec) -> Any:
        return pool_actor(spec, self._engine, self._driver_paths)

    async def _keep(self, kept: _Kept) -> None:
        """The pool is brought back whenever its process dies, until it is given up."""
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while True:
            begun = time.monotonic()
            try:
                await kept.actor.lasting.remote()
            except RayError as error:
                _log.warning("pool_died", pool=kept.spec.name, error=type(error).__name__)
            if time.monotonic() - begun > limits.POOL_STEADY_S:
                backoff_s = limits.RETRY_BACKOFF_S_MIN
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)
            try:
                pid = await self._start(kept, attempts=None)
            except RaysumeError as error:
                self._give_up(kept, error)
                await self._changed()
                return
            _log.info("pool_runs_again", pool=kept.spec.name, pid=pid)

    async def _start(self, kept: _Kept, *, attempts: int | None) -> int:
        """The pool is ready; gives its process id.

        Args:
            attempts: after so many that failed for a passing reason, it is given up; None: never.
        """
        backoff_s, failed = limits.RETRY_BACKOFF_S_MIN, 0
        while True:
            try:
                return int((await kept.actor.ready.remote())["pid"])
            except RayTaskError as error:
                reason: Exception = cause_of(error) or error
                if not (isinstance(reason, Unavailable) or (attempts is None and _passes(reason))):
                    raise _refusal(kept.spec, reason) from None
                ray.kill(kept.actor, no_restart=False)
            except ray.exceptions.ActorDiedError as error:  # for good: somebody ended it
                reason = error
                kept.actor = self._actor(kept.spec)
            except ray.exceptions.RayActorError as error:
                reason = error
            failed += 1
            _log.warning("pool_not_ready", pool=kept.spec.name, failed=failed, error=str(reason))
            if failed == attempts:
                raise Unavailable(
                    f"the process of pool {kept.spec.name} ended {failed} times while it started "
                    f"({type(reason).__name__}: {reason}). Its output is in Ray's logs."
                )
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)

    def _give_up(self, kept: _Kept, error: RaysumeError) -> None:
        """The pool does not run, and `problems` says why."""
        self.problems[kept.spec.name] = str(error)
        _log.error("pool_given_up", pool=kept.spec.name, error=str(error))
        self._forget(kept)
        ray.kill(kept.actor)

    def _forget(self, kept: _Kept) -> None:
        if self._kept.get(kept.spec.name) is kept:
            del self._kept[kept.spec.name]
        if kept.watch is not None and kept.watch is not asyncio.current_task():
            kept.watch.cancel()


def _passes(reason: Exception) -> bool:
    """Whether a pool that ran before is worth waiting for: the disk is full, or cannot be written."""
    return isinstance(reason, RaysumeError) and bool(reason.details.get("passing"))


def _refusal(spec: PoolSpec, reason: Exception) -> RaysumeError:
    if isinstance(reason, RaysumeError):
        return reason
    return UsageError(
        f"workflow {spec.workflow!r} cannot run: {type(reason).__name__}: {reason}. Correct it "
        "and deploy again."
    )
