"""Where the seal key comes from, and that it belongs to the store."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
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
    local_store: Store, tmp_path: Path
) -> None:
    data_dir = tmp_path / "new" / "data"
    made = load_seal(local_store, data_dir, environment={})
    assert stat.S_IMODE((data_dir / "seal.key").stat().st_mode) == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["seal.key"]
    again = load_seal(local_store, data_dir, environment={})
    assert again.fingerprint() == made.fingerprint()
    assert again.open(b"c", made.seal(b"c", b"body")) == b"body"
    assert local_store.get_document("seal", "fingerprint") == made.fingerprint().encode()


def test_two_stores_get_different_keys(local_store: Store, tmp_path: Path) -> None:
    from raysume.storage.memory.state import MemoryStore

    first = load_seal(local_store, tmp_path / "a", environment={})
    second = load_seal(MemoryStore(), tmp_path / "b", environment={})
    assert first.fingerprint() != second.fingerprint()


def test_starts_at_the_same_time_agree_on_one_key(local_store: Store, tmp_path: Path) -> None:
    seals: list[Seal] = []
    threads = [
        threading.Thread(
            target=lambda: seals.append(load_seal(local_store, tmp_path / "data", environment={}))
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


def test_a_lost_key_is_reported_and_never_made_again(local_store: Store, tmp_path: Path) -> None:
    load_seal(local_store, tmp_path, environment={})
    (tmp_path / "seal.key").unlink()
    with pytest.raises(ConfigurationError, match=r"Restore that file"):
        load_seal(local_store, tmp_path, environment={})
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
    local_store: Store, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "seal.key").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"seal\.key"):
        load_seal(local_store, tmp_path, environment={})
    assert (tmp_path / "seal.key").read_bytes() == content
    assert local_store.get_document("seal", "fingerprint") is None


def test_a_store_of_several_machines_takes_only_a_key_that_was_given(
    shared_store: Store, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_seal(shared_store, tmp_path, environment={})
    for remedy in (
        "RAYSUME_SEAL_KEY",
        "RAYSUME_SEAL_KEY_FILE",
        "openssl rand -hex 32",
        "every node",
    ):
        assert remedy in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert shared_store.get_document("seal", "fingerprint") is None


def test_a_key_that_only_this_machine_has_is_not_taken_but_named(
    shared_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "seal.key").write_text(OLD)
    with pytest.raises(ConfigurationError) as refused:
        load_seal(shared_store, tmp_path, environment={})
    assert f"RAYSUME_SEAL_KEY_FILE={tmp_path / 'seal.key'}" in str(refused.value)
    environment = {"RAYSUME_SEAL_KEY_FILE": str(tmp_path / "seal.key")}
    seal = load_seal(shared_store, tmp_path, environment=environment)
    assert seal.fingerprint() == fingerprint(OLD)


def test_a_key_that_a_node_does_not_get_any_more_is_explained(
    shared_store: Store, tmp_path: Path
) -> None:
    load_seal(shared_store, tmp_path, environment={"RAYSUME_SEAL_KEY": OLD})
    with pytest.raises(ConfigurationError) as refused:
        load_seal(shared_store, tmp_path, environment={})
    assert fingerprint(OLD) in str(refused.value)
    assert "nobody can read the saved state" in str(refused.value)


def test_of_nodes_with_different_keys_that_start_together_one_is_refused(
    open_store: Callable[[], Store], tmp_path: Path
) -> None:
    stores = [open_store() for _ in range(4)]
    keys = [f"{number:02x}" * 32 for number in range(4)]
    together = threading.Barrier(4)
    accepted: list[str] = []
    refused: list[str] = []

    def start(store: Store, key: str) -> None:
        together.wait()
        try:
            load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": key})
            accepted.append(key)
        except ConfigurationError:
            refused.append(key)

    threads = [threading.Thread(target=start, args=pair) for pair in zip(stores, keys, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(accepted), len(refused)) == (1, 3)


def test_nodes_change_to_a_new_key_one_after_the_other(
    open_store: Callable[[], Store], tmp_path: Path
) -> None:
    """First all can read the new key, then they seal with it; each step restarts one node."""
    left, right = open_store(), open_store()

    def started(store: Store, keys: str) -> Seal:
        return load_seal(store, tmp_path, environment={"RAYSUME_SEAL_KEY": keys})

    former = started(left, OLD).seal(b"c", b"before")
    started(right, OLD)
    for store in (left, right):
        assert started(store, f"{OLD}\n{NEW}").fingerprint() == fingerprint(OLD)
    new = started(left, f"{NEW}\n{OLD}")
    assert started(right, f"{OLD}\n{NEW}").open(b"c", new.seal(b"c", b"after")) == b"after"
    last = started(right, f"{NEW}\n{OLD}")
    assert last.open(b"c", former) == b"before"
    assert last.fingerprint() == new.fingerprint()
