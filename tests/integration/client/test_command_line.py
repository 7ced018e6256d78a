"""The command line against a real HTTP server: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import raysume
from raysume.client.endpoint import Endpoint, write_endpoint
from raysume.serve_apps.cli.root import raysume as command

Run = Callable[..., Result]


@pytest.fixture
def run(engine: Any, home: Path) -> Run:
    write_endpoint(Endpoint(url=engine.url, token=engine.token), home)

    def run(*arguments: str, code: int = 0, input: str | None = None) -> Result:
        result = CliRunner().invoke(command, arguments, input=input)
        assert result.exit_code == code, result.output
        return result

    return run


def test_a_call_is_pushed_from_argument_file_and_standard_input(
    run: Run, engine: Any, tmp_path: Path
) -> None:
    (tmp_path / "call.json").write_text('{"n": 2}')
    first = run("call", "push", "orders.paid", '{"n": 1}', "--output", "true", "--id", "mine")
    assert first.stdout == "mine\n"
    run("call", "push", "orders.paid", f"@{tmp_path}/call.json", "-H", "a=b", "--header", "c=d=e")
    pushed = run("call", "push", "orders.paid", "-", "-o", "json", input='{"n": 3}')
    assert json.loads(pushed.stdout) == {"id": engine.calls[2]["id"]}
    assert engine.inputs() == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert engine.calls[0]["output"] is True
    assert engine.calls[1]["headers"] == {"a": "b", "c": "d=e"}
    assert "output" not in engine.calls[1]


def test_exit_codes_say_what_happened(run: Run, engine: Any) -> None:
    assert "there is no method" in run("call", "push", "unknown", "{}", code=1).stderr
    run("call", "push", "m", "{}", "--url", engine.url, "--token", "wrong", code=1)
    assert "not JSON" in run("call", "push", "m", "{", code=2).stderr
    run("call", "push", "m", "[1]", code=2)
    run("call", "push", "m", '{"n": NaN}', code=2)
    run("call", "push", "m", "@nowhere.json", code=2)
    run("call", "push", "m", code=2)
    run("call", "list", "--since", "yesterday", code=2)
    assert "no instance" in run("instance", "show", "nobody", code=3).stderr
    run("workflow", "start", "nowhere", code=3)
    run("call", "push", "m", "{}", "--id", "x")
    run("call", "push", "m", '{"n": 1}', "--id", "x", code=4)
    run("workflow", "start", "by_calls", code=4)


def test_what_is_not_configured_is_named(home: Path) -> None:
    result = CliRunner().invoke(command, ["call", "list", "--data-dir", str(home)])
    assert result.exit_code == 2
    assert "raysume dev" in result.stderr


def test_calls_are_listed_as_far_as_asked(run: Run) -> None:
    for n in range(5):
        run("call", "push", "orders.paid" if n else "other", json.dumps({"n": n}))
    table = run("call", "list", "--limit", "2")
    assert table.stdout.splitlines()[0].split() == [
        "id", "method", "service", "at", "input", "output",
    ]  # fmt: skip
    assert len(table.stdout.splitlines()) == 3
    cursor = table.stderr.split("--after ")[1].strip()
    rest = run("call", "list", "--after", cursor, "-o", "jsonl", "--since", "-15m")
    assert [json.loads(line)["input"] for line in rest.stdout.splitlines()] == [
        {"n": 2},
        {"n": 3},
        {"n": 4},
    ]
    paid = json.loads(run("-o", "json", "call", "list", "--method", "orders.paid").stdout)
    assert len(paid) == 4


def test_a_workflow_is_started_listed_shown_and_awaited(run: Run, engine: Any) -> None:
    [row] = json.loads(run("workflow", "list", "-o", "json").stdout)
    assert row["started_by"] == "clients"
    started = run("workflow", "start", "fulfil", '{"order": 7, "id": 1}', "--id", "a", "-o", "json")
    facts = {"id": "a", "workflow": "fulfil", "version": "abc123", "status": "waiting"}
    assert json.loads(started.stdout) == facts
    assert engine.instances["a"]["input"] == {"order": 7, "id": 1}
    listed = run("instance", "list", "--status", "waiting", "--tag", "number=0")
    assert listed.stdout.splitlines()[1].split()[:4] == ["a", "fulfil", "abc123", "waiting"]
    assert run("instance", "list", "--tag", "number=1").stderr == "No instances.\n"
    shown = run("instance", "show", "a").stdout
    assert "orders.paid" in shown
    assert "error" not in shown
    [frame] = json.loads(run("instance", "state", "a", "-o", "json").stdout)
    assert frame["locals"] == {"x": 1}
    run("workflow", "start", "fulfil", "{}", "--id", "a", "--wait", "0", code=5)
    engine.results["a"] = {"status": "completed", "result": {"done": True}}
    done = run("workflow", "start", "fulfil", "{}", "--id", "a", "--wait", "5", "-o", "json")
    assert json.loads(done.stdout)["result"] == {"done": True}
    engine.results["a"] = {"status": "failed", "error": {"type": "ValueError", "message": "no"}}
    run("workflow", "start", "fulfil", "{}", "--id", "a", "--wait", "5", code=1)


def test_doctor_names_the_source_of_each_setting(
    run: Run, home: Path, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSUME_SERVICE", "shop")
    raysume.configure(mailbox_window="3h")
    try:
        rows = json.loads(run("doctor", "-o", "json").stdout)
    finally:
        raysume.configure(mailbox_window=None)
    found = {row["setting"]: (row["value"], row["source"]) for row in rows}
    assert found["service"] == ("shop", "RAYSUME_SERVICE")
    assert found["data_dir"] == (str(home), "RAYSUME_DATA_DIR")
    assert found["mailbox_window"] == ("3h", "raysume.configure(mailbox_window=...)")
    assert found["call_retention"] == ("30d", "default")
    assert found["port"] == ("8000", "default")
    assert found["token"] == (None, "default")
    given = json.loads(run("doctor", "--token", served.engine.token, "-o", "json").stdout)
    assert {"setting": "token", "value": "(hidden)", "source": "--token"} in given
    served.stop()
    assert "does not serve us" in run("doctor", code=5).stderr


def test_the_installed_command_pushes_a_call(engine: Any, home: Path) -> None:
    write_endpoint(Endpoint(url=engine.url, token=engine.token), home)
    script = Path(sys.executable).with_name("raysume")
    pushed = subprocess.run(
        [script, "call", "push", "orders.paid", '{"n": 1}', "--data-dir", home],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert engine.calls[0]["id"] == pushed.stdout.strip()
    nobody = subprocess.run(
        [script, "instance", "show", "nobody", "--data-dir", home], timeout=60, check=False
    )
    assert nobody.returncode == 3


def test_help_loads_nothing_that_it_does_not_need() -> None:
    code = """
import sys
from raysume.serve_apps.cli.root import raysume
from raysume.serve_apps import cli
try:
    raysume(["--help"], prog_name="raysume")
except SystemExit as end:
    assert end.code == 0
heavy = {"ray", "httpx", "rich", "pydantic", "fastapi", "starlette", "sqlalchemy", "sqlite3"}
heavy |= {"asyncio", "structlog", "msgspec", "numpy"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Exit codes: 0 ok, 1 failed, 2 usage" in done.stdout
    for name in ("dev", "lint", "call", "instance", "workflow", "doctor"):
        assert name in done.stdout
    assert done.stderr == "[]\n"
