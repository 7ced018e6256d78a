"""A service that owns methods: what it does, others may wait for."""

from __future__ import annotations

from pydantic import BaseModel

from raysume import push_call, wait, workflow


class Parcel(BaseModel):
    """What is sent."""

    number: int
    to: str = ""


@push_call("services.packed")
def pack(parcel: Parcel, by: str) -> bool:
    """A parcel is packed."""
    return bool(by) and parcel.number > 0


@push_call("services.123", external=True)
def method_123(name: str) -> int:
    """What programs without this code push, too."""
    return len(name)


@push_call("services.counted", local_only=True)
def count(shelf: int) -> int:
    """The warehouse counts a shelf; nobody else's business."""
    return shelf


@workflow(name="warehouse.long_names")
async def long_names() -> str:
    """Wakes for names that begin with M."""
    call = await wait(method_123).match_if(lambda call: call.input.name[0] == "M")
    return f"warehouse {call.input.name}"


@workflow(name="warehouse.counting")
async def counting() -> list[int]:
    """Is woken by the first count of all, and waits for one of the next shelf."""
    first = await wait(count, "first").match_any()
    second = await wait(count, "second").match(shelf=first.input.shelf + 1)
    return [first.output, second.output]
