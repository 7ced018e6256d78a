"""Segments as bytes, and the times in ids."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from raysume.errors import ConfigurationError
from raysume.ids import uuid7
from raysume.records import CallRecord, Segment
from raysume.storage.moments import from_us, to_us
from raysume.storage.segments import cut, decode_calls, encode_calls, holds_text, made_at_us

characters = st.characters(exclude_categories=["Cs"])
text = st.text(characters)
records = st.builds(
    CallRecord,
    text,
    text,
    text,
    st.integers(0, 1 << 62),
    st.binary(),
    st.none() | st.binary(),
    st.none() | text,
    st.none() | st.dictionaries(text, text, max_size=3),
    st.booleans(),
)


@given(st.lists(records, max_size=5))
def test_calls_come_back_from_their_bytes(calls: list[CallRecord]) -> None:
    body = encode_calls(calls)
    assert decode_calls(body) == calls
    assert all(holds_text(body, call.id) for call in calls)


def test_calls_that_a_release_without_local_only_stored_are_for_every_service() -> None:
    old = ["id-1", "m", "s", 1, b"{}", None, None, {"a": "b"}]
    body = b"\x01" + zstandard.compress(msgspec.msgpack.encode([old]))
    [call] = decode_calls(body)
    assert (call.headers, call.local_only) == ({"a": "b"}, False)
    assert call.is_seen_by("another")


def test_text_that_no_call_holds_is_told_from_the_bytes() -> None:
    body = encode_calls([CallRecord("id-1", "m", "s", 1, b"{}")])
    assert not holds_text(body, "id-2")


@pytest.mark.parametrize("body", [b"", b"\x02abc", b"\x01abc", encode_calls([])[:-1]])
def test_bytes_that_are_no_segment_are_refused_with_a_remedy(body: bytes) -> None:
    with pytest.raises(ConfigurationError, match="backup"):
        decode_calls(body)


@given(st.integers(0, 20), st.integers(0, 5), st.integers(-1, 30), st.integers(-1, 30))
def test_a_cut_keeps_the_offsets_asked_for(first: int, count: int, start: int, end: int) -> None:
    calls = [CallRecord(str(first + index), "m", "s", 1, b"") for index in range(count)]
    piece = cut(Segment(1, first, 9, calls), start=start, end=end)
    wanted = [offset for offset in range(first, first + count) if start <= offset < end]
    if piece is None or not piece.calls:
        assert wanted == []
        return
    assert [int(call.id) for call in piece.calls] == wanted
    assert (piece.first, piece.pos, piece.partition) == (wanted[0], 9, 1)


def test_the_time_of_an_id_is_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = made_at_us(uuid7())
    after = time.time_ns() // 1_000_000
    assert made is not None
    # Ids of one process may run ahead of the clock by some milliseconds to stay in order.
    assert before <= made // 1_000 <= after + 1_000


@pytest.mark.parametrize(
    "id",
    ["", "order-7", "x" * 36, "00000000-0000-4000-8000-000000000000", "g" * 14 + "7" + "0" * 21],
)
def test_other_ids_have_no_time(id: str) -> None:
    assert made_at_us(id) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_come_back_exactly(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment


def test_moments_are_the_same_in_every_time_zone() -> None:
    moment = datetime(2013, 2, 8, 6, tzinfo=timezone(timedelta(hours=-5)))
    assert to_us(moment) == to_us(moment.astimezone(UTC))
    with pytest.raises(TypeError):
        to_us(datetime(2013, 2, 8, 6))
