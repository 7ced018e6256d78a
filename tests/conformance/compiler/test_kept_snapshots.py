"""State that earlier releases saved is loaded and goes on where it was."""

from __future__ import annotations

import json

import pytest
from tests.snapshots.keep import HERE, finish, programs, releases

from raysume.compiler import compile_workflow, frames_of, loads, thaw

KEPT = [
    (release, file) for release in releases() for file in sorted((HERE / release).glob("*.bin"))
]


@pytest.mark.parametrize(
    ("release", "file"), KEPT, ids=[f"{release}/{file.name}" for release, file in KEPT]
)
def test_state_of_a_release_is_loaded_and_goes_on_where_it_was(release: str, file: object) -> None:
    path = HERE / release / str(getattr(file, "name", file))
    module = programs(release)
    name, number = path.stem.rsplit(".", 1)
    definition, _ = module.definition_of(name)
    frozen = loads(path.read_bytes())
    assert frames_of(frozen)[0].definition == definition.name
    coroutine = thaw(frozen)
    assert coroutine.send(None) is frozen.leaf
    expected = json.loads((HERE / release / "expected.json").read_text())
    answers = module.PROGRAMS[name][2][int(number) :]
    assert finish(coroutine, answers) == expected[path.name]


def test_state_of_every_program_and_release_is_kept() -> None:
    assert releases()
    for release in releases():
        expected = json.loads((HERE / release / "expected.json").read_text())
        names = {name for kept, file in KEPT if kept == release for name in [file.name]}
        assert names == set(expected)
        assert {name.rsplit(".", 2)[0] for name in names} == set(programs(release).PROGRAMS)


def test_the_kept_programs_are_compiled_as_they_were() -> None:
    module = programs("0.1.0")
    points = compile_workflow(module.loops, name="loops").points
    assert [(point.index, sorted(point.live)) for point in points] == [
        (1, ["found", "index", "limit", "name"])
    ]
