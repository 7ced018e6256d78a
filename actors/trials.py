"""Steps, and turns behind an ordinary `await`, that end the process: found by trying them one by one.

Such work runs after the commit that asked for it, and others are committed beside it. So it is
not the place in the journal that tells (`quarantine` goes by that, for turns that need no event
loop) but what was asked for and has not ended: that is known from what is durable, at no cost.
Every incarnation notes for how many processes in a row each such work was found unfinished.
Work that was so at several deaths is a suspect, and then a process begins thus:

- All work waits while turns have a moment for themselves. Then suspects begin, each noted before
  it does, durably; the next one when it has ended, or after a while. Then everything goes on.
- The process ends when one suspect has begun: that is held against it. The second time it is the
  culprit: it is not run, and fails, with an error that says so.
- It ends when several have begun: it was one of these. The others are no suspects any more, and
  what began last begins first the next time.
- It ends when everything goes on: what has not ended stays a suspect, and gets twice the time.

Whatever ends is not found unfinished any more. So work that merely ran while its process was
killed from outside is, at worst, tried; it is condemned only if that happens twice in the short
while in which it runs alone.

Not found: what ends the process in a thread of a step whose time was over, while nothing says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import msgspec
import structlog

from raysume import limits
from raysume.actors.kernel.commits import StepOrder, TurnTask
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import StepDone
from raysume.actors.kernel.turning import can_go_on
from raysume.crash_points import crash_point
from raysume.errors import ProcessEnded
from raysume.storage.ports import Store

_KIND: Final = "trial"

Refusal = ProcessEnded | None
"""Why work is not to be run; None: it is."""

_log = structlog.get_logger("raysume.pool")


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What an incarnation leaves for the one after it."""

    deaths: dict[str, int] = {}
    """Work that was unfinished when it began -> processes in a row that may have ended by it; in
    the order in which it is to be tried."""
    alone: dict[str, int] = {}
    """The same -> processes in a row that ended when it alone was on trial."""
    begun: tuple[str, ...] = ()
    """What is on trial, in the order in which it began."""
    is_open: bool = True
    """Whether everything may run, noted or not."""
    patience: int = 0
    """How often the time of a trial was doubled."""

    @property
    def culprits(self) -> dict[str, int]:
        """Work that is run no more -> processes that it ended."""
        deaths, enough = self.deaths, limits.QUARANTINE_TURN_DEATHS
        return {work: n + deaths[work] for work, n in self.alone.items() if n >= enough}

    @property
    def suspects(self) -> list[str]:
        """Work that is to be tried, in this order."""
        culprits, enough = self.culprits, limits.QUARANTINE_DEATHS
        return [one for one, n in self.deaths.items() if n >= enough and one not in culprits]

    def trial_s(self, tried: int) -> float:
        """Seconds for which each of so many trials waits before the next one begins."""
        parts = min(max(tried, 1), limits.QUARANTINE_TRIALS_MAX)
        most = min(limits.QUARANTINE_TRIAL_S, limits.QUARANTINE_TRIALS_S / parts)
        return float(most * 2**self.patience)


def after_death(note: Note | None, unfinished: Iterable[str], *, in_turn: bool) -> Note:
    """What is held against whom, now that a process has ended.

    Args:
        note: what it had noted last; None: nothing.
        unfinished: the work that was asked for and has not ended, durably.
        in_turn: whether a turn was noted when it ended (`quarantine`): then it was that turn.
    """
    note = note or Note()
    left = dict.fromkeys(unfinished)
    begun = [work for work in reversed(note.begun) if work in left]
    known = [work for work in note.deaths if work in left]
    deaths = {work: note.deaths.get(work, 0) for work in dict.fromkeys((*begun, *known, *left))}
    alone = {work: n for work, n in note.alone.items() if work in left}
    patience = note.patience
    if in_turn:
        pass
    elif note.is_open:
        deaths = {work: n + 1 for work, n in deaths.items()}
        patience = min(patience + bool(begun), limits.QUARANTINE_DOUBLINGS_MAX)
    elif len(begun) == 1:
        alone[begun[0]] = alone.get(begun[0], 0) + 1
    elif begun:
        deaths = {work: n if work in begun else 0 for work, n in deaths.items()}
    found = Note(deaths=deaths, alone=alone, patience=patience)
    if not found.suspects:
        return msgspec.structs.replace(found, patience=0)
    return msgspec.structs.replace(found, is_open=False)


def step_work(instance: str, step: str, attempt: int) -> str:
    """The name of one attempt of a step."""
    return f"{instance}/step/{step}/{attempt}"


def turn_work(instance: str, number: int, failures: int) -> str:
    """The name of a turn, taken after so many failures in a row of the instance."""
    return f"{instance}/turn/{number}/{failures}"


def unfinished_work(kernel: Kernel) -> Iterator[str]:
    """What the instances of the kernel asked for, or have begun, and what has not ended."""
    for instance in kernel.instances.loaded:
        if instance.steps and instance.is_active:
            ended = {one.step for one in instance.inbox if isinstance(one, StepDone)}
            for step in instance.steps.values():
                if step.due_us is None and step.id not in ended:
                    yield step_work(instance.id, step.id, step.attempt)
        if instance.busy or can_go_on(instance):
            yield turn_work(instance.id, instance.turn + 1, instance.failures)


class Trials:
    """Lets steps and turns of a pool begin; used by its event loop."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._pool = ""
        self._note = Note()
        self._suspects: list[str] = []
        self._waiting: dict[str, asyncio.Event] = {}
        """Suspects that were asked for -> set when they may begin."""
        self._on_trial: dict[str, asyncio.Event] = {}
        """Suspects that have begun -> set when they end."""
        self._is_open = asyncio.Event()
        self._is_open.set()

    def recall(self, store: Store, kernel: Kernel, *, pool: str, in_turn: bool) -> None:
        """It is known what is to be tried; called in a thread, before anything begins.

        Args:
            store: where notes are kept.
            kernel: which has recovered, and taken no turn.
            pool: whose notes.
            in_turn: see `after_death`.
        """
        self._store, self._pool = store, pool
        body = store.get_document(_KIND, pool)
        found = None if body is None else msgspec.msgpack.decode(body, type=Note)
        self._note = after_death(found, unfinished_work(kernel), in_turn=in_turn)
        if self._note != (found or Note()):
            self._keep(self._note)
        self._suspects = self._note.suspects
        if self._suspects:
            self._is_open.clear()
            _log.warning("steps_and_turns_are_tried", pool=pool, suspects=self._suspects[:10])

    async def conduct(self, settled: Callable[[], Awaitable[None]]) -> None:
        """The suspects were tried, and everything goes on; at once where there are none.

        Args:
            settled: returns when what was unfinished has been asked for again.
        """
        if self._is_open.is_set():
            return
        try:
            await settled()
            await asyncio.sleep(limits.QUARANTINE_CALM_S)
            tried = [work for work in self._suspects if work in self._waiting]
            for together in _parts(tried):
                await self._try(together, self._note.trial_s(len(tried)))
            await self._noted(is_open=True)
            _log.info("steps_and_turns_are_not_tried_any_more", pool=self._pool)
        finally:
            self._is_open.set()
            for may_begin in self._waiting.values():
                may_begin.set()

    def step(self, order: StepOrder, label: str) -> AbstractAsyncContextManager[Refusal]:
        """See `_admitted`: the attempt of a step that the order is for."""
        work = step_work(order.instance, order.step, order.attempt)
        return self._admitted(work, f"step {label!r} of instance {order.instance!r}")

    def turn(self, task: TurnTask) -> AbstractAsyncContextManager[Refusal]:
        """See `_admitted`: a turn on the event loop, or the rest of one."""
        work = turn_work(task.instance, task.turn.number, task.turn.failures)
        return self._admitted(work, f"this turn of instance {task.instance!r}")

    @asynccontextmanager
    async def _admitted(self, work: str, what: str) -> AsyncGenerator[Refusal]:
        """The work may run inside the block; an error: it is a culprit, and is not to be run."""
        deaths = self._note.culprits.get(work) if self._note.alone else None
        if deaths is not None:
            _log.error("work_ends_the_process", pool=self._pool, work=work, deaths=deaths)
            yield _ended_by(what, deaths)
            return
        if not self._is_open.is_set():
            await self._turn_of(work)
        try:
            yield None
        finally:
            has_ended = self._on_trial.pop(work, None)
            if has_ended is not None:
                has_ended.set()

    async def stop(self, kernel: Kernel) -> None:
        """The process ends in order: nothing is held against what is unfinished."""
        if self._store is not None and any(True for _ in unfinished_work(kernel)):
            self._on_trial.clear()
            await self._noted(is_open=False)

    async def _turn_of(self, work: str) -> None:
        """Everything goes on, or it is the work's turn to be tried."""
        if work not in self._suspects:
            await self._is_open.wait()
            return
        may_begin = self._waiting[work] = asyncio.Event()
        try:
            await may_begin.wait()
        finally:
            self._waiting.pop(work, None)

    async def _try(self, together: list[str], seconds: float) -> None:
        """What is still asked for has begun, and has ended or had its time."""
        ending = {work: asyncio.Event() for work in together if work in self._waiting}
        if not ending:
            return
        self._on_trial.update(ending)
        await self._noted(is_open=False)
        crash_point("after_trial_noted")
        for work, has_ended in ending.items():
            may_begin = self._waiting.get(work)
            (has_ended if may_begin is None else may_begin).set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for has_ended in ending.values():
                    await has_ended.wait()

    async def _noted(self, *, is_open: bool) -> None:
        """It is durable what is on trial, and whether everything else may run."""
        begun = tuple(self._on_trial)
        self._note = msgspec.structs.replace(self._note, begun=begun, is_open=is_open)
        await asyncio.get_running_loop().run_in_executor(None, self._keep, self._note)

    def _keep(self, note: Note) -> None:
        assert self._store is not None
        self._store.put_document(_KIND, self._pool, msgspec.msgpack.encode(note))


def _parts(tried: list[str]) -> Iterator[list[str]]:
    """In order, not more parts than there are trials."""
    size = max(1, math.ceil(len(tried) / limits.QUARANTINE_TRIALS_MAX))
    for first in range(0, len(tried), size):
        yield tried[first : first + size]


def _ended_by(what: str, deaths: int) -> ProcessEnded:
    return ProcessEnded(
        f"{what} ended the process of its pool {deaths} times in a row, without any exception: "
        "os._exit, a crash in an extension, or no memory left. It is not run again by itself, "
        "whatever a Retry says, because all instances of the pool are interrupted with it. "
        "Correct what made it do so; then `raysume instance retry` runs it once more, and "
        "`raysume instance cancel` gives it up.",
        process="pool",
        deaths=deaths,
    )
