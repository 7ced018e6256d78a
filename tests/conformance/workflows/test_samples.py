"""SCENARIOS section 7 in the shell: the business samples of examples/, story by story."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.workflows.conftest import Deploy
from tests.conformance.workflows.seen import statuses
from tests.samples import stories
from tests.samples.stories import Story

import samples_onboarding as onboarding
import samples_requests as requests
from raysume.testing import Counts
from samples_letters import Post, get_post


@pytest.fixture
def post(tmp_path: Path) -> Post:
    """The letters of a test."""
    return Post(tmp_path / "letters.txt")


def _named(*told: Story) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("story", told, ids=[story.name for story in told])


async def happens(story: Story, deploy: Deploy, post: Post) -> None:
    """The story takes its course: calls, waits, counts, result, letters are as told."""
    async with deploy(story.workflow, overrides={get_post: post}) as shell:
        for call in story.calls:
            await shell.push(call.method, input=call.input, output=call.output)
            [run] = shell.instances(story.workflow)
            assert shell.counts() == Counts(*call.counts)
            named = [view for view in run.waits if view.kind == "wait"]
            assert tuple(one.name for one in named if one.status == "waiting") == call.waits
        [run] = shell.instances(story.workflow)
        assert (run.status, run.result) == ("completed", story.result)
        assert statuses(run)["cancelled"] == story.cancelled
    assert post.about(story.about) == list(story.letters)


@pytest.mark.row(66)
@_named(*stories.ONBOARDING)
async def test_a_client_is_onboarded(story: Story, deploy: Deploy, post: Post) -> None:
    await happens(story, deploy, post)


@pytest.mark.row(66)
async def test_what_is_known_of_a_client_is_in_its_fields(deploy: Deploy, post: Post) -> None:
    workflow = onboarding.Onboarding.run
    accepted, _ = stories.ONBOARDING
    async with deploy(workflow, overrides={get_post: post}) as shell:
        for call, stage in zip(accepted.calls, ("owner", "meeting", "done"), strict=True):
            await shell.push(call.method, input=call.input, output=call.output)
            [run] = shell.instances(workflow)
            assert shell.query(run, onboarding.Onboarding.stage) == stage
        [run] = shell.instances(workflow)
        assert run.container.form == onboarding.Registration(client=661, name="Ann")
        assert (run.container.accepted, run.container.notes) == (True, "likes tea")


@pytest.mark.row(68)
@_named(*stories.REQUEST_APPROVAL)
async def test_a_request_is_decided(story: Story, deploy: Deploy, post: Post) -> None:
    await happens(story, deploy, post)


@pytest.mark.row(68)
async def test_while_more_is_wanted_another_request_starts_an_instance(
    deploy: Deploy, post: Post
) -> None:
    workflow = requests.RequestApproval.run
    async with deploy(workflow, overrides={get_post: post}) as shell:
        await shell.push(requests.submit, request=1, text="a chair", output=True)
        await shell.push(requests.decide, request=1, decision="more", output=True)
        await shell.push(requests.submit, request=2, text="a table", output=True)
        first, second = shell.instances(workflow)
        assert [run.container.request for run in (first, second)] == [1, 2]
        await shell.push(requests.submit, request=1, text="a red chair", output=True)
        assert [run.locals["submitted"].input.text for run in (first, second)] == [
            "a red chair",
            "a table",
        ]
        assert shell.counts() == Counts(calls=4, waits=6, completed=0)


@pytest.mark.row(42)
@pytest.mark.logs_errors("'???' is no decision")
async def test_a_bad_decision_fails_the_instance_and_its_hook_is_called(
    deploy: Deploy, post: Post
) -> None:
    workflow = requests.RequestApproval.run
    async with deploy(workflow, overrides={get_post: post}) as shell:
        await shell.push(requests.submit, request=7, text="a chair", output=True)
        await shell.push(requests.decide, request=7, decision="???", output=True)
        [run] = shell.instances(workflow)
        error = "'???' is no decision: accept, reject or more"
        assert (run.status, run.error) == ("failed", f"ValueError: {error}")
        assert run.tags == {"request": "7", "trouble": error}
        assert len(run.errors) == 1


@pytest.mark.row(69)
@_named(*stories.ORDERS)
async def test_an_order_is_reviewed(story: Story, deploy: Deploy, post: Post) -> None:
    await happens(story, deploy, post)


@pytest.mark.row(70)
@_named(*stories.PROJECT_APPROVAL)
async def test_a_project_is_submitted_until_it_is_accepted(
    story: Story, deploy: Deploy, post: Post
) -> None:
    await happens(story, deploy, post)


@pytest.mark.row(72)
@_named(*stories.INVITE_ALL)
async def test_all_who_are_invited_must_accept(story: Story, deploy: Deploy, post: Post) -> None:
    await happens(story, deploy, post)


@pytest.mark.row(74)
@_named(*stories.N_OF_M)
async def test_some_approvals_of_many_are_enough(story: Story, deploy: Deploy, post: Post) -> None:
    await happens(story, deploy, post)
