"""SCENARIOS row 66: a client is onboarded; what is known of him is in the properties of a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from pydantic import BaseModel

from raysume import Container, Depends, external_call, push_call, query, step, wait, workflow
from raysume.testing import Counts, TestShell

Deploy = Callable[..., TestShell]


class Registration(BaseModel):
    """What the client filled in."""

    client: int
    name: str


class Meeting(BaseModel):
    """What came of the meeting with the client."""

    client: int
    notes: str


class Mail:
    """Letters that were sent; a connection could not be saved either."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, letter: str) -> str:
        """The letter is sent; gives its number."""
        self.sent.append(letter)
        return f"letter {len(self.sent)}"


def get_mail() -> Mail:
    """The connection to the mail server."""
    raise NotImplementedError


registered = external_call("onboarding.registered", input=Registration, output=bool)
met = external_call("onboarding.met", input=Meeting, output=bool)


@push_call("onboarding.decided")
def decide(client: int, accepted: bool) -> bool:
    """The owner decides about a client."""
    return accepted and client > 0


class Onboarding(Container):
    """From the form to the meeting."""

    form: Registration | None = None
    accepted: bool | None = None
    letters: int = 0
    notes: str | None = None

    @workflow
    async def run(self, mail: Mail = Depends(get_mail)) -> Literal["welcomed", "rejected"]:
        """Asks the owner; welcomes the client, or tells him that he is rejected."""
        registration = await wait(registered, name="form").match_if(lambda call: call.output)
        self.form = registration.input
        decision = await wait(decide, name="owner").match(client=self.form.client)
        self.accepted = decision.output
        if not self.accepted:
            await step(mail.send, f"Sorry, {self.form.name}.")
            self.letters += 1
            return "rejected"
        await step(mail.send, f"Welcome, {self.form.name}!")
        self.letters += 1
        meeting = await wait(met, name="meeting").match(client=self.form.client)
        self.notes = meeting.input.notes
        return "welcomed"

    @query
    def stage(self) -> str:
        """How far it is."""
        if self.form is None or self.accepted is None:
            return "owner"
        return "done" if self.notes or not self.accepted else "meeting"


@pytest.fixture
def mail() -> Mail:
    """The letters of a test."""
    return Mail()


async def test_an_accepted_client_is_welcomed_and_met(deploy: Deploy, mail: Mail) -> None:
    async with deploy(Onboarding.run, overrides={get_mail: mail}) as shell:
        await shell.push(registered, client=7, name="Ann", output=True)
        assert shell.counts() == Counts(calls=1, waits=2, completed=0)
        [run] = shell.instances(Onboarding.run)
        assert shell.query(run, Onboarding.stage) == "owner"
        await shell.push(decide, client=7, accepted=True, output=True)
        assert shell.counts() == Counts(calls=2, waits=3, completed=0)
        assert shell.query(run, Onboarding.stage) == "meeting"
        assert run.container.form == Registration(client=7, name="Ann")
        await shell.push(met, client=7, notes="likes tea", output=True)
        assert shell.counts() == Counts(calls=3, waits=3, completed=1)
        assert (run.result, run.container.notes) == ("welcomed", "likes tea")
        assert shell.query(run, Onboarding.stage) == "done"
        assert mail.sent == ["Welcome, Ann!"]


async def test_a_rejected_client_is_told(deploy: Deploy, mail: Mail) -> None:
    async with deploy(Onboarding.run, overrides={get_mail: mail}) as shell:
        await shell.push(registered, client=7, name="Ann", output=True)
        await shell.push(decide, client=7, accepted=False, output=False)
        assert shell.counts() == Counts(calls=2, waits=2, completed=1)
        [run] = shell.instances(Onboarding.run)
        assert (run.result, run.container.letters) == ("rejected", 1)
        assert mail.sent == ["Sorry, Ann."]
