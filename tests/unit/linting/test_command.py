"""`raysume lint`: what it prints, its exit codes, and that the samples are clean."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.unit.linting.conftest import Write

from raysume.actors.loading import Target, load_module
from raysume.linting import findings_in, imported
from raysume.serve_apps.cli.root import raysume

EXAMPLES = Path(__file__).parents[3] / "examples"

WARNED = """
print("printed while it is imported")


@workflow
async def flow(limit: int) -> None:
    await wait(paid).match_if(lambda call: call.input.amount > limit)
    await wait(paid).match_any()
"""
ONLY_INFO = WARNED.replace("    await wait(paid).match_if(", "    (")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(raysume, ["lint", *map(str, words)])


def test_a_finding_is_a_line_that_editors_understand_and_its_remedy(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write(WARNED)
    monkeypatch.chdir(written.file.parent)
    result = run(written.file.name)
    assert result.exit_code == 1
    warned, remedy, told, _ = result.stdout.splitlines()
    line = written.line_of("call.input.amount > limit")
    assert warned.startswith(f"{written.file.name}:{line}: warning: flow: the wait for ")
    assert warned.endswith("[wait-without-key]")
    assert remedy.startswith("    Add an equality")
    assert told.startswith(f"{written.file.name}:{line + 1}: info: flow: every call of ")
    assert "printed while it is imported" in result.stderr
    assert result.stderr.splitlines()[-1] == "Found: 1 warning, 1 info."


def test_programs_get_every_field(write: Write) -> None:
    written = write(WARNED)
    result = run(written.file, "-o", "json")
    assert result.exit_code == 1
    first, second = json.loads(result.stdout)
    assert set(first) == {
        *("file", "line", "column", "workflow", "rule", "severity", "message", "remedy"),
    }
    assert (first["file"], first["column"]) == (str(written.file), 11)
    assert (first["severity"], second["severity"]) == ("warning", "info")
    lines = run(written.file, "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [first, second]


def test_information_alone_is_no_failure(write: Write) -> None:
    result = run(write(ONLY_INFO).file)
    assert result.exit_code == 0
    assert "info: flow:" in result.stdout


def test_nothing_found_is_said(write: Write) -> None:
    written = write("@workflow\nasync def flow() -> None:\n    await wait(paid).match_any()")
    result = run(written.file)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "Nothing found.\n"
    assert run(written.file, "-o", "json").stdout == "[]\n"


def test_a_module_is_found_by_its_name(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write(WARNED)
    monkeypatch.chdir(written.file.parent)
    assert run(written.file.stem).exit_code == 1


def test_an_import_that_fails_says_that_it_hides_the_rest(write: Write) -> None:
    result = run(write("raise LookupError('no flag')").file)
    assert result.exit_code == 1
    assert "LookupError: no flag [import-failed]" in result.stdout
    assert "nothing else was looked at" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere.py"], 3, "nowhere.py is not a file"),
        (["nothing_of_this_name"], 3, "neither a file nor a module"),
        ([], 2, "Missing argument"),
        (["a", "b"], 2, "unexpected extra argument"),
        (["a", "-o", "xml"], 2, "xml"),
    ],
)
def test_what_cannot_be_looked_at_has_its_exit_code(words: list[str], code: int, said: str) -> None:
    result = run(*words)
    assert result.exit_code == code
    assert said in result.stderr


def test_a_file_whose_name_is_no_module_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "not-a-module.py"
    file.touch()
    assert run(file).exit_code == 2


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in EXAMPLES.glob("*.py") if "workflow" in path.read_text())
)
def test_nothing_is_found_in_the_examples(name: str) -> None:
    before = set(sys.modules)
    target = Target.of(EXAMPLES / f"{name}.py")
    became = imported(lambda: load_module(target), name=name)
    assert became.module is not None
    assert [*became.findings, *findings_in(became.module)] == []
    assert before <= set(sys.modules)


def test_nothing_is_found_in_what_the_readme_shows(write: Write) -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    shown = readme.split("```python\n", 1)[1].split("```", 1)[0]
    assert "@workflow" in shown
    result = run(write(shown).file)
    assert (result.exit_code, result.stdout) == (0, "")
