"""Another service: it waits for methods that the warehouse implements, by stubs of its own."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from raysume import external_call, push_call, wait, workflow


class Box(BaseModel):
    """What the warehouse calls a parcel."""

    number: int
    to: str = ""


class Packed(BaseModel):
    """The parameters of the warehouse's method."""

    parcel: Box
    by: str


class Named(BaseModel):
    """The parameters of method 123."""

    name: str


class Counted(BaseModel):
    """The parameters of a method that is none of this service's business."""

    shelf: int


packed = external_call("services.packed", input=Packed, output=bool)
method_123 = external_call("services.123", input=Named, output=int)
counted = external_call("services.counted", input=Counted, output=int)


@push_call("services.packed")
def pack(parcel: Box, by: str) -> bool:
    """The same method as a stub of another kind: a function that is never called here."""
    raise NotImplementedError(f"{parcel} {by}")


@workflow(name="storefront.by_external")
async def by_external() -> str:
    """Waits for the stub declared with `external_call`."""
    call = await wait(packed).match(parcel__to="ann")
    return f"{call.input.parcel.number} by {call.input.by}: {call.output}"


@workflow(name="storefront.by_function")
async def by_function(to: str) -> str:
    """Waits for the stub declared with `@push_call`."""
    call = await wait(pack).match_if(lambda call: call.input.parcel.to == to)
    return f"{call.input.parcel.number} by {call.input.by}: {call.output}"


@workflow(name="storefront.long_names")
async def long_names() -> str:
    """Wakes for names that begin with M."""
    call = await wait(method_123).match_if(lambda call: call.input.name[0] == "M")
    return f"storefront {call.input.name}"


@workflow(name="storefront.curious")
async def curious() -> int:
    """Waits for a method that it may not see the calls of."""
    return (await wait(counted).match_any()).output


@workflow(name="storefront.looking_back")
async def looking_back(shelf: int) -> Any:
    """Comes to its wait for that method after calls of it were made."""
    await wait(method_123).match(name="look")
    call = await wait(counted, "hidden").match(shelf=shelf).exclusive()
    return call.output
