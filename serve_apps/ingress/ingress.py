"""The ingress without HTTP: catalogue, acceptance and delivery, started and stopped together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from raysume.actors.metrics import Export, export_regularly
from raysume.actors.spans import Spans
from raysume.errors import Overloaded, Unavailable
from raysume.limits import (
    CALL_LOG_READ_THREADS,
    CALL_RETENTION,
    EARLY_BATCH_S,
    INGRESS_DRAIN_S,
    INGRESS_START_S,
    RETRY_BACKOFF_S_MIN,
    STORE_RETRY_S,
)
from raysume.records import Segment
from raysume.serve_apps.ingress.acceptance import Acceptor
from raysume.serve_apps.ingress.bodies import BodyBudget
from raysume.serve_apps.ingress.delivery import Dispatcher
from raysume.serve_apps.ingress.engine import Catalogue, Engine, WorkflowEntry
from raysume.serve_apps.ingress.metrics import IngressMeters
from raysume.serve_apps.ingress.progress import Progress
from raysume.serve_apps.ingress.tokens import TokenBook
from raysume.serve_apps.ingress.validation import Checker, MethodChecks, compile_schema
from raysume.storage.call_ports import Accepted, Batch, CallLog, Partition

T = TypeVar("T")

_log = structlog.get_logger("raysume.ingress")


class Ingress:
    """Accepts calls durably and delivers them; knows what is deployed.

    Args:
        engine: the rest of the cluster.
        call_log: where accepted calls go; closed by whoever opened it.
        tokens: who may ask for what.
        owner: "pid:start_time:label", recorded with the partitions written here.
        call_retention: how long the engine keeps calls, for messages.
    """

    def __init__(
        self,
        engine: Engine,
        call_log: CallLog,
        tokens: TokenBook,
        *,
        owner: str,
        call_retention: timedelta = CALL_RETENTION,
    ) -> None:
        self.engine = engine
        self.call_retention = call_retention
        self.tokens = tokens
        self.bodies = BodyBudget()
        self._call_log = call_log
        self._acceptor = Acceptor(call_log, owner=owner, emit=self._stored)
        self.meters = IngressMeters()
        self.metrics: Export | None = None
        """Where what is counted goes once a second, as of `start`; None: nowhere."""
        self.spans: Spans | None = None
        """Of requests in sampled traces; None: there are none."""
        self._dispatcher = Dispatcher(self.meters.timing(engine.deliver))
        self._checks: MethodChecks | None = None
        self._inputs: dict[tuple[str, str], Checker] = {}
        self._deployed = Progress()
        self._in_turn, self._turns_taken = Progress(), 0
        self._tasks: list[asyncio.Task[None]] = []
        self._readers: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Calls are accepted, or `health` says why not; both come right by themselves."""
        self._readers = ThreadPoolExecutor(CALL_LOG_READ_THREADS, "raysume-read")
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow(), name="catalogue")]
        if self.metrics is not None:
            report = partial(self.meters.report, self.metrics)
            self._tasks.append(loop.create_task(export_regularly(report), name="metrics"))
        await self._acceptor.start()
        try:
            async with asyncio.timeout(INGRESS_START_S):
                await self._deployed.until(lambda: self._checks is not None)
        except TimeoutError:
            _log.warning("started_without_catalogue", waited_s=INGRESS_START_S)

    async def stop(self) -> None:
        """What was accepted is stored and answered, and delivered if the pools take it in time."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._acceptor.stop()
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(INGRESS_DRAIN_S):
                await self._dispatcher.drain()
        except TimeoutError:
            _log.warning("stopped_before_all_was_delivered", lag=self._dispatcher.lag())
        await self._dispatcher.stop()
        if self._readers is not None:
            self._readers.shutdown(wait=False)

    # --- what is deployed --------------------------------------------------------

    @property
    def methods(self) -> MethodChecks:
        """The methods that may be pushed now.

        Raises:
            Unavailable: the first catalogue has not come yet.
        """
        if self._checks is None:
            raise Unavailable("The engine is starting. Try again shortly.")
        return self._checks

    @property
    def catalogue(self) -> Catalogue:
        """What is deployed now. Raises as `methods` does."""
        return self.methods.catalogue

    async def deployed(self, version: int) -> None:
        """The ingress works with this version of the catalogue, or a later one."""
        await self._deployed.until(
            lambda: self._checks is not None and self._checks.catalogue.version >= version
        )

    def input_of(self, workflow: WorkflowEntry) -> Checker | None:
        """The compiled schema of a workflow's arguments; None when any object will do."""
        if workflow.input_schema is None:
            return None
        key = (workflow.name, workflow.version)
        checker = self._inputs.get(key)
        if checker is None:
            checker = compile_schema(workflow.input_schema, owner=f"workflow {workflow.name!r}")
            self._inputs[key] = checker
        return checker

    async def _follow(self) -> None:
        known, backoff_s = -1, RETRY_BACKOFF_S_MIN
        while True:
            try:
                catalogue = await self.engine.catalogue(known)
                if catalogue.version != known:
                    self._deploy(catalogue)
            except Exception as error:
                _log.warning("catalogue_not_read", error=repr(error))
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, STORE_RETRY_S)
                continue
            if catalogue.version == known:
                # Nothing new in half a minute, or an engine that does not wait: never spin.
                await asyncio.sleep(RETRY_BACKOFF_S_MIN)
            known, backoff_s = catalogue.version, RETRY_BACKOFF_S_MIN

    def _deploy(self, catalogue: Catalogue) -> None:
        self._checks = MethodChecks(catalogue, self._checks)
        self._inputs.clear()
        self._dispatcher.update(catalogue)
        self._deployed.advance()
        _log.info(
            "catalogue",
            version=catalogue.version,
            methods=len(catalogue.methods),
            pools=len(catalogue.pools),
        )

    # --- calls -------------------------------------------------------------------

    async def accept(self, batch: Batch, methods: set[str]) -> Accepted:
        """The batch is durable and on its way to the pools; or it was stored before.

        Args:
            methods: those of the batch's calls.

        Raises:
            Overloaded: a pool that awaits one of the methods is too far behind, or too
                much is waiting to be stored.
            Unavailable: the call log cannot be written.
        """
        behind = self._dispatcher.lagging(methods)
        if behind:
            raise Overloaded(
                f"{', '.join(behind[:5])} cannot keep up with the calls it awaits. Nothing was "
                "stored; slow down and try again."
            )
        if batch.publisher is None or not batch.publisher.in_order:
            return await self._acceptor.accept(batch)
        return await self._accept_in_turn(batch)

    async def _accept_in_turn(self, batch: Batch) -> Accepted:
        """A batch that overtook the one before it on its way here waits for that for a moment."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + EARLY_BATCH_S
        while True:
            turn = self._turns_taken
            accepted = await self._acceptor.accept(batch)
            if not accepted.is_early:
                self._turns_taken += 1
                self._in_turn.advance()
                return accepted
            try:
                async with asyncio.timeout_at(deadline):
                    await self._in_turn.until(partial(self._has_moved, turn))
            except TimeoutError:
                return accepted

    def _has_moved(self, turn: int) -> bool:
        """Whether a batch that came in order was accepted since."""
        return self._turns_taken != turn

    async def delivered(self, partition: int, offset: int) -> None:
        """Every pool has everything of the partition below `offset` (a signal for tests)."""
        await self._dispatcher.delivered(partition, offset)

    async def all_delivered(self) -> None:
        """Every pool has everything that was accepted before (a signal for tests)."""
        await self._dispatcher.drain()

    async def read(self, ask: Callable[[CallLog], T]) -> T:
        """What `ask` finds in the call log, read in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, ask, self._call_log)

    def health(self) -> dict[str, Any]:
        """{"status": "ok" | "starting" | "unavailable", ...}; only "ok" can accept calls."""
        status, detail = "ok", None
        if self._acceptor.trouble is not None:
            status, detail = "unavailable", self._acceptor.trouble
        elif self._checks is None:
            status, detail = "starting", "the first catalogue has not come yet"
        found: dict[str, Any] = {
            "status": status,
            "catalogue": self._checks.catalogue.version if self._checks else None,
            "lag": self._dispatcher.lag(),
        }
        return found if detail is None else {**found, "detail": detail}

    @property
    def appends(self) -> int:
        """Append transactions so far: fewer than requests when they were grouped."""
        return self._acceptor.appends

    def _stored(self, segments: Sequence[Segment], closed: Sequence[Partition]) -> None:
        self.meters.has_stored(segments)
        for partition in closed:
            if partition.next_offset > 0:
                self._dispatcher.announce(partition.id, partition.next_offset)
        for segment in segments:
            self._dispatcher.offer(segment)
