"""What makes a new version, and what does not."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.versions.programs import APPROVAL, RULES, digests

from raysume.compiler.source import nested_codes
from raysume.versions.canonical import digest_of, tokens
from raysume.versions.digests import Digests
from raysume.versions.reach import Reach

PROGRAM: Final = {"approvals": APPROVAL, "rules": RULES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def unchanged(folder: Path) -> Digests:
    """The digests of the program as it is."""
    return digests(folder, PROGRAM)


def edited(module: str, old: str, new: str) -> dict[str, str]:
    """The program with one edit."""
    assert PROGRAM[module].count(old) == 1, old
    return PROGRAM | {module: PROGRAM[module].replace(old, new)}


# --- what does not count -----------------------------------------------------------

LINE_ENDS: Final = ("", "  # a note", "   ")


@st.composite
def rewritten(draw: st.DrawFn, text: str) -> str:
    """The same program, written down in another way."""
    if draw(st.booleans()):
        text = ast.unparse(ast.parse(text))  # other quotes, brackets and line breaks, no comments
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith(" ") and not line.startswith((")", "]")):
            lines += [""] * draw(st.integers(0, 3))
            if draw(st.booleans()):
                lines.append("# something about it")
        lines.append(line + (draw(st.sampled_from(LINE_ENDS)) if '"""' not in line else ""))
    return "\n".join(lines) + "\n"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_comments_formatting_and_lines_do_not_count(
    folder: Path, unchanged: Digests, data: st.DataObject
) -> None:
    changed = {name: data.draw(rewritten(text)) for name, text in PROGRAM.items()}
    assert digests(folder, changed) == unchanged


def test_the_names_of_files_do_not_count(folder: Path, unchanged: Digests) -> None:
    moved = {"elsewhere": APPROVAL.replace("from rules", "from house.rules"), "house.rules": RULES}
    assert digests(folder, moved, main="elsewhere") == unchanged


SAME: Final = {
    "what nobody reaches": ("rules", "return OTHER", "return OTHER + 1"),
    "a constant that nobody reaches": ("rules", "OTHER = 7", "OTHER = 8"),
    "a function that nobody calls": ("approvals", "    return 1", "    return 2"),
    "a docstring": ("approvals", "How it is said.", "In words."),
    "the notation of a number": ("approvals", "GRACE = 3", "GRACE = 0x3"),
    "the notation of a text": ("approvals", '"no"', "'n' 'o'"),
    "brackets": ("approvals", "tries < GRACE", "(tries) < (GRACE)"),
    "an import that nobody uses": ("approvals", "import limit_of, LIMIT", "import limit_of"),
}


@pytest.mark.parametrize("edit", SAME.values(), ids=SAME)
def test_these_edits_make_no_new_version(
    folder: Path, unchanged: Digests, edit: tuple[str, str, str]
) -> None:
    assert digests(folder, edited(*edit)) == unchanged


# --- what counts -----------------------------------------------------------------

NEW_LOGIC: Final = {
    "a constant": ("approvals", "GRACE = 3", "GRACE = 4"),
    "a constant of another file": ("rules", "LIMIT = 100", "LIMIT = 101"),
    "a constant's type": ("rules", "LIMIT = 100", "LIMIT = 100.0"),
    "a helper": ("approvals", '"no"', '"never"'),
    "a helper's default": ("approvals", 'mark="!"', 'mark="."'),
    "a helper of a helper": ("rules", "return floor(value)", "return floor(value + 1)"),
    "a default in another file": ("rules", "extra: int = 0", "extra: int = 1"),
    "what a library's name is": ("rules", "import floor", "import ceil as floor"),
    "a method's default": ("approvals", "ok: bool = True", "ok: bool = False"),
}

NEW_SHAPE: Final = {
    "a variable's name": ("approvals", "tries = 0", "tries = trials = 0"),
    "a constant of the workflow": ("approvals", "tries += 1", "tries += 2"),
    "a callee": ("approvals", "return worded(True)", "return str(True)"),
    "the order of waits": ("approvals", ".match_any()", ".match_any().timeout(60)"),
    "a subflow": ("approvals", "return call.input.ok", "return not call.input.ok"),
}


@pytest.mark.parametrize("edit", NEW_LOGIC.values(), ids=NEW_LOGIC)
def test_these_edits_make_a_new_version_of_the_same_shape(
    folder: Path, unchanged: Digests, edit: tuple[str, str, str]
) -> None:
    after = digests(folder, edited(*edit))
    assert (after.logic != unchanged.logic, after.shape == unchanged.shape) == (True, True)


@pytest.mark.parametrize("edit", NEW_SHAPE.values(), ids=NEW_SHAPE)
def test_these_edits_make_another_shape(
    folder: Path, unchanged: Digests, edit: tuple[str, str, str]
) -> None:
    after = digests(folder, edited(*edit))
    assert (after.logic != unchanged.logic, after.shape != unchanged.shape) == (True, True)


def test_two_helpers_that_exchange_their_names_count(folder: Path) -> None:
    text = APPROVAL.replace("import limit_of, LIMIT", "import {} as limit_of, {} as other")
    text = text.replace("return worded(False)", "return worded(other('x'))")
    straight = text.replace("{}", "limit_of", 1).replace("{}", "rounded", 1)
    crossed = text.replace("{}", "rounded", 1).replace("{}", "limit_of", 1)
    assert digests(folder, PROGRAM | {"approvals": straight}) != digests(
        folder, PROGRAM | {"approvals": crossed}
    )


def test_a_module_that_looks_names_up_counts_as_a_whole(folder: Path) -> None:
    dynamic = RULES.replace("rounded(LIMIT)", 'globals()["LIMIT"]')
    before = digests(folder, PROGRAM | {"rules": dynamic})
    changed = dynamic.replace("OTHER = 7", "OTHER = 8")
    assert digests(folder, PROGRAM | {"rules": changed}) != before


MODULES: Final[dict[str, Callable[[str], str]]] = {
    "an attribute of a module": lambda text: text.replace(
        "from rules import limit_of, LIMIT", "import rules"
    ).replace("limit_of(", "rules.limit_of("),
    "a star": lambda text: text.replace("import limit_of, LIMIT", "import *"),
    "an import that stands in a try": lambda text: text.replace(
        "from rules import limit_of, LIMIT",
        "try:\n    from rules import limit_of\nexcept ImportError:\n    limit_of = len",
    ),
}


@pytest.mark.parametrize("write", MODULES.values(), ids=MODULES)
def test_however_a_name_is_imported_what_it_reaches_counts(
    folder: Path, write: Callable[[str], str]
) -> None:
    program = PROGRAM | {"approvals": write(APPROVAL)}
    before = digests(folder, program)
    reached = RULES.replace("LIMIT = 100", "LIMIT = 101")
    unreached = RULES.replace("OTHER = 7", "OTHER = 8")
    assert digests(folder, program | {"rules": reached}) != before
    assert digests(folder, program | {"rules": unreached}) == before


def test_what_is_added_to_a_list_of_the_module_counts(folder: Path) -> None:
    program = PROGRAM | {"approvals": APPROVAL.replace("return worded(False)", "return NAMES[-1]")}
    more = program["approvals"].replace(
        'NAMES = ["ann"]\n', 'NAMES = ["ann"]\nNAMES.append("bo")\n'
    )
    assert digests(folder, program) != digests(folder, program | {"approvals": more})


CONTAINER = '''
from raysume import Container, push_call, wait, workflow


class Base:
    """Shared."""

    def price(self) -> int:
        return 1


@push_call("shop.ordered")
def ordered(id: str) -> None: ...


class Order(Container, Base):
    count: int = 0

    @workflow
    async def run(self) -> int:
        call = await wait(ordered).match_any()
        return self.price()
'''


def test_fields_and_bases_of_a_class_count(folder: Path) -> None:
    def of(text: str) -> object:
        return digests(folder, {"shop": text}, main="shop", name="Order.run")

    before = of(CONTAINER)
    assert of(CONTAINER.replace("Shared.", "Of all.")) == before
    assert of(CONTAINER.replace("return 1", "return 2")) != before
    assert of(CONTAINER.replace("count: int = 0", "count: int = 1")) != before


FACTORY = """
from raysume import push_call, wait, workflow


@push_call("shop.called")
def called(id: str) -> None: ...


def first():
    return 1


def second():
    return 2


def made(helper, named):
    @workflow(name=named)
    async def flow() -> int:
        await wait(called).match_any()
        return helper()

    @workflow(name=named + "-again")
    async def itself(left: int) -> int:
        await wait(called).match(id=str(left))
        return await itself(left - 1)

    return flow, itself


one, again = made(first, "one")
"""


@pytest.mark.parametrize("name", ["one", "again"])
def test_a_workflow_inside_of_a_function_reaches_what_its_closure_holds(
    folder: Path, name: str
) -> None:
    def of(text: str) -> Digests:
        return digests(folder, {"shop": text}, main="shop", name=name)

    before = of(FACTORY)
    assert (of(FACTORY.replace("return 1", "return 3")) != before) == (name == "one")
    assert of(FACTORY.replace("return 2", "return 3")) == before
    assert of(FACTORY.replace("return helper()", "return 7")) != before


# --- names that are hard to follow ---------------------------------------------------

LATE: Final = APPROVAL.replace("from rules import limit_of, LIMIT\n", "").replace(
    "    tries = 0\n", "    from rules import limit_of\n\n    tries = 0\n"
)


def test_what_a_function_imports_counts_whether_it_was_imported_yet_or_not(folder: Path) -> None:
    late = digests(folder, PROGRAM | {"approvals": LATE})
    changed = RULES.replace("LIMIT = 100", "LIMIT = 101")
    unreached = RULES.replace("OTHER = 7", "OTHER = 8")
    assert digests(folder, {"approvals": LATE, "rules": changed}) != late
    assert digests(folder, {"approvals": LATE, "rules": unreached}) == late
    assert digests(folder, {"approvals": "import rules\n" + LATE, "rules": RULES}) == late


def test_a_function_may_import_a_module_of_a_package_that_was_not_imported(folder: Path) -> None:
    program = {
        "approvals": LATE.replace(
            "from rules", "from house.law import rules\n    from house.law.rules"
        ),
        "house.__init__": "raise RuntimeError('it was imported')",
        "house.law.rules": RULES,
    }
    before = digests(folder, program)
    changed = program | {"house.law.rules": RULES.replace("LIMIT = 100", "LIMIT = 101")}
    assert digests(folder, changed) != before


def test_what_a_module_knows_of_itself_does_not_count(folder: Path) -> None:
    text = APPROVAL.replace('return ("yes"', 'return __name__ + __file__ + ("yes"')
    moved = {"elsewhere": text, "rules": RULES}
    assert digests(folder, moved, main="elsewhere") == digests(
        folder, {"approvals": text, "rules": RULES}
    )


def test_what_a_global_became_at_run_time_does_not_count(folder: Path) -> None:
    def of(value: int) -> Digests:
        text = APPROVAL.replace('("yes"', 'str(seen) + ("yes"')
        begun = f"\n\ndef begin():\n    global seen\n    seen = {value}\n\n\nbegin()\n"
        return digests(folder, PROGRAM | {"approvals": text + begun})

    assert of(1) == of(2)


def test_a_comprehension_may_take_its_first_values_from_the_name_that_it_binds(
    folder: Path,
) -> None:
    text = APPROVAL.replace('NAMES = ["ann"]', 'NAME = ["ann"]').replace(
        'return ("yes"', 'return str([NAME for NAME in NAME]) + ("yes"'
    )
    before = digests(folder, PROGRAM | {"approvals": text})
    changed = text.replace('["ann"]', '["bo"]')
    assert digests(folder, PROGRAM | {"approvals": changed}) != before


def test_what_has_no_source_is_told_by_its_code_the_same_in_every_process() -> None:
    def of(value: int) -> list[bytes]:
        text = f"def f(a): return (lambda: {value} if a in {{'a', 'b'}} else (1, 2))()"
        code = next(nested_codes(compile(text, "<nowhere>", "exec")))
        reach = Reach()
        reach.add(FunctionType(code, {}), None)
        return list(reach.digest())

    assert of(1) == of(1) != of(2)
    assert b" at 0x" not in b"".join(of(1))


# --- the canonical form ------------------------------------------------------------

SAME_FORM: Final = (
    ("x = f'{a}b' 'c'", "x = f'{a}bc'"),
    ("x = f'{a}' ''", "x = f'{a}'"),
    ("x = 1_000", "x = 1000"),
    ("x = 1e3", "x = 1000.0"),
    ("x = u'a'", "x = 'a'"),
    ("if a:\n    b\nelif c:\n    d", "if a:\n    b\nelse:\n    if c:\n        d"),
    ("def f():\n    'says'\n    return 1", "def f():\n    return 1"),
    ("x = (1, 2)", "x = 1, 2"),
)
OTHER_FORM: Final = (
    ("x = 1", "x = True"),
    ("x = 1", "x = 1.0"),
    ("x = '1'", "x = b'1'"),
    ("x = 0.0", "x = -0.0"),
    ("f(a, b)", "f(b, a)"),
    ("f(a=1)", "f(b=1)"),
    ("{**a, 1: 2}", "{1: 2, **a}"),
    ("x: int = 1", "x = 1"),
    ("a < b", "a <= b"),
    ("[a for a in b if c]", "[a for a in b]"),
    ("async def f(): pass", "def f(): pass"),
    ("f'{a!r}'", "f'{a}'"),
    ("x = ['a', 'b']", "x = ['ab']"),
    ("x = '\\ud800'", "x = '\\ud801'"),
)


@pytest.mark.parametrize(("one", "other"), SAME_FORM)
def test_one_meaning_has_one_form(one: str, other: str) -> None:
    assert list(tokens(ast.parse(one))) == list(tokens(ast.parse(other)))


@pytest.mark.parametrize(("one", "other"), OTHER_FORM)
def test_another_meaning_has_another_form(one: str, other: str) -> None:
    assert digest_of(ast.parse(one)) != digest_of(ast.parse(other))


def test_an_expression_may_nest_deeper_than_calls_may() -> None:
    node: ast.expr = ast.Name("x", ast.Load())
    for _ in range(5_000):
        node = ast.UnaryOp(ast.Not(), node)
    assert digest_of(node) != digest_of(ast.Name("x", ast.Load()))


def test_the_form_is_the_one_that_releases_before_made() -> None:
    """A digest that changes with raysume or Python would make new versions of what runs."""
    text = "def f(a, *, b: int = 3):\n    return [g(a + b) for a in f'{b:>3} x' if not a]\n"
    assert digest_of(ast.parse(text)).hex() == "bcf56588be6ef10bcc31244d42de1249"
