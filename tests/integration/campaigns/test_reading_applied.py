"""A campaign file with a fault, read by a process and by a bank: nobody hangs and nothing is applied."""

from __future__ import annotations

import subprocess
import sys

import pytest

from campaigns.document.reading import DocumentError
from campaigns.publishing import versions
from customers.banks import apply
from deploy.processes import ROOT
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.support.banks import open_bank
from tests.support.documents import WELCOME


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "kind: &k [*k, *k]"])
def test_a_document_that_holds_itself_is_refused_and_does_not_hang(text: str) -> None:
    """In a process of its own: what hangs here would hang the console's event loop."""
    program = (
        "import sys; from campaigns.document.reading import DocumentError, read\n"
        "try: read(sys.argv[1], 'f')\n"
        "except DocumentError as error: print('refused', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import resource; resource.setrlimit(resource.RLIMIT_CPU, (4, 4))\n" + program, text],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("refused"), done.stderr[-300:]


async def test_a_document_with_a_fault_changes_nothing(services: Services) -> None:
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), "tenant.yaml")
    with pytest.raises(DocumentError):
        await versions.apply(await open_bank(services, "demo"), WELCOME + "- {id: a, exit: 5}\n", "f.yaml", "cli")
    db = services.store.tenant("demo")
    for name in ("campaigns", "campaign_versions", "channels", "rewards", "transfers"):
        assert await db[name].count({}) == 0, name
