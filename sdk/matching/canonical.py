"""Canonical bytes of match values: values that are equal in Python have equal bytes.

That is what makes an index sound: when `a == b`, both land under one key. Types whose
equality we do not know have no canonical form, and a wait for them is decided by its
predicate instead.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from pydantic_core import TzInfo

EXACT_INT_LIMIT = 1 << 60
"""Integers below have their digits as key; beyond (and fractions) their hash, which is
equal for equal numbers of all types but not different for all different ones."""

Canonical = tuple[bytes, bool]
"""The bytes, and whether equal bytes imply equal values."""


def canonical(value: Any) -> Canonical | None:
    """The canonical bytes of `value`; None when it has none, or is equal to nothing (NaN)."""
    kind = cast(Any, type(value))
    if kind is str:
        return b"s" + value.encode("utf-8", "surrogatepass"), True
    if kind is int:
        return _integer(value)
    if kind is bool:
        return (b"i1" if value else b"i0"), True
    convert = _CONVERSIONS.get(kind)
    if convert is not None:
        return convert(value)
    return _of_subclass(value, kind)


def _integer(value: int) -> Canonical:
    if -EXACT_INT_LIMIT < value < EXACT_INT_LIMIT:
        return b"i%d" % value, True
    return b"h%d" % hash(value), False


def _float(value: float) -> Canonical | None:
    if math.isnan(value):
        return None
    if value.is_integer():
        return _integer(int(value))
    return b"h%d" % hash(value), False


def _decimal(value: Decimal) -> Canonical | None:
    if value.is_nan():
        return None
    if value.is_finite() and value.adjusted() < 20 and value == value.to_integral_value():
        return _integer(int(value))
    return b"h%d" % hash(value), False


def _uuid(value: UUID) -> Canonical:
    return b"u" + value.bytes, True


def _date(value: date) -> Canonical:
    return b"d%d" % value.toordinal(), True


def _timedelta(value: timedelta) -> Canonical:
    return b"D%d" % (value // timedelta(microseconds=1)), True


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)


def _datetime(value: datetime) -> Canonical | None:
    # Two datetimes of one zone are equal when their wall times are, whatever their fold.
    flat = value.replace(fold=0)
    if flat.utcoffset() is None:
        return b"T%d" % ((flat.replace(tzinfo=None) - _NAIVE_EPOCH) // _MICROSECOND), True
    exact = type(value.tzinfo) in FIXED_ZONES
    return b"t%d" % ((flat - _EPOCH) // _MICROSECOND), exact


_MICROSECOND = timedelta(microseconds=1)
FIXED_ZONES: frozenset[type] = frozenset({timezone, TzInfo})
"""Zones whose offset never changes: their datetimes are equal, and in order, as moments are."""
_CONVERSIONS: dict[type, Callable[[Any], Canonical | None]] = {
    float: _float,
    Decimal: _decimal,
    UUID: _uuid,
    date: _date,
    datetime: _datetime,
    timedelta: _timedelta,
}


def _of_subclass(value: Any, kind: type) -> Canonical | None:
    equality: Any = kind.__eq__
    if isinstance(value, Enum) and equality is object.__eq__:
        # a member without a mixed-in type is equal to itself alone
        text = f"{kind.__module__}:{kind.__qualname__}:{value._name_}"
        return b"e" + text.encode("utf-8", "surrogatepass"), True
    if isinstance(value, str) and equality is str.__eq__:
        return b"s" + str.__str__(value).encode("utf-8", "surrogatepass"), True
    if isinstance(value, int) and equality is int.__eq__:
        return _integer(int.__int__(value))
    if isinstance(value, float) and equality is float.__eq__:
        return _float(float.__float__(value))
    return None


def key_of(parts: Sequence[bytes]) -> bytes:
    """The key of a shape's parts: 16 bytes that differ when a part does."""
    if len(parts) == 1:
        return hashlib.blake2b(parts[0], digest_size=16).digest()
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.blake2b(framed, digest_size=16).digest()
