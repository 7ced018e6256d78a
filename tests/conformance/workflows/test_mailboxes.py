"""Which earlier calls a wait meets: from memory and from the log, against a plain reference."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.workflows.conftest import Deploy
from tests.conformance.workflows.methods import m1, m2, m3

import raysume
from raysume import limits, wait, workflow
from raysume.testing import TestShell


async def test_since_finds_calls_from_before_the_instance_started(deploy: Deploy) -> None:
    @workflow
    async def late(since: datetime) -> list[int]:
        first = await wait(m1).match_any().since(since)
        second = await wait(m1).match_any().since(since)
        return [first.input.id, second.input.id]

    async with deploy(late) as shell:
        await shell.push(m1, id=1)
        await shell.advance(timedelta(hours=1))
        since = shell.now
        await shell.push(m1, id=2)
        await shell.advance(timedelta(days=2))
        await shell.push(m1, id=3)
        run = await shell.start(late, since)
        assert run.result == [2, 3]


async def test_without_since_nothing_before_the_start_counts(deploy: Deploy) -> None:
    @workflow
    async def plain(_number: int) -> int:
        return (await wait(m1).match_any()).input.id

    async with deploy(plain) as shell:
        await shell.push(m1, id=1)
        run = await shell.start(plain, 0)
        assert run.status == "waiting"
        await shell.push(m1, id=2)
        assert run.result == 2


async def test_since_goes_back_behind_the_last_call_received_but_takes_none_twice(
    deploy: Deploy,
) -> None:
    @workflow
    async def backwards(since: datetime) -> list[int]:
        found = [(await wait(m1).match_any().from_now()).input.id]
        for _ in range(2):
            found.append((await wait(m1).match_any().since(since)).input.id)
        return found

    async with deploy(backwards) as shell:
        since = shell.now
        await shell.push(m1, id=1)
        await shell.push(m1, id=2)
        run = await shell.start(backwards, since)
        await shell.push(m1, id=3)
        assert run.result == [3, 1, 2]


async def test_a_call_that_started_an_instance_is_in_no_other_mailbox(deploy: Deploy) -> None:
    @workflow
    async def greedy() -> int:
        first = await wait(m1).match_any()
        second = await wait(m1).match(text="starts").since(EPOCH)
        return first.input.id * 10 + second.input.id

    async with deploy(greedy) as shell:
        await shell.push(m1, id=1, text="starts")
        await shell.push(m1, id=2, text="starts another")
        one, other = shell.instances(greedy)
        assert (one.status, other.status) == ("waiting", "waiting")
        await shell.push(m1, id=3, text="starts")
        assert (one.result, other.result) == (13, 23)


async def test_the_window_is_the_configured_one(deploy: Deploy) -> None:
    @workflow
    async def windowed() -> int:
        await wait(m1).match_any()
        await wait(m3).match_any()
        return (await wait(m2).match_any()).input.id

    raysume.configure(mailbox_window="2h")
    try:
        async with deploy(windowed) as shell:
            await shell.push(m1)
            await shell.push(m2, id=1)
            await shell.advance(timedelta(hours=2, seconds=1))
            await shell.push(m2, id=2)
            await shell.push(m3)
            [run] = shell.instances(windowed)
            assert run.result == 2
    finally:
        raysume.configure(mailbox_window=None)


# --- against a reference ------------------------------------------------------------

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MODES = ("mailbox", "since", "from_now")
Plan = list[tuple[int, str]]
"""The waits of an instance, one after the other: (id matched, or 0 for any; mode)."""


@dataclass
class Reference:
    """What an instance receives, told plainly."""

    plan: Plan
    since: datetime
    began_at: datetime
    """The moment from which the present wait's window counts back."""
    calls: list[tuple[int, datetime]] = field(default_factory=list[tuple[int, datetime]])
    start: int = 0
    received: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """(number of the call, match key) in the order received."""

    def run(self, now: datetime) -> None:
        """The instance has gone on as far as calls let it."""
        while len(self.received) < len(self.plan):
            found = self._oldest(*self.plan[len(self.received)])
            if found is None:
                return
            self.received.append(found)
            self.began_at, self.registered = now, len(self.calls)

    registered: int = 0
    """How many calls there were when the present wait was registered."""

    def _oldest(self, wanted: int, mode: str) -> tuple[int, str] | None:
        key = str(wanted)
        last = max((n for n, by in self.received if by == key), default=-1)
        for number, (id, at) in enumerate(self.calls):
            is_live = number >= self.registered
            if wanted not in (0, id) or any(number == n for n, _ in self.received):
                continue
            if mode == "from_now" and not is_live:
                continue
            if mode == "since" and at < self.since:
                continue
            if mode == "mailbox" and not is_live:
                in_window = at >= self.began_at - limits.MAILBOX_WINDOW
                if number < self.start or number <= last or not in_window:
                    continue
            return number, key
        return None


@workflow
async def planned(plan: Plan, since: datetime) -> list[int]:
    """Waits as planned."""
    found: list[int] = []
    for wanted, mode in plan:
        one = wait(m1).match_any() if wanted == 0 else wait(m1).match(id=wanted)
        if mode == "since":
            one = one.since(since)
        elif mode == "from_now":
            one = one.from_now()
        found.append(int((await one).input.text))
    return found


Action = tuple[str, int]
_actions = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 3)),
        st.tuples(st.just("hours"), st.sampled_from([1, 10, 30])),
    ),
    max_size=10,
)
_plan = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(MODES)), min_size=1, max_size=6)


@pytest.mark.parametrize("remembered", [2, 100_000], ids=["log", "memory"])
@settings(max_examples=60, deadline=None)
@given(plan=_plan, before=_actions, after=_actions, back=st.integers(0, 40), reload=st.booleans())
def test_an_instance_receives_what_a_plain_reference_says(
    remembered: int, plan: Plan, before: list[Action], after: list[Action], back: int, reload: bool
) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(limits, "RECENT_CALLS_MAX", remembered)
    with patch.context():
        asyncio.run(_compare(plan, before, after, back, reload))
    patch.undo()


async def _compare(
    plan: Plan, before: list[Action], after: list[Action], back: int, reload: bool
) -> None:
    async with TestShell(planned, reload=reload) as shell:
        reference = Reference(plan, shell.now, shell.now)

        async def act(action: Action) -> None:
            kind, number = action
            if kind == "push":
                reference.calls.append((number, shell.now))
                await shell.push(m1, id=number, text=str(len(reference.calls) - 1))
            else:
                await shell.advance(timedelta(hours=number))

        for action in before:
            await act(action)
        reference.since = shell.now - timedelta(hours=back)
        reference.start = reference.registered = len(reference.calls)
        reference.began_at = shell.now
        run = await shell.start(planned, plan, reference.since)
        reference.run(shell.now)
        for action in after:
            await act(action)
            reference.run(shell.now)
            done = run.status == "completed"
            found = run.result if done else run.locals.get("found")
            assert found == [number for number, _ in reference.received]
