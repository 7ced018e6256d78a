"""Decoded calls become calls to append, or one refusal that names every item at fault.

Authority, methods, schemas and the bounds of one call are decided here, before
anything is queued: nothing of a refused request is stored.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import msgspec
import structlog

from raysume.ids import uuid7
from raysume.limits import (
    CALL_BODY_BYTES_MAX,
    CALL_ID_CHARS_MAX,
    HEADER_CHARS_MAX,
    HEADERS_MAX,
    PROBLEM_ERRORS_MAX,
)
from raysume.serve_apps.ingress.envelopes import Envelope, Items, is_too_deep, too_deep
from raysume.serve_apps.ingress.problems import ItemError, Problem
from raysume.serve_apps.ingress.tokens import Principal
from raysume.serve_apps.ingress.validation import CheckedMethod, MethodChecks, errors_in
from raysume.storage.call_ports import NewCall
from raysume.tracing import HEADER

_log = structlog.get_logger("raysume.ingress")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Reception:
    """The calls of one request, checked as they come.

    Args:
        methods: what may be pushed.
        principal: who pushes.
    """

    def __init__(self, methods: MethodChecks, principal: Principal) -> None:
        self._methods = methods
        self._principal = principal
        self._known: dict[str, CheckedMethod] = {}
        self._services: dict[str, str] = {}
        """URN -> the service whose calls these are."""
        self._refusals: list[tuple[int, str, ItemError]] = []
        self.calls: list[NewCall] = []

    @property
    def methods(self) -> set[str]:
        """The methods of the calls taken so far."""
        return set(self._known)

    def take(self, items: Items) -> None:
        """Every item is checked; those that fit are in `calls`.

        Raises:
            Problem: 400 for a call that nests too deep, 413 for one that is too large.
        """
        pairs = zip(items.envelopes, items.values, strict=True)
        for index, (envelope, value) in enumerate(pairs, items.first):
            if len(self._refusals) >= PROBLEM_ERRORS_MAX:
                return
            method = self._known.get(envelope.method)
            if method is None:
                method = self._resolve(envelope.method, index)
                if method is None:
                    continue
            self._check(index, envelope, value, method)

    def finish(self, trace: str | None = None) -> list[NewCall]:
        """The calls, in the order they came.

        Args:
            trace: the W3C trace context of those that carry none of their own.

        Raises:
            Problem: at least one call was refused; its status is that of the first one.
        """
        if not self._refusals:
            return self.calls if trace is None else [_traced(call, trace) for call in self.calls]
        status, code, first = self._refusals[0]
        items = {error.item for _, _, error in self._refusals}
        at = f", {first.field}" if first.field else ""
        more = f" {len(items) - 1} more items are at fault." if len(items) > 1 else ""
        raise Problem(
            status,
            code,
            f"Call {first.item}{at}: {first.message}.{more} Nothing was stored.",
            errors=[
                error if other == code else msgspec.structs.replace(error, code=other)
                for _, other, error in self._refusals
            ],
        )

    def _resolve(self, urn: str, index: int) -> CheckedMethod | None:
        method = self._methods.find(urn)
        if method is None:
            self._refuse(index, "method", _unknown(urn, self._methods), code="unknown-method")
            self._warn("unknown-method", urn)
            return None
        if not self._principal.may_push(method.entry):
            self._refuse(
                index,
                "method",
                f"{urn!r} belongs to {_named(method.entry.services)} and is not external, and the "
                f"token is of {self._principal}; use a token of that service, or declare the "
                "method with external=True",
                code="not-external",
                status=403,
            )
            self._warn("not-external", urn)
            return None
        self._known[urn] = method
        self._services[urn] = self._principal.service_of(method.entry)
        return method

    def _warn(self, code: str, urn: str) -> None:
        """The gate's first refusal of a request is in the log: somebody's deployment or token is off."""
        if len(self._refusals) == 1:
            _log.warning("call_refused", code=code, method=urn[:100], by=str(self._principal))

    def _check(
        self, index: int, envelope: Envelope, value: dict[str, Any], method: CheckedMethod
    ) -> None:
        before = len(self._refusals)
        body_in, body_out = bytes(envelope.input), bytes(envelope.output) or None
        given = value["input"]
        size = len(body_in) + (0 if body_out is None else len(body_out)) + _size(envelope)
        if size > CALL_BODY_BYTES_MAX:
            raise _too_large(index, size)
        if is_too_deep(body_in) or (body_out is not None and is_too_deep(body_out)):
            raise too_deep(index)
        if not isinstance(given, dict):
            self._refuse(index, "input", "must be an object: the parameters by name")
        elif not method.input.is_valid(given):
            self._misfit(errors_in(method.input, given, field="input", item=index))
        if body_out is not None and envelope.error is not None:
            self._refuse(index, "error", "a call has an output or an error, not both")
        elif (
            body_out is not None
            and method.output is not None
            and not method.output.is_valid(value["output"])
        ):
            self._misfit(errors_in(method.output, value["output"], field="output", item=index))
        if envelope.id is not None:
            self._check_id(index, envelope.id)
        if envelope.headers:
            self._check_headers(index, envelope.headers)
        if len(self._refusals) == before:
            service, local_only = self._services[envelope.method], method.entry.local_only
            self.calls.append(_new_call(envelope, service, local_only, body_in, body_out))

    def _check_id(self, index: int, id: str) -> None:
        if not 0 < len(id) <= CALL_ID_CHARS_MAX:
            self._refuse(index, "id", f"must have 1 to {CALL_ID_CHARS_MAX} characters")
        elif _CONTROL.search(id):
            self._refuse(index, "id", "must not contain control characters")

    def _check_headers(self, index: int, headers: dict[str, str]) -> None:
        if len(headers) > HEADERS_MAX:
            self._refuse(index, "headers", f"there may be at most {HEADERS_MAX}")
            return
        for name, value in headers.items():
            if not name or len(name) + len(value) > HEADER_CHARS_MAX:
                self._refuse(
                    index,
                    f"headers.{name[:100]}",
                    f"needs a name, and with it at most {HEADER_CHARS_MAX} characters",
                )
            elif _CONTROL.search(name) or _CONTROL.search(value):
                self._refuse(index, f"headers.{name[:100]}", "must not contain control characters")

    def _misfit(self, errors: list[ItemError]) -> None:
        self._refusals += [(422, "invalid-call", error) for error in errors]

    def _refuse(
        self,
        index: int,
        field: str,
        message: str,
        *,
        code: str = "invalid-call",
        status: int = 422,
    ) -> None:
        error = ItemError(item=index, field=field, message=message)
        self._refusals.append((status, code, error))


def _new_call(
    envelope: Envelope, service: str, local_only: bool, body_in: bytes, body_out: bytes | None
) -> NewCall:
    if envelope.id is None:
        return NewCall(
            id=uuid7(),
            method=envelope.method,
            service=service,
            input=body_in,
            output=body_out,
            error=envelope.error,
            headers=envelope.headers or None,
            local_only=local_only,
        )
    # A repeated id is compared with the body it came with: white space does not count there.
    return NewCall(
        id=envelope.id,
        method=envelope.method,
        service=service,
        input=msgspec.json.format(body_in, indent=-1),
        output=None if body_out is None else msgspec.json.format(body_out, indent=-1),
        error=envelope.error,
        headers=envelope.headers or None,
        client_id=True,
        local_only=local_only,
    )


def _traced(call: NewCall, trace: str) -> NewCall:
    if call.headers is not None and HEADER in call.headers:
        return call
    return msgspec.structs.replace(call, headers={**(call.headers or {}), HEADER: trace})


def _size(envelope: Envelope) -> int:
    size = len(envelope.error) if envelope.error else 0
    if envelope.headers:
        size += sum(len(name) + len(value) for name, value in envelope.headers.items())
    return size


def _too_large(index: int, size: int) -> Problem:
    message = (
        f"it has {size:,} bytes; one call may have {CALL_BODY_BYTES_MAX:,}. Keep large data "
        "in a store of its own and push a reference to it."
    )
    return Problem(
        413,
        "too-large",
        f"Call {index}: {message}",
        errors=[ItemError(item=index, message=message)],
    )


def _named(services: frozenset[str]) -> str:
    names = " and ".join(repr(name) for name in sorted(services))
    return f"service {names}" if len(services) == 1 else f"services {names}"


def _unknown(urn: str, methods: MethodChecks) -> str:
    close = difflib.get_close_matches(urn[:100], methods.catalogue.methods, n=3)
    hint = (
        f"did you mean {', '.join(repr(name) for name in close)}?"
        if close
        else ("deploy the code that declares it, or check the name")
    )
    return f"there is no method {urn[:100]!r}: {hint}"
