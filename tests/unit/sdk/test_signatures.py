"""When two declarations of one URN agree."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from raysume import external_call, push_call
from raysume.methods import Method


class Line(BaseModel):
    """A line."""

    sku: str
    next: Line | None = None


class Order(BaseModel):
    """As one service calls it."""

    lines: list[Line]
    title: int = Field(default=0, title="The title", description="of the order")


class Row(BaseModel):
    """A line, elsewhere."""

    sku: str
    next: Row | None = None


class OrderIn(BaseModel):
    """As another one calls it, in another order."""

    title: int = 0
    lines: list[Row]


class Given(BaseModel):
    """What a stub declares for the method of these tests."""

    user: str
    order: OrderIn


@push_call("signatures.submit")
def submit(order: Order, user: str) -> list[Line]:
    """The method."""
    return order.lines if user else []


def stub(model: type[BaseModel], output: Any) -> Method:
    """A declaration of what another program implements."""
    return external_call("signatures.stub", input=model, output=output)


def test_a_stub_with_models_of_its_own_agrees_with_what_is_implemented() -> None:
    assert stub(Given, list[Row]).signature_digest() == submit.signature_digest()


class TitledByText(BaseModel):
    """Differs in a field whose name is also a word of schemas."""

    title: str = ""
    lines: list[Row]


class WithAnotherLine(BaseModel):
    """Differs in what is inside."""

    title: int = 0
    lines: list[str]


class Optional(BaseModel):
    """Differs in what may be left out."""

    title: int = 0
    lines: list[Row] = []


@pytest.mark.parametrize("order", [TitledByText, WithAnotherLine, Optional])
def test_another_field_is_another_signature_however_deep_it_is(order: type[BaseModel]) -> None:
    given: Any = type("Given", (BaseModel,), {"__annotations__": {"user": str, "order": order}})
    external: Any = external_call("signatures.differs", input=given, output=list[Row])
    assert external.signature_digest() != submit.signature_digest()


@pytest.mark.parametrize("output", [Any, Row, list[str], None])
def test_another_result_is_another_signature(output: Any) -> None:
    external: Any = external_call("signatures.results", input=Given, output=output)
    assert external.signature_digest() != submit.signature_digest()


class Colour(Enum):
    """One service's."""

    RED = "red"


class Tint(Enum):
    """Another's, with the same values."""

    CRIMSON = "red"


class Kind(BaseModel):
    """One of a union."""

    kind: Literal["a"] = "a"


class Sort(BaseModel):
    """One of the same union, elsewhere."""

    kind: Literal["a"] = "a"


def method(kind: Any) -> Any:
    """A method with one parameter of this type."""

    def takes(value: Any) -> None: ...

    takes.__annotations__["value"] = kind
    return push_call("signatures.takes")(takes)


def test_enums_agree_when_their_values_do() -> None:
    assert method(Colour).signature_digest() == method(Tint).signature_digest()
    assert method(Colour).signature_digest() != method(Kind).signature_digest()
    assert method(list[Kind]).signature_digest() == method(list[Sort]).signature_digest()
