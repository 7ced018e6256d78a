"""A library: it declares a method and a workflow, and knows nothing of who uses them."""

from __future__ import annotations

from pydantic import BaseModel

from raysume import any_of, external_call, push_call, wait, workflow


class Named(BaseModel):
    """The parameters of method 123."""

    name: str


method_123 = external_call("services.123", input=Named, output=int)


@push_call("greetings.hello")
def say_hello(name: str) -> str:
    """Greets."""
    return f"Hello, {name}"


@push_call("greetings.goodby")
def say_goodby(name: str) -> str:
    """Takes leave."""
    return f"Goodby, {name}"


@workflow(name="greetings.visit")
async def visit() -> str:
    """Begins with a greeting, or with a call of somebody else's method, and ends with the name."""
    first = await any_of(wait(say_hello).match_any(), wait(method_123).match_any())
    name = first.result.input.name
    last = await wait(say_goodby).match(name=name)
    return f"{first.index} {last.output}"
