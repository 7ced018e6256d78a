"""One workflow inside a shell: the real kernel and journal on the memory store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta
from typing import Any

from raysume import limits
from raysume.actors.history import Past
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import driving
from raysume.actors.kernel.branches import Branch, leaves_of
from raysume.actors.kernel.commits import (
    Commit,
    Event,
    LogLine,
    StepOrder,
    TurnTask,
)
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.explaining import explain
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.points import find_point, record_before
from raysume.actors.kernel.questions import answer, container_in, state_of
from raysume.actors.kernel.records import START_OF_LOG, InstanceRecord, StepDone
from raysume.actors.kernel.rewinding import open_ids
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.kernel.status import Status, may_leave
from raysume.actors.kernel.timers import RETRY_TIMER
from raysume.actors.kernel.trees import tree_of
from raysume.actors.stepping import attempt_step
from raysume.compiler import Definition, definitions_scope, frames_of
from raysume.compiler.awaiting import awaited_by
from raysume.compiler.durability import reachable
from raysume.compiler.forewarning import check_reachable
from raysume.configuration import settings, written
from raysume.containers import Container
from raysume.dependencies import dependencies_replaced
from raysume.errors import NotFound, UsageError
from raysume.explanations import WaitExplained
from raysume.methods import Method
from raysume.registry import lookup
from raysume.storage.memory.state import MemoryStore
from raysume.storage.ports import ShardRef
from raysume.storage.sealing import Seal
from raysume.testing.calls import ShellCalls
from raysume.testing.views import TurnView, WaitView
from raysume.workflows import Workflow

_COUNTED = frozenset({"wait", "group", "sleep", "subflow"})


def method_of(urn: str) -> Method:
    """The method with this URN.

    Raises:
        UsageError: this process defines none.
    """
    method = lookup(urn)
    if method is None:
        raise UsageError(
            f"no method {urn!r} is known here. Import the module that defines it with "
            "@push_call or external_call."
        )
    return method


class ShellPool:
    """The instances of one workflow, with everything a test may look at."""

    def __init__(self, workflow: Workflow[Any, Any], *, reload: bool) -> None:
        self.workflow = workflow
        self.version = workflow.version_id()
        self.reload = reload
        self.store = MemoryStore()
        self.seal = Seal(b"shell" * 8)
        self.waits: dict[str, dict[str, WaitView]] = {}
        self.results: dict[str, Any] = {}
        self.logs: list[LogLine] = []
        self.order: list[str] = []
        """Instance ids, oldest first."""
        self.completed = 0
        self._waits_removed = 0
        self.stand_ins: dict[Any, Callable[[], Any]] = {}
        """factory of a dependency -> what is called instead."""
        self._subscribed = awaited_by(workflow.definition).named
        self._definitions = {each.name: each for each in reachable(workflow.definition)}
        self._definitions[workflow.definition.name] = workflow.definition
        self.kernel, self._journal = self._boot()

    def share(self, definitions: Mapping[str, Definition]) -> None:
        """Saved state may name any workflow of the shell."""
        self._definitions = {**definitions, **self._definitions}

    def scope(self) -> AbstractContextManager[Any]:
        """Saved state is loaded with this shell's definitions and stand-ins inside the block."""
        if not self.stand_ins:
            return definitions_scope(self._definitions)
        both = ExitStack()
        both.enter_context(definitions_scope(self._definitions))
        both.enter_context(dependencies_replaced(self.stand_ins))
        return both

    def _boot(self) -> tuple[Kernel, PoolJournal]:
        refs = [
            ShardRef(workflow=self.workflow.name, version=self.version, number=number)
            for number in range(limits.SHARDS)
        ]
        owned = self.store.acquire(refs, owner="shell")
        journal = PoolJournal(self.store, owned, self.seal)
        kernel = Kernel(
            self.workflow,
            self.version,
            methods=method_of,
            keep_live=not self.reload,
            runs_inline=self.workflow.definition.inline,
            hurries=True,
            recent_calls=limits.RECENT_CALLS_MAX,
            loaded_instances=0 if self.reload else None,
            window=settings().mailbox_window,
            retention=settings().history_retention,
            subscribed=self._subscribed,
        )
        journal.recover(kernel)
        return kernel, journal

    async def learn(self, now_us: int) -> None:
        """The standing first wait is known and in the index, and the first start by schedule."""
        with self.scope():
            if not self.workflow.has_parameters:
                turn = learning_turn(self.workflow, self.version, now_us)
                await driving.run_as_task(turn, self.kernel.standing.learning(turn))
                self.kernel.standing.stand(self.kernel.index)
            self.save(self.kernel.resume(now_us))

    def restart(self, calls: ShellCalls, now_us: int, *, checkpoint: bool = True) -> Commit:
        """A new kernel goes on from what is saved, as after a crash.

        Args:
            calls: everything that was pushed.
            checkpoint: write one first; otherwise the journal behind the last one is read.
        """
        standing = self.kernel.standing
        if checkpoint:
            self.store.commit(self._journal.prepare(Commit(), now_us=now_us, checkpoint=True))
        self.kernel, self._journal = self._boot()
        self.kernel.standing = standing
        standing.stand(self.kernel.index)
        with self.scope():
            applied = calls.between(0, self.kernel.watermarks.get(0, 0))
            self.kernel.remember(applied, covers_after=START_OF_LOG)
            return self.save(self.kernel.resume(now_us))

    def apply(self, events: list[Event], now_us: int) -> Commit:
        """The events are applied and their commit is saved; its effects are the caller's."""
        with self.scope():
            commit = self.save(self.kernel.apply(events, now_us))
            while self.kernel.arbitration.is_cut:
                later = self.save(self.kernel.apply((), now_us))
                commit.absorb(later)
                commit.ranges += later.ranges
                commit.look_backs += later.look_backs
            return commit

    async def run_task(self, task: TurnTask) -> BaseException | None:
        """The turn has run on the event loop; what came out of it."""
        with self.scope():
            try:
                await driving.run_as_task(task.turn, task.steps, task.pending)
            except Exception as error:
                return error
        return None

    async def run_step(
        self, order: StepOrder, stubs: Mapping[Any, Callable[..., Any]]
    ) -> StepDone | None:
        """How an attempt of a step ended; None when it is not asked for any more.

        Args:
            stubs: function of a step -> what runs instead.
        """
        with self.scope():
            step = self.kernel.step_of(order.instance, order.step)
            if step is None:
                return None
            return await attempt_step(
                step,
                stubs.get(step.function, step.function),
                key=f"{order.instance}/{order.step}",
                step_id=order.step,
                attempt=order.attempt,
                trace=order.trace,
            )

    def save(self, commit: Commit) -> Commit:
        """The commit is in the store, and the views know of it."""
        self.store.commit(self._journal.prepare(commit, now_us=self.kernel.now_us))
        self._journal.committed(commit)
        self.logs.extend(commit.logs)
        for instance_id, value in commit.results:
            self.results[instance_id] = value
            self.completed += 1
        for turns in commit.turns.values():
            for turn in turns:
                self._see(turn.instance.id, turn.opened, turn.ended)
        return commit

    def delete_old(self, now_us: int) -> None:
        """Finished instances whose retention is over are gone from the store and the views."""
        before_us = now_us - self.kernel.retention_us
        for record in self._journal.uncheckpointed():
            if may_leave(record) and record.updated_us < before_us:
                self.store.commit(self._journal.prepare(Commit(), now_us=now_us, checkpoint=True))
                break
        while self._journal.has_expired(before_us):
            self.store.commit(
                self._journal.prepare(
                    Commit(), now_us=now_us, checkpoint=True, older_than_us=before_us
                )
            )
        for instance_id in self._journal.take_removed():
            self.kernel.expire(instance_id)
            self.order.remove(instance_id)
            self._waits_removed += _counted(self.waits.pop(instance_id, {}))
            self.results.pop(instance_id, None)
            self.logs = [line for line in self.logs if line.instance != instance_id]

    def _see(self, instance_id: str, opened: list[Any], ended: list[Any]) -> None:
        if instance_id not in self.waits:
            self.order.append(instance_id)
        waits = self.waits.setdefault(instance_id, {})
        for leaf in opened:
            waits[leaf.id] = WaitView(leaf.id, leaf.kind, leaf.name, leaf.method, "waiting")
        for leaf in ended:
            seen = waits[leaf.id]
            waits[leaf.id] = WaitView(seen.id, seen.kind, seen.name, seen.method, leaf.status)

    # --- views -------------------------------------------------------------------

    @property
    def waits_created(self) -> int:
        """Waits, groups, sleeps and subflows that instances came to."""
        return self._waits_removed + sum(map(_counted, self.waits.values()))

    def instance(self, instance_id: str) -> Instance:
        """The instance as the kernel has it.

        Raises:
            NotFound: it was removed.
        """
        found = self.kernel.instances.get(instance_id)
        if found is None:
            kept = written(timedelta(microseconds=self.kernel.retention_us))
            raise NotFound(
                f"instance {instance_id!r} of workflow {self.workflow.name!r} ended over {kept} ago "
                "and was removed. Look at it before, or set history_retention."
            )
        return found

    def started_at(self, instance_id: str) -> datetime:
        """When the instance started."""
        return moment(self.instance(instance_id).started_us)

    def retry_at(self, instance_id: str) -> datetime | None:
        """When the failed instance is retried by itself."""
        due_us = self.instance(instance_id).timers.get(RETRY_TIMER)
        return None if due_us is None else moment(due_us)

    def past(self, instance_id: str) -> Iterator[Past]:
        """The turns of the instance, newest first."""
        instance = self.instance(instance_id)
        return self._journal.past_of(instance.shard, instance.number)

    def point(self, instance_id: str, to: str | int | None, *, anew: bool) -> InstanceRecord:
        """The saved point that is meant.

        Args:
            anew: where the instance stands now does not count.

        Raises:
            NotFound: it never stood there.
        """
        with self.scope():
            instance = self.instance(instance_id)
            open_now = set(open_ids(instance)) if anew and instance.is_active else ()
            records = (past.record for past in self.past(instance_id))
            return find_point(records, to, open_now=open_now)

    def turns_of(self, instance_id: str) -> list[TurnView]:
        """The turns of the instance, oldest first, each with its variables."""
        with self.scope():
            found = [_turn_view(past) for past in self.past(instance_id) if past.turn.cause]
        return found[::-1]

    def explain(self, item: DeliveredCall, instance_id: str | None) -> list[WaitExplained]:
        """How far the call came with the waits of the workflow, or of one instance."""
        with self.scope():
            if instance_id is None:
                return explain(self.kernel, item)
            records = ((past.newest, past.record) for past in self.past(instance_id))
            then = record_before(records, (item.pos, item.offset))
            return explain(self.kernel, item, self.instance(instance_id), then=then)

    def locals_of(self, instance_id: str) -> dict[str, Any]:
        """The live variables of the instance's frames, members of groups included."""
        instance = self.instance(instance_id)
        if instance.status in (Status.COMPLETED, Status.CANCELLED) or instance.state is None:
            return {}
        with self.scope():
            root = instance.live or tree_of(instance.state)
            found = _locals_of(root)
            if root.container is not None:
                found["self"] = root.container
            return found

    def container_of(self, instance_id: str) -> Container | None:
        """The object of the workflow's class: its own while the instance is live, else a copy."""
        instance = self.instance(instance_id)
        if instance.live is not None and instance.kept is None:
            return instance.live.container
        with self.scope():
            return container_in(state_of(instance))

    def answer(self, instance_id: str, name: str, arguments: bytes) -> bytes:
        """The answer of a query, as JSON."""
        with self.scope():
            return answer(self.workflow, state_of(self.instance(instance_id)), name, arguments)


def _counted(waits: Mapping[str, WaitView]) -> int:
    return sum(view.kind in _COUNTED for view in waits.values())


def pools_of(workflows: Sequence[Workflow[Any, Any]], *, reload: bool) -> dict[str, ShellPool]:
    """A pool for each workflow, by name.

    Raises:
        UsageError: something is no workflow, or two have one name.
    """
    pools: dict[str, ShellPool] = {}
    for workflow in workflows:
        given: Any = workflow
        if not isinstance(given, Workflow):
            raise UsageError(
                f"TestShell takes workflows, not {workflow!r}. Decorate it with @workflow."
            )
        workflow.check_owner()
        check_reachable(workflow.definition, deploys=False)
        if workflow.name in pools:
            raise UsageError.by_rule(
                "duplicate-workflow",
                f"two workflows of this shell are named {workflow.name!r}: "
                f"{pools[workflow.name].workflow.place} and {workflow.place}. "
                "Give one @workflow(name=...).",
            )
        pools[workflow.name] = ShellPool(workflow, reload=reload)
    for pool in pools.values():
        pool.share({one.definition.name: one.definition for one in workflows})
    return pools


def _turn_view(past: Past) -> TurnView:
    record, cause = past.record, past.turn.cause
    assert cause is not None
    root = None if record.state is None else tree_of(record.state)
    return TurnView(
        turn=record.turn,
        at=moment(record.updated_us),
        status=record.status,
        cause=cause.kind,
        name=cause.name,
        id=cause.id,
        locals={} if root is None else _locals_of(root),
    )


def _locals_of(branch: Branch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    code = branch.coroutine or branch.frozen
    if code is not None:
        for frame in frames_of(code):
            found.update(frame.locals)
    for leaf in leaves_of(branch):
        for member in getattr(leaf, "branches", ()):
            found.update(_locals_of(member))
    return found
