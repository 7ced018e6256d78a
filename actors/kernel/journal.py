"""Journal rows and checkpoints as bytes: encoded, compressed and sealed, and read again.

Everything a later process unpickles lies inside a sealed body, and the seal is bound to
where it stands (shard, sequence number, epoch; or shard and instance number). A row
moved, exchanged or set back to an older turn is found when it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

import msgspec
import zstandard

from raysume.actors.kernel.index_runs import Run
from raysume.actors.kernel.records import (
    RECORD_FORMAT,
    CheckpointHeader,
    IndexMark,
    InstanceRecord,
    JournalBody,
    Outgoing,
    PastTurn,
    ShardHeader,
    TurnRecord,
)
from raysume.actors.kernel.row_shares import RowShares
from raysume.errors import ConfigurationError, SealBroken

_MASK = (1 << 128) - 1


class Sealer(Protocol):
    """What the codec needs of the deployment's seal (raysume.storage.sealing.Seal)."""

    def seal(self, context: bytes, body: bytes) -> bytes:
        """`body` with a keyed code over it and `context`."""
        ...

    def open(self, context: bytes, sealed: bytes) -> bytes:
        """The body; raises SealBroken when the code does not fit."""
        ...

    def digest(self, context: bytes) -> int:
        """A keyed 128-bit number for `context`."""
        ...


_ENCODE = msgspec.msgpack.Encoder().encode
_JOURNAL = msgspec.msgpack.Decoder(JournalBody)
_INSTANCE = msgspec.msgpack.Decoder(InstanceRecord)
_PAST = msgspec.msgpack.Decoder(PastTurn)
_CHECKPOINT = msgspec.msgpack.Decoder(CheckpointHeader)
_RUN = msgspec.msgpack.Decoder(Run)


class Codec:
    """Encodes and decodes what one shard writes."""

    def __init__(self, sealer: Sealer, *, workflow: str, version: str, shard: int) -> None:
        self._sealer = sealer
        self._prefix = f"{workflow}\0{version}\0{shard}\0".encode()
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def _context(self, kind: bytes, *numbers: int) -> bytes:
        return self._prefix + (kind + b":%d" * len(numbers)) % numbers

    def journal_row(
        self,
        seq: int,
        header: ShardHeader,
        turns: Sequence[TurnRecord],
        before: Sequence[int] = (),
    ) -> bytes:
        """The body of journal row `seq`."""
        body = self._compress(_ENCODE(JournalBody(header, list(turns), list(before))))
        return self._sealer.seal(self._context(b"journal", seq), body)

    def read_journal_row(self, seq: int, body: bytes) -> JournalBody:
        """What journal row `seq` holds.

        Raises:
            SealBroken: the row is not the one that was written there.
        """
        opened = self._sealer.open(self._context(b"journal", seq), body)
        decoded = _JOURNAL.decode(self._decompress(opened))
        _check_format(decoded.header.format)
        return decoded

    def instance_row(self, record: InstanceRecord) -> bytes:
        """The body of an instance's row."""
        context = self._context(b"instance", record.number)
        return self._sealer.seal(context, _ENCODE(record))

    def read_instance_row(self, number: int, body: bytes) -> InstanceRecord:
        """The instance that was saved under `number`.

        Raises:
            SealBroken: the row is not one that was written there.
        """
        opened = self._sealer.open(self._context(b"instance", number), body)
        return _INSTANCE.decode(opened)

    def history_row(self, seq: int, nth: int, past: PastTurn) -> bytes:
        """The body of a turn that outlives its journal row: the `nth` of row `seq`."""
        context = self._context(b"history", past.turn.instance.number, seq, nth)
        return self._sealer.seal(context, self._compress(_ENCODE(past)))

    def read_history_row(self, number: int, seq: int, nth: int, body: bytes) -> PastTurn:
        """The turn of instance `number` that was kept.

        Raises:
            SealBroken: it is not the one that was written there.
        """
        opened = self._sealer.open(self._context(b"history", number, seq, nth), body)
        return _PAST.decode(self._decompress(opened))

    def place_digest(self, number: int, turn: int, updated_us: int) -> int:
        """The share of one instance row in its shard's multiset digest."""
        return self._sealer.digest(self._context(b"row", number, turn, updated_us))

    def index_run(self, page: int, nth: int, run: Run) -> bytes:
        """The body of an index run: the `nth` of the shard, of this page."""
        return self._sealer.seal(self._context(b"index", page, nth), _ENCODE(run))

    def read_index_run(self, page: int, nth: int, body: bytes) -> Run:
        """What the run says.

        Raises:
            SealBroken: it is not the one that was written there.
        """
        return _RUN.decode(self.open_index_run(page, nth, body))

    def open_index_run(self, page: int, nth: int, body: bytes) -> bytes:
        """Something that was written as this run.

        Raises:
            SealBroken: it was not.
        """
        return self._sealer.open(self._context(b"index", page, nth), body)

    def run_digest(self, page: int, nth: int) -> int:
        """The share of an index run in the multiset digest of its shard's runs."""
        return self._sealer.digest(self._context(b"run", page, nth))

    def checkpoint_header(
        self,
        seq: int,
        header: ShardHeader,
        unsent: Sequence[Outgoing],
        digest: int,
        rows: int,
        index: IndexMark | None = None,
    ) -> bytes:
        """The header of a checkpoint as of journal row `seq`."""
        made = CheckpointHeader(header, list(unsent), digest.to_bytes(16, "big"), rows, index)
        return self._sealer.seal(self._context(b"checkpoint", seq), _ENCODE(made))

    def read_checkpoint_header(self, seq: int, body: bytes) -> CheckpointHeader:
        """What a checkpoint's header holds.

        Raises:
            SealBroken: it is not the one that was written for `seq`.
        """
        opened = self._sealer.open(self._context(b"checkpoint", seq), body)
        decoded = _CHECKPOINT.decode(opened)
        _check_format(decoded.header.format)
        return decoded


class RowsDigest:
    """The multiset digest of a shard's instance rows: one number, updated row by row.

    Without it, whoever can write the database could put an instance back to an older row
    of its own, which carries a valid seal.
    """

    __slots__ = ("_codec", "_shares", "total")

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._shares = RowShares()
        self.total = 0

    def __len__(self) -> int:
        return len(self._shares)

    def __contains__(self, number: object) -> bool:
        """Whether the instance has a row."""
        return isinstance(number, int) and self._shares.of(number) != 0

    def has(self, record: InstanceRecord) -> bool:
        """Whether the instance's row is of that turn, made at that time."""
        return self._shares.of(record.number) == self._share(record)

    def put(self, record: InstanceRecord) -> bytes:
        """The row of this instance is `record` now; its share."""
        share = self._share(record)
        self.total = (self.total - self._shares.put(record.number, share) + share) & _MASK
        return share.to_bytes(16, "big")

    def put_all(self, numbers: Sequence[int], shares: bytes) -> None:
        """The rows of these instances, of which none is known yet, have these shares.

        Args:
            numbers: ascending.
        """
        self._shares.put_all(numbers, shares)
        halves = struct.unpack(f">{2 * len(numbers)}Q", shares)
        self.total = (self.total + (sum(halves[::2]) << 64) + sum(halves[1::2])) & _MASK

    def remove(self, number: int) -> None:
        """The instance has no row any more."""
        self.total = (self.total - self._shares.put(number, 0)) & _MASK

    def _share(self, record: InstanceRecord) -> int:
        return self._codec.place_digest(record.number, record.turn, record.updated_us)

    def fits(self, header: CheckpointHeader) -> bool:
        """Whether the rows are those of the checkpoint."""
        return len(self) == header.rows and self.total == int.from_bytes(header.digest, "big")

    def check(self, header: CheckpointHeader, *, where: str) -> None:
        """Returns when the rows are those of the checkpoint.

        Raises:
            SealBroken: rows are missing, added, or set back.
        """
        if not self.fits(header):
            raise SealBroken(
                f"the instance rows of {where} are not those of its checkpoint: rows were "
                "removed, added or set back. Restore the database from a backup taken as a whole."
            )


def _check_format(number: int) -> None:
    if number > RECORD_FORMAT:
        raise ConfigurationError(
            f"the database was written in format {number} by a newer raysume; this one reads up "
            f"to {RECORD_FORMAT}. Start the newer release."
        )
