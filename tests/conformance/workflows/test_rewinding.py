"""Rewinding an instance to an earlier point."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import Field
from tests.conformance.workflows.marks import Marks
from tests.conformance.workflows.methods import decide, m1, m2, m3, m4, submit

from raysume import Container, WaitTimeout, all_of, any_of, step, subflow, wait, workflow
from raysume.errors import NotFound, NotRewindable, UsageError
from raysume.testing import TestShell

Deploy = Callable[..., TestShell]


async def test_a_rewound_instance_waits_again_with_the_variables_of_then(deploy: Deploy) -> None:
    ran = Marks()

    @workflow
    async def review() -> str:
        first = await wait(m1).match_any()
        said = [first.output]
        second = await wait(m2, name="opinion").match_any()
        said.append(second.output)
        ran(f"opinion {second.output}")
        third = await wait(m3).match_any()
        said.append(third.output)
        return " ".join(map(str, said))

    async with deploy(review) as shell:
        await shell.push(m1, output="a")
        await shell.push(m2, output="wrong")
        [run] = shell.instances(review)
        assert run.locals["said"] == ["a", "wrong"]
        await shell.rewind(run, to="opinion")
        assert (run.status, run.locals["said"]) == ("waiting", ["a"])
        assert [(view.name, view.method) for view in run.waits if view.status == "waiting"] == [
            ("opinion", m2.urn)
        ]
        await shell.push(m2, output="right")
        await shell.push(m3, output="z")
        assert (run.status, run.result, run.errors) == ("completed", "a right z", [])
    assert ran == {"opinion wrong": 1, "opinion right": 1}


async def test_a_call_that_was_received_does_not_meet_the_rewound_wait(deploy: Deploy) -> None:
    @workflow
    async def one_by_one() -> str:
        await wait(m1).match_any()
        call = await wait(m2, name="second").match_any()
        await wait(m3).match_any()
        return str(call.output)

    async with deploy(one_by_one) as shell:
        await shell.push(m1)
        await shell.push(m2, output="received")
        [run] = shell.instances(one_by_one)
        await shell.rewind(run, to="second")
        assert run.status == "waiting"
        assert run.locals == {}
        await shell.push(m2, output="new")
        await shell.push(m3)
        assert run.result == "new"


async def test_a_call_that_came_meanwhile_meets_the_rewound_wait(deploy: Deploy) -> None:
    @workflow
    async def keyed() -> list[object]:
        await wait(submit).match_any()
        first = await wait(decide, name="first").match(request=1)
        second = await wait(decide, name="second").match(request=2)
        await wait(m4).match_any()
        return [first.output, second.output]

    async with deploy(keyed) as shell:
        await shell.push(submit, request=0)
        await shell.push(decide, request=1, answer="", output="a")
        await shell.push(decide, request=2, answer="", output="b")
        await shell.push(decide, request=1, answer="", output="not received yet")
        [run] = shell.instances(keyed)
        await shell.rewind(run, to="first")
        assert run.locals["first"].output == "not received yet"
        assert [view.name for view in run.waits if view.status == "waiting"] == ["second"]
        await shell.push(decide, request=2, answer="", output="c")
        await shell.push(m4)
        assert run.result == ["not received yet", "c"]


async def test_no_code_runs_for_a_rewind(deploy: Deploy) -> None:
    ran = Marks()

    @workflow
    async def guarded() -> None:
        await wait(m1).match_any()
        await wait(m2, name="before").match_any()
        try:
            await any_of(
                wait(m3).match_any().when_cancelled(lambda: ran("cancelled")),
                wait(m4).match_any(),
            )
        finally:
            ran("finally")

    async with deploy(guarded) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(guarded)
        await shell.rewind(run, to="before")
        assert ran == {}
        assert [view.status for view in run.waits if view.method in (m3.urn, m4.urn)] == [
            "cancelled",
            "cancelled",
        ]
        await shell.push(m2)
        await shell.push(m4)
        assert run.status == "completed"
    assert ran == {"cancelled": 1, "finally": 1}


@pytest.mark.parametrize("place", ["opinion", m2.urn, 1, "1", "review:LINE", "FILE:LINE"])
async def test_a_point_is_named_by_wait_method_turn_or_line(
    deploy: Deploy, place: str | int
) -> None:
    @workflow
    async def review() -> None:
        await wait(m1).match_any()
        await wait(m2, name="opinion").match_any()
        await wait(m3).match_any()

    async with deploy(review) as shell:
        await shell.push(m1)
        [run] = shell.instances(review)
        await shell.push(m2)
        definition = review.definition
        line = definition.first_line + 3
        to = place
        if isinstance(place, str):
            to = place.replace("LINE", str(line)).replace("FILE", "test_rewinding.py")
        await shell.rewind(run, to=to)
        assert [view.name for view in run.waits if view.status == "waiting"] == ["opinion"]


async def test_a_point_that_never_was_is_refused_with_those_that_were(deploy: Deploy) -> None:
    @workflow
    async def review() -> None:
        await wait(m1).match_any()
        await wait(m2, name="opinion").match_any()
        await wait(m3, name="end").match_any()

    async with deploy(review) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(review)
        with pytest.raises(NotFound, match=r"never stood at 'opnion'.*'opinion' \(turn 1\)"):
            await shell.rewind(run, to="opnion")
        with pytest.raises(NotFound, match="other than where it stands now"):
            await shell.rewind(run, to="end")
        assert [view.name for view in run.waits if view.status == "waiting"] == ["end"]
        assert len(run.history) == 2


@pytest.mark.parametrize(
    "end",
    [
        "completed",
        "cancelled",
        pytest.param("failed", marks=pytest.mark.logs_errors("bad answer")),
    ],
)
async def test_an_instance_that_has_ended_is_rewound(deploy: Deploy, end: str) -> None:
    @workflow
    async def short() -> str:
        await wait(m1).match_any()
        call = await wait(m2, name="answer").match_any()
        if call.output == "bad":
            raise RuntimeError("bad answer")
        await wait(m3).match_any()
        return str(call.output)

    async with deploy(short) as shell:
        await shell.push(m1)
        [run] = shell.instances(short)
        await shell.push(m2, output="bad" if end == "failed" else "first")
        if end == "cancelled":
            await shell.cancel(run)
        elif end == "completed":
            await shell.push(m3)
        assert run.status == end
        await shell.rewind(run, to="answer")
        assert (run.status, run.error) == ("waiting", None)
        await shell.push(m2, output="second")
        await shell.push(m3)
        assert (run.status, run.result) == ("completed", "second")
        assert len(shell.instances(short)) == 1


async def test_a_time_limit_begins_again(deploy: Deploy) -> None:
    @workflow
    async def limited() -> str:
        await wait(m1).match_any()
        try:
            await wait(m2, name="answer").match_any().timeout(timedelta(days=1))
        except WaitTimeout:
            await wait(m3).match_any()
            return "late"
        return "in time"

    async with deploy(limited) as shell:
        await shell.push(m1)
        await shell.advance(timedelta(days=1))
        [run] = shell.instances(limited)
        await shell.rewind(run, to="answer")
        await shell.advance(timedelta(hours=23))
        assert [view.name for view in run.waits if view.status == "waiting"] == ["answer"]
        await shell.advance(timedelta(hours=1))
        await shell.push(m3)
        assert run.result == "late"


async def test_a_group_and_its_subflows_are_taken_up_again(deploy: Deploy) -> None:
    @subflow
    async def ask(who: str) -> str:
        seen = await wait(m2, name=f"{who} sees").match(text=who)
        told = await wait(m3, name=f"{who} tells").match(text=who)
        return f"{who} {seen.output} {told.output}"

    @workflow
    async def both() -> str:
        await wait(m1).match_any()
        left, right = await all_of(ask("left"), ask("right"))
        await wait(m4).match_any()
        return f"{left}, {right}"

    async with deploy(both) as shell:
        await shell.push(m1)
        await shell.push(m2, text="left", output="1")
        await shell.push(m2, text="right", output="1")
        await shell.push(m3, text="right", output="1")
        [run] = shell.instances(both)
        await shell.rewind(run, to="right sees")
        waiting = {view.name for view in run.waits if view.status == "waiting" and view.method}
        assert waiting == {"left tells", "right sees"}
        await shell.push(m2, text="right", output="2")
        await shell.push(m3, text="right", output="2")
        await shell.push(m3, text="left", output="2")
        await shell.push(m4)
        assert run.result == "left 1 2, right 2 2"
        assert all(view.status != "waiting" for view in run.waits)


class Basket(Container):
    """State with a schema."""

    things: list[str] = Field(default_factory=list[str])

    @workflow
    async def run(self) -> str:
        """Collects two things."""
        first = await wait(m1).match_any()
        self.things.append(str(first.output))
        second = await wait(m2, name="second").match_any()
        self.things.append(str(second.output))
        await wait(m3).match_any()
        return " ".join(self.things)


async def test_the_fields_of_a_container_are_those_of_then(deploy: Deploy) -> None:
    async with deploy(Basket.run) as shell:
        await shell.push(m1, output="a")
        await shell.push(m2, output="b")
        [run] = shell.instances()
        await shell.rewind(run, to="second")
        assert run.container.things == ["a"]
        await shell.rewind(run, to=1, set={"things": ["x", "y"]})
        await shell.push(m2, output="c")
        await shell.push(m3)
        assert run.result == "x y c"


async def test_variables_are_changed_on_the_way_back(deploy: Deploy) -> None:
    @workflow
    async def counted() -> int:
        limit, label = 2, "a"
        await wait(m1).match_any()
        await wait(m2, name="number").match_if(lambda call: call.input.id == limit)
        await wait(m3).match_any()
        return limit if label else 0

    async with deploy(counted) as shell:
        await shell.push(m1)
        await shell.push(m2, id=2)
        [run] = shell.instances(counted)
        before = run.history
        with pytest.raises(UsageError, match=r"no variable 'limits'.*Live are: label, limit"):
            await shell.rewind(run, to="number", set={"limits": 3})
        with pytest.raises(UsageError, match="is a int there and cannot be set to 'many'"):
            await shell.rewind(run, to="number", set={"limit": "many"})
        assert run.history == before
        await shell.rewind(run, to="number", set={"limit": "3"})
        assert run.locals["limit"] == 3
        await shell.push(m2, id=2)
        assert run.status == "waiting"
        await shell.push(m2, id=3)
        await shell.push(m3)
        assert (run.status, run.result) == ("completed", 3)


def book(name: str) -> str:
    return f"booked {name}"


def unbook(_name: str) -> None:
    return None


async def test_what_was_undone_is_not_taken_for_done(deploy: Deploy) -> None:
    ran = Marks()

    @workflow
    async def trip() -> str:
        await wait(m1, name="asked").match_any()
        await wait(m2, name="sure").match_any()
        booked = await step(book, "hotel", compensate=unbook)
        ran("booked")
        await wait(m3, name="paid").match_any()
        await wait(m4).match_any()
        return booked

    async with deploy(trip) as shell:
        await shell.push(m1)
        await shell.push(m2)
        await shell.push(m3)
        [run] = shell.instances(trip)
        await shell.rewind(run, to="paid")  # the hotel is still booked
        await shell.cancel(run)
        assert run.status == "cancelled"
        with pytest.raises(NotRewindable, match=r"was undone since \(undo book\)"):
            await shell.rewind(run, to="paid")
        assert run.status == "cancelled"
        await shell.rewind(run, to="sure")
        await shell.push(m2)
        await shell.push(m3)
        await shell.push(m4)
        assert (run.status, run.result) == ("completed", "booked hotel")
    assert ran == {"booked": 2}


async def test_a_step_runs_again_after_a_rewind_to_it(deploy: Deploy) -> None:
    made: list[str] = []

    def send(text: str) -> int:
        made.append(text)
        return len(made)

    @workflow
    async def sender() -> int:
        await wait(m1).match_any()
        number = await step(send, "letter", name="send")
        await wait(m2).match_any()
        return number

    async with deploy(sender) as shell:
        await shell.push(m1)
        [run] = shell.instances(sender)
        await shell.rewind(run, to="send")
        await shell.push(m2)
        assert (run.result, made) == (2, ["letter", "letter"])


@pytest.mark.logs_errors("flaky' failed at attempt 1")
async def test_steps_under_way_and_queued_calls_are_left_behind(deploy: Deploy) -> None:
    attempts: list[int] = []

    def flaky() -> str:
        attempts.append(1)
        raise RuntimeError("no")

    @workflow
    async def stuck() -> str:
        await wait(m1).match_any()
        await wait(m2, name="go").match_any()
        await step(flaky)
        return "done"

    async with deploy(stuck) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(stuck)
        assert (run.status, len(attempts)) == ("failed", 1)
        await shell.rewind(run, to="go")
        assert (run.status, run.error, len(attempts)) == ("waiting", None, 1)
        shell.stub(flaky, returns="ok")
        await shell.push(m2)
        assert run.result == "done"
