"""A request is approved: the manager accepts it, rejects it, or wants to know more.

When he wants to know more, the instance waits for the same request to be submitted again. That
call is one of the method that starts instances, too: a running instance that waits for it comes
first, so only other requests start new ones.
"""

from __future__ import annotations

from raysume import Container, Depends, instance, push_call, step, wait, workflow
from samples_letters import Post, get_post


@push_call("requests.submitted", external=True)
def submit(request: int, text: str) -> bool:
    """A request is submitted, or submitted again."""
    return request > 0 and bool(text)


@push_call("requests.decided", external=True)
def decide(request: int, decision: str) -> bool:
    """The manager decides."""
    return request > 0 and bool(decision)


class RequestApproval(Container):
    """A request, from its submission to the decision."""

    request: int = 0
    log: list[str] = []  # noqa: RUF012 - copied for every object, as pydantic does

    @workflow
    async def run(self, post: Post = Depends(get_post)) -> str:
        """Asks the manager until he accepts or rejects."""
        submitted = await wait(submit, name="submission").match_any()
        self.request = submitted.input.request
        about = f"request {self.request}"
        instance().tag(request=self.request)
        while True:
            await step(post.send, "manager", about, submitted.input.text)
            answer = await wait(decide, name="decision").match(request=self.request)
            match answer.input.decision:
                case "accept" | "reject" as decision:
                    self.log.append(decision)
                    return ",".join(self.log)
                case "more":
                    self.log.append("more")
                    again = wait(submit, name="resubmission").match(request=self.request)
                    submitted = await again
                case other:
                    raise ValueError(f"{other!r} is no decision: accept, reject or more")

    async def on_error(self, error: Exception) -> None:
        """Whoever looks for trouble finds the instance by its tag."""
        instance().tag(trouble=error)
