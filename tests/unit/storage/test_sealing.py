"""The seal: what it lets through and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysume.errors import ConfigurationError, SealBroken
from raysume.storage.seal_key import parse_keys
from raysume.storage.sealing import Seal

OLD, NEW = b"o" * 32, b"n" * 32


@given(st.binary(), st.binary())
def test_sealed_bytes_open_in_their_context(context: bytes, body: bytes) -> None:
    seal = Seal(NEW)
    assert seal.open(context, seal.seal(context, body)) == body


@given(context=st.binary(), body=st.binary(), data=st.data())
def test_a_changed_bit_breaks_the_seal(context: bytes, body: bytes, data: st.DataObject) -> None:
    seal = Seal(NEW)
    sealed = bytearray(seal.seal(context, body))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        seal.open(context, bytes(sealed))


@given(context=st.binary(), body=st.binary(), moved=st.integers(1, 8))
def test_bytes_can_not_move_between_context_and_body(
    context: bytes, body: bytes, moved: int
) -> None:
    seal = Seal(NEW)
    sealed = seal.seal(context, body)
    head = len(sealed) - len(body)
    with pytest.raises(SealBroken):
        seal.open(context + body[:moved], sealed[:head] + body[moved:] + b"x")
    if len(body) >= moved:
        with pytest.raises(SealBroken):
            seal.open(context + body[:moved], sealed[:head] + body[moved:])


def test_another_context_breaks_the_seal() -> None:
    seal = Seal(NEW)
    with pytest.raises(SealBroken):
        seal.open(b"instance 2", seal.seal(b"instance 1", b"state"))


@pytest.mark.parametrize("sealed", [b"", b"x", b"x" * 32, b"x" * 33, b"x" * 100])
def test_bytes_that_were_never_sealed_are_refused(sealed: bytes) -> None:
    with pytest.raises(SealBroken, match="RAYSUME_SEAL_KEY"):
        Seal(NEW).open(b"", sealed)


def test_an_old_key_opens_and_the_current_one_seals() -> None:
    before, after = Seal(OLD), Seal(NEW, [OLD])
    assert after.open(b"c", before.seal(b"c", b"body")) == b"body"
    with pytest.raises(SealBroken):
        before.open(b"c", after.seal(b"c", b"body"))
    with pytest.raises(SealBroken):
        Seal(NEW).open(b"c", before.seal(b"c", b"body"))


def test_digests_depend_on_the_key_and_can_be_made_with_the_one_of_a_header() -> None:
    before, after = Seal(OLD), Seal(NEW, [OLD])
    header = before.seal(b"shard 1", b"header")
    assert before.digest(b"row") != after.digest(b"row")
    assert after.under(b"shard 1", header).digest(b"row") == before.digest(b"row")
    assert after.under(b"shard 1", after.seal(b"shard 1", b"h")).digest(b"row") == after.digest(
        b"row"
    )
    with pytest.raises(SealBroken):
        after.under(b"shard 2", header)


def test_digests_have_128_bits_and_differ_by_row() -> None:
    digests = {Seal(NEW).digest(str(row).encode()) for row in range(1_000)}
    assert len(digests) == 1_000
    assert max(digests) < 1 << 128
    assert max(digests).bit_length() > 120


def test_a_fingerprint_names_the_key_without_holding_it() -> None:
    assert Seal(NEW).fingerprint() == Seal(NEW, [OLD]).fingerprint()
    assert Seal(NEW).fingerprint() != Seal(OLD).fingerprint()
    assert Seal(NEW, [OLD]).fingerprints() == (Seal(NEW).fingerprint(), Seal(OLD).fingerprint())
    assert NEW.hex() not in Seal(NEW).fingerprint()


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 31, b"x" * 65])
def test_a_key_of_the_wrong_length_is_refused(key: bytes) -> None:
    with pytest.raises(ConfigurationError, match="openssl rand"):
        Seal(key)
    with pytest.raises(ConfigurationError):
        Seal(NEW, [key])


@pytest.mark.parametrize("separator", ["\n", "\r\n", " ", ",", "\n\n"])
def test_keys_are_read_one_after_the_other(separator: str) -> None:
    seal = parse_keys(f"{NEW.hex()}{separator}{OLD.hex()}\n", source="X")
    assert seal.fingerprints() == Seal(NEW, [OLD]).fingerprints()


@pytest.mark.parametrize("text", ["", " \n", "not hex", "abc", NEW.hex()[:-2], NEW.hex() + "zz"])
def test_text_that_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_keys(text, source="X")
    assert "openssl rand" in str(refused.value)
    assert len(text) < 10 or text not in str(refused.value)
