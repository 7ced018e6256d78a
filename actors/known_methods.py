"""The methods that deployments declare, and what follows for each URN: pure, without Ray.

Several places may declare one URN: who implements it, an interface of it, stubs of services
that wait for it. They must agree on what its calls look like; whose calls they are and
who may push them is said by those who implement it, never by a stub.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from raysume.errors import UsageError
from raysume.methods import Method


class DeclaredMethod(msgspec.Struct, frozen=True, kw_only=True):
    """One declaration of a URN, as the store keeps it."""

    urn: str
    service: str
    module: str
    place: str
    """file:line, for messages."""
    implemented: bool
    """False: a stub of what another program implements."""
    external: bool
    local_only: bool
    digest: str
    """Of its signature; "" when it is not known."""
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None

    @classmethod
    def of(cls, method: Method) -> DeclaredMethod:
        """What a method declares."""
        return cls(
            urn=method.urn,
            service=method.service,
            module=method.module,
            place=method.place,
            implemented=method.implemented,
            external=method.external,
            local_only=method.local_only,
            digest=method.signature_digest(),
            input_schema=method.input_schema(),
            output_schema=method.output_schema(),
        )

    @property
    def code(self) -> tuple[str, str]:
        """Where it stands: of what stands in the same place, the newest counts."""
        return self.service, self.module


class DeployedMethods(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment declares, as the store keeps it."""

    module: str
    """Of the deployment."""
    declared: list[DeclaredMethod]
    generation: int = 0
    """Of the deployment: where one piece of code is deployed twice, what is newer counts."""
    former: list[DeclaredMethod] = []
    """What only its earlier versions declared: their instances may still wait for it."""


class MethodEntryOfBefore(msgspec.Struct, frozen=True, kw_only=True):
    """A method as release 0.1.0 kept it."""

    urn: str
    service: str
    external: bool
    local_only: bool
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None


class KnownMethods:
    """What all deployments of an engine declare."""

    def __init__(self) -> None:
        self._deployed: dict[str, DeployedMethods] = {}
        self._before: list[DeclaredMethod] = []

    def restore(self, deployed: DeployedMethods) -> None:
        """The deployment declares this, as it was kept."""
        self._deployed[deployed.module] = deployed

    def restore_before(self, entries: Iterable[bytes]) -> None:
        """Methods that release 0.1.0 kept are known until somebody declares them again."""
        for entry in entries:
            old = msgspec.json.decode(entry, type=MethodEntryOfBefore)
            self._before.append(
                DeclaredMethod(
                    **msgspec.structs.asdict(old),
                    module="",
                    place="an earlier deployment",
                    implemented=True,
                    digest="",
                )
            )

    def check(self, new: DeployedMethods, live: Collection[str]) -> None:
        """What the deployment declares agrees with what the others do.

        Args:
            live: the modules of the other deployments that take new instances; what nobody
                runs any more stands in nobody's way.

        Raises:
            UsageError: a URN is declared elsewhere with another signature; names both places.
        """
        known = self._of([module for module in live if module != new.module])
        by_urn: dict[str, list[DeclaredMethod]] = {}
        for one in sorted(known, key=lambda one: not one.implemented):  # stubs are named last
            by_urn.setdefault(one.urn, []).append(one)
        replaced = {one.code for one in new.declared}
        for one in new.declared:
            for other in by_urn.get(one.urn, ()):
                if other.digest != one.digest and other.code not in replaced:
                    raise UsageError.by_rule(
                        "signature-clash",
                        f"the URN {one.urn!r} is deployed with another signature: service "
                        f"{other.service!r} declares it at {other.place}, and service "
                        f"{one.service!r} at {one.place}. Give one of them another URN, or make "
                        "their parameters and results equal.",
                    )

    def take(self, new: DeployedMethods, generation: int) -> DeployedMethods:
        """The deployment declares this from now on; what is to be kept of it."""
        old = self._deployed.get(new.module)
        urns = {one.urn for one in new.declared}
        former = [] if old is None else [*old.declared, *old.former]
        kept = msgspec.structs.replace(
            new,
            generation=generation,
            former=[one for one in former if one.urn not in urns],
        )
        self._deployed[new.module] = kept
        return kept

    def entries(self, live: Collection[str]) -> dict[str, bytes]:
        """URN -> JSON of the ingress's MethodEntry.

        Args:
            live: the modules of the deployments that take new instances. Others count only
                for URNs that no live one declares.
        """
        ranks: Sequence[Iterable[DeclaredMethod]] = [
            self._of(live),
            self._of([module for module in self._deployed if module not in live]),
            [one for deployed in self._deployed.values() for one in deployed.former],
            self._before,
        ]
        found: dict[str, bytes] = {}
        for rank in ranks:
            by_urn: dict[str, list[DeclaredMethod]] = {}
            for one in rank:
                by_urn.setdefault(one.urn, []).append(one)
            for urn, declared in by_urn.items():
                if urn not in found:
                    found[urn] = _entry(declared)
        return found

    def _of(self, modules: Collection[str]) -> Iterator[DeclaredMethod]:
        """What these deployments declare, of each piece of code as it is in the newest of them."""
        seen: set[tuple[str, str]] = set()
        found = [one for module, one in self._deployed.items() if module in modules]
        for deployed in sorted(found, key=lambda one: one.generation, reverse=True):
            yield from (one for one in deployed.declared if one.code not in seen)
            seen.update(one.code for one in deployed.declared)


def _entry(declared: list[DeclaredMethod]) -> bytes:
    """What the declarations of one URN come to.

    Its owners are those who implement it, and among them those who say `local_only`, if any:
    a stub can neither open a method to everybody nor see what its service may not see.
    """
    implemented = [one for one in declared if one.implemented] or declared
    owners = [one for one in implemented if one.local_only] or implemented
    first = min(owners, key=lambda one: one.service)
    return msgspec.json.encode(
        {
            "urn": first.urn,
            "service": first.service,
            "other_services": sorted({one.service for one in owners} - {first.service}),
            "external": any(one.external for one in owners),
            "local_only": first.local_only,
            "input_schema": first.input_schema,
            "output_schema": first.output_schema,
        }
    )
