"""SCENARIOS rows 45, 46: which part of a formula becomes a key, and whether it decides alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from tests.conformance.workflows.conftest import Deploy

from raysume import external_call, wait, workflow
from raysume.call import Call
from raysume.matching import Parsed, bind, evaluate, extractor
from raysume.records import CallRecord

TODAY = date(2026, 1, 2)
GUID = UUID(int=5)
Formula = Callable[[Any], Any]


class Kind(Enum):
    """An enum of the output."""

    A = "a"
    B = "b"


class In(BaseModel):
    """The input of the table's calls."""

    Id: int = 0
    IsMan: bool = False


class Out(BaseModel):
    """The output of the table's calls."""

    T: int = 0
    Date: date = TODAY
    Bytes: bytes = b""
    Enum: Kind = Kind.A
    Guid: UUID = GUID


event = external_call("conformance.table", input=In, output=Out)


@dataclass
class Instance:
    """The instance: `self` of the formulas."""

    I: int = 10
    IsChild: bool = False

    def method(self, number: int) -> int:
        """The number itself."""
        return number


def with_local(self: Instance) -> Formula:
    """The first formula, with the value in a local variable."""
    local = self.I + 20
    return lambda call: call.input.Id == local


def formulas(self: Instance) -> dict[str, tuple[Formula, tuple[str, ...], bool]]:
    """name -> formula, the paths of its key, whether the key alone decides ("full")."""
    out, id_ = "output", "input.Id"
    return {
        "instance": (lambda call: call.input.Id == self.I + 20, (id_,), True),
        "local": (with_local(self), (id_,), True),
        "not and": (
            lambda call: not (call.output.T == self.I + 10 and call.input.Id > 12),
            (),
            False,
        ),
        "and more": (
            lambda call: call.output.T == self.I + 10 and call.input.Id > 12,
            (f"{out}.T",),
            False,
        ),
        "date": (lambda call: call.output.Date == TODAY, (f"{out}.Date",), True),
        "bytes": (lambda call: call.output.Bytes == b"\x01\x02", (), False),
        "enum and bool": (
            lambda call: call.output.Enum == Kind.B and call.input.IsMan,
            ("input.IsMan", f"{out}.Enum"),
            True,
        ),
        "enum and not bool": (
            lambda call: call.output.Enum == Kind.B and not call.input.IsMan,
            ("input.IsMan", f"{out}.Enum"),
            True,
        ),
        "guid": (lambda call: call.output.Guid == GUID, (f"{out}.Guid",), True),
        "or before and": (
            lambda call: call.input.IsMan | self.IsChild and call.input.Id == self.I,
            (id_,),
            False,
        ),
        "mixed": (lambda call: call.input.Id + self.I == self.I, (), False),
        "method": (lambda call: self.method(call.input.Id) == self.I, (), False),
        "min": (lambda call: min(call.input.Id, 100) == self.I, ("min(input.Id, 100)",), True),
        "not bool": (lambda call: not call.input.IsMan, (), False),
        "constants": (lambda call: 11 + 1 == 12, (), False),  # noqa: ARG005 - has no use for it
        "long mix": (
            lambda call: (
                not (call.output.T == self.I + 10 and call.input.Id > 12)
                and call.input.Id == self.I
                and (call.input.IsMan or self.method(call.input.Id) == self.I)
                and call.output.Guid == GUID
            ),
            (id_, f"{out}.Guid"),
            False,
        ),
    }


NAMES = tuple(formulas(Instance()))


def test_the_table_has_sixteen_formulas() -> None:
    assert len(NAMES) == 16


@pytest.mark.row(45)
@pytest.mark.parametrize("name", NAMES)
def test_the_key_of_a_formula_is_as_in_the_table(name: str) -> None:
    formula, paths, full = formulas(Instance())[name]
    binding = bind(wait(event).match_if(formula))
    assert binding.shape == paths
    assert bool(binding.keys) == bool(paths)
    assert (binding.predicate is None) == full


def calls() -> list[CallRecord]:
    """Calls that make every part of the formulas true and false."""
    return [
        CallRecord(
            "c",
            event.urn,
            "tests",
            0,
            event.encode_input(In(Id=id_, IsMan=man)),
            event.encode_output(Out(T=t, Date=day, Bytes=data, Enum=kind, Guid=guid)),
        )
        for id_ in (0, 10, 13, 30)
        for man in (False, True)
        for t in (0, 20)
        for day, data, kind, guid in (
            (TODAY, b"\x01\x02", Kind.B, GUID),
            (date(2026, 1, 3), b"", Kind.A, UUID(int=6)),
        )
    ]


@pytest.mark.row(45)
@pytest.mark.parametrize("name", NAMES)
def test_key_and_rest_find_exactly_the_calls_that_the_formula_is_true_for(name: str) -> None:
    formula, _, _ = formulas(Instance())[name]
    binding = bind(wait(event).match_if(formula))

    def is_found(record: CallRecord) -> bool:
        if binding.shape:
            extract = extractor(event, binding.shape)
            if extract(Parsed(record, event)) not in binding.keys:
                return False
        return binding.predicate is None or evaluate(binding.predicate, Call.of(record, event))

    records = calls()
    expected = [bool(formula(Call.of(record, event))) for record in records]
    assert [is_found(record) for record in records] == expected
    assert any(expected)


class Letters(BaseModel):
    """A, B and C of the formulas about soundness."""

    A: int
    B: bool
    C: bool


letters = external_call("conformance.letters", input=Letters, output=str)
WANTED = 7


def alternatives(wanted: int) -> dict[str, Formula]:
    """The formulas about soundness: in each, A alone would be a key, and must not be."""
    return {
        "A or not B": lambda call: wanted == call.input.A or not call.input.B,
        "A or not(B and C)": lambda call: (
            wanted == call.input.A or not (call.input.B and call.input.C)
        ),
        "(A and C) or not B": lambda call: (
            (wanted == call.input.A and call.input.C) or not call.input.B
        ),
        "A or (B and not C)": lambda call: (
            wanted == call.input.A or (call.input.B and not call.input.C)
        ),
    }


@pytest.mark.row(46)
@pytest.mark.parametrize("name", alternatives(WANTED))
def test_no_key_is_taken_from_an_alternative(name: str) -> None:
    binding = bind(wait(letters).match_if(alternatives(WANTED)[name]))
    assert binding.shape == ()
    assert binding.predicate is not None


@pytest.mark.row(46)
@pytest.mark.parametrize("name", alternatives(WANTED))
async def test_a_call_is_matched_when_only_the_other_alternative_is_true(
    deploy: Deploy, name: str
) -> None:
    @workflow
    async def alternative() -> tuple[int, bool, bool]:
        found = (await wait(letters).match_if(alternatives(WANTED)[name])).input
        return found.A, found.B, found.C

    async with deploy(alternative) as shell:
        expected: list[tuple[int, bool, bool]] = []
        for given in itertools.product((0, WANTED), (False, True), (False, True)):
            a, b, c = given
            call = SimpleNamespace(input=Letters(A=a, B=b, C=c))
            expected += [given] if alternatives(WANTED)[name](call) else []
            await shell.push(letters, A=a, B=b, C=c)
        assert any(a != WANTED for a, _, _ in expected)
        assert [run.result for run in shell.instances(alternative)] == expected
