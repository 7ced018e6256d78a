"""The workflows that the measurements run."""

from __future__ import annotations

from pydantic import BaseModel

from raysume import external_call, step, wait, workflow


class Opened(BaseModel):
    """An account is opened."""

    account: int


class Paid(BaseModel):
    """A payment into an account."""

    account: int
    amount: int
    note: str = ""


class Asked(BaseModel):
    """A question that is answered at once."""

    probe: int


opened = external_call("scale.opened", input=Opened, output=bool)
paid = external_call("scale.paid", input=Paid, output=bool)
prepared = external_call("scale.prepared", input=Asked, output=bool)
asked = external_call("scale.asked", input=Asked, output=bool)


@workflow
async def account() -> None:
    """Waits for its account's payments, for ever."""
    first = await wait(opened).match_any()
    number: int = first.input.account
    payments = 0
    total = 0
    while True:
        call = await wait(paid).match(account=number)
        payments += 1
        total += call.input.amount


@workflow
async def probe() -> int:
    """Ends with the first question asked to it."""
    first = await wait(prepared).match_any()
    number: int = first.input.probe
    call = await wait(asked).match(probe=number)
    return call.input.probe


def make(size: int) -> bytes:
    """So many bytes, made at once: only their way is to be measured."""
    return b"x" * size


@workflow
async def steps_result(size: int) -> int:
    """A step in a Ray task makes something of this size; the workflow goes on with its length."""
    made = await step(make, size, ray={"num_cpus": 0})
    return len(made)


@workflow
async def steps_result_here(size: int) -> int:
    """The same with a step in the pool."""
    made = await step(make, size)
    return len(made)
