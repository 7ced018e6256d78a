"""An engine is changed, stopped, killed, damaged, and started again on its data directory."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from tests.integration.cluster.running import Engine, begin

from raysume import Client
from raysume.ids import instance_id_of

SOURCE = """
from datetime import timedelta

from pydantic import BaseModel

from raysume import external_call, sleep, wait, workflow


class Item(BaseModel):
    key: str
    n: int = 0


opened = external_call("small.opened", input=Item, output=bool)
closed = external_call("small.closed", input=Item, output=bool)
nap_asked = external_call("small.nap_asked", input=Item, output=bool)


@workflow
async def pair() -> str:
    first = await wait(opened).match_any()
    second = await wait(closed).match(key=first.input.key)
    return f"LABEL {first.input.n + second.input.n}"


@workflow
async def nap() -> str:
    call = await wait(nap_asked).match_any()
    await sleep(timedelta(seconds=call.input.n))
    return f"{call.input.key} woke"
"""

Make = Callable[[], Engine]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes engines of the test's own, on one data directory; none outlives the test."""
    source = tmp_path / "small.py"
    source.write_text(SOURCE.replace("LABEL", "old"), encoding="utf-8")
    made: list[Engine] = []

    def engine() -> Engine:
        made.append(Engine(source, tmp_path / "data"))
        return made[-1]

    yield engine
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill_everything()


class Openings:
    """Pairs are opened all the time, until the end of the block."""

    def __init__(self, client: Client) -> None:
        self._client, self._ending = client, threading.Event()
        self._thread = threading.Thread(target=self._push)
        self.pushed: list[str] = []

    def _calls(self) -> Iterator[dict[str, Any]]:
        while not self._ending.wait(0.002):
            self.pushed.append(f"stream-{len(self.pushed)}")
            item = {"key": self.pushed[-1]}
            yield {"method": "small.opened", "input": item, "output": True, "id": self.pushed[-1]}

    def _push(self) -> None:
        self._client.push_many(self._calls())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()


def test_a_changed_file_is_a_new_version_and_each_call_starts_an_instance_of_one_of_them(
    make: Make, tmp_path: Path
) -> None:
    engine, source = make().start(), tmp_path / "small.py"
    with engine.client() as client:
        older = begin(client, "pair", "small.opened", "a", n=1)
        source.write_text("this is not Python", encoding="utf-8")
        assert "was not deployed" in engine.line("small.py")
        with Openings(client) as openings:
            source.write_text(SOURCE.replace("LABEL", "new"), encoding="utf-8")
            assert older.version not in engine.line("deployed")
            newer = begin(client, "pair", "small.opened", "b", n=2)
            source.write_text(SOURCE.replace("LABEL", "old"), encoding="utf-8")
            assert older.version in engine.line("deployed")
            third = begin(client, "pair", "small.opened", "c", n=3)
        assert newer.version != older.version == third.version
        for key in "abc":
            client.push("small.closed", input={"key": key, "n": 10}, output=True)
        assert older.result(timeout=60) == "old 11"
        assert newer.result(timeout=60) == "new 12"
        assert third.result(timeout=60) == "old 13"
        expected = sorted(instance_id_of("pair", id) for id in openings.pushed)
        begun = list(client.instances("pair", status="waiting"))
        assert sorted(run.id for run in begun) == expected
        assert {run.version for run in begun} == {older.version, newer.version}
        [facts] = [one for one in client.workflows() if one.name == "pair"]
        assert facts.version == older.version
        assert set(facts.versions) == {older.version, newer.version}
    assert engine.process is not None
    second = make().refuses_to_start()
    assert f"process {engine.process.pid}" in second
    assert "another data directory" in second
    processes = psutil.Process(engine.process.pid).children(recursive=True)
    assert engine.stop() == 0
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []
    assert not (engine.data_dir / "endpoint.json").exists()


def test_everything_goes_on_after_all_was_killed_and_refuses_what_was_tampered_with(
    make: Make,
) -> None:
    engine = make().start()
    with engine.client() as client:
        run = begin(client, "pair", "small.opened", "killed", n=1)
        sleeper = begin(client, "nap", "small.nap_asked", "sleeper", n=2)
        client.push("small.closed", input={"key": "killed", "n": 5}, output=True, id="the last")
    engine.kill_everything()

    engine = make().start()
    with engine.client() as client:
        assert client.instance(run.id).result(timeout=60) == "old 6"
        assert client.instance(sleeper.id).result(timeout=60) == "sleeper woke"
        left = begin(client, "pair", "small.opened", "left", n=1)
        assert left.status() == "waiting"
    assert engine.stop() == 0

    key = engine.data_dir / "seal.key"
    kept = key.rename(key.with_name("elsewhere"))
    refusal = make().refuses_to_start()
    assert "the seal key is missing" in refusal
    assert "Restore that file or set the variable" in refusal
    assert "Traceback" not in refusal
    kept.rename(key)

    tamper(engine.data_dir / "state.db", left.id)
    engine = make().start()
    assert engine.process is not None
    assert "pair@" in engine.text
    assert "seal" in engine.text
    with engine.client() as client:
        assert {one.name for one in client.workflows()} == {"nap"}
        other = begin(client, "nap", "small.nap_asked", "undisturbed", n=1)
        assert other.result(timeout=60) == "undisturbed woke"
    assert engine.stop() == 0


def tamper(database: Path, instance_id: str) -> None:
    """One bit of the instance's saved state is another."""
    connection = sqlite3.connect(database)
    [body] = connection.execute("SELECT body FROM instance WHERE id = ?", (instance_id,)).fetchone()
    changed = bytes([*body[:-1], body[-1] ^ 1])
    connection.execute("UPDATE instance SET body = ? WHERE id = ?", (changed, instance_id))
    connection.commit()
    connection.close()
