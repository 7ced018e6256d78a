"""SCENARIOS section 7 on a real cluster, over HTTP: the same samples and stories as in the shell."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.cluster.running import Engine, started_by, until
from tests.samples import stories
from tests.samples.stories import Pushed, Story

from raysume import Client
from raysume.client import Run
from raysume.errors import InstanceFailed
from samples_letters import Post
from samples_onboarding import Onboarding
from samples_requests import RequestApproval, decide, submit
from samples_trips import book_trip, confirm


def waits_for(client: Client, run: Run[Any], names: tuple[str, ...]) -> bool | None:
    """Whether exactly the waits with these names are open; None: not yet."""
    open_now = client.waits(run.workflow, instance=run.id)
    return sorted(one.name or "" for one in open_now) == sorted(names) or None


def push(client: Client, call: Pushed) -> str:
    """The call is pushed; its id."""
    return client.push(call.method.urn, input=call.input, output=call.output)


def happens(story: Story, client: Client) -> Run[Any]:
    """The story has taken its course, each call after the one before was handled."""
    first, *others = story.calls
    run = started_by(client, story.workflow.name, push(client, first))
    until(lambda: waits_for(client, run, first.waits))
    for call in others:
        push(client, call)
        until(lambda: waits_for(client, run, call.waits))  # noqa: B023 - it is called here
    return run


@pytest.mark.row(66, 68, 69, 70, 72, 74)
@pytest.mark.parametrize(
    "story", stories.ALL, ids=[f"{story.workflow.name}-{story.name}" for story in stories.ALL]
)
@pytest.mark.usefixtures("engine")
def test_a_story_takes_the_same_course_as_in_the_shell(
    story: Story, client: Client, post: Post
) -> None:
    run = happens(story, client)
    assert run.result(timeout=30) == story.result
    assert run.status() == "completed"
    assert post.about(story.about) == list(story.letters)


@pytest.mark.row(66)
def test_a_client_who_is_known_is_seen_over_http(engine: Engine, client: Client) -> None:
    call = stories.ONBOARDING[0].calls[0]
    registered = Pushed(call.method, {"client": 669, "name": "Zoe"}, True, call.waits, call.counts)
    run = started_by(client, Onboarding.run.name, push(client, registered))
    until(lambda: waits_for(client, run, ("owner",)))
    with engine.http() as http:
        assert http.get(f"/v1/instances/{run.id}/query/stage").json() == {"result": "owner"}
    assert run.state().container == {
        "form": {"client": 669, "name": "Zoe"},
        "accepted": None,
        "notes": None,
    }


@pytest.mark.row(68)
@pytest.mark.usefixtures("engine")
def test_while_more_is_wanted_another_request_starts_an_instance(client: Client) -> None:
    workflow = RequestApproval.run.name

    def submitted(request: int, text: str) -> str:
        return client.push(submit, input={"request": request, "text": text}, output=True)

    first = started_by(client, workflow, submitted(688, "a chair"))
    until(lambda: waits_for(client, first, ("decision",)))
    client.push(decide, input={"request": 688, "decision": "more"}, output=True)
    until(lambda: waits_for(client, first, ("resubmission",)))
    second = started_by(client, workflow, submitted(689, "a table"))
    assert waits_for(client, first, ("resubmission",))
    submitted(688, "a red chair")
    until(lambda: waits_for(client, first, ("decision",)))
    found = client.instances(workflow, tag={"request": "688"})
    assert [run.id for run in found] == [first.id] != [second.id]


@pytest.mark.row(42)
@pytest.mark.usefixtures("engine")
def test_a_bad_decision_fails_the_instance_and_its_hook_is_called(client: Client) -> None:
    call_id = client.push(submit, input={"request": 421, "text": "a chair"}, output=True)
    run = started_by(client, RequestApproval.run.name, call_id)
    client.push(decide, input={"request": 421, "decision": "???"}, output=True)
    with pytest.raises(InstanceFailed, match=r"'\?\?\?' is no decision"):
        run.result(timeout=30)
    tags = run.describe().tags
    assert tags == {"request": "421", "trouble": "'???' is no decision: accept, reject or more"}


@pytest.mark.row(76)
@pytest.mark.usefixtures("engine")
def test_a_trip_that_is_booked_stays_booked(client: Client, post: Post) -> None:
    run = client.start(book_trip, "rome", "Ritz", "van")
    client.push(confirm, input={"trip": "rome"}, output=True)
    assert run.result(timeout=30) == ["flight-direct", "hotel-Ritz", "car-van"]
    assert run.cancel().status == "completed"
    assert post.about("rome") == [
        "desk: asked for flight direct",
        "desk: asked for hotel Ritz",
        "desk: asked for car van",
    ]


@pytest.mark.row(76, 79)
@pytest.mark.usefixtures("engine")
def test_a_trip_that_fails_is_undone_in_reverse_and_says_why(client: Client, post: Post) -> None:
    run = client.start(book_trip, "oslo", "Ritz", "full")
    client.push(confirm, input={"trip": "oslo"}, output=True)
    with pytest.raises(InstanceFailed, match="SoldOut: car full"):
        run.result(timeout=30)
    assert run.status() == "failed"
    expected = [
        "desk: asked for flight direct",
        "desk: asked for hotel Ritz",
        "desk: asked for car full",
        "desk: released hotel-Ritz",
        "desk: released flight-direct",
    ]
    until(lambda: post.about("oslo")[4:] or None)
    assert post.about("oslo") == expected


@pytest.mark.row(77)
@pytest.mark.usefixtures("engine")
def test_cancelling_a_trip_tells_the_traveller_and_undoes_the_bookings(
    client: Client, post: Post
) -> None:
    run = client.start(book_trip, "bern", "Ritz", "van")
    until(lambda: waits_for(client, run, ("confirmation",)))
    run.cancel("the traveller is ill")
    with pytest.raises(InstanceFailed, match="is cancelled"):
        run.result(timeout=30)
    assert run.cancel().status == "cancelled"
    assert post.about("bern") == [
        "desk: asked for flight direct",
        "desk: asked for hotel Ritz",
        "traveller: your trip is called off",
        "desk: released hotel-Ritz",
        "desk: released flight-direct",
    ]


@pytest.mark.row(78)
@pytest.mark.usefixtures("engine")
def test_a_busy_line_is_called_again(client: Client, post: Post) -> None:
    run = client.start(book_trip, "kyiv", "busy", "van")
    client.push(confirm, input={"trip": "kyiv"}, output=True)
    assert run.result(timeout=30) == ["flight-direct", "hotel-busy", "car-van"]
    assert post.about("kyiv") == [
        "desk: asked for flight direct",
        *["desk: asked for hotel busy"] * 3,
        "desk: asked for car van",
    ]
