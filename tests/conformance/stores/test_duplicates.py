"""What makes a repeated call harmless: ids of clients, and sequences of publishers."""

from __future__ import annotations

from typing import Any

import pytest

from raysume.ids import uuid7
from raysume.storage.call_ports import Appended, Batch, CallLog, NewCall, Publisher

OWNER = "1:0:test"


def new(
    id: str | None = None,
    *,
    body: bytes = b"{}",
    client_id: bool | None = None,
    method: str = "pay",
) -> NewCall:
    return NewCall(
        id=uuid7() if id is None else id,
        method=method,
        service="shop",
        input=body,
        client_id=id is not None if client_id is None else client_id,
    )


def batch(
    *calls: NewCall, publisher: str | None = None, first: int = 0, in_order: bool = False
) -> Batch:
    source = None
    if publisher is not None:
        source = Publisher(id=publisher, first=first, in_order=in_order)
    return Batch(calls=calls, publisher=source)


def outcomes(appended: Appended) -> list[list[str]]:
    return [list(accepted.outcomes) for accepted in appended.accepted]


def stored_ids(log: CallLog, partition: int) -> list[str]:
    segments = log.read(partition, start=0, end=1 << 40)
    return [call.id for segment in segments for call in segment.calls]


def test_a_repeated_client_id_is_a_duplicate_through_any_partition(log: CallLog) -> None:
    first, second = (log.open_partition(owner=OWNER) for _ in range(2))
    log.append(first.id, [batch(new("a", body=b"1"))])
    appended = log.append(second.id, [batch(new("a", body=b"1"), new("b"))])
    assert outcomes(appended) == [["duplicate", "accepted"]]
    assert stored_ids(log, second.id) == ["b"]


def test_a_batch_that_comes_early_stores_nothing_until_those_before_it_are_there(
    log: CallLog,
) -> None:
    partition = log.open_partition(owner=OWNER)
    one, two, three = (new(name, client_id=False) for name in "abc")
    first = batch(one, publisher="p", first=7, in_order=True)
    second = batch(two, publisher="p", first=8, in_order=True)
    third = batch(three, publisher="p", first=9, in_order=True)
    assert outcomes(log.append(partition.id, [first])) == [["accepted"]], "it may begin anywhere"
    early = log.append(partition.id, [third])
    assert (outcomes(early), early.segment) == ([["early"]], None)
    assert outcomes(log.append(partition.id, [third, second, third])) == [
        ["early"],
        ["accepted"],
        ["accepted"],
    ]
    assert outcomes(log.append(partition.id, [third, second])) == [["duplicate"], ["duplicate"]]
    assert stored_ids(log, partition.id) == ["a", "b", "c"]


def test_an_append_of_duplicates_alone_stores_no_segment(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    log.append(partition.id, [batch(new("a"))])
    assert log.append(partition.id, [batch(new("a"))]).segment is None
    assert log.append(partition.id, []).segment is None
    assert log.append(partition.id, [batch()]).segment is None
    assert stored_ids(log, partition.id) == ["a"]


def test_a_conflict_stores_nothing_of_its_batch_and_spares_the_others(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    log.append(partition.id, [batch(new("a", body=b"1"))])
    appended = log.append(
        partition.id,
        [
            batch(new("x")),
            batch(new("y"), new("a", body=b"2"), new(), publisher="p", first=0),
            batch(new("z")),
        ],
    )
    assert outcomes(appended)[0] == ["accepted"]
    assert outcomes(appended)[1][1] == "conflict"
    assert outcomes(appended)[2] == ["accepted"]
    assert stored_ids(log, partition.id) == ["a", "x", "z"]
    # Neither its ids nor its sequence numbers are taken.
    again = log.append(partition.id, [batch(new("y", body=b"other"), publisher="p", first=0)])
    assert outcomes(again) == [["accepted"]]


@pytest.mark.parametrize(
    "change",
    [
        {"input": b'{"n":2}'},
        {"output": b"1"},
        {"error": "E"},
        {"method": "refund"},
        {"service": "other"},
    ],
)
def test_a_client_id_with_anything_else_in_its_body_is_a_conflict(
    log: CallLog, change: dict[str, Any]
) -> None:
    fields: dict[str, Any] = {"id": "a", "method": "pay", "service": "shop", "client_id": True}
    fields["input"] = b'{"n":1}'
    partition = log.open_partition(owner=OWNER)
    log.append(partition.id, [batch(NewCall(**fields))])
    appended = log.append(partition.id, [batch(NewCall(**(fields | change)))])
    assert outcomes(appended) == [["conflict"]]


def test_a_retry_with_new_trace_headers_is_a_duplicate(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    for trace, outcome in (("1", "accepted"), ("2", "duplicate")):
        call = NewCall(
            id="a", method="pay", service="shop", input=b"{}", headers={"t": trace}, client_id=True
        )
        assert outcomes(log.append(partition.id, [batch(call)])) == [[outcome]]


def test_client_ids_are_compared_within_one_append(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    appended = log.append(
        partition.id,
        [
            batch(new("a", body=b"1"), new("a", body=b"1")),
            batch(new("a", body=b"1")),
            batch(new("a", body=b"2")),
            batch(new("b", body=b"1"), new("b", body=b"2")),
        ],
    )
    assert outcomes(appended) == [
        ["accepted", "duplicate"],
        ["duplicate"],
        ["conflict"],
        ["accepted", "conflict"],
    ]
    assert stored_ids(log, partition.id) == ["a"]


def test_ids_made_by_the_server_are_not_compared(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    appended = log.append(
        partition.id, [batch(new("s", client_id=False), new("s", client_id=False))]
    )
    assert outcomes(appended) == [["accepted", "accepted"]]


def test_a_thousand_client_ids_are_recognised_together(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    calls = [new(f"id-{number}") for number in range(1_300)]
    log.append(partition.id, [batch(*calls)])
    appended = log.append(partition.id, [batch(*calls, new("one-more"))])
    assert outcomes(appended) == [["duplicate"] * 1_300 + ["accepted"]]


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [
        (0, 3, "ddd"),
        (0, 5, "dddaa"),
        (2, 3, "daa"),
        (3, 2, "aa"),
        (7, 2, "aa"),
    ],
)
def test_a_publisher_is_taken_up_where_it_was_left(
    log: CallLog, first: int, count: int, expected: str
) -> None:
    partition = log.open_partition(owner=OWNER)
    log.append(partition.id, [batch(new(), new(), new(), publisher="p", first=0)])
    repeated = batch(*[new() for _ in range(count)], publisher="p", first=first)
    names = {"d": "duplicate", "a": "accepted"}
    assert outcomes(log.append(partition.id, [repeated])) == [[names[one] for one in expected]]
    assert outcomes(log.append(partition.id, [repeated])) == [["duplicate"] * count]


def test_a_publisher_that_sends_twice_in_one_append_is_stored_once(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    first, second = new(), new()
    appended = log.append(
        partition.id,
        [
            batch(first, publisher="p", first=0),
            batch(first, second, publisher="p", first=0),
            batch(new(), publisher="q", first=0),
        ],
    )
    assert outcomes(appended) == [["accepted"], ["duplicate", "accepted"], ["accepted"]]
    assert stored_ids(log, partition.id)[:2] == [first.id, second.id]


def test_a_publisher_moves_on_over_calls_that_were_known_by_their_ids(log: CallLog) -> None:
    partition = log.open_partition(owner=OWNER)
    log.append(partition.id, [batch(new("a"))])
    appended = log.append(partition.id, [batch(new("a"), publisher="p", first=0)])
    assert outcomes(appended) == [["duplicate"]]
    again = log.append(partition.id, [batch(new("b"), publisher="p", first=0)])
    assert outcomes(again) == [["duplicate"]]
    assert stored_ids(log, partition.id) == ["a"]
