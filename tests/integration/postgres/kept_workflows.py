"""A workflow of the engine on PostgreSQL."""

from __future__ import annotations

from pydantic import BaseModel

from raysume import external_call, step, wait, workflow


class Visit(BaseModel):
    """Somebody comes, or goes."""

    name: str


arrived = external_call("visits.arrived", input=Visit, output=bool)
left = external_call("visits.left", input=Visit, output=bool)


def greeting(name: str) -> str:
    """What is said."""
    return f"hello {name}"


@workflow
async def visit() -> str:
    """One visit, from its beginning to its end."""
    name = (await wait(arrived).match_any()).input.name
    said = await step(greeting, name)
    await wait(left).match(name=name)
    return f"{said}, goodbye"
