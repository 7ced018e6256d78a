"""The outbox: what was published arrives once and in order, whatever ends or is away."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

import raysume
from raysume import publishing
from raysume.errors import ConfigurationError, Unavailable
from raysume.publishing.claims import claim_for, claim_orphans
from raysume.publishing.outbox import Outbox


@raysume.push_call("publishing.counted")
def count(n: int) -> int:
    return n


PUBLISHER = """
import sys, raysume
from raysume import publishing

@raysume.push_call("publishing.counted")
def count(n: int) -> int:
    return n

start, stop, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for n in range(start, stop):
    count(n)
    print(n, flush=True)
if how == "flush":
    assert publishing.flush(20)
if how == "hang":
    sys.stdin.read()
"""


def environment(url: str, home: Path) -> dict[str, str]:
    return os.environ | {
        "RAYSUME_URL": url,
        "RAYSUME_TOKEN": "secret-token",
        "RAYSUME_SERVICE": "shop",
        "RAYSUME_DATA_DIR": str(home),
    }


def child(url: str, home: Path, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, *map(str, arguments)],
        env=environment(url, home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def configured(engine: Any, home: Path) -> Path:
    raysume.configure(url=engine.url, token=engine.token, service="shop")
    return home


@pytest.mark.usefixtures("configured")
def test_a_published_call_arrives_with_input_and_output(engine: Any) -> None:
    assert count(7) == 7
    assert publishing.flush(20)
    [call] = engine.calls
    assert call["id"]
    assert (call["method"], call["input"], call["output"]) == ("publishing.counted", {"n": 7}, 7)


@pytest.mark.row(61)
@pytest.mark.usefixtures("configured")
def test_calls_arrive_in_order_and_in_batches(served: Any) -> None:
    served.stop()
    for n in range(1_000):
        count(n)
    served.start()
    assert publishing.flush(20)
    assert served.engine.inputs() == [{"n": n} for n in range(1_000)]
    assert len(served.engine.requests) == 2


@pytest.mark.usefixtures("configured")
def test_threads_publish_at_the_same_time(engine: Any) -> None:
    def work(first: int) -> None:
        for n in range(first, first + 100):
            count(n)

    threads = [threading.Thread(target=work, args=(each * 1_000,)) for each in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert publishing.flush(20)
    arrived = [each["n"] for each in engine.inputs()]
    for first in range(0, 5_000, 1_000):
        assert [n for n in arrived if first <= n < first + 1_000] == list(range(first, first + 100))
    assert len(arrived) == 500


@pytest.mark.row(61)
@pytest.mark.usefixtures("configured")
def test_an_outage_holds_calls_back_and_loses_none(served: Any) -> None:
    count(1)
    assert publishing.flush(20)
    served.stop()
    count(2)
    assert not publishing.flush(0.1)
    count(3)
    served.start()
    assert publishing.flush(20)
    assert [each["n"] for each in served.engine.inputs()] == [1, 2, 3]


@pytest.mark.row(61)
@pytest.mark.usefixtures("configured")
def test_a_lost_answer_doubles_nothing(engine: Any) -> None:
    engine.lose_answers = 3
    for n in range(50):
        count(n)
    assert publishing.flush(20)
    assert engine.inputs() == [{"n": n} for n in range(50)]


@pytest.mark.usefixtures("configured")
def test_a_proxys_page_and_a_wrong_token_hold_calls_back(
    engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.failures = [Response("<html>", status_code=404), Response("no", status_code=401)]
    count(1)
    assert publishing.flush(20)
    assert engine.inputs() == [{"n": 1}]
    assert "wait on disk" in caplog.text


@pytest.mark.usefixtures("configured")
def test_a_refused_call_is_put_aside_and_the_others_arrive(
    engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = raysume.push_call("unknown.method")(lambda: None)
    poison = raysume.push_call("poison.method")(lambda: None)
    engine.token, token = "another", engine.token  # nothing is taken meanwhile
    with caplog.at_level(logging.WARNING):
        for n in range(9):
            count(n)
            if n == 3:
                unknown()
            if n == 5:
                poison()
        engine.token = token
        assert publishing.flush(20)
    assert engine.inputs() == [{"n": n} for n in range(9)]
    assert sorted(each.code for each in publishing.refused()) == ["malformed", "unknown-method"]
    assert "unknown.method" in caplog.text


@pytest.mark.usefixtures("home")
def test_without_an_engine_publishing_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigurationError, match=r"publishing.counted.*RAYSUME_PUBLISH=off"):
        count(1)


def test_publishing_can_be_switched_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSUME_PUBLISH", "off")
    assert count(1) == 1
    assert not home.exists()


def test_in_the_engine_calls_go_to_its_sink(home: Path) -> None:
    taken: list[Any] = []
    publishing.set_engine_sink(taken.append)
    try:
        count(1)
    finally:
        publishing.set_engine_sink(None)
    assert [call.method for call in taken] == ["publishing.counted"]
    assert not home.exists()


@pytest.mark.row(61)
def test_a_killed_publisher_loses_nothing_and_its_successor_sends_the_rest(
    served: Any, home: Path
) -> None:
    served.stop()  # nothing can be sent before the kill
    url = served.engine.url
    with child(url, home, 0, 10_000, "hang") as first:
        assert first.stdout is not None
        published = [int(first.stdout.readline()) for _ in range(200)]
        first.send_signal(signal.SIGKILL)
        published += [int(line) for line in first.stdout if line.endswith("\n")]
    served.start()
    with child(url, home, 100_000, 100_010, "flush") as second:
        assert second.wait(30) == 0
    arrived = [each["n"] for each in served.engine.inputs()]
    old = [n for n in arrived if n < 100_000]
    assert old[: len(published)] == published  # one more may have been under way
    assert old == list(range(len(old)))
    assert len(old) - len(published) <= 1
    assert arrived[len(old) :] == list(range(100_000, 100_010))


def test_a_publisher_killed_while_it_sends_doubles_nothing(engine: Any, home: Path) -> None:
    with child(engine.url, home, 0, 10_000, "hang") as first:
        engine.wait_for(150)
        first.send_signal(signal.SIGKILL)
        assert first.stdout is not None
        published = [int(line) for line in first.stdout if line.endswith("\n")]
    with child(engine.url, home, 100_000, 100_001, "flush") as second:
        assert second.wait(30) == 0
    old = [each["n"] for each in engine.inputs() if each["n"] < 100_000]
    assert old == list(range(len(old)))
    assert len(published) <= len(old) <= len(published) + 1


def test_the_outboxes_of_several_dead_processes_are_all_sent(served: Any, home: Path) -> None:
    served.stop()
    url = served.engine.url
    with child(url, home, 0, 20, "hang") as one, child(url, home, 1_000, 1_020, "hang") as two:
        for each in (one, two):
            assert each.stdout is not None
            assert [each.stdout.readline() for _ in range(20)]
        for each in (one, two):
            each.send_signal(signal.SIGKILL)
    served.start()
    with child(url, home, 100_000, 100_001, "hang") as successor:
        served.engine.wait_for(41)
        successor.communicate("")
    arrived = [each["n"] for each in served.engine.inputs()]
    assert sorted(arrived) == [*range(20), *range(1_000, 1_020), 100_000]


def test_an_exiting_publisher_sends_what_is_left(engine: Any, home: Path) -> None:
    with child(engine.url, home, 0, 20, "exit") as publisher:
        assert publisher.wait(30) == 0
    assert engine.inputs() == [{"n": n} for n in range(20)]


def test_processes_have_outboxes_of_their_own(engine: Any, home: Path) -> None:
    with (
        child(engine.url, home, 0, 50, "hang") as one,
        child(engine.url, home, 1_000, 1_050, "hang") as two,
    ):
        engine.wait_for(100)
        files = sorted(path.name for path in (home / "outbox").glob("*.db"))
        one.communicate("")
        two.communicate("")
    assert files == ["shop-1.db", "shop-2.db"]
    arrived = [each["n"] for each in engine.inputs()]
    assert [n for n in arrived if n < 1_000] == list(range(50))
    assert [n for n in arrived if n >= 1_000] == list(range(1_000, 1_050))


FORKING = """
import os, sys, raysume
from raysume import publishing

@raysume.push_call("publishing.counted")
def count(n: int) -> int:
    return n

count(1)
child = os.fork()
if child == 0:
    count(2)
    assert publishing.flush(20)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
count(3)
assert publishing.flush(20)
"""


def test_a_forked_child_publishes_by_itself(engine: Any, home: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", FORKING], env=environment(engine.url, home), check=True, timeout=60
    )
    assert sorted(each["n"] for each in engine.inputs()) == [1, 2, 3]


def test_an_outbox_belongs_to_one_holder_at_a_time(tmp_path: Path) -> None:
    first = claim_for(tmp_path, "shop")
    second = claim_for(tmp_path, "shop")
    other = claim_for(tmp_path, "shop-1")
    for claim in (first, second, other):
        Outbox(claim.path).close()
    assert len({first.path, second.path, other.path}) == 3
    assert not list(claim_orphans(tmp_path, "shop", ()))
    first.release()
    [orphan] = claim_orphans(tmp_path, "shop", ())
    assert orphan.path == first.path
    for claim in (orphan, second, other):
        claim.release()


def test_an_outbox_gives_no_sequence_twice(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.db")
    outbox.append(b"1")
    outbox.append(b"2")
    pending = outbox.head(calls_max=10)
    assert pending is not None
    assert (pending.first, pending.calls) == (1, [b"1", b"2"])
    outbox.accepted(pending)
    outbox.append(b"3")
    outbox.append(b"4")
    outbox.append(b"5")
    outbox.refuse(4, code="invalid-call", reason="no")
    outbox.close()
    again = Outbox(tmp_path / "a.db")
    head = again.head(calls_max=10)
    assert head is not None
    assert (head.publisher, head.first, head.calls) == (pending.publisher, 3, [b"3"])
    again.accepted(head)
    head = again.head(calls_max=10)
    assert head is not None
    assert (head.first, head.calls, again.pending) == (5, [b"5"], 1)
    assert [(each.sequence, each.body) for each in again.refused()] == [(4, b"4")]
    again.accepted(head)
    again.close()
    empty = Outbox(tmp_path / "a.db")
    assert empty.publisher != head.publisher  # a copy of the file is never taken for another
    empty.close()


def test_a_full_outbox_refuses_more(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.db", calls_max=2)
    outbox.append(b"1")
    outbox.append(b"2")
    with pytest.raises(Unavailable, match="come back"):
        outbox.append(b"3")
    outbox.close()


def test_a_damaged_outbox_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match=r"a\.db"):
        Outbox(tmp_path / "a.db")
