"""The methods M1 to M6 that the behaviours wait for: input in, output out."""

from __future__ import annotations

from pydantic import BaseModel

from raysume import external_call, push_call


class Sent(BaseModel):
    """What is sent to a method."""

    text: str = ""
    id: int = 0


m1 = external_call("conformance.m1", input=Sent, output=str)
m2 = external_call("conformance.m2", input=Sent, output=str)
m3 = external_call("conformance.m3", input=Sent, output=str)
m4 = external_call("conformance.m4", input=Sent, output=str)
m5 = external_call("conformance.m5", input=Sent, output=str)
m6 = external_call("conformance.m6", input=Sent, output=str)


@push_call("conformance.submit")
def submit(request: int, user: str = "ann") -> bool:
    """A request is submitted."""
    return bool(user) and request >= 0


@push_call("conformance.decide")
def decide(request: int, answer: str) -> str:
    """A request is decided."""
    return f"{request}: {answer}"
