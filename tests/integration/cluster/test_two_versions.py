"""Two versions of one workflow share its calls in a real engine."""

from __future__ import annotations

from pathlib import Path

from tests.integration.cluster.running import Engine, begin

SOURCE = """
from pydantic import BaseModel

from raysume import external_call, wait, workflow


class Item(BaseModel):
    key: str
    n: int = 0


added = external_call("small.added", input=Item, output=bool)
claimed = external_call("small.claimed", input=Item, output=bool)


@workflow
async def pair() -> str:
    first = await wait(added).match_any()
    second = await wait(added).match(key=first.input.key)
    third = await wait(claimed).match_any().exclusive()
    return f"LABEL {first.input.n + second.input.n + third.input.n}"
"""


def test_a_call_that_an_older_version_waits_for_starts_nothing_in_the_new_one(
    tmp_path: Path,
) -> None:
    source = tmp_path / "small.py"
    source.write_text(SOURCE.replace("LABEL", "old"), encoding="utf-8")
    engine = Engine(source, tmp_path / "data").start()
    try:
        with engine.client() as client:

            def push(method: str, key: str, n: int) -> None:
                client.push(f"small.{method}", input={"key": key, "n": n}, output=True)

            older = begin(client, "pair", "small.added", "a", n=1)
            source.write_text(SOURCE.replace("LABEL", "new"), encoding="utf-8")
            assert older.version not in engine.line("deployed")
            push("added", "a", 10)
            newer = begin(client, "pair", "small.added", "b", n=2)
            assert newer.version != older.version
            push("added", "b", 20)
            push("claimed", "x", 100)
            push("claimed", "y", 200)
            results = {older.result(timeout=60), newer.result(timeout=60)}
            assert results == {"old 111", "new 222"}
            assert {run.id for run in client.instances("pair")} == {older.id, newer.id}
        assert engine.stop() == 0
    finally:
        if engine.process is not None and engine.process.poll() is None:
            engine.kill_everything()
