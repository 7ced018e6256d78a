"""Settings: keyword, environment, file, default, in this order, each with its source."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from raysume import configuration
from raysume.configuration import configure, duration, settings, written
from raysume.errors import ConfigurationError


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is configured, and the current directory is empty."""
    for name in configuration.NAMES:
        monkeypatch.delenv(f"RAYSUME_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    configure(**dict.fromkeys(configuration.NAMES))


def test_defaults_need_nothing() -> None:
    found = settings()
    assert found.data_dir == Path(".raysume")
    assert found.publish is True
    assert found.database_url is None
    assert found.mailbox_window == timedelta(hours=24)
    assert {source.kind for source in found.sources.values()} == {"default"}
    assert set(found.sources) == set(configuration.NAMES)


def test_keywords_go_before_the_environment_and_this_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raysume.toml").write_text('service = "of-file"\nport = 1\nmailbox-window = "2h"\n')
    monkeypatch.setenv("RAYSUME_SERVICE", "of-environment")
    monkeypatch.setenv("RAYSUME_PORT", "2")
    configure(service="of-keyword")
    found = settings()
    assert (found.service, found.port, found.mailbox_window) == (
        "of-keyword",
        2,
        timedelta(hours=2),
    )
    kinds = {name: found.sources[name].kind for name in ("service", "port", "mailbox_window")}
    assert kinds == {"service": "keyword", "port": "environment", "mailbox_window": "file"}
    assert str(found.sources["mailbox_window"]) == str(tmp_path / "raysume.toml")
    configure(service=None)
    assert settings().service == "of-environment"


def test_a_change_of_the_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().url is None
    monkeypatch.setenv("RAYSUME_URL", "http://localhost:8000/")
    assert settings().url == "http://localhost:8000"
    monkeypatch.setenv("RAYSUME_URL", "")
    assert settings().url is None


def test_pyproject_of_a_folder_above_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.raysume]\ndata_dir = "data"\nmemory_budget = "64MB"\n'
    )
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert settings().data_dir == tmp_path / "data"
    assert settings().memory_budget == 64_000_000


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RAYSUME_PORT", "http", "port number"),
        ("RAYSUME_PORT", "70000", "port number"),
        ("RAYSUME_MAILBOX_WINDOW", "tomorrow", "30s, 24h or 30d"),
        ("RAYSUME_MAILBOX_WINDOW", "0s", "30s, 24h or 30d"),
        ("RAYSUME_PUBLISH", "perhaps", "on or off"),
        ("RAYSUME_URL", "localhost:8000", "http://localhost:8000"),
        ("RAYSUME_MEMORY_BUDGET", "-1", "number of bytes"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        settings()
    message = str(caught.value)
    assert variable.removeprefix("RAYSUME_").lower() in message
    assert variable in message
    assert repr(value) in message
    assert expected in message


def test_secrets_are_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(token=12345)
    assert "12345" not in str(caught.value)


def test_settings_that_do_not_exist_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Did you mean service"):
        configure(servise="x")
    (tmp_path / "raysume.toml").write_text("ports = 1\n")
    with pytest.raises(ConfigurationError, match=r"raysume\.toml.*Did you mean port"):
        settings()


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raysume.toml").write_text("port = = 1\n")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        settings()


def test_nothing_is_configured_when_one_value_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        configure(service="x", port="y")
    assert settings().service is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("24h", 86400), ("30d", 2592000), ("1h30m", 5400), ("250ms", 0.25), ("1.5m", 90)],
)
def test_durations_are_written_with_units(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


def test_retentions_have_defaults_and_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    month = timedelta(days=30)
    assert (settings().history_retention, settings().call_retention) == (month, month)
    monkeypatch.setenv("RAYSUME_HISTORY_RETENTION", "90d")
    monkeypatch.setenv("RAYSUME_CALL_RETENTION", "36h")
    found = settings()
    assert found.history_retention == timedelta(days=90)
    assert found.call_retention == timedelta(hours=36)
    assert str(found.sources["call_retention"]) == "RAYSUME_CALL_RETENTION"


def test_what_waits_may_look_back_to_must_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSUME_CALL_RETENTION", "23h59m")
    with pytest.raises(ConfigurationError) as refused:
        settings()
    assert "call_retention is 23h59m (from RAYSUME_CALL_RETENTION)" in refused.value.message
    assert "mailbox_window, 1d (from default)" in refused.value.message
    configure(mailbox_window="2h")
    assert settings().call_retention == timedelta(hours=23, minutes=59)


@pytest.mark.parametrize("text", ["30s", "1h30m", "1d", "2d3h4m5s", "0.5s", "1m"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert written(duration(text)) == text
