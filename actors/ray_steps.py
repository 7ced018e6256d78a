"""Steps with `ray={...}`: Ray tasks under a detached runner, which outlives the pool that asked.

A pool asks the runner for the outcome of an attempt, by the attempt's key. The runner starts
one Ray task for the key, writes what came of it to the store, and then answers. A pool that
died meanwhile asks again after its recovery: it gets the outcome that is there, or waits for
the task that still runs. When the runner dies, the task runs again, with the same step_key().

Where outcomes are: the store has every outcome whole until the pool has committed it, since
Ray's object store is memory and dies with its node. What travels is another matter: a small
outcome is the runner's answer; a large one (`limits.STEP_RESULT_BYTES_INLINE`) stays in the
object store, where the task has put it, and the pool fetches it from there by reference. If
the object is lost meanwhile, the pool asks the runner again, which has the recorded one.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import structlog

from raysume import limits
from raysume.actors.beginning import once_possible
from raysume.actors.kernel.records import StepDone
from raysume.actors.loading import Target, load
from raysume.actors.process_logs import log_to_stderr
from raysume.actors.specs import NAMESPACE, EngineSpec
from raysume.actors.step_outcomes import OUTCOMES
from raysume.actors.stepping import attempt_step, failed_attempt
from raysume.actors.untyped import CRASHES, DEATHS, RayError, RayTaskError, cause_of, ray
from raysume.compiler import definitions_scope, dumps, loads
from raysume.crash_points import crash_point
from raysume.errors import ProcessEnded, RaysumeError, StepFailed, Unavailable, UsageError
from raysume.steps import Step
from raysume.storage.opening import open_store

RUNNER_NAME = "raysume-runner"
"""The name of the runner's actor."""

_MAX_RETRIES = 3
"""How often Ray runs a task again whose process died, unless its options say otherwise."""
_log = structlog.get_logger("raysume.runner")


class RemoteAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a step, as it travels to the runner and to the Ray task."""

    key: str
    """What `step_key()` gives: the same for every attempt."""
    step_id: str
    attempt: int
    label: str
    step: bytes
    """The step as saved."""
    options: bytes
    """The options of the Ray task, pickled."""
    retriable: bool
    """Whether the step has a Retry."""
    survives: bool
    """Whether that Retry also tries again what ended its process."""
    target: Target
    trace: str | None = None
    """The W3C trace context in which it runs."""

    @property
    def id(self) -> str:
        """Names the attempt's outcome."""
        return f"{self.key}/{self.attempt}"


def run_attempt(data: bytes, driver_paths: list[str]) -> bytes:
    """The attempt has ended in this process, a worker of Ray's; what came of it, encoded."""
    attempt = msgspec.msgpack.decode(data, type=RemoteAttempt)
    sys.path[:] = [path for path in sys.path if path not in driver_paths]
    deployment = load(attempt.target)
    definitions = [workflow.definition for workflow in deployment.workflows.values()]
    with definitions_scope({definition.name: definition for definition in definitions}):
        step: Step[Any] = loads(attempt.step)
        function = step.function
        if step.time_limit is not None and not inspect.iscoroutinefunction(function):
            function = ending_after(step.time_limit.total_seconds(), function)
        ended = attempt_step(
            step,
            function,
            key=attempt.key,
            step_id=attempt.step_id,
            attempt=attempt.attempt,
            trace=attempt.trace,
        )
        # Not asyncio.run: it would keep the KeyboardInterrupt of ray.cancel from the function.
        with asyncio.Runner() as runner:
            done = runner.get_loop().run_until_complete(ended)
    return msgspec.msgpack.encode(done)


def ending_after(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, interrupted by a TimeoutError once its time is over.

    It runs in the main thread, where `ray.cancel` can reach it and no event loop runs beside it
    to tell the time: a signal does. Code that is deaf to signals goes on to its end.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        def over(_signal: int, _frame: FrameType | None) -> None:
            raise TimeoutError

        former = signal.signal(signal.SIGALRM, over)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return function(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)

    return run


@dataclass(slots=True, eq=False)
class _Running:
    """An attempt whose outcome is not recorded yet."""

    task: Any = None
    """Ray's reference to the outcome; None: there is none, or not yet."""
    outcome: asyncio.Task[bytes] | None = None
    """Ends when the outcome is recorded."""
    is_cancelled: bool = False


class Runner:
    """Runs attempts as Ray tasks and records their outcomes. All methods are called over Ray."""

    def __init__(self, engine: bytes, driver_paths: list[str]) -> None:
        log_to_stderr()
        spec = msgspec.msgpack.decode(engine, type=EngineSpec)
        self._store = once_possible(lambda: open_store(spec.database_url, spec.folder))
        self._driver_paths = driver_paths
        self._running: dict[str, _Running] = {}

    async def run(self, data: bytes) -> bytes | list[Any]:
        """The attempt's outcome is in the store, and is returned; a large one as [reference].

        Durability: asked again with the same attempt, also after a crash of whoever asked, it
        gives the recorded outcome, or that of the task that still runs.
        """
        attempt = msgspec.msgpack.decode(data, type=RemoteAttempt)
        running = self._running.get(attempt.id)
        if running is None:
            running = self._running[attempt.id] = _Running()
            ended = self._recorded(attempt, data, running)
            running.outcome = asyncio.get_running_loop().create_task(ended)
        assert running.outcome is not None
        outcome = await asyncio.shield(running.outcome)
        if len(outcome) > limits.STEP_RESULT_BYTES_INLINE and running.task is not None:
            return [running.task]
        return outcome

    async def _recorded(self, attempt: RemoteAttempt, data: bytes, running: _Running) -> bytes:
        try:
            found = await self._in_thread(self._store.get_document, OUTCOMES, attempt.id)
            if found is not None:
                return bytes(found)
            outcome = await self._outcome(attempt, data, running)
            await self._record(attempt.id, outcome)
            return outcome
        finally:
            del self._running[attempt.id]

    async def _outcome(self, attempt: RemoteAttempt, data: bytes, running: _Running) -> bytes:
        """What the task gave; when its process dies, it runs again as often as Ray would run it.

        Ray itself may not: it would also run a recorded attempt again, to make a lost object.
        """
        options = loads(attempt.options)
        deaths = 0
        try:
            again = options.pop("max_retries", _MAX_RETRIES)
            task = ray.remote(run_attempt).options(**options, max_retries=0)
            while True:
                if running.is_cancelled:
                    raise StepFailed("it was cancelled")
                running.task = task.remote(data, self._driver_paths)
                try:
                    return bytes(await running.task)
                except CRASHES as error:
                    deaths += isinstance(error, DEATHS)
                    if again == 0:
                        raise
                    again -= 1
        except DEATHS as error:
            running.task = None
            return _failed(attempt, _ended_by(attempt, deaths, error), retriable=attempt.survives)
        except (RayError, RaysumeError) as error:
            running.task = None
            told = StepFailed(f"the Ray task ended without an outcome: {error}")
            return _failed(attempt, told, retriable=attempt.retriable)
        except Exception as error:  # the options are the user's: whatever Ray says of them
            running.task = None
            problem = UsageError(
                f"Ray refused the options of step {attempt.label!r}: {error}. Correct ray={{...}}."
            )
            return _failed(attempt, problem, retriable=False)

    async def _record(self, id: str, outcome: bytes) -> None:
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while True:
            try:
                await self._in_thread(self._store.put_document, OUTCOMES, id, outcome)
                crash_point("after_outcome_recorded")
                return
            except Unavailable as error:
                _log.warning("outcome_not_recorded", attempt=id, error=str(error))
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)

    async def forget(self, ids: list[str]) -> None:
        """The outcomes are recorded by whoever asked; tasks that still run are cancelled."""
        for id in ids:
            running = self._running.get(id)
            if running is not None:
                await self._cancel(running)
            await self._in_thread(self._store.delete_document, OUTCOMES, id)

    async def _cancel(self, running: _Running) -> None:
        """The task has ended: it was interrupted, and its process killed if that was not enough."""
        running.is_cancelled = True
        assert running.outcome is not None
        for force in (False, True):
            if running.task is not None:
                ray.cancel(running.task, force=force)
            ended, _ = await asyncio.wait([running.outcome], timeout=limits.STEP_CANCEL_S)
            if ended:
                return
        await asyncio.wait([running.outcome])

    async def _in_thread(self, do: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, do, *arguments)

    def __repr__(self) -> str:
        # Ray asks once, as the actor is made: nothing that changes belongs here.
        return "runner of steps"


def _ended_by(attempt: RemoteAttempt, deaths: int, error: Exception) -> ProcessEnded:
    instance = attempt.key.rsplit("/", 2)[1]
    return ProcessEnded(
        f"step {attempt.label!r} of instance {instance!r} ended the process of its Ray task "
        f"{deaths} times, the last time so: {error} Its `max_retries` in ray={{...}} says how often "
        "Ray tasks are run again, and a Retry tries all of that again. `raysume instance retry` "
        "runs it once more, and `raysume instance cancel` gives it up.",
        process="task",
        deaths=deaths,
    )


def _failed(attempt: RemoteAttempt, error: Exception, *, retriable: bool) -> bytes:
    done = failed_attempt(attempt.step_id, attempt.attempt, error, retriable=retriable)
    return msgspec.msgpack.encode(done)


class RaySteps:
    """What a pool asks for attempts of steps that have `ray={...}`."""

    def __init__(self, engine: EngineSpec, target: Target, driver_paths: list[str]) -> None:
        self._engine, self._target, self._driver_paths = engine, target, driver_paths
        self._runner: Any = None

    async def run(
        self, step: Step[Any], *, key: str, step_id: str, attempt: int, trace: str | None
    ) -> StepDone:
        """What came of the attempt; it is recorded, and stays so until `forget`."""
        asked = RemoteAttempt(
            key=key,
            step_id=step_id,
            attempt=attempt,
            label=step.label,
            step=dumps(step),
            options=dumps(dict(step.ray or {})),
            retriable=step.retry is not None,
            survives=step.retry is not None and not issubclass(ProcessEnded, step.retry.give_up_on),
            target=self._target,
            trace=trace,
        )
        outcome = await self._asked_surely(asked)
        return msgspec.msgpack.decode(outcome, type=StepDone)

    async def _asked_surely(self, attempt: RemoteAttempt) -> bytes:
        """The runner's answer: however often it, its node or the store dies before it answers."""
        data = msgspec.msgpack.encode(attempt)
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while True:
            try:
                outcome = await self._actor().run.remote(data)
                if isinstance(outcome, bytes):
                    return outcome
                [reference] = outcome
                return bytes(await reference)
            except RayTaskError as error:
                cause = cause_of(error)
                if not isinstance(cause, Unavailable):
                    raise cause or error from None
                _log.warning("runner_cannot_record", attempt=attempt.id, error=str(cause))
            except RayError as error:
                self._runner = None  # one that is gone for good is made anew
                _log.warning("runner_does_not_answer", attempt=attempt.id, error=str(error))
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)

    async def forget(self, ids: list[str]) -> None:
        """The attempts are over for the pool: their outcomes are deleted, their tasks cancelled."""
        await self._actor().forget.remote(ids)

    def _actor(self) -> Any:
        if self._runner is None:
            actor: Any = ray.remote(Runner)
            options = actor.options(
                name=RUNNER_NAME,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0.01,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=1_000,
                runtime_env={
                    "env_vars": {"RAYSUME_DATA_DIR": str(Path(self._engine.data_dir).resolve())}
                },
            )
            self._runner = options.remote(msgspec.msgpack.encode(self._engine), self._driver_paths)
        return self._runner
