"""Where the seal key comes from, and that it belongs to the store."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from raysume.errors import ConfigurationError
from raysume.storage.ports import Store
from raysume.storage.seal_key import load_seal
from raysume.storage.sealing import Seal

OLD, NEW = "0b" * 32, "0a" * 32


def fingerprint(key: str) -> str:
    return Seal(bytes.fromhex(key)).fingerprint()


def test_the_first_start_makes_a_key_that_only_its_user_can_read(
    store: Store, tmp_path: Path
) -> None:
    data_dir = tmp_path / "new" / "data"
    made = load_seal(store, data_dir, environment={})
    assert stat.S_IMODE((data_dir / "seal.key").stat().st_mode) == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["seal.key"]
    again = load_seal(store, data_dir, environment={})
    assert again.fingerprint() == made.fingerprint()
    assert again.open(b"c", made.seal(b"c", b"body")) == b"body"
    assert store.get_document("seal", "fingerprint") == made.fingerprint().encode()


def test_two_stores_get_different_keys(store: Store, tmp_path: Path) -> None:
    from raysume.storage.memory.state import MemoryStore

    first = load_seal(store, tmp_path / "a", environment={})
    second = load_seal(MemoryStore(), tmp_path / "b", environment={})
    assert first.fingerprint() != second.fingerprint()


def test_starts_at_the_same_time_agree_on_one_key(store: Store, tmp_path: Path) -> None:
    seals: list[Seal] = []
    threads = [
        threading.Thread(
            target=lambda: seals.append(load_seal(store, tmp_path / "data", environment={}))
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seals) == 6
    assert len({seal.fingerprint() for seal in seals}) == 1


def test_a_key_of_the_environment_comes_before_the_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "seal.key").write_text(OLD)
    seal = load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": NEW})
    assert seal.fingerprint() == fingerprint(NEW)


def test_a_key_file_can_be_named(store: Store, tmp_path: Path) -> None:
    named = tmp_path / "secret"
    named.write_text(f"{NEW}\n{OLD}\n")
    environment = {"RAYSUME_SEAL_KEY_FILE": str(named)}
    seal = load_seal(store, tmp_path / "data", environment=environment)
    assert seal.fingerprints() == (fingerprint(NEW), fingerprint(OLD))
    assert not (tmp_path / "data").exists()
    named.unlink()
    with pytest.raises(ConfigurationError, match="RAYSUME_SEAL_KEY_FILE"):
        load_seal(store, tmp_path / "data", environment=environment)


def test_another_key_than_the_one_of_the_store_is_refused(store: Store, tmp_path: Path) -> None:
    load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": OLD})
    with pytest.raises(ConfigurationError) as refused:
        load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": NEW})
    assert fingerprint(OLD) in str(refused.value)
    assert fingerprint(NEW) in str(refused.value)
    assert OLD not in str(refused.value)
    assert NEW not in str(refused.value)


def test_a_lost_key_is_reported_and_never_made_again(store: Store, tmp_path: Path) -> None:
    load_seal(store, tmp_path, environment={})
    (tmp_path / "seal.key").unlink()
    with pytest.raises(ConfigurationError, match=r"Restore that file"):
        load_seal(store, tmp_path, environment={})
    assert not (tmp_path / "seal.key").exists()


def test_a_key_is_changed_by_putting_a_new_one_above_it(store: Store, tmp_path: Path) -> None:
    before = load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": OLD})
    both = load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": f"{NEW}\n{OLD}"})
    assert both.fingerprint() == fingerprint(NEW)
    assert both.open(b"c", before.seal(b"c", b"body")) == b"body"
    load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": NEW})
    with pytest.raises(ConfigurationError):
        load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": OLD})


@pytest.mark.parametrize("content", [b"", b"not a key", b"\xff\xfe"])
def test_a_spoilt_key_file_is_refused_and_left_alone(
    store: Store, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "seal.key").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"seal\.key"):
        load_seal(store, tmp_path, environment={})
    assert (tmp_path / "seal.key").read_bytes() == content
    assert store.get_document("seal", "fingerprint") is None
