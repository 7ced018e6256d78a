"""Manager, owner and sponsor are invited: all must accept, and the first no ends it.

A group goes on when its filter says so. Those who have not answered by then are told.
"""

from __future__ import annotations

from typing import Any

from raysume import Depends, GroupResult, group, push_call, step, wait, workflow
from raysume.waits import Wait
from samples_letters import Post, get_post

INVITED = ("manager", "owner", "sponsor")


@push_call("invitations.sent", external=True)
def invite(project: int) -> bool:
    """Everybody is invited to a project."""
    return project > 0


@push_call("invitations.answered", external=True)
def answer(project: int, who: str, accepts: bool) -> bool:
    """One of them answers."""
    return project > 0 and bool(who) and accepts


def answer_of(who: str, project: int) -> Wait[Any]:
    """A wait for one answer; an ordinary function may build it."""
    return wait(answer, name=who).match(project=project, who=who)


def is_decided(answers: GroupResult) -> bool:
    """Whether all have accepted, or somebody has not."""
    has_rejected = any(not call.output for call in answers.results.values())
    return has_rejected or answers.completed == len(INVITED)


@workflow
async def invite_all(post: Post = Depends(get_post)) -> str:
    """Approved when all accept; called off with the first who does not."""
    invited = await wait(invite, name="invitation").match_any()
    project = invited.input.project
    about = f"invitation {project}"
    answers = await group(*(answer_of(who, project) for who in INVITED)).until(is_decided)
    if all(call.output for call in answers.results.values()):
        await step(post.send, "everybody", about, "approved")
        return "approved"
    for who in INVITED:
        if who in answers.pending or answers.results[who].output:
            await step(post.send, who, about, "called off")
    return "called off"
