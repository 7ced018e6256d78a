"""Watermarks of partitions that the call log knows no more leave a pool's memory and its headers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from raysume import limits

if TYPE_CHECKING:
    from raysume.actors.hosting import PoolHost


async def forget_partitions(host: PoolHost) -> None:
    """Again and again, what the log has forgotten (`CallLog.forgotten`) is forgotten here."""
    while True:
        await asyncio.sleep(limits.DELETION_INTERVAL_S)
        await forget_once(host)


async def forget_once(host: PoolHost) -> None:
    """No watermark is left of a partition that the log has forgotten by now."""
    known = list(host.kernel.watermarks)
    gone = await host.effects.read_surely(lambda log: log.forgotten(known))
    if gone:
        host.kernel.intake.forget(gone)
