"""Whether JSON fits a method or workflow: compiled schemas, and errors that name the field.

Formats are checked as pydantic checks them, because pydantic reads the value later:
a naive datetime, for instance, is none in JSON Schema but fits a `datetime` field.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Protocol

import jsonschema_rs
from pydantic import AnyUrl, TypeAdapter

from raysume.errors import InvariantViolated
from raysume.limits import PROBLEM_ERRORS_MAX, PROBLEM_MESSAGE_CHARS_MAX
from raysume.serve_apps.ingress.engine import Catalogue, MethodEntry
from raysume.serve_apps.ingress.problems import ItemError


class Checker(Protocol):
    """A compiled JSON schema."""

    def is_valid(self, instance: Any) -> bool:
        """True when the decoded JSON fits."""
        ...

    def iter_errors(self, instance: Any) -> Iterator[jsonschema_rs.ValidationError]:
        """What does not fit, if anything."""
        ...


def _format_of(kind: Any) -> Callable[[str], bool]:
    validate = TypeAdapter(kind).validator.validate_python

    def fits(text: str) -> bool:
        try:
            validate(text)
        except ValueError:
            return False
        return True

    return fits


def _is_regex(text: str) -> bool:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _format_of(datetime),
    "date": _format_of(date),
    "time": _format_of(time),
    "duration": _format_of(timedelta),
    "uuid": _format_of(uuid.UUID),
    "uri": _format_of(AnyUrl),
    "regex": _is_regex,
}


def compile_schema(schema: dict[str, Any], *, owner: str) -> Checker:
    """The schema is compiled, without looking anything up outside it.

    Args:
        owner: whose schema it is, for the message.

    Raises:
        InvariantViolated: it is no valid schema; the catalogue should not hold it.
    """
    try:
        return jsonschema_rs.validator_for(
            schema, validate_formats=True, formats=_FORMATS, offline=True
        )
    except ValueError as error:
        raise InvariantViolated(
            f"the JSON schema of {owner} cannot be compiled: {error}. Deploy a release that "
            "registers a valid schema."
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedMethod:
    """A method with its compiled schemas."""

    entry: MethodEntry
    input: Checker
    output: Checker | None


class MethodChecks:
    """The methods of one catalogue, compiled at first use; unchanged ones are taken over."""

    def __init__(self, catalogue: Catalogue, before: MethodChecks | None = None) -> None:
        self.catalogue = catalogue
        self._ready: dict[str, CheckedMethod] = {}
        if before is not None:
            for urn, known in before._ready.items():
                if catalogue.methods.get(urn) == known.entry:
                    self._ready[urn] = known

    def find(self, urn: str) -> CheckedMethod | None:
        """The method, compiled; None when the catalogue has none of this name."""
        ready = self._ready.get(urn)
        if ready is not None:
            return ready
        entry = self.catalogue.methods.get(urn)
        if entry is None:
            return None
        output = entry.output_schema
        checked = CheckedMethod(
            entry=entry,
            input=compile_schema(entry.input_schema, owner=f"the input of method {urn!r}"),
            output=None
            if output is None
            else compile_schema(output, owner=f"the output of method {urn!r}"),
        )
        self._ready[urn] = checked
        return checked


def errors_in(checker: Checker, value: Any, *, field: str, item: int | None) -> list[ItemError]:
    """What does not fit, each with the path of its field, at most PROBLEM_ERRORS_MAX."""
    found: list[ItemError] = []
    for error in checker.iter_errors(value):
        path = ".".join([field, *(str(part) for part in error.instance_path)])
        match error.kind:
            case jsonschema_rs.ValidationErrorKind.Required():
                names, message = [str(error.kind.property)], "is missing"
            case jsonschema_rs.ValidationErrorKind.AdditionalProperties():
                names, message = [str(name) for name in error.kind.unexpected], "is not expected"
            case _:
                names, message = [], _shortened(error.message)
        paths = [f"{path}.{name}" for name in names] or [path]
        found += [ItemError(item=item, field=_shortened(at), message=message) for at in paths]
        if len(found) >= PROBLEM_ERRORS_MAX:
            break
    return found[:PROBLEM_ERRORS_MAX]


def _shortened(text: str) -> str:
    if len(text) <= PROBLEM_MESSAGE_CHARS_MAX:
        return text
    return text[: PROBLEM_MESSAGE_CHARS_MAX - 1] + "…"
