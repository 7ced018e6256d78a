"""What keeps a module from being imported or deployed is found, once, with its place."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from tests.unit.linting.conftest import Lint, Write

from raysume import workflow
from raysume.compiler.forewarning import UnmarkedSubflowWarning
from raysume.errors import ConfigurationError
from raysume.linting import imported

UNMARKED = """
async def ask() -> None:
    await wait(paid).match(order=1)


@workflow
async def flow(n: int) -> None:
    await ask()
"""


def test_a_helper_that_waits_is_found_once_though_it_is_warned_of_and_refused(lint: Lint) -> None:
    linted = lint(UNMARKED)
    found = linted.only()
    assert (found.rule, found.severity, found.workflow) == ("unmarked-subflow", "error", "flow")
    assert (found.file, found.line) == (
        str(linted.written.file),
        linted.written.line_of("await ask()"),
    )
    assert found.remedy == "Decorate it with @subflow."
    assert found.message.startswith("flow awaits ask (")
    assert "[unmarked-subflow]" not in found.message
    assert "Decorate" not in found.message


def test_one_of_a_subflow_that_no_workflow_names_is_a_warning(lint: Lint) -> None:
    linted = lint(UNMARKED.replace("@workflow", "@subflow"))
    assert linted.rules == [("unmarked-subflow", "warning")]


def test_every_workflow_that_would_be_refused_is_told_of(lint: Lint) -> None:
    linted = lint("""
        class Bare:
            @workflow
            async def run(self) -> None:
                await wait(paid).match(order=1)

        @workflow
        async def first(n: int) -> None:
            await ask()

        @workflow
        async def second(n: int) -> None:
            with later:
                await ask()

        @subflow
        async def ask() -> None:
            await helper()
            await wait(paid).match(order=1)

        async def helper() -> None:
            await wait(paid).match(order=1)

        later = open
    """)
    assert linted.rules == [
        ("workflow-without-container", "error"),
        ("wait-in-with", "error"),
        ("unmarked-subflow", "error"),
    ]
    assert [one.workflow for one in linted.findings] == ["Bare.run", "second", "first, second"]


@pytest.mark.parametrize("refused", ["", UNMARKED.replace(" flow(", " refused(")])
def test_workflows_of_one_name_are_told_of(lint: Lint, refused: str) -> None:
    linted = lint(f"""{refused}
@workflow
async def flow(n: int) -> None: ...

@workflow(name="flow")
async def other(n: int) -> None: ...
""")
    [found] = [one for one in linted.findings if one.rule != "unmarked-subflow"]
    assert (found.rule, found.severity, found.workflow) == ("duplicate-workflow", "error", None)
    assert found.file == str(linted.written.file)


@pytest.mark.parametrize(
    ("body", "rule", "line"),
    [
        ("@workflow\nasync def flow(n: int):\n    with open('x'):\n        await wait(paid)", "wait-in-with", "await"),
        (("@workflow\nasync def flow(n: int):\n    log: asyncio.Future = None or f()\n"
         "    await wait(paid).match(order=n)\n    print(log)"), "unsavable-local", "log:"),
        ("@workflow(every='never')\nasync def flow(): ...", "bad-schedule", "@workflow"),
        ("@workflow\nasync def flow(n: int):\n    await wait(paid).match(ordr=n)", "import-failed", "ordr"),
        ("import json\njson.loads('{')", "import-failed", "json.loads"),
        ("import nothing_of_this_name", "import-failed", "nothing"),
        ("def broken(:", "import-failed", "broken"),
        ("raise SystemExit(3)", "import-failed", "SystemExit"),
        ("def inner():\n    return 1 / 0\nsubmit.urn.join(\n    inner()\n)", "import-failed", "1 / 0"),
    ],
)  # fmt: skip
def test_what_ends_the_import_is_the_only_finding_at_its_line(
    lint: Lint, body: str, rule: str, line: str
) -> None:
    linted = lint(body)
    assert linted.module is None
    found = linted.only()
    assert (found.rule, found.severity) == (rule, "error")
    assert (found.file, found.line) == (str(linted.written.file), linted.written.line_of(line))
    assert found.remedy or rule == "bad-schedule"


def test_warnings_of_others_are_given_as_ever() -> None:
    def load() -> type[object]:
        warnings.warn("an old function", DeprecationWarning, stacklevel=1)
        warnings.warn(UnmarkedSubflowWarning("made by hand"), stacklevel=1)
        return object

    with pytest.warns(Warning) as given:  # noqa: PT030 - their texts are compared below
        imported(load, name="x")  # type: ignore[arg-type]
    assert {str(one.message) for one in given} == {"an old function", "made by hand"}


def test_a_target_that_is_not_what_was_asked_for_is_no_finding() -> None:
    def load() -> type[object]:
        raise ConfigurationError("two modules have one name")

    with pytest.raises(ConfigurationError):
        imported(load, name="x")  # type: ignore[arg-type]


def test_looking_needs_neither_ray_nor_a_web_framework(write: Write) -> None:
    written = write(UNMARKED)
    code = f"""
import sys
from raysume.serve_apps.cli.root import raysume
try:
    raysume(["lint", {str(written.file)!r}], prog_name="raysume")
except SystemExit as end:
    assert end.code == 1
print(sorted({{"ray", "fastapi", "sqlalchemy", "httpx"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_workflow_is_not_run(lint: Lint) -> None:
    linted = lint("""
        ran = []

        @workflow
        async def flow() -> None:
            ran.append(1)
            await wait(paid).match_any()
    """)
    assert linted.findings == []
    assert linted.module is not None
    assert linted.module.ran == []
    assert workflow is linted.module.workflow
