"""Bearer tokens: who is asking, and what they may push."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from raysume.serve_apps.ingress.engine import MethodEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The holder of a token."""

    kind: Literal["operator", "service"]
    service: str | None = None
    """The service that the token belongs to; None for an operator."""

    def may_push(self, method: MethodEntry) -> bool:
        """True for operators, for the services that own the method, and for external methods."""
        return self.kind == "operator" or method.external or self.service in method.services

    def service_of(self, method: MethodEntry) -> str:
        """The service whose call a push of the method is: the holder's own if it owns the method."""
        if self.service is not None and self.service in method.services:
            return self.service
        return method.service

    def __str__(self) -> str:
        return "an operator" if self.service is None else f"service {self.service!r}"


class TokenBook(Protocol):
    """Knows the tokens of a deployment."""

    def principal_of(self, token: str) -> Principal | None:
        """The holder of the token, or None; takes as long for a wrong token as for a right one."""
        ...


class FixedTokens:
    """A token book that never changes, for one machine and for tests.

    Tokens are looked up by a hash under a key made at start, so that neither the time of
    a look-up nor a copy of the table says anything about them.
    """

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        self._key = os.urandom(32)
        self._principals = {self._digest(token): holder for token, holder in principals.items()}

    def principal_of(self, token: str) -> Principal | None:
        """See `TokenBook`."""
        digest = self._digest(token)
        found: Principal | None = None
        for known, holder in self._principals.items():
            if hmac.compare_digest(known, digest):
                found = holder
        return found

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), key=self._key).digest()
