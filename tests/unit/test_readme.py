"""What the documents say is true: the README's workflow runs, and links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from raysume.testing import TestShell

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "docs" / "adr", ROOT / "k8s")
    for path in folder.glob("*.md")
)


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The README's example, as the file that it says to save."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, _ = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    file = tmp_path / "readme_orders.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("readme_orders", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "readme_orders", module)
    spec.loader.exec_module(module)
    return module


async def test_the_readmes_workflow_approves_and_escalates(orders: ModuleType) -> None:
    async with TestShell(orders.approval) as shell:
        await shell.push(orders.submit, order=7, user="ann", output=True)
        await shell.push(orders.submit, order=8, user="ann", output=True)
        await shell.push(orders.submit, order=9, user="bob", output=False)
        await shell.push(orders.decide, ticket="ticket-7", output=True)
        await shell.advance(timedelta(days=3))
        assert [run.result for run in shell.instances(orders.approval)] == [
            "approved",
            "escalated",
        ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []
