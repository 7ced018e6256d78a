"""Canonical bytes: equal values have equal bytes, whatever their types."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysume.matching.canonical import canonical, key_of


class Colour(Enum):
    RED = 1
    BLUE = 2


class Level(IntEnum):
    LOW = 1


class Mood(StrEnum):
    GOOD = "good"


class Mixed(str, Enum):  # noqa: UP042 - what older programs have
    GOOD = "good"


class Shouting(str):
    """A text with an equality of its own."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    __hash__ = str.__hash__


numbers = st.one_of(
    st.integers(),
    st.integers(-3, 3),
    st.booleans(),
    st.floats(),
    st.integers(-(10**20), 10**20).map(float),
    st.decimals(allow_nan=False) | st.just(Decimal("NaN")),
    st.integers(-5, 5).map(Decimal),
    st.sampled_from([2**60, 2**60 - 1, float(2**60), Decimal(2**60), 2**61 - 1, -1, -2, 0.5]),
    st.sampled_from([Decimal("0.5"), Decimal("1E+2"), 100, 1e300, Decimal("1E+300"), Level.LOW]),
)
offsets = st.sampled_from([UTC, timezone(timedelta(hours=2)), ZoneInfo("Europe/Paris")])
moments = st.datetimes(datetime(2024, 10, 27), datetime(2024, 10, 27, 4)).map(
    lambda moment: moment.replace(minute=moment.minute // 30 * 30, second=0, microsecond=0)
)
values = st.one_of(
    numbers,
    st.text(max_size=3),
    st.sampled_from([Mood.GOOD, Mixed.GOOD, "good", Colour.RED, Colour.BLUE, Level.LOW]),
    st.sampled_from([UUID(int=7), str(UUID(int=7)), 7]),
    st.dates(date(2024, 1, 1), date(2024, 1, 3)),
    st.tuples(moments, st.none() | offsets, st.sampled_from([0, 1])).map(
        lambda parts: parts[0].replace(tzinfo=parts[1], fold=parts[2])
    ),
    st.timedeltas(timedelta(0), timedelta(seconds=1)),
)


@given(values, values)
def test_equal_values_have_equal_bytes(first: Any, second: Any) -> None:
    one, other = canonical(first), canonical(second)
    if first == second:
        assert one is not None
        assert other is not None
        assert one[0] == other[0]


@given(values, values)
def test_equal_bytes_that_are_exact_mean_equal_values(first: Any, second: Any) -> None:
    one, other = canonical(first), canonical(second)
    if one is not None and other is not None and one[0] == other[0] and one[1] and other[1]:
        assert first == second


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 1.0),
        (1, True),
        (1, Decimal("1.00")),
        (0.5, Decimal("0.5")),
        (10**30, Decimal(10) ** 30),
        (Level.LOW, 1),
        (Mood.GOOD, "good"),
        (Mixed.GOOD, "good"),
        (datetime(2024, 1, 1, 12, tzinfo=UTC), datetime.fromisoformat("2024-01-01T14:00:00+02:00")),
    ],
)
def test_values_of_different_types_that_are_equal_share_their_bytes(
    first: Any, second: Any
) -> None:
    assert first == second
    one, other = canonical(first), canonical(second)
    assert one is not None
    assert other is not None
    assert one[0] == other[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1", 1),
        (Colour.RED, 1),
        (Colour.RED, Colour.BLUE),
        (UUID(int=7), str(UUID(int=7))),
        (date(2024, 1, 1), datetime(2024, 1, 1)),
        (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
    ],
)
def test_values_that_are_never_equal_have_other_bytes(first: Any, second: Any) -> None:
    one, other = canonical(first), canonical(second)
    assert one is not None
    assert other is not None
    assert one[0] != other[0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        Decimal("NaN"),
        Decimal("sNaN"),
        b"bytes",
        [1],
        {"a": 1},
        object(),
        Shouting("x"),
        1j,
    ],
)
def test_values_whose_equality_is_not_known_have_no_bytes(value: Any) -> None:
    assert canonical(value) is None


def test_a_key_tells_where_one_part_ends() -> None:
    assert key_of([b"sa", b"sb"]) != key_of([b"sas", b"b"])
    assert key_of([b"sa", b"sb"]) != key_of([b"sb", b"sa"])
