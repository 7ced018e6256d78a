"""Asks the directory for verdicts, over Ray."""

from __future__ import annotations

import msgspec

from raysume.actors.bidding import BidMade
from raysume.actors.kernel.bids import Verdict
from raysume.actors.specs import DIRECTORY_NAME
from raysume.actors.untyped import RayError, RayTaskError, actor_named, cause_of
from raysume.errors import Unavailable


async def ask_directory(made: BidMade) -> Verdict:
    """The verdict on a call, which is kept durably.

    Raises:
        Unavailable: the directory has none yet, or is being brought back; ask again.
    """
    try:
        directory = actor_named(DIRECTORY_NAME)
        told: bytes = await directory.bid.remote(msgspec.msgpack.encode(made))
    except RayTaskError as error:
        raise Unavailable(f"the directory gave no verdict: {cause_of(error) or error}") from error
    except (RayError, ValueError) as error:  # ValueError: no such actor yet
        raise Unavailable(f"the directory is being brought back: {error}") from error
    return msgspec.msgpack.decode(told, type=Verdict)
