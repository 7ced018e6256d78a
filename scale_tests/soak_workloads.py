"""A workflow whose instances begin, take some calls and end."""

from __future__ import annotations

from pydantic import BaseModel

from raysume import external_call, wait, workflow


class Begun(BaseModel):
    """An errand begins."""

    errand: int
    calls: int
    """How many it takes after this one."""


class Reported(BaseModel):
    """Something about an errand."""

    errand: int
    note: str = ""


begun = external_call("soak.begun", input=Begun, output=bool)
reported = external_call("soak.reported", input=Reported, output=bool)


@workflow
async def errand() -> int:
    """Ends after as many reports as its beginning said."""
    first = await wait(begun).match_any()
    number: int = first.input.errand
    left: int = first.input.calls
    taken = 0
    while taken < left:
        await wait(reported).match(errand=number)
        taken += 1
    return taken
