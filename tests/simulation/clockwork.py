"""An event loop with virtual time for several processes, whose every choice comes from a seed.

What is real: tasks, futures, locks and timeouts of asyncio, in the order in which one event
loop runs them. What is simulated: the clock, threads (a call in an executor is one action at
a moment of its own), and processes: each has a queue of callbacks, and which process goes on
next is chance. A process that is killed never runs another line, one that is paused goes on
later as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple, cast

_Ts = TypeVarTuple("_Ts")

TURN_CALLBACKS_MAX = 20
"""Callbacks that a process runs in a row, at most, before another one may go on."""


class Died(BaseException):
    """The process ended here: nothing that catches it can have any effect."""


class Callback:
    """As `asyncio.Handle`, made and run at a third of its cost."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "loop")
    _source_traceback = None  # asyncio looks for it

    def __init__(
        self, callback: Any, args: tuple[Any, ...], loop: SimLoop, context: Context | None
    ) -> None:
        self.callback, self.args, self.loop, self.context = callback, args, loop, context
        self.is_cancelled = False

    def cancel(self) -> None:
        """It is not run."""
        self.is_cancelled = True

    def run(self) -> None:
        """It has run; what it raised fails the simulation."""
        try:
            if self.context is None:
                self.callback(*self.args)
            else:
                self.context.run(self.callback, *self.args)
        except BaseException as error:
            self.loop.call_exception_handler({"exception": error})


class Process:
    """One process: its callbacks, and whether it runs."""

    def __init__(self, name: str, number: int = 0) -> None:
        self.name, self.number = name, number
        self.ready: deque[Callback] = deque()
        self.is_dead = False
        self.paused_until = 0.0
        self.at_death: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return self.name


class Job:
    """A call in a thread: it runs at one moment, once, and its caller hears of it later."""

    def __init__(self, process: Process, run: Callable[[], None]) -> None:
        self.process = process
        self._run = run
        self.is_done = False

    def __call__(self) -> None:
        if not self.is_done:
            self.is_done = True
            self._run()


class _Future(asyncio.Future[Any]):
    """A future that knows who waits for it."""

    process: Process


class SimLoop(asyncio.BaseEventLoop):
    """Runs the callbacks of all processes, one at a time."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.world = Process("world")
        self.current = self.world
        self.processes = [self.world]
        self.errors: list[BaseException] = []
        """What no task and no callback was to raise."""
        self.delay_s: Callable[[], float] = lambda: 0.0
        """How long a call in a thread takes to begin, and to be heard of."""
        self.digest = hashlib.sha256()
        """Of what was noted to have happened."""
        self.way = 0
        """Which process went on when, as one number."""
        self.actions = 0
        self._now_s = 0.0
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Process, Callback]] = []
        self._jobs: list[Job] = []
        self._everything: list[asyncio.Task[Any]] = []
        """Kept until the end: what is collected would run its `finally` blocks."""

    # --- what asyncio asks of a loop ---------------------------------------------------

    def time(self) -> float:
        """The virtual time in seconds."""
        return self._now_s

    def _call_soon(
        self, callback: Any, args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = Callback(callback, args, self, copy_context() if context is None else context)
        self.current.ready.append(handle)
        return cast("asyncio.Handle", handle)

    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`: there are no threads."""
        return self._call_soon(callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """The callback runs at that time in the process that asks for it."""
        timer = Callback(callback, args, self, copy_context() if context is None else context)
        heapq.heappush(self._heap, (when, next(self._order), self.current, timer))
        # A cancelled one is passed over when its time comes.
        return cast("asyncio.TimerHandle", timer)

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio; the future belongs to the process that makes it."""
        future = _Future(loop=self)
        future.process = self.current
        return future

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """See asyncio; the task belongs to the process that makes it."""
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        self._everything.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, _executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """The call runs at one moment, some time from now; its end is heard of after that."""
        process, future = self.current, self.create_future()

        def run() -> None:
            self._jobs.remove(job)
            result, error = None, None
            try:
                result = func(*args)
            except Exception as raised:
                error = raised
            except Died:
                return
            self.at(process, self.delay_s(), _settle, future, result, error)

        job = Job(process, run)
        self._jobs.append(job)
        self.at(process, self.delay_s(), job)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Errors that nobody caught fail the simulation; who died before hearing of one is excused."""
        future = context.get("future")
        if isinstance(future, _Future) and future.process.is_dead:
            return
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, Died):
            self.errors.append(error)

    # --- the simulation ------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """A new process."""
        made = Process(name, next(self._order))
        self.processes.append(made)
        return made

    def at(self, process: Process, in_s: float, callback: Callable[..., None], *args: Any) -> None:
        """The process runs the callback in so many seconds, if it lives then."""
        handle = Callback(callback, args, self, None)
        heapq.heappush(self._heap, (self._now_s + in_s, next(self._order), process, handle))

    async def passing(self, seconds: float) -> None:
        """So much virtual time has passed."""
        passed = self.create_future()
        self.call_later(seconds, _settle, passed, None, None)
        await passed

    @contextmanager
    def within(self, process: Process) -> Generator[None, None, None]:
        """What is done inside the block, the process does."""
        former, self.current = self.current, process
        try:
            yield
        finally:
            self.current = former

    def kill(self, process: Process) -> None:
        """The process runs nothing any more."""
        if process.is_dead:
            return
        process.is_dead = True
        process.ready.clear()
        self.processes.remove(process)
        with self.within(self.world):
            for told in process.at_death:
                told()

    def overtake(self) -> None:
        """A call in a thread of another process happens now, in the middle of this one's."""
        others = [
            job
            for job in self._jobs
            if job.process is not self.current
            and not job.process.is_dead
            and job.process.paused_until <= self._now_s
        ]
        if others:
            job = self.rng.choice(others)
            with self.within(job.process):
                job()

    def dispose(self) -> None:
        """Nothing is left that could run a `finally` block when it is collected."""
        for task in self._everything:
            if not task.done():
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
        self._everything.clear()
        self.close()

    def fingerprint(self) -> str:
        """Equal for equal runs, whatever the process."""
        told = self.digest.copy()
        told.update(str(self.way).encode())
        return told.hexdigest()

    def step(self) -> bool:
        """Some callbacks of one process have run, or time has passed; False: nothing is left."""
        now_s = self._now_s
        runnable = [one for one in self.processes if one.ready and one.paused_until <= now_s]
        if not runnable:
            return self._pass_time()
        chance = self.rng.random
        process = runnable[int(chance() * len(runnable))] if len(runnable) > 1 else runnable[0]
        count = min(len(process.ready), 1 + int(chance() * TURN_CALLBACKS_MAX))
        self.way = hash((self.way, now_s, process.number, count))
        former, self.current = self.current, process
        for _ in range(count):
            if not process.ready:
                break
            self.actions += 1
            handle = process.ready.popleft()
            if not handle.is_cancelled:
                handle.run()
        self.current = former
        return True

    def _pass_time(self) -> bool:
        while self._heap:
            when, _, process, handle = heapq.heappop(self._heap)
            if handle.is_cancelled or process.is_dead:
                continue
            self._now_s = max(self._now_s, when)
            if process.paused_until > self._now_s:
                resumed = Callback(process.ready.append, (handle,), self, None)
                entry = (process.paused_until, next(self._order), process, resumed)
                heapq.heappush(self._heap, entry)
            else:
                process.ready.append(handle)
            return True
        return False


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
