"""Where the seal's keys come from, and the check that they belong to the database.

Order: the environment (RAYSUME_SEAL_KEY, or RAYSUME_SEAL_KEY_FILE naming a file), else
`seal.key` in the data directory, which is made at the first start. A database that several
machines share (PostgreSQL) takes only a key that was given: a node that made one of its own could
read nothing of the others. Keys are written in hexadecimal, one a line: the current one first,
old ones below it.

To change the key of several nodes without stopping them all: first give the new key to each of
them below the old one, so that all can read it; then put it above the old one; and drop the
old one when no saved state is left that it sealed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from raysume.errors import ConfigurationError
from raysume.storage.ports import Store
from raysume.storage.sealing import KEY_BYTES_MIN, Seal

KEY_VARIABLE: Final = "RAYSUME_SEAL_KEY"
KEY_FILE_VARIABLE: Final = "RAYSUME_SEAL_KEY_FILE"
KEY_FILE_NAME: Final = "seal.key"

_DOCUMENT: Final = ("seal", "fingerprint")


def load_seal(
    store: Store, data_dir: Path, *, environment: Mapping[str, str] | None = None
) -> Seal:
    """The seal of this deployment, checked against the fingerprint in the store.

    The first start on an empty store makes a key when none is given and the store is of this
    machine alone, and records its fingerprint. A store that has a fingerprint never gets a new
    key by itself.

    Args:
        environment: os.environ when None.

    Raises:
        ConfigurationError: the key is missing, cannot be read, or is not the store's.

    Durability: a key that was made is synced to the disk before its fingerprint is recorded.
    """
    environment = os.environ if environment is None else environment
    recorded = store.get_document(*_DOCUMENT)
    seal = _given_seal(None if store.is_shared else data_dir, environment)
    if seal is None and store.is_shared:
        raise _not_given(data_dir, None if recorded is None else recorded.decode())
    if seal is None:
        if recorded is not None:
            raise ConfigurationError(
                f"the seal key is missing: the database was written with the key "
                f"{recorded.decode()}, and neither {KEY_VARIABLE} nor {KEY_FILE_VARIABLE} nor "
                f"{data_dir / KEY_FILE_NAME} gives one. Restore that file or set the variable."
            )
        seal = _make_key_file(data_dir / KEY_FILE_NAME)
    if recorded is None:
        recorded = store.add_document(*_DOCUMENT, seal.fingerprint().encode())
    _check(seal, recorded)
    if recorded != seal.fingerprint().encode():
        store.put_document(*_DOCUMENT, seal.fingerprint().encode())
    return seal


def parse_keys(text: str, *, source: str) -> Seal:
    """The seal of keys written in hexadecimal and separated by white space or commas.

    Args:
        source: how messages name where the text comes from.

    Raises:
        ConfigurationError: there is no key, or one is not hexadecimal or too short.
    """
    words = text.replace(",", " ").split()
    try:
        keys = [bytes.fromhex(word) for word in words]
        if not keys:
            raise ValueError("no key")
    except ValueError as error:
        raise ConfigurationError(
            f"{source} must hold hexadecimal keys of at least {KEY_BYTES_MIN} bytes, one a line, "
            "the current one first. `openssl rand -hex 32` makes one."
        ) from error
    return Seal(keys[0], keys[1:])


def _not_given(data_dir: Path, recorded: str | None) -> ConfigurationError:
    """What to raise when a database of several machines was given no key."""
    remedy = (
        f"give every node the same key in {KEY_VARIABLE}, or in a file that {KEY_FILE_VARIABLE} "
        "names"
    )
    if (data_dir / KEY_FILE_NAME).exists():
        remedy += f" ({KEY_FILE_VARIABLE}={data_dir / KEY_FILE_NAME} would use the one there)"
    if recorded is None:
        return ConfigurationError(
            f"no seal key was given, and one made here would be of no use to other nodes: {remedy}. "
            "`openssl rand -hex 32` makes one. Keep a copy outside the database: without it, saved "
            "state cannot be read."
        )
    return ConfigurationError(
        f"the seal key is missing: the database was written with the key {recorded}; {remedy}. If "
        "it is lost on every node and in every secret and backup, nobody can read the saved state: "
        "start with an empty database. Accepted calls are not sealed and stay readable in this one."
    )


def _given_seal(data_dir: Path | None, environment: Mapping[str, str]) -> Seal | None:
    if environment.get(KEY_VARIABLE):
        return parse_keys(environment[KEY_VARIABLE], source=KEY_VARIABLE)
    named = environment.get(KEY_FILE_VARIABLE)
    if named:
        path = Path(named)
    elif data_dir is not None:
        path = data_dir / KEY_FILE_NAME
    else:
        return None
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError as error:
        if named is None or named == "":
            return None
        raise ConfigurationError(
            f"{KEY_FILE_VARIABLE} names {path}, which does not exist. Put the key there, or "
            "correct the variable."
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the seal key in {path} cannot be read: {error}. Give this user read access, or "
            f"restore the file from a backup."
        ) from error
    return parse_keys(text, source=str(path))


def _make_key_file(path: Path) -> Seal:
    """The file holds a new key, durably; of several processes that try, one makes it.

    The complete file gets its name in one step, so that nobody ever reads half a key.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(KEY_BYTES_MIN) + "\n")
                file.flush()
                os.fsync(file.fileno())
            # When another process was first, its key is the deployment's key.
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return parse_keys(path.read_text(encoding="ascii"), source=str(path))
    except OSError as error:
        raise ConfigurationError(
            f"the seal key cannot be written to {path}: {error}. Make the folder writable, or set "
            f"{KEY_VARIABLE} or {KEY_FILE_VARIABLE}."
        ) from error


def _check(seal: Seal, recorded: bytes | None) -> None:
    if recorded is not None and recorded.decode() not in seal.fingerprints():
        raise ConfigurationError(
            f"the seal key is not the one of this database: it has fingerprint "
            f"{seal.fingerprint()}, and the database was written with {recorded.decode()}. Give "
            f"the right key in {KEY_VARIABLE}, {KEY_FILE_VARIABLE} or {KEY_FILE_NAME}; to change "
            "keys, put the new one above the old one."
        )
