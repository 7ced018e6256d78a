"""Where the ingress is, and the token for it: as given, as configured, or as `raysume dev` wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from raysume.configuration import settings
from raysume.errors import ConfigurationError

ENDPOINT_FILE = "endpoint.json"
"""Written by `raysume dev` into its data directory, readable by its user only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An ingress and the right to use it."""

    url: str
    """Without a slash at its end."""
    token: str = field(repr=False)

    @property
    def is_local(self) -> bool:
        """The ingress is on this machine, where no proxy stands between."""
        host = urlsplit(self.url).hostname or ""
        return host == "localhost" or host == "::1" or host.startswith("127.")


class _Written(msgspec.Struct):
    url: str
    token: str


def find_endpoint(
    url: str | None = None, token: str | None = None, *, data_dir: Path | None = None
) -> Endpoint:
    """The endpoint to use. What is given goes before the settings, these before the data directory.

    The token of the data directory is only ever sent to the address that stands beside it.

    Raises:
        ConfigurationError: the address or the token is nowhere, or is not usable.
    """
    configured = settings()
    url = url or configured.url
    token = token or configured.token
    if url is None or token is None:
        written = _written(data_dir or Path(configured.data_dir))
        if written is not None and (url is None or _plain(url) == _plain(written.url)):
            url, token = url or written.url, token or written.token
    if url is None:
        raise ConfigurationError(
            "the engine's address is not known. Start one with `raysume dev FILE` (its data "
            f"directory is looked for at {data_dir or configured.data_dir}), or give it as "
            "RAYSUME_URL, raysume.configure(url=...) or Client(url=...).",
            setting="url",
        )
    if token is None:
        raise ConfigurationError(
            f"there is no token for {url}. Give it as RAYSUME_TOKEN, "
            "raysume.configure(token=...) or Client(token=...).",
            setting="token",
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            "the token has characters that no token has (a line end, perhaps?).", setting="token"
        )
    return Endpoint(url=_checked(url), token=token)


def write_endpoint(endpoint: Endpoint, data_dir: Path) -> Path:
    """Clients of this user on this machine find the endpoint in `data_dir`."""
    import os

    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / ENDPOINT_FILE
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(_Written(url=endpoint.url, token=endpoint.token)))
    fresh.replace(path)
    return path


def _plain(url: str) -> str:
    return url.rstrip("/")


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{url!r} is not the address of an engine: it looks like http://127.0.0.1:8000.",
            setting="url",
        )
    return _plain(url)


def _written(data_dir: Path) -> _Written | None:
    path = data_dir / ENDPOINT_FILE
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}. It belongs to the user who ran "
            "`raysume dev`; give RAYSUME_URL and RAYSUME_TOKEN instead.",
            setting="data_dir",
        ) from error
    try:
        return msgspec.json.decode(text, type=_Written)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            f"{path} is damaged ({error}). Start `raysume dev` again, it writes a new one.",
            setting="data_dir",
        ) from error
