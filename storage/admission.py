"""Which calls of some batches are new: pure, and the same for every call log.

A log looks up what it knows about the names in the batches (`names_in`), lets
`admit` decide, and stores the result in the same transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from raysume.storage.call_ports import Accepted, Batch, NewCall

Outcome = Literal["accepted", "duplicate", "conflict", "early"]

_encoder = msgspec.msgpack.Encoder()


def id_hash(call_id: str) -> bytes:
    """What a client's call id is looked up by: 16 bytes, however long the id is."""
    return hashlib.blake2b(call_id.encode(), digest_size=16).digest()


def body_digest(call: NewCall) -> bytes:
    """16 bytes that differ when the call says something else.

    Headers are left out: a retry carries new trace headers and is still the same call.
    """
    body = _encoder.encode((call.service, call.method, call.input, call.output, call.error))
    return hashlib.blake2b(body, digest_size=16).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a log must look up before it can decide."""

    publishers: frozenset[str]
    client_hashes: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the log holds about the names in some batches."""

    publishers: Mapping[str, int]
    """Publisher -> the sequence number that it is expected to send next."""
    client_calls: Mapping[bytes, bytes]
    """Hash of a client's call id -> digest of the body it was used with."""


class ClientCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A client's id that is now taken."""

    id_hash: bytes
    digest: bytes
    index: int
    """Place of the call among the new calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What is to be stored, and what to answer."""

    accepted: list[Accepted] = field(default_factory=list[Accepted])
    calls: list[NewCall] = field(default_factory=list[NewCall])
    """The new calls of all batches, in order."""
    publishers: dict[str, int] = field(default_factory=dict[str, int])
    """Publisher -> its new expected sequence number, where it changes."""
    client_calls: list[ClientCall] = field(default_factory=list[ClientCall])


def names_in(batches: Sequence[Batch]) -> Names:
    """The publishers and client ids that the batches name."""
    return Names(
        publishers=frozenset(
            batch.publisher.id for batch in batches if batch.publisher is not None
        ),
        client_hashes=frozenset(
            id_hash(call.id) for batch in batches for call in batch.calls if call.client_id
        ),
    )


def admit(batches: Sequence[Batch], known: Known) -> Admission:
    """Each batch is decided in turn, as if the ones before it were stored already."""
    admission = Admission()
    expected = dict(known.publishers)
    taken = dict(known.client_calls)
    for batch in batches:
        _admit_batch(batch, admission, expected, taken)
    return admission


def _admit_batch(
    batch: Batch, admission: Admission, expected: dict[str, int], taken: dict[bytes, bytes]
) -> None:
    publisher = batch.publisher
    seen = 0
    if publisher is not None:
        if publisher.in_order and expected.get(publisher.id, publisher.first) < publisher.first:
            early: list[Outcome] = ["early"] * len(batch.calls)
            admission.accepted.append(Accepted(outcomes=early))
            return
        seen = min(max(expected.get(publisher.id, 0) - publisher.first, 0), len(batch.calls))
    outcomes: list[Outcome] = ["duplicate"] * seen
    added: dict[bytes, bytes] = {}
    new: list[NewCall] = []
    client_calls: list[ClientCall] = []
    for call in batch.calls[seen:]:
        if call.client_id:
            hashed, digest = id_hash(call.id), body_digest(call)
            known = added.get(hashed) or taken.get(hashed)
            if known is not None:
                outcomes.append("duplicate" if known == digest else "conflict")
                continue
            added[hashed] = digest
            client_calls.append(
                ClientCall(id_hash=hashed, digest=digest, index=len(admission.calls) + len(new))
            )
        outcomes.append("accepted")
        new.append(call)
    admission.accepted.append(Accepted(outcomes=outcomes))
    if "conflict" in outcomes:
        return
    taken.update(added)
    admission.calls.extend(new)
    admission.client_calls.extend(client_calls)
    if publisher is not None:
        after = publisher.first + len(batch.calls)
        if after > expected.get(publisher.id, 0):
            expected[publisher.id] = admission.publishers[publisher.id] = after
