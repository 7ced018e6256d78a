"""Calls that end the process of their pool, in real processes; and turns that block one."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import structlog
from pydantic import BaseModel
from tests.simulation.ending import child, everything_applied, is_corrected
from tests.simulation.hosting import Hosted

from raysume import external_call, ids, limits, wait, workflow
from raysume.actors.quarantine import Note
from raysume.actors.watchdog import Watchdog
from raysume.storage.sqlite.state import SqliteStore

ROOT = Path(__file__).parents[2]
DEATHS = limits.QUARANTINE_DEATHS + limits.QUARANTINE_TURN_DEATHS


class Told(BaseModel):
    """The input of every method here."""

    key: str
    kills: bool


begun = external_call("quarantine.begun", input=Told, output=None)
gone = external_call("quarantine.gone", input=Told, output=None)

let_go = threading.Event()


def end_if(kills: bool) -> None:
    """The process ends, unless the environment says that the code was corrected."""
    if kills and not is_corrected():
        os._exit(7)


@workflow(name="quarantine.go")
async def go() -> str:
    """Ends the process at its start, or later, when a call says so."""
    first = await wait(begun).match_any()
    end_if(first.input.kills)
    second = await wait(gone).match(key=first.input.key)
    end_if(second.input.kills)
    return f"{first.input.key} went"


@workflow(name="quarantine.block")
async def block() -> str:
    """Holds the event loop up until it is let go."""
    first = await wait(begun).match_any()
    let_go.wait(30)
    return str(first.input.key)


async def host(folder: Path) -> None:
    """What a child process does: it applies everything, and prints how instances stand."""
    async with Hosted(folder, go, begun, gone) as hosted:
        instances = await everything_applied(hosted)
        print(json.dumps({one.id: one.status.value for one in instances}))


def accept(folder: Path, *calls: tuple[Any, str, bool]) -> list[str]:
    """The calls are in the log; their ids."""
    hosted = Hosted(folder, go, begun, gone)
    segment = hosted.accept(*((m, {"key": key, "kills": kills}) for m, key, kills in calls))
    hosted.store.close()
    hosted.log.close()
    return [call.id for call in segment.calls]


def test_an_instance_whose_call_ends_the_process_fails_and_the_others_go_on(tmp_path: Path) -> None:
    made = accept(
        tmp_path,
        (begun, "good", False),
        (begun, "bad", False),
        (begun, "worse", True),
        (gone, "bad", True),
        (gone, "good", False),
    )
    good, bad, worse = (ids.instance_id_of(go.name, call) for call in made[:3])
    codes: list[int] = []
    while (ended := child(__name__, tmp_path)).returncode == 7 and len(codes) < 3 * DEATHS:
        codes.append(7)
    assert ended.returncode == 0, ended.stderr
    stand = json.loads(ended.stdout.splitlines()[-1])
    assert stand == {good: "completed", bad: "failed", worse: "failed"}
    assert len(codes) == DEATHS + limits.QUARANTINE_TURN_DEATHS
    corrected = child(__name__, tmp_path, CORRECTED="1")
    stand = json.loads(corrected.stdout.splitlines()[-1])
    assert stand == {good: "completed", bad: "completed", worse: "waiting"}
    store = SqliteStore(tmp_path / "state.db")
    [(key, body)] = store.documents("quarantine")
    store.close()
    assert key == f"{go.name}@1/0"
    assert msgspec.msgpack.decode(body, type=Note).began == 1


async def test_a_turn_that_blocks_the_event_loop_is_reported_with_its_stack(tmp_path: Path) -> None:
    reported = threading.Event()
    lines: list[dict[str, Any]] = []

    def keep(_logger: Any, _name: str, line: Any) -> Any:
        lines.append(dict(line))
        if line["event"] == "turn_blocks_the_event_loop":
            reported.set()
            let_go.set()
        raise structlog.DropEvent

    async with Hosted(tmp_path, block, begun) as hosted:
        structlog.configure(processors=[keep])
        watchdog = Watchdog(block.name, after_s=0.2)
        try:
            segment = hosted.push(begun, key="slow", kills=False)
            await hosted.applied(segment)
        finally:
            watchdog.stop()
            structlog.reset_defaults()
        assert reported.is_set()
        report = next(one for one in lines if one["event"] == "turn_blocks_the_event_loop")
        assert report["instance"] == ids.instance_id_of(block.name, segment.calls[0].id)
        assert report["workflow"] == block.name
        assert report["seconds"] >= 0.2
        assert "let_go.wait(30)" in report["stack"]
