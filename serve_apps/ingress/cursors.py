"""Cursors of listings: opaque to clients, so that what they hold may change."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from raysume.serve_apps.ingress.problems import unusable

T = TypeVar("T")


def encode_cursor(place: tuple[object, ...]) -> str:
    """The place of the last row of a page, for the query of the next one."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


def decode_cursor(cursor: str | None, place: type[T]) -> T | None:
    """The place that a cursor stands for; None for None.

    Raises:
        Problem: 422, it is no cursor of this listing.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return msgspec.msgpack.decode(base64.b64decode(padded, b"-_", validate=True), type=place)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise unusable("after", "is not a cursor given by this listing") from error
