"""Two workflows for an engine with several ingress replicas: one counts calls, one has a timer."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from raysume import external_call, sleep, wait, workflow


class Item(BaseModel):
    """What the calls carry."""

    key: str
    n: int = 0


begun = external_call("replicas.begun", input=Item, output=bool)
ticked = external_call("replicas.ticked", input=Item, output=bool)
nap_asked = external_call("replicas.nap_asked", input=Item, output=bool)


@workflow
async def counting() -> list[int]:
    first = await wait(begun).match_any()
    numbers: list[int] = []
    while True:
        call = await wait(ticked).match(key=first.input.key)
        if call.input.n < 0:
            return numbers
        numbers.append(call.input.n)


@workflow
async def napping() -> str:
    first = await wait(nap_asked).match_any()
    await sleep(timedelta(seconds=first.input.n))
    return first.input.key
