"""`manage.py segment …`: segments from a file, as a list, and why a customer is in one or not."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer
from rich.console import Console

from customers.banks.bank import open_bank
from deploy.terminal import File, TenantOption, only_tenant, print_table, read, run
from services.container import Services
from services.texts import Language, sentence

segment_app = typer.Typer(no_args_is_help=True)
out = Console(highlight=False, markup=False)
Segment = Annotated[str, typer.Argument(help="a segment's id")]
Customer = Annotated[str, typer.Argument(help="a customer's id, phone or number at the bank")]
English = Annotated[bool, typer.Option("--en", help="in English")]


@segment_app.command("apply")
def segment_apply(file: File, tenant: TenantOption = "") -> None:
    """Create or change segments; in production another clerk agrees."""
    from customers.segments import document, versions
    from operations import profiling

    text = read(file)

    async def apply(services: Services) -> list[str]:
        wanted, parsed = document.read_file(text, str(file))
        bank = await open_bank(services, await only_tenant(services, tenant))
        words = await profiling.vocabulary(bank, new=wanted)
        uses = await versions.uses(bank)
        named = document.check_file(wanted, parsed, str(file), words, uses)
        return await versions.apply(bank, wanted, named, words, f"cli:{getpass.getuser()}")

    for sentence_ in run(apply):
        print(sentence_)


@segment_app.command("list")
def segment_list(tenant: TenantOption = "") -> None:
    """List the segments: name, kind, state, live version and rule."""
    from customers.segments import versions

    async def listed(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return [
            {**versions.plain(one.row), "state": one.state}
            for one in await versions.list_segments(bank)
        ]

    rows = run(listed)
    print_table("segments", rows)
    if not rows:
        out.print("there is no segment yet")


@segment_app.command("why")
def segment_why(
    segment: Segment, customer: Customer, tenant: TenantOption = "", en: English = False
) -> None:
    """Say part by part why a customer meets a segment's rule or does not."""
    from customers.segments import explaining
    from operations import profiling

    language: Language = "en" if en else "zh"

    async def told(services: Services) -> list[str]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        words = await profiling.vocabulary(bank)
        found = await explaining.explained(bank, segment, customer, words)
        return [found.say(language), *map(_written, explaining.lines(found, language))]

    def _written(line: explaining.Line) -> str:
        met = sentence("rule_yes" if line.met else "rule_no", language)
        return f"{'  ' * line.depth}{met}  {line.rule}{f'  · {line.said}' if line.said else ''}"

    for one in run(told):
        out.print(one, soft_wrap=True)
