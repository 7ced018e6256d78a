"""Settings: what a program says, else its environment, else its configuration file, else defaults.

The file is `raysume.toml`, or `[tool.raysume]` of `pyproject.toml`, in the current directory
or the nearest one above it that has one.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from raysume import limits
from raysume.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a setting's value comes from."""

    kind: str
    """"keyword", "environment", "file" or "default"."""
    detail: str
    """What to look at, e.g. `RAYSUME_URL` or the file's path."""

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting with its value."""

    database_url: str | None = None
    """None: SQLite in the data directory."""
    data_dir: Path = Path(".raysume")
    """Where one machine keeps its data."""
    url: str | None = None
    """The ingress."""
    token: str | None = None
    """The bearer token for the ingress."""
    service: str | None = None
    """The name under which this program publishes; None: the top package of the method."""
    port: int = 8000
    """Where the ingress listens."""
    ingress_replicas: int = 1
    """Processes that accept calls. Each has a partition of its own in the call log."""
    publish: bool = True
    """False (`RAYSUME_PUBLISH=off`): calls go nowhere when there is no engine."""
    seal_key: str | None = None
    """Keys that seal saved state, the current one first."""
    seal_key_file: Path | None = None
    """A file that holds them."""
    mailbox_window: timedelta = limits.MAILBOX_WINDOW
    """How far back a wait looks for calls that came before it."""
    history_retention: timedelta = limits.HISTORY_RETENTION
    """How long a completed or cancelled instance is kept after its end. Then it is gone, and its
    id is free: starting it again makes a new instance. At least `mailbox_window`."""
    call_retention: timedelta = limits.CALL_RETENTION
    """How long a call is kept, and longer while a pool has not applied it. At least
    `mailbox_window`: within it, waits look for earlier calls."""
    memory_budget: int = limits.MEMORY_BUDGET
    """Bytes of the records of waiting instances that a process of a pool keeps in memory. The others
    are read from the store when a call meets them."""
    checkpoint_interval: timedelta = timedelta(seconds=limits.CHECKPOINT_INTERVAL_S)
    """The longest time between two checkpoints."""
    pool_members: int = 1
    """Actors of a new version's pool, from 1 to 16. More are safe for workflows whose first method
    is awaited only first, and that have no exclusive waits. `raysume workflow scale` changes it."""
    payload_limit: int = limits.CALL_BODY_BYTES_MAX
    """Bytes of one call."""
    sources: Mapping[str, Source] = field(
        default_factory=lambda: MappingProxyType[str, Source]({}), compare=False, repr=False
    )
    """Setting -> where its value comes from."""


_SECRET = ("token", "seal_key")
NAMES = tuple(f.name for f in dataclasses.fields(Settings) if f.name != "sources")
"""All settings."""

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_YES, _NO = ("on", "true", "yes", "1"), ("off", "false", "no", "0")

_keywords: dict[str, Any] = {}
_known: tuple[object, Settings] | None = None


def configure(**values: Any) -> None:
    """The given settings have these values, before environment and file; None takes one back.

    Raises:
        ConfigurationError: there is no such setting, or it cannot have this value.
    """
    global _known
    checked: dict[str, Any] = {}
    for name, value in values.items():
        _check_name(name, f"raysume.configure({name}=...)")
        source = Source(kind="keyword", detail=f"raysume.configure({name}=...)")
        checked[name] = None if value is None else _converted(name, value, source)
    for name, value in checked.items():
        if value is None:
            _keywords.pop(name, None)
        else:
            _keywords[name] = value
    _known = None
    _files.clear()


def settings() -> Settings:
    """The settings now: changes of the environment and of the configuration file are seen.

    A file that appears where there was none is seen after the next `configure`.

    Raises:
        ConfigurationError: a value cannot be used; names setting, source, value and expected form.
    """
    global _known
    state = _outside()
    if _known is None or _known[0] != state:
        _known = (state, _collected(state[1]))
    return _known[1]


_VARIABLES = {name: f"RAYSUME_{name.upper()}" for name in NAMES}


# Every published call asks for its service, so looking costs 2 us: the dictionary beneath
# os.environ is asked where there is one. os.environ itself takes 12 us for these names.
_ENVIRONMENT: Any = getattr(os.environ, "_data", os.environ)
_RAW_VARIABLES: list[Any] = [
    name if _ENVIRONMENT is os.environ else getattr(os.environ, "encodekey", str)(name)
    for name in _VARIABLES.values()
]


def _outside() -> tuple[tuple[Any, ...], tuple[str, int] | None]:
    """Everything that settings depend on besides keywords: cheap enough to look at every time."""
    return tuple(map(_ENVIRONMENT.get, _RAW_VARIABLES)), _file(os.getcwd())


def _file(folder: str) -> tuple[str, int] | None:
    """The configuration file that counts in a folder, with its time of change."""
    found = _files.get(folder)
    if found is None:
        found = _files[folder] = _nearest(Path(folder)) or ""
    if not found:
        return None
    try:
        return found, os.stat(found).st_mtime_ns
    except OSError:
        del _files[folder]
        return None


_files: dict[str, str] = {}
"""folder -> its configuration file, or "" when there is none."""


def _nearest(folder: Path) -> str | None:
    for place in (folder, *folder.parents):
        own = place / "raysume.toml"
        if own.is_file():
            return str(own)
        project = place / "pyproject.toml"
        if project.is_file() and "raysume" in _toml(project).get("tool", {}):
            return str(project)
    return None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if path.name == "pyproject.toml":
            return {}  # somebody else's file: its own tools report it
        raise ConfigurationError(
            f"{path} cannot be read: {error}. Correct it, or remove it to use the defaults."
        ) from error


def _written(file: str) -> dict[str, Any]:
    content = _toml(Path(file))
    if not file.endswith("raysume.toml"):
        content = content.get("tool", {}).get("raysume", {})
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        _check_name(name, file)
        found[name] = value
    return found


def _check_name(name: str, where: str) -> None:
    if name in NAMES:
        return
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigurationError(
        f"there is no setting {name!r} ({where}).{hint} The settings are: {', '.join(NAMES)}.",
        setting=name,
    )


def duration(value: Any) -> timedelta:
    """A duration written as `30s`, `24h` or `30d` (`1h30m` too), or given as timedelta or seconds.

    Raises:
        ValueError: it is not one, or not above zero.
    """
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = timedelta(seconds=value)
    else:
        text = str(value).strip().lower()
        if not re.fullmatch(r"(\d+(\.\d+)?(us|ms|s|m|h|d|w))+", text):
            raise ValueError(value)
        pieces = re.findall(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)", text)
        found = timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in pieces))
    if found <= timedelta(0):
        raise ValueError(value)
    return found


def written(value: timedelta) -> str:
    """The duration as it is written in a configuration file, such as `30d` or `1h30m`."""
    left, text = value.total_seconds(), ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        count, left = divmod(left, size)
        text += f"{count:.0f}{unit}" if count else ""
    return f"{text}{left:g}s" if left or not text else text


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip().lower())
        if parts is None or parts[2] not in _SIZES:
            raise ValueError(value)
        found = int(float(parts[1]) * _SIZES[parts[2]])
    if found <= 0:
        raise ValueError(value)
    return found


def _flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in _YES + _NO:
        raise ValueError(value)
    return text in _YES


def _port(value: Any) -> int:
    found = int(value)
    if not 0 <= found <= 65535 or isinstance(value, bool | float):
        raise ValueError(value)
    return found


def _number(most: int, value: Any) -> int:
    found = int(value)
    if not 1 <= found <= most or isinstance(value, bool | float):
        raise ValueError(value)
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(value)
    return value.strip()


def _url(value: Any) -> str:
    text = _text(value)
    if not re.match(r"https?://[^/\s]+", text):
        raise ValueError(value)
    return text.rstrip("/")


def _path(value: Any) -> Path:
    return Path(_text(os.fspath(value))).expanduser()


_PARSERS: dict[str, Any] = {
    "text": _text,
    "url": _url,
    "path": _path,
    "port": _port,
    "count": partial(_number, limits.INGRESS_REPLICAS_MAX),
    "flag": _flag,
    "duration": duration,
    "size": _size,
    "members": partial(_number, limits.SHARDS),
}
_EXPECTED = {
    "text": "a text that is not empty",
    "url": "an address such as http://localhost:8000",
    "path": "the path of a file or folder",
    "port": "a port number from 0 to 65535",
    "count": f"a number from 1 to {limits.INGRESS_REPLICAS_MAX}",
    "flag": "on or off",
    "duration": "a duration above zero such as 30s, 24h or 30d",
    "size": "a number of bytes such as 1000000 or 64MB",
    "members": f"a number from 1 to {limits.SHARDS}",
}
_FORMS = {
    "database_url": "text",
    "data_dir": "path",
    "url": "url",
    "token": "text",
    "service": "text",
    "port": "port",
    "ingress_replicas": "count",
    "publish": "flag",
    "seal_key": "text",
    "seal_key_file": "path",
    "mailbox_window": "duration",
    "history_retention": "duration",
    "call_retention": "duration",
    "memory_budget": "size",
    "checkpoint_interval": "duration",
    "pool_members": "members",
    "payload_limit": "size",
}


def _collected(found: tuple[str, int] | None) -> Settings:
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    written = _written(found[0]) if found is not None else {}
    for name in NAMES:
        variable = _VARIABLES[name]
        if name in _keywords:
            values[name] = _keywords[name]
            sources[name] = Source(kind="keyword", detail=f"raysume.configure({name}=...)")
        elif os.environ.get(variable):
            sources[name] = Source(kind="environment", detail=variable)
            values[name] = _converted(name, os.environ[variable], sources[name])
        elif name in written and found is not None:
            sources[name] = Source(kind="file", detail=found[0])
            values[name] = _converted(name, written[name], sources[name])
            if isinstance(values[name], Path):  # paths in a file are relative to it
                values[name] = Path(found[0]).parent / values[name]
        else:
            sources[name] = Source(kind="default", detail="default")
    found_settings = Settings(**values, sources=MappingProxyType(sources))
    _check_retention(found_settings)
    return found_settings


def _check_retention(found: Settings) -> None:
    """What waits may still look back to is kept."""
    for name in ("history_retention", "call_retention"):
        kept: timedelta = getattr(found, name)
        if kept < found.mailbox_window:
            raise ConfigurationError(
                f"the setting {name} is {written(kept)} (from {found.sources[name]}), which is shorter "
                f"than mailbox_window, {written(found.mailbox_window)} (from "
                f"{found.sources['mailbox_window']}): "
                f"waits look back that far. Make {name} longer, or mailbox_window shorter.",
                setting=name,
                source=str(found.sources[name]),
            )


def _converted(name: str, value: Any, source: Source) -> Any:
    form = _FORMS[name]
    try:
        return _PARSERS[form](value)
    except (ValueError, TypeError):
        shown = "(hidden)" if name in _SECRET else repr(value)
        raise ConfigurationError(
            f"the setting {name} has the value {shown} from {source}, which is not "
            f"{_EXPECTED[form]}.",
            setting=name,
            source=str(source),
        ) from None
