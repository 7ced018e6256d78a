"""The kernel does what the reference model does, also when it crashes and reloads on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from pydantic import BaseModel
from tests.simulation.reference import Model

from raysume import (
    Retry,
    StepFailed,
    all_of,
    any_of,
    external_call,
    sleep,
    step,
    step_key,
    wait,
    workflow,
)
from raysume.actors.kernel.commits import Delivered, Event, StepEnded
from raysume.actors.kernel.deliveries import Delivery
from raysume.testing import TestShell
from raysume.testing.pools import ShellPool
from raysume.workflows import Workflow


class Sent(BaseModel):
    """The input of every method here."""

    number: int = 0
    part: int = 0
    text: str = ""


begin = external_call("reference.begin", input=Sent, output=None)
answer = external_call("reference.answer", input=Sent, output=None)
sign = external_call("reference.sign", input=Sent, output=None)
tick = external_call("reference.tick", input=Sent, output=None)

tried: set[str] = set()


def charge(number: int) -> str:
    """Refuses every third number, and for every other third is in trouble at first."""
    if number % 3 == 2:
        raise ValueError(number)
    if number % 3 == 1 and step_key() not in tried:
        tried.add(step_key())
        raise ConnectionError(number)
    return "paid"


@workflow(name="reference.order")
async def order() -> list[str]:
    """Rounds, each of which an answer, two signatures or five hours end."""
    start = await wait(begin).match_if(lambda call: call.input.part < 4)
    number = start.input.number
    results: list[str] = []
    try:
        results.append(await step(charge, number, retry=Retry(max_attempts=2)))
    except StepFailed:
        results.append("refused")
    for _ in range(start.input.part):
        first = await any_of(
            wait(answer).match(number=number),
            all_of(
                wait(sign).match(number=number, part=0),
                wait(sign).match_if(
                    lambda call: call.input.part == 1 and call.input.number == number
                ),
            ),
            sleep(timedelta(hours=5)),
        )
        if first.index == 0:
            text = str(first.result.input.text)  # type: ignore[union-attr]
            if text == "boom":
                raise RuntimeError(text)
            results.append(text)
        else:
            results.append("signed" if first.index == 1 else "late")
    return results


def tally_id(name: str) -> str:
    """The instance's id, from what it is started with."""
    return f"tally-{name}"


@workflow(name="reference.tally", id=tally_id)
async def tally(name: str, rounds: int) -> list[str]:  # noqa: ARG001 - it is the id
    """So many ticks, none of which may take thirty hours."""
    results: list[str] = []
    while len(results) < rounds:
        call = await wait(tick).match_any().timeout(timedelta(hours=30))
        results.append(call.input.text)
    return results


WORKFLOWS: tuple[Workflow[Any, Any], ...] = (order, tally)


class CrashingShell(TestShell):
    """A shell whose kernels lose, when told to, what they have just done and not yet saved."""

    crashes = 0
    """How many of the next batches of events are lost before they are saved."""

    def _apply(self, pool: ShellPool, events: list[Event]) -> None:
        if self.crashes:
            self.crashes -= 1
            with pool.scope():
                pool.kernel.apply(events, self._now_us)
            self.recover(pool, checkpoint=False)
            if any(isinstance(event, Delivered | StepEnded) for event in events):
                return  # delivered and run again by the recovery
        super()._apply(pool, events)

    def recover(self, pool: ShellPool, *, checkpoint: bool) -> None:
        """The pool goes on from what is saved: from a checkpoint, or from the journal behind it."""
        self._release(pool, pool.restart(self._calls, self._now_us, checkpoint=checkpoint))
        start, end = pool.kernel.watermarks.get(0, 0), self._calls.end
        if start < end:  # what was applied and is not saved is delivered again
            rest = Delivery(0, start, end, 1, self._calls.between(start, end))
            super()._apply(pool, [Delivered(delivery=rest)])

    def recover_all(self, *, checkpoint: bool) -> None:
        """All pools go on from what is saved."""
        for pool in self._pools.values():
            self.recover(pool, checkpoint=checkpoint)


NUMBERS = st.integers(0, 4)
NAMES = st.sampled_from(("a", "b", "c"))


class AgainstReference(RuleBasedStateMachine):
    """The same things are done to a shell and to the model."""

    @initialize(reload=st.booleans())
    def open(self, reload: bool) -> None:
        self.runner = asyncio.Runner()
        self.shell = CrashingShell(*WORKFLOWS, reload=reload)
        self.do(self.shell.__aenter__())
        self.model = Model(self.shell.now)

    def do(self, doing: Coroutine[Any, Any, Any]) -> Any:
        """What is done to the shell has been done."""
        return self.runner.run(doing)

    def teardown(self) -> None:
        """The shell is closed."""
        if hasattr(self, "shell"):
            self.do(self.shell.__aexit__(None, None, None))
            self.runner.close()

    @rule(number=NUMBERS, rounds=st.integers(0, 4))
    def begins(self, number: int, rounds: int) -> None:
        self.do(self.shell.push(begin, number=number, part=rounds))
        self.model.push(("begin", number), rounds=rounds)

    @rule(number=NUMBERS, text=st.sampled_from(("yes", "no", "boom")))
    def answers(self, number: int, text: str) -> None:
        self.do(self.shell.push(answer, number=number, text=text))
        self.model.push(("answer", number), text)

    @rule(number=NUMBERS, part=st.integers(0, 1))
    def signs(self, number: int, part: int) -> None:
        self.do(self.shell.push(sign, number=number, part=part))
        self.model.push(("sign", number, part))

    @rule(text=st.sampled_from(("x", "y", "z")))
    def ticks(self, text: str) -> None:
        self.do(self.shell.push(tick, text=text))
        self.model.push(("tick",), text)

    @rule(name=NAMES, rounds=st.integers(0, 4))
    def starts(self, name: str, rounds: int) -> None:
        self.do(self.shell.start(tally, name, rounds))
        self.model.start(name, rounds)

    @rule(minutes=st.sampled_from((7, 150, 299, 300, 301, 24 * 60, 31 * 60)))
    def time_passes(self, minutes: int) -> None:
        self.do(self.shell.advance(timedelta(minutes=minutes)))
        self.model.advance(timedelta(minutes=minutes))

    @precondition(lambda self: self.model.cases)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.model.cases) - 1))
        case = self.model.cases[index]
        self.do(self.shell.cancel(self.runs()[index]))
        if case.status in ("waiting", "failed"):
            case.stop("cancelled")

    @rule(batches=st.integers(1, 3))
    def will_crash(self, batches: int) -> None:
        self.shell.crashes = batches

    @rule(checkpoint=st.booleans())
    def is_reloaded(self, checkpoint: bool) -> None:
        self.shell.recover_all(checkpoint=checkpoint)

    def runs(self) -> list[Any]:
        """The instances in the order of the model's cases."""
        names = {f"tally-{name}": place for place, name in enumerate(self.model.tallies)}
        tallies = sorted(self.shell.instances(tally), key=lambda run: names[run.id])
        return [*self.shell.instances(order), *tallies]

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        runs, cases = self.runs(), self.model.cases
        assert [run.status for run in runs] == [case.status for case in cases], [
            run.error for run in runs
        ]
        for run, case in zip(runs, cases, strict=True):
            assert run.result == (case.results if case.status == "completed" else None)
            if case.status == "waiting":
                waits = [view.method for view in run.waits if view.status == "waiting"]
                assert sorted(method for method in waits if method) == sorted(
                    f"reference.{k[0]}" for k in case.open
                )
        completed = sum(case.status == "completed" for case in cases)
        counts = self.shell.counts()
        assert (counts.calls, counts.completed) == (len(self.model.calls), completed)


AgainstReference.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestAgainstReference = AgainstReference.TestCase
