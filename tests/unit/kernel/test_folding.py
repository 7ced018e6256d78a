"""Ids kept in half the room come back as they were."""

from __future__ import annotations

from typing import Any

import pytest

from raysume.actors.kernel.folding import FoldedIds, folded, unfolded
from raysume.ids import instance_id_of, uuid7


@pytest.mark.parametrize(
    "id",
    [
        "",
        "order-7",
        "ab" * 16,
        "AB" * 16,
        " " * 32,
        "ab " * 10 + "ab",
        "ä" * 32,
        "0" * 31 + "g",
        "0" * 32,
        "٣" * 32,
    ],
)
def test_an_id_comes_back_as_it_was(id: str) -> None:
    assert unfolded(folded(id)) == id


def test_ids_made_of_calls_are_kept_as_bytes_and_others_as_they_are() -> None:
    made = instance_id_of("approval", "call")
    assert len(folded(made)) == 16
    assert folded("AB" * 16) == "AB" * 16
    other = uuid7()
    assert folded(other) == other


def test_a_set_of_folded_ids_is_a_set_of_ids() -> None:
    ids = FoldedIds()
    for id in ("ab" * 16, "order-7", "AB" * 16):
        ids.add(id)
        ids.add(id)
    assert set(ids) == {"ab" * 16, "order-7", "AB" * 16}
    assert len(ids) == 3
    kept: Any = bytes.fromhex("ab" * 16)
    assert kept not in ids
    ids.discard("ab" * 16)
    ids.discard("nobody")
    assert "ab" * 16 not in ids
    assert set(ids) == {"order-7", "AB" * 16}
