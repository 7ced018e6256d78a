"""The seal on saved state: nothing is unpickled that this deployment did not write.

A seal is a MAC over the bytes and over what they belong to (their context: instance,
turn, version). Whoever can write the database but has no key can neither make state
nor move it to another place.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from raysume.errors import ConfigurationError, SealBroken

KEY_BYTES_MIN: Final = 32
"""A shorter key could be guessed."""

KEY_BYTES_MAX: Final = 64
"""BLAKE2b takes no longer key."""

_MAC_BYTES: Final = 32
_DIGEST_BYTES: Final = 16
_HEAD_BYTES: Final = 1 + _MAC_BYTES


class _Key:
    """One key: keyed hash states, made once and copied for each use."""

    __slots__ = ("digest_state", "fingerprint", "id", "mac_state")

    def __init__(self, key: bytes) -> None:
        if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
            raise ConfigurationError(
                f"a seal key has {len(key)} bytes; it must have {KEY_BYTES_MIN} to {KEY_BYTES_MAX}. "
                "`openssl rand -hex 32` makes one."
            )
        # Different "person" strings keep the three uses of one key apart.
        self.mac_state = hashlib.blake2b(key=key, digest_size=_MAC_BYTES, person=b"raysume.seal")
        self.digest_state = hashlib.blake2b(
            key=key, digest_size=_DIGEST_BYTES, person=b"raysume.digest"
        )
        fingerprint = hashlib.blake2b(key=key, digest_size=16, person=b"raysume.name")
        self.fingerprint = fingerprint.hexdigest()
        self.id = fingerprint.digest()[:1]

    def mac(self, context: bytes, body: bytes) -> bytes:
        state = self.mac_state.copy()
        # With its length in front, no context can be taken for another one plus some body.
        state.update(len(context).to_bytes(8, "big"))
        state.update(context)
        state.update(body)
        return state.digest()


class Seal:
    """Seals bytes with the current key; opens what the current or an old key sealed.

    Args:
        key: the current key, 32 to 64 bytes.
        old_keys: keys used before, which only open.

    Raises:
        ConfigurationError: a key has the wrong length.
    """

    __slots__ = ("_keys",)

    def __init__(self, key: bytes, old_keys: Sequence[bytes] = ()) -> None:
        self._keys = tuple(_Key(one) for one in (key, *old_keys))

    def seal(self, context: bytes, body: bytes) -> bytes:
        """`body` with a seal in front that binds it to `context`."""
        key = self._keys[0]
        return key.id + key.mac(context, body) + body

    def open(self, context: bytes, sealed: bytes) -> bytes:
        """The body that was sealed for this context.

        Raises:
            SealBroken: the bytes were changed, belong to another context, or were sealed with
                a key that is not among the keys. Retrying cannot help.
        """
        self._key_of(context, sealed)
        return sealed[_HEAD_BYTES:]

    def digest(self, context: bytes) -> int:
        """A keyed 128-bit hash, to be added up modulo 2**128 into the digest of a set of rows."""
        state = self._keys[0].digest_state.copy()
        state.update(context)
        return int.from_bytes(state.digest(), "big")

    def fingerprint(self) -> str:
        """Names the current key without revealing it: 32 hexadecimal digits."""
        return self._keys[0].fingerprint

    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints of all keys, the current one first."""
        return tuple(key.fingerprint for key in self._keys)

    def under(self, context: bytes, sealed: bytes) -> Seal:
        """This seal with the key that sealed `sealed` as its current one.

        After a change of keys, a digest kept in a sealed header is compared with one made
        with that header's key.

        Raises:
            SealBroken: no key sealed it for this context.
        """
        first = self._key_of(context, sealed)
        made = Seal.__new__(Seal)
        made._keys = (first, *(key for key in self._keys if key is not first))
        return made

    def _key_of(self, context: bytes, sealed: bytes) -> _Key:
        mac, body = sealed[1:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        for key in self._keys:
            if key.id == sealed[:1] and hmac.compare_digest(key.mac(context, body), mac):
                return key
        raise SealBroken(
            "saved state does not carry the seal of this deployment's key. If the key was changed, "
            "add the former one below it in RAYSUME_SEAL_KEY or the key file; otherwise the "
            "database was altered: restore it from a backup."
        )
