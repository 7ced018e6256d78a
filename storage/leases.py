"""Leases of partitions: until when an owner that is silent is believed to live. Pure.

A lease is a moment of the store's clock. Nothing depends on it but when somebody else
closes the partition, which is safe at any time: its owner finds it closed, and opens another.
"""

from __future__ import annotations

from typing import Final

from raysume.limits import PARTITION_KEPT_S, PARTITION_LEASE_S

_LEASE_US: Final = int(PARTITION_LEASE_S * 1_000_000)
_KEPT_US: Final = int(PARTITION_KEPT_S * 1_000_000)


def lease_from(now_us: int) -> int:
    """Until when a lease lasts that is taken or renewed now."""
    return now_us + _LEASE_US


def has_lapsed(lease_us: int, *, now_us: int) -> bool:
    """Whether the lease is over; one that a clock made which has gone back since counts as over."""
    return not now_us <= lease_us <= lease_from(now_us)


def forgettable_before(now_us: int) -> int:
    """Partitions closed before this moment may be forgotten once nobody needs them."""
    return now_us - _KEPT_US
