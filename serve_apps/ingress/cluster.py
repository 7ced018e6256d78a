"""The engine behind the ingress, over Ray handles."""

from __future__ import annotations

import asyncio
import functools
import heapq
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from raysume import ids, limits
from raysume.actors.explaining import place_of
from raysume.actors.kernel.deliveries import StartRequest
from raysume.actors.specs import DIRECTORY_NAME
from raysume.actors.untyped import RayError, RayTaskError, actor_named, cause_of
from raysume.errors import ShardMoved, Unavailable
from raysume.explanations import WaitExplained
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
    """See `raysume.serve_apps.ingress.engine.Engine`.

    A question about one instance goes to the member that owns its shard, one about all instances
    to every member of the pool. Who owns what is known from the catalogue; a member that is asked
    for what it does not own says so, and the catalogue is read again.
    """

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}
        self._owners: dict[str, list[str]] = {}
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

    # --- members -------------------------------------------------------------------

    def _owner(self, pool: str, id: str) -> Any:
        """The member that has the instance's shard, as far as is known here."""
        owners = self._owners.get(pool)
        return self._actor(pool if not owners else owners[ids.shard_of(id, limits.SHARDS)])

    async def _owning(self, pool: str, id: str, method: str, *arguments: Any) -> Any:
        """What the member answers that has the instance's shard."""

        async def ask() -> Any:
            return await getattr(self._owner(pool, id), method).remote(id, *arguments)

        return await self._looked_up(ask)

    async def _everywhere(self, pool: str, method: str, *arguments: Any) -> list[Any]:
        """What all members answer: of every shard exactly one."""

        async def ask() -> list[Any]:
            members = sorted(set(self._owners.get(pool, ()))) or [pool]
            answers = await asyncio.gather(
                *(getattr(self._actor(one), method).remote(*arguments) for one in members)
            )
            asked = sorted(shard for shards, _ in answers for shard in shards)
            if asked != list(range(limits.SHARDS)):
                raise ShardMoved(
                    f"shards of pool {pool} are being moved. Try again shortly.",
                    retry_after=limits.SHARD_LOOKUP_PAUSE_S,
                )
            return [found for _, found in answers]

        found: list[Any] = await self._looked_up(ask)
        return found

    async def _looked_up(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The answer; whoever owns a shard is looked up again when it was not the one asked."""
        for _ in range(limits.SHARD_LOOKUPS_MAX):
            try:
                return await ask()
            except ShardMoved:
                pass
            except RayTaskError as error:
                if not isinstance(cause_of(error), ShardMoved):
                    raise
            except ValueError:  # a member that was dismissed, and whose actor is gone
                pass
            await asyncio.sleep(limits.SHARD_LOOKUP_PAUSE_S)
            await self._read_catalogue(-1)
        return await ask()

    async def _read_catalogue(self, known: int, replica: str = "") -> dict[str, Any]:
        told: dict[str, Any] = await self._actor(DIRECTORY_NAME).catalogue.remote(known, replica)
        self._owners = told["owners"]
        return told

    # --- Engine --------------------------------------------------------------------

    @_translated
    async def catalogue(self, known: int) -> Catalogue:
        """See `Engine`."""
        told = await self._read_catalogue(known, self._name)
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
            owners=told["owners"],
        )

    @_translated
    async def deliver(self, pool: str, delivery: bytes) -> int:
        """See `Engine`."""
        return int(await self._actor(pool).deliver.remote(delivery))

    @_translated
    async def resize(self, workflow: str, members: int, version: str | None) -> dict[str, Any]:
        """See `Engine`."""
        directory = self._actor(DIRECTORY_NAME)
        found: dict[str, Any] = await directory.resize.remote(workflow, members, version)
        return found

    @_translated
    async def start(self, pool: str, request: bytes) -> bytes:
        """See `Engine`."""
        asked = msgspec.msgpack.decode(request, type=StartRequest)

        async def ask() -> Any:
            nonlocal asked
            given = msgspec.msgpack.encode(asked)
            if asked.id:
                return await self._owner(pool, asked.id).start.remote(given)
            try:  # whoever is asked makes the id, and may find that it is another member's
                return await self._owner(pool, ids.uuid7()).start.remote(given)
            except RayTaskError as error:
                moved = cause_of(error)
                if not isinstance(moved, ShardMoved):
                    raise
                asked = msgspec.structs.replace(asked, id=str(moved.details["id"]))
            return await self._owner(pool, asked.id).start.remote(msgspec.msgpack.encode(asked))

        return bytes(await self._looked_up(ask))

    @_translated
    async def describe(self, pool: str, id: str) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._owning(pool, id, "describe")
        return found

    @_translated
    async def command(self, pool: str, id: str, kind: str, reason: str) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._owning(pool, id, "command", kind, reason)
        return found

    @_translated
    async def rewind(self, pool: str, id: str, asked: bytes) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._owning(pool, id, "rewind", asked)
        return found

    @_translated
    async def fork(self, pool: str, id: str, asked: bytes) -> bytes | None:
        """See `Engine`."""
        found: bytes | None = await self._owning(pool, id, "fork", asked)
        return found

    @_translated
    async def history(
        self, pool: str, id: str, before: tuple[int, int] | None, limit: int
    ) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._owning(pool, id, "history", before, limit)
        return found

    @_translated
    async def state(self, pool: str, id: str) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._owning(pool, id, "state")
        return found

    @_translated
    async def query(
        self, pool: str, id: str, name: str, arguments: bytes, is_text: bool
    ) -> bytes | None:
        """See `Engine`."""
        found: bytes | None = await self._owning(pool, id, "query", name, arguments, is_text)
        return found

    @_translated
    async def result(self, pool: str, id: str, wait_s: float) -> dict[str, Any] | None:
        """See `Engine`."""
        found: dict[str, Any] | None = await self._owning(pool, id, "result", wait_s)
        return found

    @_translated
    async def explain(self, pool: str, call: bytes, id: str | None) -> bytes:
        """See `Engine`."""
        if id is None:
            told = await self._everywhere(pool, "explain", call, None)
        else:
            owner = id

            async def ask() -> Any:
                return await self._owner(pool, owner).explain.remote(call, owner)

            told = [(await self._looked_up(ask))[1]]
        if len(told) == 1:
            return bytes(told[0])
        decode = msgspec.msgpack.Decoder(list[WaitExplained]).decode
        return msgspec.msgpack.encode([one for part in told for one in decode(part)])

    @_translated
    async def waits(self, pool: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """See `Engine`."""
        pages = await self._everywhere(pool, "waits", query)
        return list(islice(heapq.merge(*pages, key=place_of), query["limit"]))

    @_translated
    async def instances(self, pool: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """See `Engine`."""
        pages = await self._everywhere(pool, "instances", query)
        return list(heapq.merge(*pages, key=_newest_last, reverse=True))


def _newest_last(row: dict[str, Any]) -> tuple[datetime, str]:
    return datetime.fromisoformat(row["started_at"]), str(row["id"])
