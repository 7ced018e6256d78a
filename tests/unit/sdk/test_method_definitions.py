"""Definitions of methods: what is accepted, what is refused, and how names are found."""

# ruff: noqa: ARG001, ARG005 - functions that exist for their signatures
from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from raysume import push_call
from raysume.errors import UsageError
from raysume.methods import Method, lookup

if TYPE_CHECKING:
    from decimal import Decimal


def variadic(**kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("define", "said"),
    [
        (lambda: push_call("definitions.bad")(lambda *args: None), r"\*args"),
        (lambda: push_call("definitions.bad")(variadic), r"\*\*kwargs"),
        (lambda: push_call(""), None),
        (lambda: push_call("definitions.bad")(42), "a function"),  # type: ignore[arg-type]
    ],
    ids=["args", "kwargs", "urn", "not a function"],
)
def test_what_cannot_be_a_method_is_refused(define: Callable[[], Any], said: str | None) -> None:
    if said is None:
        with pytest.raises(UsageError, match="URN"):
            define()(lambda: None)
        return
    with pytest.raises(UsageError, match=said):
        define()


def test_types_without_a_json_form_are_refused_by_the_decorator() -> None:
    class Connection:
        pass

    with pytest.raises(UsageError, match="without a JSON form"):

        @push_call("definitions.connection_in")
        def takes(connection: Connection) -> None: ...

    with pytest.raises(UsageError, match="without a JSON form"):

        @push_call("definitions.connection_out")
        def gives() -> Connection:
            return Connection()


def test_generators_are_refused() -> None:
    with pytest.raises(UsageError, match="generator"):

        @push_call("definitions.generator")
        def several() -> Iterator[int]:
            yield 1

    with pytest.raises(UsageError, match="generator"):

        @push_call("definitions.async_generator")
        async def later() -> AsyncIterator[int]:
            yield 1


def test_one_urn_with_two_signatures_is_refused_with_both_places() -> None:
    @push_call("definitions.twice")
    def first(number: int) -> None: ...

    with pytest.raises(
        UsageError, match=r"(?s)first at .*test_method_definitions.py:\d+ and .*second at"
    ):

        @push_call("definitions.twice")
        def second(text: str) -> None: ...

    assert lookup("definitions.twice") is first


def test_one_urn_may_be_declared_twice_with_one_signature() -> None:
    @push_call("definitions.interface")
    def declared(number: int) -> int:
        raise NotImplementedError

    @push_call("definitions.interface")
    def implemented(number: int) -> int:
        return number

    assert declared.signature_digest() == implemented.signature_digest()


def test_a_definition_that_is_made_again_replaces_the_first() -> None:
    def define(kind: type) -> Method:
        def again(value: Any) -> None: ...

        again.__annotations__["value"] = kind
        return push_call("definitions.again")(again)

    kept = [define(int), define(str)]
    assert lookup("definitions.again") is kept[1]


def test_a_method_defined_in_a_function_goes_with_it() -> None:
    def define() -> None:
        @push_call("definitions.passing")
        def passing() -> None: ...

    define()
    gc.collect()
    assert lookup("definitions.passing") is None


def test_annotations_may_be_local_or_defined_later() -> None:
    class Local(BaseModel):
        number: int

    @push_call("definitions.local_types")
    def local_types(value: Local, later: Later) -> Later:
        return later

    class Later(BaseModel):
        text: str

    with pytest.raises(UsageError, match="Later"):
        _ = local_types.input_model


@push_call("definitions.module_later")
def module_later(value: DefinedBelow) -> DefinedBelow:
    return value


class DefinedBelow(BaseModel):
    text: str


def test_a_name_defined_below_is_found_at_first_use() -> None:
    sent = module_later.encode(DefinedBelow(text="x"))
    assert sent.input == b'{"value":{"text":"x"}}'


def test_a_name_known_only_to_type_checkers_is_refused_at_first_use() -> None:
    @push_call("definitions.checking_only")
    def checking_only(value: Decimal) -> None: ...

    with pytest.raises(UsageError, match="TYPE_CHECKING"):
        _ = checking_only.input_model
