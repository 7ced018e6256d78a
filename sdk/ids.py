"""Identifiers: their types, and how they are made.

Ids made here sort by time of creation (UUIDv7), so that neighbours in time are
neighbours in an index.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import Final, NewType

CallId = NewType("CallId", str)
"""A pushed call: UUIDv7 when made by raysume, any string when given by a client."""

InstanceId = NewType("InstanceId", str)
"""One instance of a workflow; unique within its workflow."""

WaitId = NewType("WaitId", str)
"""A wait, timer or step of an instance: "turn.n". Never used twice by an instance."""

Urn = NewType("Urn", str)
"""The name of a method, unique in a deployment."""

WorkflowName = NewType("WorkflowName", str)
"""The declared name of a workflow."""

VersionId = NewType("VersionId", str)
"""One version of a workflow: a short digest, or the label given by the user."""

PartitionId = NewType("PartitionId", int)
"""A partition of the call log: random 62 bits, never reused."""

Offset = NewType("Offset", int)
"""A call's place in its partition, from 0, without holes."""

_lock = threading.Lock()
_last_ms = 0
_sequence = 0

_RANDOM_BYTES: Final = 4_096
"""Asked of the system at a time: whoever asks gives the interpreter's lock away, and beside a
thread that computes has it back only after 5 ms."""
_random = memoryview(b"")


def uuid7() -> str:
    """A new UUIDv7: 48 bits of milliseconds, then a counter that keeps ids of one process in order.

    Source: RFC 9562, section 6.2, method 1 (fixed-length dedicated counter).
    """
    global _last_ms, _sequence, _random
    with _lock:
        if len(_random) < 10:
            _random = memoryview(os.urandom(_RANDOM_BYTES))
        tail, start, _random = _random[:8], _random[8:10], _random[10:]
        now = time.time_ns() // 1_000_000
        if now > _last_ms:
            _last_ms, _sequence = now, int.from_bytes(start, "big") & 0x3FF
        else:
            _sequence += 1
            if _sequence > 0xFFF:
                _last_ms, _sequence = _last_ms + 1, 0
        high, counter = _last_ms, _sequence
    value = (high << 80) | (0x7 << 76) | (counter << 64)
    value |= (0b10 << 62) | (int.from_bytes(tail, "big") & ((1 << 62) - 1))
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _forget_random() -> None:
    """A process that was forked draws its own."""
    global _lock, _random
    _lock, _random = threading.Lock(), memoryview(b"")


os.register_at_fork(after_in_child=_forget_random)


def instance_id_of(workflow: str, call_id: str) -> InstanceId:
    """The id of the instance that a call starts: a hash, so that a start cannot happen twice."""
    digest = hashlib.blake2b(f"{workflow}\0{call_id}".encode(), digest_size=16).hexdigest()
    return InstanceId(digest)


def shard_of(instance_id: str, shards: int) -> int:
    """The number of the shard that owns an instance."""
    digest = hashlib.blake2b(instance_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards
