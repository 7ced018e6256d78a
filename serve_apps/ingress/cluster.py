"""The engine behind the ingress, over Ray handles."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from raysume.actors.specs import DIRECTORY_NAME
from raysume.actors.untyped import RayError, RayTaskError, actor_named, cause_of
from raysume.errors import Unavailable
from raysume.serve_apps.ingress.engine import Catalogue, MethodEntry, WorkflowEntry

P = ParamSpec("P")
R = TypeVar("R")


def _translated(
    method: Callable[Concatenate[RayEngine, P], Awaitable[R]],
) -> Callable[Concatenate[RayEngine, P], Coroutine[Any, Any, R]]:
    """Errors of Ray become `Unavailable`; errors of ours come out as they were raised."""

    @functools.wraps(method)
    async def call(self: RayEngine, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, *args, **kwargs)
        except RayTaskError as error:
            cause = cause_of(error)
            if cause is not None:
                raise cause from None
            raise
        except RayError as error:
            self.forget_handles()
            raise Unavailable(
                f"a part of the engine is restarting ({type(error).__name__}). Try again shortly.",
                retry_after=1.0,
            ) from error
        except ValueError as error:  # ray.get_actor: no actor of that name
            raise Unavailable(f"the engine is not there: {error}", retry_after=1.0) from error

    return call


class RayEngine:
    """See `raysume.serve_apps.ingress.engine.Engine`."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}
        self._name = uuid.uuid4().hex
        """Tells this replica from others."""

    def forget_handles(self) -> None:
        """Actors are looked up again: one that was made anew under its name has another handle."""
        self._handles.clear()

    def _actor(self, name: str) -> Any:
        handle = self._handles.get(name)
        if handle is None:
            handle = self._handles[name] = actor_named(name)
        return handle

    @_translated
    async def catalogue(self, known: int) -> Catalogue:
        """See `Engine`."""
        told = await self._actor(DIRECTORY_NAME).catalogue.remote(known, self._name)
        workflows: list[WorkflowEntry] = []
        for entry, active in told["workflows"]:
            decoded = msgspec.json.decode(entry, type=WorkflowEntry)
            workflows.append(msgspec.structs.replace(decoded, active=active))
        return Catalogue(
            version=told["version"],
            generation=told["generation"],
            methods={
                urn: msgspec.json.decode(entry, type=MethodEntry)
                for urn, entry in told["methods"].items()
            },
            workflows=workflows,
            pools={name: frozenset(urns) for name, urns in told["pools"].items()},
        )

    @_translated
    async def deliver(self, pool: str, delivery: bytes) -> int:
        """See `Engine`."""
        return int(await self._actor(pool).deliver.remote(delivery))

    @_translated
    async def start(self, pool: str, request: bytes) -> bytes:
        """See `Engine`."""
        return bytes(await self._actor(pool).start.remote(request))

    @_translated
    async def describe(self, pool: str, id: str) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._actor(pool).describe.remote(id)
        return found

    @_translated
    async def command(self, pool: str, id: str, kind: str, reason: str) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._actor(pool).command.remote(id, kind, reason)
        return found

    @_translated
    async def rewind(self, pool: str, id: str, asked: bytes) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._actor(pool).rewind.remote(id, asked)
        return found

    @_translated
    async def fork(self, pool: str, id: str, asked: bytes) -> bytes | None:
        """See `Engine`."""
        found: bytes | None = await self._actor(pool).fork.remote(id, asked)
        return found

    @_translated
    async def history(
        self, pool: str, id: str, before: tuple[int, int] | None, limit: int
    ) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._actor(pool).history.remote(id, before, limit)
        return found

    @_translated
    async def state(self, pool: str, id: str) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._actor(pool).state.remote(id)
        return found

    @_translated
    async def query(
        self, pool: str, id: str, name: str, arguments: bytes, is_text: bool
    ) -> bytes | None:
        """See `Engine`."""
        found: bytes | None = await self._actor(pool).query.remote(id, name, arguments, is_text)
        return found

    @_translated
    async def result(self, pool: str, id: str, wait_s: float) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._actor(pool).result.remote(id, wait_s)
        return found

    @_translated
    async def explain(self, pool: str, call: bytes, id: str | None) -> bytes:
        """See `Engine`."""
        return bytes(await self._actor(pool).explain.remote(call, id))

    @_translated
    async def waits(self, pool: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """See `Engine`."""
        found: list[dict[str, Any]] = await self._actor(pool).waits.remote(query)
        return found

    @_translated
    async def instances(self, pool: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """See `Engine`."""
        found: list[dict[str, Any]] = await self._actor(pool).instances.remote(query)
        return found
