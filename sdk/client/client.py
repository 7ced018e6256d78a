"""The client for programs with threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

import msgspec

from raysume.call import Call
from raysume.client import operations, questions
from raysume.client.encoding import AnyMethod, Batcher, CallBatch, CallLike, encode_call
from raysume.client.endpoint import find_endpoint
from raysume.client.operations import Page, Target
from raysume.client.questions import WaitFacts, WorkflowFacts
from raysume.client.retries import Operation, Patience
from raysume.client.runs import Listing, Run
from raysume.client.sending import SyncSender
from raysume.client.streams import Stream, Streams
from raysume.explanations import Explanation
from raysume.ids import uuid7
from raysume.limits import CLIENT_LINGER_S, CLIENT_REQUESTS_IN_FLIGHT, CLIENT_TIMEOUT_S
from raysume.methods import BoundMethod, Method
from raysume.queries import Query
from raysume.workflows import Workflow

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class Client:
    """Pushes calls, starts workflows and looks at instances.

    Args:
        url, token: where the ingress is; as configured, or as `raysume dev` wrote, by default.
        timeout: seconds for which one request is tried again while the engine is not there.

    Raises:
        ConfigurationError: the address or the token is not known.
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
        self._sender = SyncSender(self.endpoint, answer_s=limit_s or CLIENT_TIMEOUT_S)
        self._streams = Streams()

    def push(
        self,
        method: AnyMethod,
        *,
        input: Any,
        output: Any = None,
        id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """The call is accepted, durably; gives its id.

        Args:
            method: a URN, or the method, whose types then check the call here already.
            input: the parameters by name, or a pydantic model.
            output: what the method returned; None for a call that carries no output.
            id: pushing the same id again does nothing; made here when it is None.

        Raises:
            InvalidCall: it does not fit the method.
            DuplicateCall: the id was used before with another body.
        """
        body = encode_call(
            method,
            input=input,
            output=msgspec.UNSET if output is None else output,
            id=uuid7() if id is None else id,
            headers=headers,
        )
        return self.run(operations.push(body, self.patience))

    def push_many(self, calls: Iterable[CallLike]) -> int:
        """All calls are accepted, durably, and seen in the order given; gives their number.

        The iterable is read as the calls are sent: while some batches are under way, the next
        one is prepared. The engine takes them in order, whichever comes first.

        Raises:
            InvalidCall, DuplicateCall: a call was refused, and its batch with it.
                `details["item"]` is its place, `details["accepted"]` how many calls before
                its batch were accepted.
        """
        with (
            self._streams.stream() as stream,
            ThreadPoolExecutor(CLIENT_REQUESTS_IN_FLIGHT, "raysume-push") as workers,
        ):
            window = deque[Future[int]]()
            try:
                for batch in self._batches(calls, window):
                    _settle(window, stream, left=stream.in_flight_max - 1)
                    sequence = stream.take(batch.count)
                    send = copy_context().run  # the trace is that of the caller
                    window.append(workers.submit(send, self._send_batch, batch, sequence, stream))
                _settle(window, stream, left=0)
            finally:
                stream.is_over = True
            return stream.accepted

    def _batches(
        self, calls: Iterable[CallLike], window: Sequence[Future[int]]
    ) -> Iterator[CallBatch]:
        """Full batches, and smaller ones when nothing is under way and calls come slowly."""
        batcher, oldest = Batcher(), time.monotonic()
        for call in calls:
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
    def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    def start(
        self, workflow: Workflow[..., R], /, *args: Any, id: str | None, **kwargs: Any
    ) -> Run[R]: ...
    @overload
    def start(
        self, workflow: str, /, *args: Any, id: str | None = None, **kwargs: Any
    ) -> Run[Any]: ...
    def start(self, workflow: Any, /, *args: Any, id: Any = None, **kwargs: Any) -> Run[Any]:
        """The instance exists, durably. Starting the same id again gives the same instance.

        Args:
            workflow: the workflow, or its name (arguments are then given by keyword).
            id: the workflow's own rule, else a new one, by default.

        Raises:
            UsageError: the arguments do not fit.
            NotFound: there is no such workflow.
        """
        plan = questions.plan_start(workflow, args, kwargs, id)
        operation = operations.start(
            plan.workflow, plan.input_json, plan.id, plan.repeatable, self.patience
        )
        return Run(self, self.run(operation), plan.read)

    def instance(self, id: str, workflow: Workflow[..., Any] | str | None = None) -> Run[Any]:
        """The instance with this id.

        Args:
            workflow: needed only where instances of several workflows have this id; given
                as a workflow, results are of its declared type.

        Raises:
            NotFound: there is none.
        """
        target = Target(id=id, workflow=questions.workflow_name(workflow))
        facts = self.run(operations.describe(target, self.patience))
        return Run(self, facts, questions.reader_of(workflow))

    def instances(
        self,
        workflow: Workflow[..., Any] | str | None = None,
        *,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        tag: Mapping[str, Any] | None = None,
        after: str | None = None,
    ) -> Listing[Run[Any]]:
        """All instances that meet every condition given, the newest first.

        Args:
            since, until: started at or after, started before.
            after: the `cursor` of a listing, to go on behind it.
        """
        name, read = questions.workflow_name(workflow), questions.reader_of(workflow)

        def row(item: dict[str, Any]) -> Run[Any]:
            return Run(self, questions.read_facts(item), read)

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
    def query(
        self, run: Run[Any] | str, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def query(self, run: Run[Any] | str, query: str, /, **kwargs: Any) -> Any: ...
    def query(self, run: Any, query: Any, /, *args: Any, **kwargs: Any) -> Any:
        """What a `@query` method answers from the instance's saved state, whatever its status.

        Args:
            run: the instance, or its id.
            query: the method, e.g. `Onboarding.progress`, or its name (arguments are then
                given by keyword, and the answer is as JSON has it).

        Raises:
            NotFound: there is no such instance or query.
            UsageError: the arguments do not fit, or the query raised.
        """
        ask = questions.plan_query(query, args, kwargs)
        target = run.target if isinstance(run, Run) else Target(id=run)
        operation = operations.query(target, ask.name, ask.input_json, self.patience)
        return ask.read(self.run(operation))

    def calls(
        self,
        method: Method | BoundMethod | str | None = None,
        *,
        service: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: str | None = None,
    ) -> Listing[Call[Any, Any]]:
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
    ) -> Listing[WaitFacts]:
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

    def explain(
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
        return self.run(operations.explain(call_id, instance_id, name, self.patience))

    def workflows(self) -> list[WorkflowFacts]:
        """All workflows that are deployed, by name."""
        page = self.run(operations.page("/v1/workflows", {}, self.patience))
        return [questions.read_workflow(item) for item in page.items]

    def run(self, operation: Operation[T]) -> T:
        """The operation's result; requests are sent by the calling thread."""
        return self._sender.run(operation)

    def close(self) -> None:
        """Connections are closed."""
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.endpoint.url}>"

    def _send_batch(self, batch: CallBatch, sequence: int, stream: Stream) -> int:
        patience = stream.patience(self.patience, sequence)
        count = self.run(operations.push_batch(batch, stream.publisher, sequence, patience))
        stream.has_taken(sequence)
        return count

    def listing(
        self, path: str, read: Callable[..., T | None], after: str | None, **conditions: Any
    ) -> Listing[T]:
        """The rows behind an address of the engine, page by page; `read` makes them."""
        questions.listing_query(**conditions)  # refuses what is wrong now, not at the first row

        def fetch(cursor: str | None) -> Page:
            query = questions.listing_query(after=cursor or after, **conditions)
            return self.run(operations.page(path, query, self.patience))

        return Listing(fetch, read)


def _settle(window: deque[Future[int]], stream: Stream, *, left: int) -> None:
    """At most so many batches are under way; the others, which came first, are accepted."""
    while len(window) > left or (window and window[0].done()):
        stream.accepted += window.popleft().result()
