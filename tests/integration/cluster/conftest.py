"""One engine for all tests of this folder, started when the first of them needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.cluster.collecting import Collector
from tests.integration.cluster.running import Engine, Pipe

from raysume import Client
from samples_letters import Post

EXAMPLES = Path(__file__).parents[3] / "examples"
WORKFLOWS = Path(__file__).with_name("engine_workflows.py")


@pytest.fixture(scope="package")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pipes and ledgers."""
    return tmp_path_factory.mktemp("signals")


@pytest.fixture(scope="package")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which the letters of the samples are."""
    return tmp_path_factory.mktemp("post") / "letters.txt"


@pytest.fixture
def post(letters: Path) -> Post:
    """The letters that the samples sent."""
    return Post(letters)


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """Where the engine sends its spans."""
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture(scope="package")
def engine(
    tmp_path_factory: pytest.TempPathFactory, signals: Path, letters: Path, collector: Collector
) -> Iterator[Engine]:
    """The engine, with the workflows of engine_workflows.py."""
    engine = Engine(
        WORKFLOWS,
        tmp_path_factory.mktemp("engine") / "data",
        ENGINE_SIGNALS=str(signals),
        SAMPLE_LETTERS=str(letters),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        PYTHONPATH=str(EXAMPLES),
    ).start()
    yield engine
    assert engine.stop() == 0


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    """A client of the engine."""
    with engine.client() as client:
        yield client


@pytest.fixture
def pipe(signals: Path) -> Iterator[Callable[[str], Pipe]]:
    """Makes named pipes for the test."""
    made: list[Pipe] = []

    def make(name: str) -> Pipe:
        made.append(Pipe(signals / name))
        return made[-1]

    yield make
    for one in made:
        one.close()
