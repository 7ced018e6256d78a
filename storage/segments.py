"""Segments as bytes, and what is cut out of them: pure functions that every call log shares."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import zstandard

from raysume.errors import ConfigurationError, PartitionClosed
from raysume.records import CallRecord, Segment
from raysume.storage.call_ports import CallQuery, FoundCall, NewCall
from raysume.storage.moments import to_us

_FORMAT: Final = b"\x01"
"""First byte of a stored body: msgpack of a list of calls, compressed with zstd."""

_LEVEL: Final = 1
"""zstd level: calls repeat their keys, so the fastest level already removes most of them."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[CallRecord])
_after_decoder: Final = msgspec.msgpack.Decoder(dict[int, int])


class _Codecs(threading.local):
    """zstd contexts are expensive to make and not safe to share between threads."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs: Final = _Codecs()


def encode_calls(calls: Sequence[CallRecord]) -> bytes:
    """The stored body of a segment with these calls."""
    return _FORMAT + _codecs.compressor.compress(_encoder.encode(calls))


def decode_calls(body: bytes) -> list[CallRecord]:
    """The calls of a stored body.

    Raises:
        ConfigurationError: a later release wrote the body, or it is damaged.
    """
    try:
        return _decoder.decode(_unpack(body))
    except msgspec.DecodeError as error:
        raise _unreadable() from error


def holds_text(body: bytes, text: str) -> bool:
    """False when no call of the stored body can contain `text`; far cheaper than decoding it."""
    return text.encode() in _unpack(body)


def _unpack(body: bytes) -> bytes:
    if body[:1] != _FORMAT:
        raise _unreadable()
    try:
        return _codecs.decompressor.decompress(body[1:])
    except zstandard.ZstdError as error:
        raise _unreadable() from error


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        "a segment of the call log cannot be read: a later release wrote it, or the file is "
        "damaged. Start the release that wrote it, or restore the call log from a backup."
    )


def encode_after(after: Mapping[int, int]) -> bytes | None:
    """The stored form of `Segment.after`; None when it is empty."""
    return _encoder.encode(after) if after else None


def decode_after(stored: bytes | None) -> dict[int, int]:
    """`Segment.after` from its stored form.

    Raises:
        ConfigurationError: it is damaged.
    """
    if stored is None:
        return {}
    try:
        return _after_decoder.decode(stored)
    except msgspec.DecodeError as error:
        raise _unreadable() from error


def closed(partition: int) -> PartitionClosed:
    """What is raised when an owner writes to a partition that is not open."""
    return PartitionClosed(f"partition {partition} is closed; open another one and append there")


def record_calls(calls: Iterable[NewCall], at_us: int) -> list[CallRecord]:
    """The calls as records, accepted at `at_us`."""
    return [
        CallRecord(
            call.id,
            call.method,
            call.service,
            at_us,
            call.input,
            call.output,
            call.error,
            None if call.headers is None else dict(call.headers),
            call.local_only,
        )
        for call in calls
    ]


def counts_by_method(calls: Iterable[CallRecord]) -> Mapping[tuple[str, str], int]:
    """How many of the calls there are of each (service, method)."""
    counts: dict[tuple[str, str], int] = {}
    for call in calls:
        key = (call.service, call.method)
        counts[key] = counts.get(key, 0) + 1
    return counts


def cut(segment: Segment, *, start: int, end: int) -> Segment | None:
    """The part of the segment with start <= offset < end; None when nothing is left."""
    if start <= segment.first and segment.end <= end:
        return segment
    low, high = max(start, segment.first), min(end, segment.end)
    if low >= high:
        return None
    calls = segment.calls[low - segment.first : high - segment.first]
    return Segment(segment.partition, low, segment.pos, calls, segment.after)


def calls_for(segment: Segment, query: CallQuery) -> list[FoundCall]:
    """The calls of the segment that belong on the page or behind it, in order of offset."""
    since = None if query.since is None else to_us(query.since)
    until = None if query.until is None else to_us(query.until)
    return [
        FoundCall(call=call, partition=segment.partition, offset=offset, pos=segment.pos)
        for offset, call in enumerate(segment.calls, segment.first)
        if (query.service is None or call.service == query.service)
        and (query.method is None or call.method == query.method)
        and (since is None or call.at_us >= since)
        and (until is None or call.at_us < until)
        and (query.after is None or (segment.pos, offset) > query.after)
    ]


def call_with_id(segment: Segment, call_id: str) -> FoundCall | None:
    """The call with this id in the segment, if it is there."""
    for offset, call in enumerate(segment.calls, segment.first):
        if call.id == call_id:
            return FoundCall(call=call, partition=segment.partition, offset=offset, pos=segment.pos)
    return None


def made_at_us(call_id: str) -> int | None:
    """When an id made by raysume was made, to the millisecond; None for any other id.

    Source: RFC 9562, section 5.7 (UUIDv7).
    """
    if len(call_id) != 36 or call_id[14] != "7":
        return None
    try:
        return int(call_id[:8] + call_id[9:13], 16) * 1_000
    except ValueError:
        return None
