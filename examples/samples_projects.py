"""A project is approved: after a rejection it is submitted again, as often as it takes.

Going back is an ordinary loop. The first wait takes only what is submitted for the first time.
"""

from __future__ import annotations

from raysume import push_call, subflow, wait, workflow


@push_call("projects.submitted", external=True)
def submit(project: int, title: str, is_resubmit: bool = False) -> bool:
    """A project is submitted."""
    return project > 0 and (bool(title) or is_resubmit)


@push_call("projects.answered", external=True)
def answer(project: int, accepted: bool) -> bool:
    """The manager answers."""
    return project > 0 and accepted


@subflow
async def is_accepted(project: int) -> bool:
    """Whether the manager accepts: a subflow waits for its caller, and has its own variables."""
    answered = await wait(answer, name="manager").match(project=project)
    return answered.output


@workflow
async def project_approval() -> str:
    """Ends with the title under which the project was accepted."""
    submitted = await wait(submit, name="submission").match_if(
        lambda call: not call.input.is_resubmit
    )
    project = submitted.input.project
    while not await is_accepted(project):
        again = wait(submit, name="resubmission").match(project=project, is_resubmit=True)
        submitted = await again
    return str(submitted.input.title)
