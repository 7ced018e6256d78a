"""Load beside a measurement, in a process of its own: plain calls of `timed` instances.

    python -m scale_tests.steady_load URL TOKEN RATE BATCH FIRST LAST SEED

Batches are sent at moments of equal distance, to random accounts from FIRST to LAST - 1, until
the standard input ends. The first line that it prints says that it has begun; the second, as
JSON, how many calls were accepted and how many refused.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from raysume.serve_apps.development import Development
from scale_tests.pushing import BATCH_PATH, send_on_time
from scale_tests.timing import plain_call


@dataclass(slots=True)
class Pushed:
    """What the load has pushed, known when it has ended."""

    accepted: int = 0
    refused: int = 0


@contextmanager
def steady_load(
    development: Development, *, rate: float, batch: int, accounts: range, seed: int
) -> Generator[Pushed, None, None]:
    """During the block, so many calls a second go to the accounts."""
    words = [
        *(development.url, development.token, rate, batch),
        *(accounts.start, accounts.stop, seed),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "scale_tests.steady_load", *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()
        pushed = Pushed()
        yield pushed
        process.stdin.close()
        told = json.loads(process.stdout.readline())
        pushed.accepted, pushed.refused = told["accepted"], told["refused"]
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Calls have been pushed until the standard input ended."""
    url, token, rate, batch, first, last, seed = sys.argv[1:]
    rng = random.Random(int(seed))
    size, ended = int(batch), threading.Event()

    def body(_number: int, _at_ns: int) -> bytes:
        accounts = (rng.randrange(int(first), int(last)) for _ in range(size))
        return msgspec.json.encode([plain_call(one) for one in accounts])

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    print("begun", flush=True)
    sent = send_on_time(
        url, token, BATCH_PATH, body, rate=float(rate) / size, has_ended=ended.is_set
    )
    print(json.dumps({"accepted": sent.accepted * size, "refused": sent.refused * size}))


if __name__ == "__main__":
    main()
