"""What a commit must satisfy before anything of it is written: the same for every store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raysume.errors import Fenced, InvariantViolated
from raysume.storage.ports import Checkpoint, Office, StoreCommit


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the store holds of a shard when the commit begins."""

    epoch: int
    last_seq: int
    """The last journal position ever committed; 0 before the first."""
    checkpoint_seq: int
    """The position of the last checkpoint; 0 before the first."""


def check_commit(commit: StoreCommit, held: Mapping[int, Held]) -> None:
    """The commit is from the current owner of its shards, and continues what they hold.

    Args:
        held: every shard of `commit.epochs` that exists.

    Raises:
        Fenced: a shard is owned under another epoch, or does not exist.
        InvariantViolated: the journal would get a hole, a checkpoint go back, or the journal
            lose what no checkpoint covers.
    """
    for shard, epoch in commit.epochs.items():
        if shard not in held or held[shard].epoch != epoch:
            raise fenced(shard, epoch)
    last = {shard: row.last_seq for shard, row in held.items()}
    for row in commit.journal:
        if row.shard not in commit.epochs:
            raise InvariantViolated(f"a journal row of shard {row.shard} came without its epoch")
        if row.seq != last[row.shard] + 1:
            raise InvariantViolated(
                f"journal row {row.seq} of shard {row.shard} does not follow {last[row.shard]}"
            )
        last[row.shard] = row.seq
    named = set[int]()
    for checkpoint in commit.checkpoints:
        if checkpoint.shard not in commit.epochs or checkpoint.shard in named:
            raise InvariantViolated(
                f"the checkpoint of shard {checkpoint.shard} came twice or without its epoch"
            )
        named.add(checkpoint.shard)
        _check_checkpoint(checkpoint, held[checkpoint.shard], last[checkpoint.shard])
    _check_trims(commit, held)


def fenced(shard: int, epoch: int) -> Fenced:
    """What whoever owned the shard under this epoch is told."""
    return Fenced(
        f"shard {shard} is no longer owned under epoch {epoch}: another incarnation took "
        "it over. Nothing was written; this incarnation must stop.",
        shard=shard,
        epoch=epoch,
    )


def check_holder(office: Office, epoch: int, *, lost: Callable[[], None] | None = None) -> None:
    """The office is held under the epoch that the store has for it.

    Args:
        epoch: the store's; 0 where nobody ever took the office.
        lost: called before `Fenced` is raised.

    Raises:
        Fenced: it is held under another one.
    """
    if office.epoch != epoch:
        if lost is not None:
            lost()
        raise Fenced(
            f"the office {office.name!r} is no longer held under epoch {office.epoch}: another "
            f"process took it, under epoch {epoch}. Nothing was written; this process must stop.",
            office=office.name,
            epoch=office.epoch,
        )


def _check_checkpoint(checkpoint: Checkpoint, held: Held, last_seq: int) -> None:
    if not held.checkpoint_seq <= checkpoint.seq <= last_seq:
        raise InvariantViolated(
            f"the checkpoint of shard {checkpoint.shard} is at journal position {checkpoint.seq}, "
            f"outside {held.checkpoint_seq} to {last_seq}"
        )
    if any(row.shard != checkpoint.shard for row in checkpoint.rows):
        raise InvariantViolated(
            f"the checkpoint of shard {checkpoint.shard} has a row of another shard"
        )
    if any(run.shard != checkpoint.shard for run in checkpoint.runs):
        raise InvariantViolated(
            f"the checkpoint of shard {checkpoint.shard} has an index run of another shard"
        )
    removed = set(checkpoint.removed)
    if len(removed) < len(checkpoint.removed) or any(r.number in removed for r in checkpoint.rows):
        raise InvariantViolated(
            f"the checkpoint of shard {checkpoint.shard} removes an instance that it writes, or twice"
        )


def _check_trims(commit: StoreCommit, held: Mapping[int, Held]) -> None:
    covered = {shard: row.checkpoint_seq for shard, row in held.items()}
    covered.update({checkpoint.shard: checkpoint.seq for checkpoint in commit.checkpoints})
    for shard, seq in commit.trims.items():
        if shard not in commit.epochs or seq > covered[shard]:
            raise InvariantViolated(
                f"the journal of shard {shard} was to be trimmed up to {seq} without its epoch, or "
                f"beyond its checkpoint at {covered.get(shard, 0)}"
            )
    for row in commit.history:
        if row.seq > commit.trims.get(row.shard, 0):
            raise InvariantViolated(
                f"turn {row.seq}.{row.nth} of shard {row.shard} came as history, but its journal row "
                "stays"
            )
