"""The client for programs with an event loop: the methods of `Client`, as coroutines."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

import msgspec

from raysume.call import Call
from raysume.client import operations, questions
from raysume.client.async_runs import AsyncListing, AsyncRun
from raysume.client.encoding import AnyMethod, Batcher, CallBatch, CallLike, encode_call
from raysume.client.endpoint import find_endpoint
from raysume.client.operations import Page, Target
from raysume.client.questions import WaitFacts, WorkflowFacts
from raysume.client.retries import Operation, Patience
from raysume.client.sending import AsyncSender
from raysume.client.streams import Stream, Streams
from raysume.explanations import Explanation
from raysume.ids import uuid7
from raysume.limits import CLIENT_LINGER_S, CLIENT_TIMEOUT_S
from raysume.methods import BoundMethod, Method
from raysume.queries import Query
from raysume.workflows import Workflow

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_CALLS_A_BREATH = 50
"""Calls taken from an ordinary iterable before the loop may do something else."""


class AsyncClient:
    """Pushes calls, starts workflows and looks at instances; see `Client`.

    One client belongs to one event loop.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float | timedelta = CLIENT_TIMEOUT_S,
    ) -> None:
        limit_s = questions.seconds(timeout)
        self.endpoint = find_endpoint(url, token)
        self.patience = Patience(limit_s=limit_s)
        self._sender = AsyncSender(self.endpoint, answer_s=limit_s or CLIENT_TIMEOUT_S)
        self._streams = Streams()

    async def push(
        self,
        method: AnyMethod,
        *,
        input: Any,
        output: Any = None,
        id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """The call is accepted, durably; gives its id. See `Client.push`."""
        body = encode_call(
            method,
            input=input,
            output=msgspec.UNSET if output is None else output,
            id=uuid7() if id is None else id,
            headers=headers,
        )
        return await self.run(operations.push(body, self.patience))

    async def push_many(self, calls: Iterable[CallLike] | AsyncIterable[CallLike]) -> int:
        """All calls are accepted, durably, and seen in the order given; gives their number.

        See `Client.push_many`. The iterable may be asynchronous.
        """
        window = deque[asyncio.Task[int]]()
        with self._streams.stream() as stream:
            try:
                async with aclosing(self._batches(calls, window)) as batches:
                    async for batch in batches:
                        await _settle(window, stream, left=stream.in_flight_max - 1)
                        sequence = stream.take(batch.count)
                        sending = self._send_batch(batch, sequence, stream)
                        window.append(asyncio.create_task(sending))
                await _settle(window, stream, left=0)
            finally:
                stream.is_over = True
                for task in window:
                    task.cancel()
                await asyncio.gather(*window, return_exceptions=True)
            return stream.accepted

    async def _batches(
        self,
        calls: Iterable[CallLike] | AsyncIterable[CallLike],
        window: Sequence[asyncio.Task[int]],
    ) -> AsyncGenerator[CallBatch, None]:
        """Full batches, and smaller ones when nothing is under way and calls come slowly."""
        batcher, oldest = Batcher(), time.monotonic()
        async with aclosing(_each(calls)) as given:
            async for call in given:
                batch = batcher.add(call)
                if batch is None and (not window or window[-1].done()):
                    if time.monotonic() - oldest < CLIENT_LINGER_S:
                        continue
                    batch = batcher.rest()
                if batch is not None:
                    yield batch
                    oldest = time.monotonic()
        last = batcher.rest()
        if last is not None:
            yield last

    @overload
    async def start(
        self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncRun[R]: ...
    @overload
    async def start(
        self, workflow: Workflow[..., R], /, *args: Any, id: str | None, **kwargs: Any
    ) -> AsyncRun[R]: ...
    @overload
    async def start(
        self, workflow: str, /, *args: Any, id: str | None = None, **kwargs: Any
    ) -> AsyncRun[Any]: ...
    async def start(
        self, workflow: Any, /, *args: Any, id: Any = None, **kwargs: Any
    ) -> AsyncRun[Any]:
        """The instance exists, durably. See `Client.start`."""
        plan = questions.plan_start(workflow, args, kwargs, id)
        operation = operations.start(
            plan.workflow, plan.input_json, plan.id, plan.repeatable, self.patience
        )
        return AsyncRun(self, await self.run(operation), plan.read)

    async def instance(
        self, id: str, workflow: Workflow[..., Any] | str | None = None
    ) -> AsyncRun[Any]:
        """The instance with this id. See `Client.instance`."""
        target = Target(id=id, workflow=questions.workflow_name(workflow))
        facts = await self.run(operations.describe(target, self.patience))
        return AsyncRun(self, facts, questions.reader_of(workflow))

    def instances(
        self,
        workflow: Workflow[..., Any] | str | None = None,
        *,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        tag: Mapping[str, Any] | None = None,
        after: str | None = None,
    ) -> AsyncListing[AsyncRun[Any]]:
        """All instances that meet every condition given, the newest first: for `async for`."""
        name, read = questions.workflow_name(workflow), questions.reader_of(workflow)

        def row(item: dict[str, Any]) -> AsyncRun[Any]:
            return AsyncRun(self, questions.read_facts(item), read)

        return self.listing(
            "/v1/instances",
            row,
            after,
            since=since,
            until=until,
            workflow=name,
            status=status,
            tag=tag,
        )

    @overload
    async def query(
        self, run: AsyncRun[Any] | str, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def query(self, run: AsyncRun[Any] | str, query: str, /, **kwargs: Any) -> Any: ...
    async def query(self, run: Any, query: Any, /, *args: Any, **kwargs: Any) -> Any:
        """What a `@query` method answers from the instance's saved state. See `Client.query`."""
        ask = questions.plan_query(query, args, kwargs)
        target = run.target if isinstance(run, AsyncRun) else Target(id=run)
        operation = operations.query(target, ask.name, ask.input_json, self.patience)
        return ask.read(await self.run(operation))

    def calls(
        self,
        method: Method | BoundMethod | str | None = None,
        *,
        service: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: str | None = None,
    ) -> AsyncListing[Call[Any, Any]]:
        """All accepted calls that meet every condition given, the oldest first."""
        urn = questions.method_urn(method)
        return self.listing(
            "/v1/calls",
            questions.read_call,
            after,
            since=since,
            until=until,
            method=urn,
            service=service,
        )

    def waits(
        self,
        workflow: Workflow[..., Any] | str | None = None,
        *,
        method: Method | BoundMethod | str | None = None,
        instance: str | None = None,
        keyless: bool = False,
        after: str | None = None,
    ) -> AsyncListing[WaitFacts]:
        """All open waits that meet every condition given, by instance; first waits come first.

        Args:
            keyless: only those without a key, which no index finds.
        """
        name, urn = questions.workflow_name(workflow), questions.method_urn(method)
        return self.listing(
            "/v1/waits",
            questions.read_wait,
            after,
            workflow=name,
            method=urn,
            instance=instance,
            keyless="true" if keyless else None,
        )

    async def explain(
        self,
        call_id: str,
        instance_id: str | None = None,
        *,
        workflow: Workflow[..., Any] | str | None = None,
    ) -> Explanation:
        """Why a call did or did not meet a wait: what it met, then the nearest misses.

        Args:
            instance_id, workflow: look only there.

        Raises:
            NotFound: there is no such call or instance.
        """
        name = questions.workflow_name(workflow)
        return await self.run(operations.explain(call_id, instance_id, name, self.patience))

    async def workflows(self) -> list[WorkflowFacts]:
        """All workflows that are deployed, by name."""
        page = await self.run(operations.page("/v1/workflows", {}, self.patience))
        return [questions.read_workflow(item) for item in page.items]

    async def run(self, operation: Operation[T]) -> T:
        """The operation's result."""
        return await self._sender.run(operation)

    async def close(self) -> None:
        """Connections are closed."""
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self.endpoint.url}>"

    async def _send_batch(self, batch: CallBatch, sequence: int, stream: Stream) -> int:
        patience = stream.patience(self.patience, sequence)
        count = await self.run(operations.push_batch(batch, stream.publisher, sequence, patience))
        stream.has_taken(sequence)
        return count

    def listing(
        self, path: str, read: Callable[..., T | None], after: str | None, **conditions: Any
    ) -> AsyncListing[T]:
        """The rows behind an address of the engine; see `Client.listing`."""
        questions.listing_query(**conditions)  # refuses what is wrong now, not at the first row

        async def fetch(cursor: str | None) -> Page:
            query = questions.listing_query(after=cursor or after, **conditions)
            return await self.run(operations.page(path, query, self.patience))

        return AsyncListing(fetch, read)


async def _settle(window: deque[asyncio.Task[int]], stream: Stream, *, left: int) -> None:
    """At most so many batches are under way; the others, which came first, are accepted."""
    while len(window) > left or (window and window[0].done()):
        await asyncio.wait([window[0]])
        stream.accepted += window.popleft().result()


async def _each(
    calls: Iterable[CallLike] | AsyncIterable[CallLike],
) -> AsyncGenerator[CallLike, None]:
    if isinstance(calls, AsyncIterable):
        async for call in calls:
            yield call
        return
    for place, call in enumerate(calls):
        if place % _CALLS_A_BREATH == 0:
            await asyncio.sleep(0)  # a batch under way goes on meanwhile
        yield call
