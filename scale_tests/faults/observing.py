"""Reads what happened, after the load: instances over HTTP, calls from the log's own tables."""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import structlog

from raysume.storage.segments import decode_calls
from scale_tests.faults.checker import LoggedCall, Observed, SeenInstance, StepLine

PAGE_ROWS: Final = 1_000
PATIENCE_S: Final = 120.0
"""The engine is settled when nothing has moved for so long, or nothing is left to do."""
ANSWER_S: Final = 60.0
_SEGMENTS: Final = "SELECT body FROM segment ORDER BY pos"
_log = structlog.get_logger("faults")


class Observer:
    """Looks at the engine from outside."""

    def __init__(self, url: str, token: str, data_dir: Path, database_url: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=ANSWER_S,
            trust_env=False,
        )
        self._data_dir, self._database_url = data_dir, database_url

    def observe(self, ledger: Path) -> tuple[Observed, list[float]]:
        """All that happened, and when instances completed (seconds since the epoch)."""
        rows = list(self._rows())
        instances = [
            SeenInstance(
                id=row["id"],
                workflow=row["workflow"],
                status=row["status"],
                result=row["result"],
                error=row["error"],
            )
            for row in rows
        ]
        ended = [
            datetime.fromisoformat(row["updated_at"]).timestamp()
            for row in rows
            if row["status"] == "completed"
        ]
        seen = Observed(calls=list(self._calls()), instances=instances, lines=list(_lines(ledger)))
        return seen, ended

    def settle(self) -> None:
        """Nothing is unfinished any more, or nothing has moved for a long time."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < PATIENCE_S:
            left = self._unfinished()
            if left == 0:
                return
            if left != seen:
                _log.info("settling", unfinished=left)
                seen, since = left, time.monotonic()
            time.sleep(2.0)

    def _unfinished(self) -> int:
        """How many instances have not ended; of many, a page is counted."""
        found = 0
        for status in ("running", "waiting", "failed"):
            found += len(self._get("/v1/instances", status=status, limit=PAGE_ROWS)["items"])
        return found

    def _rows(self) -> Iterator[dict[str, Any]]:
        query: dict[str, Any] = {"limit": PAGE_ROWS}
        while True:
            page = self._get("/v1/instances", **query)
            yield from page["items"]
            if page["next"] is None:
                return
            query["after"] = page["next"]

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                answer = self._http.get(path, params=query)
                if answer.is_success:
                    found: dict[str, Any] = msgspec.json.decode(answer.content)
                    return found
            if time.monotonic() > deadline:
                raise SystemExit(f"the engine does not answer {path} any more")
            time.sleep(0.5)

    def _calls(self) -> Iterator[LoggedCall]:
        for body in self._bodies():
            for call in decode_calls(body):
                told = msgspec.json.decode(call.input)
                yield LoggedCall(
                    id=call.id,
                    method=call.method.removeprefix("faults."),
                    key=told["key"],
                    n=told.get("n", 0),
                    at_us=call.at_us,
                    first=told.get("first", ""),
                )

    def _bodies(self) -> Iterator[bytes]:
        """The bodies of all segments, as they are in the database."""
        if self._database_url:
            from raysume.storage.postgres.migrating import schema_of

            psycopg: Any = importlib.import_module("psycopg")
            with psycopg.connect(self._database_url) as server:
                server.execute(f"SET search_path = {schema_of('calls')}")
                yield from (bytes(body) for (body,) in server.execute(_SEGMENTS))
            return
        path = self._data_dir / "calls.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
            yield from (body for (body,) in file.execute(_SEGMENTS))


def _lines(ledger: Path) -> Iterator[StepLine]:
    """What steps left. A line that was cut off by a kill was of an attempt that did not end."""
    for path in sorted(ledger.glob("*.txt")):
        for line in path.read_text(encoding="ascii").split("\n")[:-1]:
            key, what, step_key, attempt = line.split(" ")
            yield StepLine(key=key, what=what, step_key=step_key, attempt=attempt)
