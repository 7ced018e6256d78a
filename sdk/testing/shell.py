"""TestShell: workflows run in memory by the real kernel, with a virtual clock.

Nothing is mocked: calls are matched by the real index, turns are journaled to the memory
store, and by default every step of a test ends with a restart from what was saved.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, Self, TypeVar, overload

import msgspec

from raysume import ids, limits
from raysume.actors.kernel.commits import (
    CallsSent,
    ChildOrder,
    Command,
    Commit,
    Delivered,
    Event,
    Started,
    StepEnded,
    StepOrder,
    TimersDue,
    TurnEnded,
    TurnTask,
)
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery, StartRequest
from raysume.actors.kernel.moments import duration_us, microseconds, moment
from raysume.configuration import settings
from raysume.errors import NotFound, UsageError
from raysume.explanations import Explanation, explanation, keeping_calls
from raysume.methods import BoundMethod, Method, current_sink
from raysume.methods import method_of as declared_method_of
from raysume.queries import Query
from raysume.records import OutgoingCall
from raysume.testing.accepting import accepted, as_pushed
from raysume.testing.calls import ShellCalls
from raysume.testing.commands import InstanceCommands
from raysume.testing.families import Families
from raysume.testing.pools import ShellPool, method_of, pools_of
from raysume.testing.views import Counts, Run
from raysume.tracing import traced, traceparent
from raysume.workflows import Workflow

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_CATALOGUE = 1
_log = logging.getLogger("raysume.testing")


class TestShell(InstanceCommands):
    """Runs workflows in memory for a test: `async with TestShell(approval) as shell: ...`.

    Args:
        workflows: what is deployed in the shell; their names must differ.
        reload: save and reload all state after every step of the test.
        overrides: factories given to `Depends`, with what they give in this shell.
    """

    __test__ = False

    def __init__(
        self,
        *workflows: Workflow[Any, Any],
        reload: bool = True,
        overrides: Mapping[Any, Any] | None = None,
    ) -> None:
        self._reload = reload
        self._workflows = workflows
        self._pools = pools_of(workflows, reload=reload)
        self._now_us = microseconds(datetime.now(UTC))
        self._calls = ShellCalls()
        self._effects: list[tuple[ShellPool, StepOrder | TurnTask | ChildOrder]] = []
        self._families = Families(self._pools)
        self._published: set[tuple[str, int, int]] = set()
        self._stubs: dict[Any, Callable[..., Any]] = {}
        self._exit = ExitStack()
        self.refused: list[str] = []
        """Why a workflow of the shell has no first wait, and takes no calls; the others do."""
        for factory, value in (overrides or {}).items():
            self.override(factory, returns=value)

    async def __aenter__(self) -> Self:
        token = current_sink.set(self._take)
        self._exit.callback(current_sink.reset, token)
        errors = [error for pool in self._pools.values() if (error := await self._learn(pool))]
        if errors and len(errors) == len(self._pools):
            self._exit.close()
            raise errors[0]
        return self

    async def _learn(self, pool: ShellPool) -> UsageError | None:
        try:
            await pool.learn(self._now_us)
        except UsageError as error:
            self.refused.append(error.message)
            _log.error("workflow %r is refused: %s", pool.workflow.name, error.message)
            return error
        return None

    async def __aexit__(self, *exc_info: object) -> None:
        self._exit.close()

    @property
    def now(self) -> datetime:
        """The shell's clock (aware, UTC); it moves only by `advance`."""
        return moment(self._now_us)

    # --- what a test does ----------------------------------------------------------

    async def push(
        self,
        method: Method | BoundMethod | Callable[..., Any] | str,
        /,
        *,
        output: Any = None,
        input: Mapping[str, Any] | Any = None,
        **parameters: Any,
    ) -> str:
        """A call of `method` with these parameters and this output was pushed and handled.

        Args:
            method: the method, or its URN.
            output: what the call returned.
            input: parameters by name, or the external method's model, for what cannot be keywords.
            parameters: the parameters; defaults of the method apply.

        Returns:
            The call's id.

        Raises:
            InvalidCall: a parameter is unknown, missing, or of another type.
        """
        declared = method_of(method) if isinstance(method, str) else declared_method_of(method)
        given = dict(parameters)
        if isinstance(input, Mapping):
            given = {**input, **given}
            values = declared.model_of(given)
        elif input is not None:
            values = input
        else:
            values = declared.model_of(given)
        encoded = None if output is None else declared.encode_output(output)
        call = traced(as_pushed(declared.outgoing(values, output=encoded)), traceparent())
        self._take(call)
        await self._settle()
        return call.id

    async def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """An instance of a workflow with parameters has started and run to its first wait."""
        pool = self._pool(workflow)
        if not workflow.has_parameters:
            raise UsageError(
                f"workflow {workflow.name!r} has no parameters: it is started by the calls that "
                "meet its first wait. Push one."
            )
        input = workflow.encode_arguments(*args, **kwargs)
        made = workflow.instance_id(workflow.decode_arguments(input))
        request = StartRequest(
            workflow=workflow.name, id=made or ids.uuid7(), input=input, at_us=self._now_us
        )
        self._apply(pool, [Started(request=request, token=0)])
        await self._settle()
        return Run(pool, request.id)

    async def advance(self, delay: timedelta) -> None:
        """The clock has moved on by `delay`, and every timer due on the way has rung, in order.

        Finished instances and calls that are older then than `history_retention` and
        `call_retention` are gone, as they would be from an engine.
        """
        if delay < timedelta(0):
            raise ValueError(f"the clock cannot go back: {delay}.")
        until = self._now_us + duration_us(delay)
        while True:
            due = [
                (due_us, name)
                for name, pool in self._pools.items()
                if (due_us := pool.kernel.next_due_us) is not None and due_us <= until
            ]
            if not due:
                break
            due_us, name = min(due)
            self._now_us = max(self._now_us, due_us)
            self._apply(self._pools[name], [TimersDue(upto_us=due_us)])
            await self._settle()
            self._delete_old()
        self._now_us = until
        self._delete_old()

    def stub(
        self,
        function: Callable[..., Any],
        *,
        returns: Any = None,
        raises: BaseException | type[BaseException] | None = None,
    ) -> None:
        """Steps of `function` return `returns`, or raise `raises`, instead of running it."""

        def stand_in(*_args: Any, **_kwargs: Any) -> Any:
            if raises is not None:
                raise raises
            return returns

        self._stubs[function] = stand_in

    def override(
        self,
        factory: Callable[..., T],
        *,
        returns: T | None = None,
        make: Callable[[], T] | None = None,
    ) -> None:
        """`Depends(factory)` gives `returns`, or what `make` makes, instead of calling it.

        It holds for what is made from now on. A workflow without other parameters is run up
        to its first wait as the shell opens: for it, use `TestShell(..., overrides={...})`.
        """
        stand_in: Callable[[], Any] = make if make is not None else lambda: returns
        for pool in self._pools.values():
            pool.stand_ins[factory] = stand_in

    # --- what a test looks at ------------------------------------------------------

    @overload
    def instances(self, workflow: None = None) -> list[Run[Any]]: ...
    @overload
    def instances(self, workflow: Workflow[P, R]) -> list[Run[R]]: ...
    def instances(self, workflow: Workflow[..., Any] | None = None) -> list[Run[Any]]:
        """Live views of the instances, whatever their status, oldest first."""
        pools = list(self._pools.values()) if workflow is None else [self._pool(workflow)]
        return [Run(pool, id) for pool in pools for id in pool.order]

    def explain(self, call: str, run: Run[Any] | None = None) -> Explanation:
        """Why a call did or did not meet a wait, the nearest misses first.

        Args:
            call: the id that `push` returned.
            run: look at this instance only.

        Raises:
            NotFound: no call of this shell has the id.
        """
        item = self._calls.find(call)
        if item is None:
            raise NotFound(
                f"no call {call!r} was pushed to this shell, or it was deleted, "
                f"{keeping_calls(settings().call_retention)}. Give what push returned."
            )
        pools = list(self._pools.values()) if run is None else [run._pool]  # pyright: ignore[reportPrivateUsage]
        found = [
            one for pool in pools for one in pool.explain(item, None if run is None else run.id)
        ]
        return explanation(call, item.call.method, found, limit=limits.EXPLAIN_SHOWN_MAX)

    def counts(self) -> Counts:
        """Calls pushed, waits created and instances completed so far."""
        return Counts(
            calls=self._calls.end,
            waits=sum(pool.waits_created for pool in self._pools.values()),
            completed=sum(pool.completed for pool in self._pools.values()),
        )

    def query(self, run: Run[Any], query: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What a `@query` method answers from the instance's saved state.

        Raises:
            UsageError: the workflow's class has no such query, the arguments do not fit, or it
                raised.
        """
        pool = run._pool  # pyright: ignore[reportPrivateUsage]
        arguments = query.encode_arguments(args, kwargs)
        found: R = query.output_adapter.validate_json(pool.answer(run.id, query.name, arguments))
        return found

    # --- inside --------------------------------------------------------------------

    def _pool(self, workflow: Workflow[Any, Any]) -> ShellPool:
        pool = self._pools.get(workflow.name)
        if pool is None or pool.workflow is not workflow:
            raise NotFound(
                f"workflow {workflow.name!r} is not in this shell. Give it to TestShell(...)."
            )
        return pool

    def _take(self, call: OutgoingCall) -> None:
        """The call is accepted and applied; what it sets going waits for the next `await`."""
        offset = self._calls.end
        item = DeliveredCall(offset, offset, accepted(call, at_us=self._now_us))
        self._calls.append(item)
        for pool in self._pools.values():
            self._deliver(pool, Delivery(0, offset, offset + 1, _CATALOGUE, [item]))

    def _deliver(self, pool: ShellPool, delivery: Delivery) -> None:
        self._apply(pool, [Delivered(delivery=delivery)])

    def _apply(self, pool: ShellPool, events: list[Event]) -> None:
        self._release(pool, pool.apply(events, self._now_us))

    async def _ask(self, pool: ShellPool, command: Command) -> None:
        commit = pool.apply([command], self._now_us)
        self._release(pool, commit)
        await self._settle()
        for _, answer in commit.replies:
            if isinstance(answer, Exception):
                raise answer

    def _release(self, pool: ShellPool, commit: Commit) -> None:
        self._effects.extend((pool, step) for step in commit.steps)
        self._effects.extend((pool, task) for task in commit.tasks)
        self._effects.extend((pool, child) for child in commit.children)
        for order in commit.ranges:
            missed = self._calls.between(order.start, order.end)
            self._deliver(pool, Delivery(0, order.start, order.end, _CATALOGUE, missed))
        for look in commit.look_backs:
            self._apply(pool, [self._calls.search(look)])
        for shard, outgoing in commit.outgoing:
            publication = (pool.workflow.name, shard, outgoing.sequence)
            if publication in self._published:
                continue  # sent again after a restart, as any publisher may
            self._published.add(publication)
            self._take(msgspec.msgpack.decode(outgoing.call, type=OutgoingCall))
            self._apply(pool, [CallsSent(shard=shard, upto=outgoing.sequence + 1)])

    async def _settle(self) -> None:
        """Nothing is under way any more; with `reload`, everything is as after a restart."""
        await self._run_effects()
        if self._reload:
            for pool in self._pools.values():
                self._release(pool, pool.restart(self._calls, self._now_us))
                mark, end = pool.kernel.intake.mark(0), self._calls.end
                if mark < end:  # nothing that was saved depends on these yet
                    rest = self._calls.between(mark, end)
                    self._deliver(pool, Delivery(0, mark, end, _CATALOGUE, rest))
            await self._run_effects()

    def _delete_old(self) -> None:
        """What retention is over for is gone."""
        for pool in self._pools.values():
            pool.delete_old(self._now_us)
        applied = min(pool.kernel.intake.mark(0) for pool in self._pools.values())
        before_us = self._now_us - duration_us(settings().call_retention)
        self._calls.delete_before(before_us, applied=applied)

    async def _run_effects(self) -> None:
        while self._effects or (told := self._families.ends()):
            if not self._effects:
                for parent, event in told:
                    self._apply(parent, [event])
                continue
            pool, effect = self._effects.pop(0)
            if isinstance(effect, ChildOrder):
                self._apply(*self._families.asked(pool, effect, self._now_us))
                continue
            if isinstance(effect, TurnTask):
                error = await pool.run_task(effect)
                self._apply(pool, [TurnEnded(task=effect, error=error)])
                continue
            done = await pool.run_step(effect, self._stubs)
            if done is not None:
                self._apply(pool, [StepEnded(instance=effect.instance, done=done)])
