"""A client is onboarded: what is known of him is in the fields of a class.

The form comes in, the owner decides; the client is welcomed and met, or told that he is
rejected. The fields are saved, validated, and seen from outside while the instance waits.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from raysume import Container, Depends, external_call, push_call, query, step, wait, workflow
from samples_letters import Post, get_post


class Registration(BaseModel):
    """What the client filled in."""

    client: int
    name: str


class Meeting(BaseModel):
    """What came of the meeting with the client."""

    client: int
    notes: str


registered = external_call("onboarding.registered", input=Registration, output=bool)
met = external_call("onboarding.met", input=Meeting, output=bool)


@push_call("onboarding.decided", external=True)
def decide(client: int, accepted: bool) -> bool:
    """The owner decides about a client."""
    return accepted and client > 0


class Onboarding(Container):
    """From the form to the meeting."""

    form: Registration | None = None
    accepted: bool | None = None
    notes: str | None = None

    @workflow
    async def run(self, post: Post = Depends(get_post)) -> Literal["welcomed", "rejected"]:
        """Asks the owner; welcomes the client, or tells him that he is rejected."""
        registration = await wait(registered, name="form").match_if(lambda call: call.output)
        self.form = registration.input
        about = f"client {self.form.client}"
        decision = await wait(decide, name="owner").match(client=self.form.client)
        self.accepted = decision.output
        if not self.accepted:
            await step(post.send, self.form.name, about, "we are sorry")
            return "rejected"
        await step(post.send, self.form.name, about, "welcome")
        meeting = await wait(met, name="meeting").match(client=self.form.client)
        self.notes = meeting.input.notes
        return "welcomed"

    @query
    def stage(self) -> str:
        """How far it is."""
        if self.form is None or self.accepted is None:
            return "owner"
        return "done" if self.notes or not self.accepted else "meeting"
