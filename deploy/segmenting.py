"""`manage.py segment …`: segments from a file, as a list, their members, how many a rule is met by, and
why a customer is in one or not."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from customers.banks.bank import Bank, open_bank
from customers.profiles.downloading import Wanted
from customers.segments.estimate import Estimate
from deploy.listing import ClearOption, ReasonOption, TargetFile, export
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
    """List the segments: name, kind, state, live version, how many are in each, rule, and what uses
    it."""
    from campaigns import uses
    from customers.segments import members, versions

    async def listed(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        counts, used = await members.counts(bank), await uses.uses(bank)
        return [
            {
                **versions.plain(one.row),
                "state": one.state,
                "members": "" if counts is None else f"{counts.get(one.row['segment'], 0):,}",
                "used by": ", ".join(
                    f"{use.where} {use.by}" for use in used.get(("segment", one.row["segment"]), [])
                ),
            }
            for one in await versions.list_segments(bank)
        ]

    rows = run(listed)
    print_table("segments", rows)
    if not rows:
        out.print("there is no segment yet")


@segment_app.command("estimate")
def segment_estimate(
    rule: Annotated[str, typer.Argument(help='a rule, such as "customer.bound"')],
    tenant: TenantOption = "",
) -> None:
    """Count the customers who meet a rule today, by branch."""
    from customers.segments import document, estimate, versions
    from operations import profiling

    async def counted(services: Services) -> tuple[Estimate, list[dict[str, Any]]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        words, uses = await profiling.vocabulary(bank), await versions.uses(bank)
        name = {"zh": "-", "en": "-"}
        segment = document.read("new", {"name": name, "rule": rule})
        found = await estimate.estimate(bank, document.checked("", segment, words, uses))
        return found, _by_branch(bank, found.by_branch)

    found, branches = run(counted)
    out.print(f"{found.count:,} customers meet it, {_where(found)}")
    print_table("by branch", branches)


def _where(found: Estimate) -> str:
    if found.mirror_age is None:
        return "counted in the database"
    return f"counted in the columnar mirror, {found.mirror_age:.0f} s old"


def _by_branch(bank: Bank, found: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {"branch": bank.branches.get(branch, branch) or "no RM", "customers": f"{n:,}"}
        for branch, n in found.items()
    ]


@segment_app.command("members")
def segment_members(segment: Segment, tenant: TenantOption = "") -> None:
    """Count a segment's members by branch, with some of them masked and how far it is filled."""
    from customers.segments import filling, members

    async def shown(services: Services) -> tuple[members.Members, list[dict[str, Any]]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        found = await members.members(bank, segment)
        return found, _by_branch(bank, found.found.by_branch)

    found, branches = run(shown)
    out.print(f"{found.found.count:,} members, {_where(found.found)}")
    if found.fill is not None and found.fill["quiet"]:
        done, of = filling.progress(found.fill)
        out.print(f"it is being filled: {done} of {of} parts")
    print_table("by branch", branches)
    print_table("some of them", [{"id": one.cid, "name": one.name} for one in found.sample])


@segment_app.command("export")
def segment_export(
    segment: Segment,
    file: TargetFile,
    clear: ClearOption = False,
    reason: ReasonOption = "",
    tenant: TenantOption = "",
) -> None:
    """Write a table of a segment's members, masked, or in clear for a reason."""
    from customers.segments import members

    export(members.download, segment, file, Wanted(clear, reason), tenant)


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
