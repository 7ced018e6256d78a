"""Two of four approvals are enough: the other two are waited for no more."""

from __future__ import annotations

from raysume import group, push_call, wait, workflow

BOARD = ("ann", "ben", "cem", "dan")
ENOUGH = 2


@push_call("motions.made", external=True)
def move(motion: int) -> bool:
    """Somebody makes a motion."""
    return motion > 0


@push_call("motions.approved", external=True)
def approve(motion: int, who: str) -> bool:
    """A member of the board approves."""
    return motion > 0 and bool(who)


@workflow
async def board_approval() -> list[str]:
    """Ends with the names of those who approved."""
    made = await wait(move, name="motion").match_any()
    approvals = await group(
        *(wait(approve, name=who).match(motion=made.input.motion, who=who) for who in BOARD)
    ).until(lambda group: group.completed >= ENOUGH)
    return [str(who) for who in approvals.results]
